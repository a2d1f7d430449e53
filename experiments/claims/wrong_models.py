"""Does the ELBO prefer a wrong model, as its posterior is simple?

Claim (Yacoby, Pan & Doshi-Velez 2020, https://arxiv.org/abs/2007.07124): where the posteriors of
the truth are hard for a Gaussian, the ELBO prefers models that are further from the truth and have
simple posteriors; a tighter bound helps.

    python -m experiments.claims.wrong_models

The claim is an inequality of exact numbers. With the best Gaussian for each point, the ELBO of the
truth falls short of the entropy by its price, E KL(q* || p*(z|x)), and that of a model by KL(p*||p)
and its own price. The ELBO prefers the model where that sum is smaller. Prices are means over 200
draws of the truth, KL is quadrature.

1 000 random points of each curve, sigma known, 6 seeds: the ELBO, a bound with 8 importance
samples, a mixture of four Gaussians by sticking the landing, and the evidence itself by quadrature.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import spiral_vae
from experiments.claims import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics
from spiral_vae.config import sources
from spiral_vae.exact import ground_truth, inference
from spiral_vae.exact.best import best_gaussian
from spiral_vae.maths import observation
from spiral_vae.maths.observation import Observe
from spiral_vae.process import Curve

KIND = Path(__file__).with_name("absolute_value.py")
CURVES: dict[str, dict[str, Any]] = {
    "circle": {"data.kind": "circle"},
    "figure eight": {"data.kind": "figure_eight"},
    "absolute value": {"data.kind": "absolute_value"},
}
WAYS: dict[str, dict[str, Any]] = {
    "ELBO": {},
    "IWAE-8": {"objective.kind": "iwae", "objective.num_samples": 8},
    "mixture of 4, STL": {"posterior.kind": "mixture", "objective.estimator": "stl"},
    "evidence": {"objective.kind": "evidence", "objective.num_samples": 64},
}
NUM_DRAWS = 200  # that prices are means over


def get_config() -> ConfigDict:
    """Returns the config that the ways differ from, with the fields of the kind of its own."""
    sources.load_file(KIND)
    return sources.load("claims:wrong_models")


@dataclasses.dataclass(frozen=True)
class Truth:
    """A curve, and what a Gaussian costs under its exact decoder."""

    curve: Curve
    x: np.ndarray  # draws, [N, D]
    z: np.ndarray  # that made them, [N, 1]

    @functools.cached_property
    def gap(self) -> np.ndarray:
        """The price of the best Gaussian at each draw, [N], nats."""
        start = inference.gaussians(self.z, np.full_like(self.z, -4.0))
        observe = ground_truth.true_decoder(self.curve)
        return price(self.x, observe, start, reach=2.0)


def price(
    x: np.ndarray, observe: Observe, start: inference.Posteriors, reach: float = 1.0
) -> np.ndarray:
    """Returns log p(x) - ELBO of the best Gaussian found for each x [N, D], [N], nats."""
    with numerics.double():
        density = ground_truth.model_density(observe, 1, reach=reach)
        log_evidence, _ = density.log_density(x)
        return log_evidence - best_gaussian(x, start, observe, density).elbo


def drawn(curve: Curve, num: int) -> Truth:
    """Returns a truth with so many draws, always the same."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((num, 1))
    with numerics.double():
        return Truth(curve, observation.draw(rng, ground_truth.true_decoder(curve)(z)), z)


def judged(lane: spiral_vae.Lane, row: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Returns what `price` says of a lane beside the truth's."""
    gap = price(truth.x, lane.model.observe, lane.encode(truth.x))
    preferred = truth.gap - gap - row["kl_to_truth"]
    num = len(gap)
    return {
        "price": float(np.mean(gap)),
        "price_of_truth": float(np.mean(truth.gap)),
        "price_of_truth_error": float(np.std(truth.gap) / np.sqrt(num)),
        "preferred_by": float(np.mean(preferred)),
        "preferred_by_error": float(np.std(preferred) / np.sqrt(num)),
    }


def wrong_models(experiment: Experiment) -> None:
    quick = experiment.quick
    rows: list[dict[str, Any]] = []
    for curve, of_curve in list(CURVES.items())[2 if quick else 0 :]:
        truth = None
        for way, own in list(WAYS.items())[: 1 if quick else None]:
            label = f"{curve} {way}".replace(",", "").replace(" ", "_")
            config = get_config()
            outcome = experiment.sweep(label, config, {**of_curve, **own})
            lanes = spiral_vae.open(outcome.workdir).lanes
            for row, lane in zip(outcome.rows, lanes, strict=True):
                if truth is None:
                    truth = drawn(lane.model.curve, 8 if quick else NUM_DRAWS)
                rows.append({"curve": curve, "way": way, **row, **judged(lane, row, truth)})
    experiment.save(drawing.wrong_models(rows), rows)
    for curve, way in dict.fromkeys((row["curve"], row["way"]) for row in rows):
        found = [row for row in rows if (row["curve"], row["way"]) == (curve, way)]
        kl, model, by = (
            np.array([row[name] for row in found])
            for name in ("kl_to_truth", "price", "preferred_by")
        )
        error = np.hypot(np.std(by) / np.sqrt(len(by)), found[0]["preferred_by_error"])
        print(
            f"{curve}, {way}: kl to truth {_told(kl)}, price {_told(model)} (of the truth "
            f"{found[0]['price_of_truth']:.4f} +- {found[0]['price_of_truth_error']:.4f}); the "
            f"ELBO prefers it by {np.mean(by):+.4f} +- {error:.4f}, in {np.sum(by > 0)} of "
            f"{len(by)} seeds"
        )


def _told(values: np.ndarray) -> str:
    return f"{np.mean(values):.4f} +- {np.std(values) / np.sqrt(len(values)):.4f}"


if __name__ == "__main__":
    main(wrong_models)

"""Does a second turn make the latent ambiguous, and what finds several turns?

The post says that the encoder cannot tell revolutions apart, as an angle is known modulo 2 pi only.
Claim to the contrary: the radius tells them apart until the arms are closer than 4 to 5 noise
sigmas. Up to there exact posteriors have one mode and a failure is one of optimisation; beyond,
the share of points with a second mode and with it the price of a Gaussian q rise. Evidence with a
sigma that falls finds two turns, an order of the points found first finds more.

    python -m experiments.turns

Sigma known, 4 seeds, 400 points; for four turns with an order 1 000 points besides. The spacing of
the arms is 2 pi rdot / omega: 12.5, 6.25, 4.2, 3.1 and 2.1 noise sigmas.
"""

import math
from typing import Any

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main, quantiles
from spiral_vae.configs import three_turns, two_turns
from spiral_vae.configs import turns as config
from spiral_vae.exact import ground_truth, inference, mixture
from spiral_vae.exact.best import best_gaussian
from spiral_vae.maths import observation
from spiral_vae.process import Spiral

TURNS = (1, 2, 3, 4, 6)
NUM_SEEDS = 4
WAYS = {"ELBO": config, "evidence, sigma falls": two_turns, "order, then evidence": three_turns}
_COMMON = {"sweep": (), "evaluate.every": 0.0, "evaluate.snapshots": 0}
NUM_POINTS = 400  # draws that the share and the price are means over


def ambiguity(turns: int, num_points: int = NUM_POINTS) -> dict[str, float]:
    """Returns the share of bimodal exact posteriors and the price of the best Gaussian, nats.

    Both are of the true process: its decoder m(z) = f(F^-1(Phi(z))) and sigma = noise sigma.
    """
    curve = Spiral(omega=2 * math.pi * turns, rdot=2.5, noise_sigma=0.2, u_start=0.0, u_stop=1.0)
    truth = ground_truth.truth(curve)
    observe = ground_truth.true_decoder(curve)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((num_points, 1))
    x = observation.draw(rng, observe(z))
    density = ground_truth.model_density(observe, 1, reach=2.0)
    log_evidence, _ = density.log_density(x)
    start = inference.gaussians(z, np.full_like(z, -4.0))
    best = best_gaussian(x, start, observe, density)
    posterior = mixture.log_posterior(x, truth.density.fine)
    weight = np.exp(truth.density.fine.log_weight)
    bimodal = mixture.second_mode(np.exp(posterior), weight) > mixture.SECOND_MODE
    return {
        "turns": turns,
        "spacing": 2.5 / (turns * 0.2),
        "bimodal": float(np.mean(bimodal)),
        "approximation_gap_of_truth": float(np.mean(log_evidence - best.elbo)),
    }


def turns(experiment: Experiment) -> None:
    numbers = TURNS[:1] if experiment.quick else TURNS
    exact = {n: ambiguity(n, 30 if experiment.quick else NUM_POINTS) for n in numbers}
    rows = []
    for way, setting in WAYS.items():
        for n in numbers:
            overrides = {"data.omega": 2 * math.pi * n, "num_seeds": NUM_SEEDS} | _COMMON
            if experiment.quick and setting is three_turns:
                overrides |= {"start.num_cuts": 3, "start.max_attempts": 2}
            label = f"{n} {way}".replace(",", "").replace(" ", "_")
            found = experiment.sweep(label, setting.get_config(), overrides).rows
            rows += [row | exact[n] | {"way": way} for row in found]
    large = []
    if not experiment.quick:
        overrides = {"data.num_points": 1_000, "train.batch_size": 1_000, "num_seeds": NUM_SEEDS}
        overrides |= {"data.omega": 8 * math.pi} | _COMMON
        found = experiment.sweep("large", three_turns.get_config(), overrides).rows
        large = [row | exact[4] | {"way": "order, then evidence, 1 000 points"} for row in found]
    experiment.save(drawing.turns(rows), rows + large)
    _tell(rows + large)


def _tell(rows: list[dict[str, Any]]) -> None:
    for n, way in dict.fromkeys((row["turns"], row["way"]) for row in rows):
        own = [row for row in rows if (row["turns"], row["way"]) == (n, way)]
        found = sum(bool(row.get("found", False)) for row in own)
        low, median, high = quantiles(np.asarray([row.get("kl_to_truth", np.nan) for row in own]))
        print(
            f"{n} turns, spacing {own[0]['spacing']:.2f}, {way}: found {found} of {len(own)}, "
            f"kl to truth {median:.3f} ({low:.3f} to {high:.3f}); of the truth bimodal "
            f"{own[0]['bimodal']:.0%}, gap {own[0]['approximation_gap_of_truth']:.3f}"
        )


if __name__ == "__main__":
    main(turns)

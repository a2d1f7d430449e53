"""The problems: named densities, how many points of them, and what of them is known.

A name stays only while its density does: `facts.csv` holds its exact numbers, and a test sees that
they are still those. What a problem says besides, networks and rates, is where a method starts; it
may say otherwise. The number of steps and of points in each belongs to the problem alone.
"""

import csv
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spiral_vae.config import sources
from spiral_vae.config.lanes import lane_of
from spiral_vae.config.values import ConfigError, flatten, settled, updated
from spiral_vae.exact import best, evaluate, ground_truth, inference
from spiral_vae.maths.gaussian import LOG_2PI
from spiral_vae.process import Curve

STEPS = 5_000  # of Adam, for every method
BATCH = 200  # points of a step
FACTS = Path(__file__).with_name("facts.csv")
# What no method decides, besides all of data.*.
BUDGET = ("train.num_epochs", "train.batch_size", "train.log_every", "seed", "num_seeds", "sweep")
_APART = ("evaluate.", "checkpoint.", "cell_width")  # change no number of a trained model
_PRICE_POINTS = 200  # over which the price of a Gaussian posterior is a mean

_RATES = {
    "optimizer.encoder_learning_rate": 3e-3,
    "optimizer.decoder_learning_rate": 3e-3,
    "optimizer.schedule": "cosine",
}
_TWO_LAYERS = {
    f"model.{network}.{size}": number
    for network in ("encoder", "decoder")
    for size, number in (("hidden_layers", 2), ("hidden_dim", 64))
}


def _unknown(kind: str = "learned") -> dict[str, Any]:
    """Returns a sigma that is learned, from a start that does not know the truth."""
    values = {"likelihood.kind": kind, "likelihood.sigma": 0.5, "likelihood.learning_rate": 3e-3}
    return values | ({"likelihood.estimator": "learned"} if kind == "per_dimension" else {})


def _turns(number: int, num_points: int = 400) -> dict[str, Any]:
    own = {"data.omega": 2 * math.pi * number, "data.u_start": 0.0, "data.num_points": num_points}
    return _TWO_LAYERS | own


@dataclasses.dataclass(frozen=True)
class Problem:
    """A density, points of it, and where methods start."""

    name: str
    meaning: str
    values: Mapping[str, Any]  # fields that differ from the default config

    @property
    def fields(self) -> dict[str, Any]:
        """What a run of it is given before its method says otherwise, by dotted path."""
        return _RATES | dict(self.values)

    @property
    def budget(self) -> dict[str, Any]:
        """What no method changes: the data, and the steps on them."""
        whole = flatten(settled(updated(sources.load("base"), self.values)))
        num_points = whole["data.num_points"]
        batch = min(BATCH, num_points)
        steps = math.ceil(num_points / batch)
        own = {path: value for path, value in self.values.items() if path.startswith("data.")}
        return own | {
            "train.batch_size": batch,
            "train.num_epochs": math.ceil(STEPS / steps),
            "evaluate.every": 0.0,
            "evaluate.snapshots": 0,
            "evaluate.gap_points": 0,
        }

    @property
    def knows_sigma(self) -> bool:
        """Whether methods are told the noise."""
        return self.values.get("likelihood.kind", "fixed") == "fixed"

    @property
    def truth(self) -> Curve | None:
        """The curve behind the points; None: it is not known."""
        values = flatten(settled(updated(sources.load("base"), {**self.values, **self.budget})))
        return lane_of(values, 0).data.truth


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("post", "the post's spiral, 200 points, sigma known", {}),
        Problem("post_unknown", "the same, sigma unknown", _unknown()),
        Problem("two_turns", "2 turns, 400 points", _turns(2)),
        Problem("two_moons", "half circles that reach into each other", {"data.kind": "two_moons"}),
        Problem("circle", "a closed curve, which a line must cut open", {"data.kind": "circle"}),
        Problem("figure_eight", "a curve that crosses itself", {"data.kind": "figure_eight"}),
        Problem(
            "growing",
            "the post's with noise of 0.05 + 0.3 t, unknown, 400 points",
            {
                "data.noise_sigma": 0.05,
                "data.noise_slope": 0.3,
                "data.num_points": 400,
                **_unknown(),
            },
        ),
        Problem(
            "anisotropic",
            "noise of 0.1 and 0.3 by axis, unknown, 400 points",
            {
                "data.noise_sigma_x": 0.1,
                "data.noise_sigma_y": 0.3,
                "data.num_points": 400,
                **_unknown("per_dimension"),
            },
        ),
        Problem("s_curve", "two bends", {"data.kind": "s_curve"}),
        Problem(
            "post_2000",
            "the post's, 2 000 points, sigma unknown",
            {"data.num_points": 2_000} | _unknown(),
        ),
        Problem("uneven", "the post's, sparse at the rim: t uniform", {"data.t_law": "uniform"}),
        Problem("three_turns", "3 turns, 400 points", _turns(3)),
        Problem("two_turns_unknown", "2 turns, sigma unknown", _turns(2) | _unknown()),
        Problem("four_turns", "4 turns, 1 000 points", _turns(4, 1_000)),
    )
}


def differences(source: str) -> dict[str, Any]:
    """Returns the fields by which a config differs from the default one.

    Raises:
      ConfigError: there is no such config.
    """
    own = flatten(sources.load(source))
    plain = flatten(sources.load("base"))  # after it, with the fields of its kinds
    return {
        path: value
        for path, value in own.items()
        if value != plain[path] and not path.startswith(_APART)
    }


def problem(source: str) -> Problem:
    """Returns a problem by its name, or that of a config file: its data, and what is known.

    Raises:
      ConfigError: there is neither, or its truth is unknown.
    """
    if source in PROBLEMS:
        return PROBLEMS[source]
    if not Path(source).is_file():
        names = ", ".join(PROBLEMS)
        raise ConfigError(f"problem: found {source!r}, must be a file or one of {names}")
    values = {path: own for path, own in differences(source).items() if path not in BUDGET}
    found = Problem(file_name(source, PROBLEMS), f"of {source}", values)
    if found.truth is None:
        raise ConfigError(f"{source}: has no known truth, so there is nothing to judge by")
    return found


def file_name(source: str, named: Mapping[str, Any]) -> str:
    """Returns by which name a file goes, which is none of those that are taken."""
    path = Path(source)
    return path.name if path.stem in named else path.stem


def facts(problem: Problem) -> dict[str, float]:
    """Returns what is known exactly of a problem; nats, and sigma_c in units of x.

    entropy, -E log p*(x), the least nll; information, I(x; t); collapsed, the nll of the best
    isotropic Gaussian, and gaussian, that of the best Gaussian; sigma_c, above which a decoder's
    sigma collapses; price, what the best Gaussian posterior of each point loses under the true
    decoder, a mean over 200 points even in the mass.
    """
    curve = problem.truth
    assert curve is not None, "a problem has a truth"
    truth = ground_truth.truth(curve)
    observe = ground_truth.true_decoder(curve)
    _, x = evaluate.new_points(curve)
    x = x[:: len(x) // _PRICE_POINTS]
    density = ground_truth.density_around(x, observe, 1)
    anywhere = inference.gaussians(np.zeros((len(x), 1)), np.zeros((len(x), 1)))
    found = best.best_gaussian(x, anywhere, observe, density)
    log_det = float(np.sum(np.log(truth.eigenvalues)))
    return {
        "entropy": truth.entropy.value,
        "information": truth.information.value,
        "collapsed": truth.isotropic_nll,
        "gaussian": 0.5 * (len(truth.mean) * (LOG_2PI + 1) + log_det),
        "sigma_c": float(np.sqrt(truth.eigenvalues[0])),
        "price": float(np.mean(density.log_density(x)[0] - found.elbo)),
    }


def known_facts() -> dict[str, dict[str, float]]:
    """Returns the stored facts of all named problems."""
    with open(FACTS, newline="") as file:
        return {
            row["problem"]: {name: float(row[name]) for name in row if name != "problem"}
            for row in csv.DictReader(file)
        }

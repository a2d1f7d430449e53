"""What a step costs for each posterior and estimator, over that of the Gaussian's ELBO.

    python -m benchmarks.steps [--only=points,sequences] [--turns=5] [--epochs=300]

Eight lanes of the post's data in full batches of 200, networks 1x32, on one core; and eight of ten
sequences of 40 points, networks 2x32, Fourier features, against single points of the same size. All
take turns, and what is shown is the median of the ratios within a turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from spiral_vae import numerics
from spiral_vae.config import axes, lanes
from spiral_vae.config.values import with_values
from spiral_vae.configs import dynamics, posteriors
from spiral_vae.training import cells, train

_STL = {"objective.estimator": "stl"}
_MIXTURE = {"posterior.kind": "mixture"}
_SPLINE = {"posterior.kind": "spline"}
_IWAE = {"objective.kind": "iwae", "objective.num_samples": 8}
POINTS: dict[str, dict[str, Any]] = {
    "Gaussian, ELBO": {},
    "Gaussian, STL": _STL,
    "mixture of 4": _MIXTURE,
    "mixture of 4, STL": _MIXTURE | _STL,
    "spline": _SPLINE,
    "spline, STL": _SPLINE | _STL,
    "Gaussian, IWAE-8": _IWAE,
    "Gaussian, IWAE-8, DReG": _IWAE | {"objective.estimator": "dreg"},
    "mixture of 4, IWAE-2": _MIXTURE | _IWAE | {"objective.num_samples": 2},
    "Gaussian, evidence-256": {"objective.kind": "evidence", "objective.num_samples": 256},
    "Gaussian, ELBO, dreams": {"encoder.after": 0.3},
}
_ONE_BATCH = {"data.num_points": 400, "start.kind": "none", "start.weight": 3.0}
_FINE = {"objective.num_samples": 320}
_ELBO = _ONE_BATCH | {
    "objective.kind": "elbo",
    "objective.num_samples": 1,
    "objective.spacing": "mass",
}
_ALONE = {"dynamics.kind": "none", "dynamics.start": 0.9}
_GAUSSIAN = {"posterior.kind": "gaussian"}
SEQUENCES: dict[str, dict[str, Any]] = {
    "single points, ELBO": _ELBO | _ALONE | _GAUSSIAN,
    "mean field, ELBO": _ELBO | _GAUSSIAN,
    "structured, ELBO": _ELBO,
    "structured, ELBO, 1 pass of refinement": _ELBO | {"posterior.refinement": 1},
    "structured, ELBO, 4 passes": _ELBO | {"posterior.refinement": 4},
    "structured, ELBO, 8 passes": _ELBO | {"posterior.refinement": 8},
    "single points, evidence-160": _ONE_BATCH | _ALONE | _GAUSSIAN,
    "single points, evidence-320": _ONE_BATCH | _ALONE | _GAUSSIAN | _FINE,
    "sequences, evidence-160": _ONE_BATCH,
    "sequences, evidence-320": _ONE_BATCH | _FINE,
}
PARTS: dict[str, tuple[ConfigDict, dict[str, dict[str, Any]], int]] = {
    "points": (posteriors.get_config(), POINTS, 1),
    "sequences": (dynamics.get_config("2"), SEQUENCES, 10),
}


def make(config: ConfigDict, own: dict[str, Any]) -> Callable[[int], float]:
    """Returns a function that trains for so many epochs, a step each, and returns the seconds."""
    with numerics.single():
        whole = with_values(config, own | {"num_seeds": 8})
        _, rows = axes.expand(whole, ())
        (group,) = lanes.groups(whole, rows)
        many = jax.tree.map(jnp.asarray, group.lanes)
        state, data = jax.jit(jax.vmap(train.init))(many)
        chunk = jax.jit(
            jax.vmap(train.train_chunk, (0, 0, 0, None)),
            compiler_options=cells.chunk_options(many.long_sums),
        )
        jax.block_until_ready(chunk(state, data, many, 1))

    def seconds(epochs: int) -> float:
        with numerics.single():
            start = time.perf_counter()
            jax.block_until_ready(chunk(state, data, many, epochs))
            return time.perf_counter() - start

    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, all by default")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300, help="of points; a tenth of sequences")
    flags = parser.parse_args()
    names = flags.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for name in names:
        config, ways, share = PARTS[name]
        epochs = max(1, flags.epochs // share)
        made = {way: make(config, own) for way, own in ways.items()}
        turns = [{way: run(epochs) for way, run in made.items()} for _ in range(flags.turns)]
        first = next(iter(ways))
        print(f"| a step | over {first} | us a lane |\n| --- | --- | --- |")
        for way in ways:
            ratio = statistics.median(turn[way] / turn[first] for turn in turns)
            each = statistics.median(turn[way] for turn in turns) / epochs / 8
            print(f"| {way} | {ratio:.1f} | {1e6 * each:.0f} |")
        print()


if __name__ == "__main__":
    main()

"""What a step costs for each posterior and estimator, over that of the Gaussian's ELBO.

    python -m benchmarks.steps [--turns=5] [--epochs=300]

Eight lanes of the post's data in full batches of 200, networks 1x32, on one core. All take turns,
and what is shown is the median of the ratios within a turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spiral_vae import numerics
from spiral_vae.config import axes, lanes
from spiral_vae.config.values import with_values
from spiral_vae.configs import posteriors as config
from spiral_vae.training import train

_STL = {"objective.estimator": "stl"}
_MIXTURE = {"posterior.kind": "mixture"}
_SPLINE = {"posterior.kind": "spline"}
_IWAE = {"objective.kind": "iwae", "objective.num_samples": 8}
WAYS: dict[str, dict[str, Any]] = {
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


def make(own: dict[str, Any]) -> Callable[[int], float]:
    """Returns a function that trains for so many epochs and returns the seconds."""
    with numerics.single():
        whole = with_values(config.get_config(), own | {"num_seeds": 8})
        _, rows = axes.expand(whole, ())
        (group,) = lanes.groups(whole, rows)
        many = jax.tree.map(jnp.asarray, group.lanes)
        state, data = jax.jit(jax.vmap(train.init))(many)
        chunk = jax.jit(jax.vmap(train.train_chunk, (0, 0, 0, None)))
        jax.block_until_ready(chunk(state, data, many, 1))

    def seconds(epochs: int) -> float:
        with numerics.single():
            start = time.perf_counter()
            jax.block_until_ready(chunk(state, data, many, epochs))
            return time.perf_counter() - start

    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    flags = parser.parse_args()
    made = {name: make(own) for name, own in WAYS.items()}
    turns = [{name: run(flags.epochs) for name, run in made.items()} for _ in range(flags.turns)]
    first = next(iter(WAYS))
    print(f"| a step | over {first} | us a lane |\n| --- | --- | --- |")
    for name in WAYS:
        ratio = statistics.median(turn[name] / turn[first] for turn in turns)
        each = statistics.median(turn[name] for turn in turns) / flags.epochs / 8
        print(f"| {name} | {ratio:.1f} | {1e6 * each:.0f} |")


if __name__ == "__main__":
    main()

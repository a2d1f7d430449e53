"""Two half circles that reach into each other."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "two_moons")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoMoons(PlanePieces):
    """scikit-learn's `make_moons`, twice as large and moved by (-1, -0.2).

    So it is in FFJORD's toy data (https://github.com/rtqichen/ffjord), where the noise is 0.2.
    """

    num_pieces: ClassVar[int] = 2

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        angle = jnp.pi * s
        outer = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        inner = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)])
        return 2 * jnp.where(piece == 0, outer, inner) - jnp.asarray([1.0, 0.2])

"""A roll, seen from its end."""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "swiss_roll")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SwissRoll(PlanePieces):
    """The first and the last axis of scikit-learn's `make_swiss_roll`, divided by 5.

    So it is in FFJORD's toy data (https://github.com/rtqichen/ffjord), where the noise is 0.2. It
    is even in the angle and so denser near the middle.
    """

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 1.5 * jnp.pi * (1 + 2 * s)
        return angle / 5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

"""A letter S."""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "s_curve")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SCurve(PlanePieces):
    """The first and the last axis of scikit-learn's `make_s_curve`, twice as large."""

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 3 * jnp.pi * (s - 0.5)
        return 2 * jnp.stack([jnp.sin(angle), jnp.sign(angle) * (jnp.cos(angle) - 1)])

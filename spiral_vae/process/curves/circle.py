"""A circle."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "circle")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Circle(PlanePieces):
    """Of radius 2, once round."""

    closed: ClassVar[bool] = True

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 2 * jnp.pi * s
        return 2 * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

"""A helix, of three dimensions."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import Pieces


@kind("data", "helix")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Helix(Pieces):
    """Of radius 2, twice round, 4 high."""

    dim: ClassVar[int] = 3

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 4 * jnp.pi * s
        return jnp.stack([2 * jnp.cos(angle), 2 * jnp.sin(angle), 4 * s - 2])

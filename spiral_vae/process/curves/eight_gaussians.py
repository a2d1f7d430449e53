"""Eight Gaussians on a ring."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "eight_gaussians")
@dataclasses.dataclass(frozen=True, kw_only=True)
class EightGaussians(PlanePieces):
    """Pieces of no length, at a distance of 4 / sqrt(2) from the middle.

    So they are in FFJORD's toy data (https://github.com/rtqichen/ffjord), where the noise is
    0.5 / sqrt(2) = 0.354.
    """

    num_pieces: ClassVar[int] = 8

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        angle = jnp.pi * piece / 4 + 0 * s
        return jnp.sqrt(8.0) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

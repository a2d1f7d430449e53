"""A figure eight, which crosses itself once."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "figure_eight")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureEight(PlanePieces):
    """Gerono's lemniscate, 4 wide: (2 sin a, sin 2a). There is no standard one."""

    closed: ClassVar[bool] = True

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 2 * jnp.pi * s
        return jnp.stack([2 * jnp.sin(angle), jnp.sin(2 * angle)])

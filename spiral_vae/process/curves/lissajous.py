"""A Lissajous figure, which crosses itself often."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import FINITE, field, integer, kind
from spiral_vae.maths.arrays import Number
from spiral_vae.process.curve import PlanePieces


@kind("data", "lissajous")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lissajous(PlanePieces):
    """2 (sin(frequency_x a + phase), sin(frequency_y a)), a once round."""

    closed: ClassVar[bool] = True

    frequency_x: int = field(3, integer(1, 16), "of the first axis", static=True)
    frequency_y: int = field(2, integer(1, 16), "of the second axis", static=True)
    phase: Number = field(0.5 * math.pi, FINITE, "of the first axis, rad")

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        del piece
        angle = 2 * jnp.pi * s
        x = jnp.sin(self.frequency_x * angle + self.phase)
        return 2 * jnp.stack([x, jnp.sin(self.frequency_y * angle)])

"""Rings around one another."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import field, integer, kind
from spiral_vae.process.curve import PlanePieces


@kind("data", "rings")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rings(PlanePieces):
    """Of even radii up to 3, with as many points on each.

    Two are scikit-learn's `make_circles` with its default factor 1/2, three times as large; four
    are the `rings` of FFJORD's toy data (https://github.com/rtqichen/ffjord). There the noise is
    0.24 and 0.08.
    """

    closed: ClassVar[bool] = True

    num_rings: int = field(2, integer(2, 16), "how many", static=True)

    @property
    def num_pieces(self) -> int:  # type: ignore[override]
        return self.num_rings

    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        angle, radius = 2 * jnp.pi * s, 3 * (piece + 1) / self.num_rings
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

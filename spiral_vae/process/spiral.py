"""The spiral of the post."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from spiral_vae.fields import FINITE, NONZERO, field, kind
from spiral_vae.maths.arrays import Number
from spiral_vae.process.curve import PlaneCurve


@kind("data", "spiral")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spiral(PlaneCurve):
    """f(t) = rdot t (cos(omega t), sin(omega t)).

    With t = sqrt(u) and even u the points lie about evenly along the curve, as its radius and hence
    its speed grow with t.
    """

    omega: Number = field(2.8 * math.pi, FINITE, "angle per unit t, rad")
    rdot: Number = field(2.5, NONZERO, "radius per unit t")

    def point(self, t: jax.Array) -> jax.Array:
        angle = self.omega * t
        return self.rdot * t * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

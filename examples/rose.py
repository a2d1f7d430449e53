"""A curve of one's own: a rose, whose petals meet in the middle.

python -m spiral_vae.main --config=examples/rose.py --config.data.petals=5
"""

import dataclasses
import math

import jax.numpy as jnp

from spiral_vae import POSITIVE, Number, PlaneCurve, base_config, field, kind


@kind("data", "rose")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rose(PlaneCurve):
    radius: Number = field(2.0, POSITIVE, "of a petal")
    petals: Number = field(3.0, POSITIVE, "whose number this is, where it is odd")

    def point(self, t):
        angle = math.pi * t
        return (
            self.radius * jnp.cos(self.petals * angle) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        )


def get_config():
    return base_config({"data.kind": "rose", "data.t_law": "uniform", "data.u_start": 0.0})

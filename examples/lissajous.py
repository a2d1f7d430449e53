"""A curve of one's own: a Lissajous figure, which crosses itself.

python -m spiral_vae.main --config=examples/lissajous.py --config.data.ratio=0.75
"""

import dataclasses
import math

import jax.numpy as jnp

from spiral_vae import POSITIVE, Number, PlaneCurve, base_config, field, kind


@kind("data", "lissajous")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lissajous(PlaneCurve):
    radius: Number = field(2.0, POSITIVE, "half of its width")
    ratio: Number = field(0.5, POSITIVE, "of the frequencies of both axes")

    def point(self, t):
        angle = 2 * math.pi * t
        return self.radius * jnp.stack([jnp.sin(self.ratio * angle), jnp.sin(angle)])


def get_config():
    return base_config({"data.kind": "lissajous", "data.t_law": "uniform"})

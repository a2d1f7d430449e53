"""What a page is told of a run: curves."""

import dataclasses
import math

import jax.numpy as jnp
import pytest

from spiral_vae.explore import description
from spiral_vae.fields import pytree
from spiral_vae.process import Helix, Spiral
from spiral_vae.process.curves.figure_eight import FigureEight


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Wave(Spiral):
    """Another omega does not turn it."""

    def point(self, t):
        return jnp.stack([t, jnp.sin(self.omega * t)])


@pytest.mark.parametrize(
    ("curve", "rate"),
    [
        (Spiral(omega=2 * math.pi), 2 * math.pi),
        (Spiral(noise_sigma=0.1, noise_slope=0.3), 2.8 * math.pi),
        (Spiral(noise_sigma_x=0.1, noise_sigma_y=0.3), None),  # its noise would turn with it
        (Wave(), None),
        (FigureEight(), None),
        (Helix(), None),
    ],
)
def test_the_rate_is_that_of_a_curve_which_omega_turns(curve, rate):
    found = description.truth(curve)
    assert found["rate"] == pytest.approx(rate)
    assert found["dim"] == curve.dim

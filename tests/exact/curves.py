"""Curves of other kinds than the package's: of two pieces, of three dimensions."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from spiral_vae.fields import pytree
from spiral_vae.process import Curve, Interval


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Segments(Curve):
    """Two straight lines, at 9 from each other, with a share of the points on the first."""

    dim: ClassVar[int] = 2
    lengths: ClassVar[tuple[float, float]] = (2.0, 0.5)

    share: float = 0.3

    def point(self, t):
        one, two = self.lengths[0] * t, self.lengths[1] * (t - 2)
        return jnp.where(t < 1.5, jnp.stack([one, 0 * t]), jnp.stack([0 * t + 1, 9 + two]))

    def quantile(self, mass):
        second = 2 + (mass - self.share) / (1 - self.share)
        return jnp.where(mass < self.share, mass / self.share, second)

    def density(self, t):
        return jnp.where(t < 1.5, self.share, 1 - self.share)

    def cdf(self, t):
        second = self.share + (1 - self.share) * (t - 2)
        return jnp.where(t < 1.5, self.share * t, second)

    def pieces(self):
        return jnp.asarray([[0.0, 1.0], [2.0, 3.0]])


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Helix(Interval):
    """A turn and a half around the third axis."""

    dim: ClassVar[int] = 3

    def point(self, t):
        angle = 3 * np.pi * t
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), 1.5 * t])


SEGMENTS = Segments(noise_sigma=0.3)
HELIX = Helix(noise_sigma=0.6, t_law="uniform", u_start=0.0)  # loud: a small grid of the space


def helix(t):
    """Returns its points in plain numpy, [N, 3]."""
    return np.stack([np.cos(3 * np.pi * t), np.sin(3 * np.pi * t), 1.5 * t], axis=-1)

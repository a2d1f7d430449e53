"""Sigma is given."""

import dataclasses

import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.observation import Observation
from spiral_vae.model.likelihood.annealing import Annealed
from spiral_vae.model.likelihood.base import Heads, Values


@kind("likelihood", "fixed")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Annealed):
    """A given sigma, the same for all dimensions and all z."""

    @property
    def known_sigma(self) -> Number:
        return self.sigma

    def observation(self, values: Values, heads: Heads) -> Observation:
        del values
        return Observation(mean=heads["mean"], scale=jnp.asarray(self.sigma))

"""A likelihood of one's own: Laplace noise, whose sigma is its standard deviation.

python -m spiral_vae.main --config=examples/laplace.py
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from spiral_vae import Likelihood, Noise, Observation, base_config, kind, pytree


@pytree
@dataclasses.dataclass(frozen=True)
class Laplace(Noise):
    def log_prob(self, y):
        return -np.sqrt(2) * jnp.abs(y) - 0.5 * np.log(2)

    def variance(self):
        return 1.0

    def draw(self, rng, shape):
        return rng.laplace(0, np.sqrt(0.5), shape)

    def cdf(self, y):
        return 0.5 - 0.5 * np.sign(y) * np.expm1(-np.sqrt(2) * np.abs(y))


@kind("likelihood", "laplace")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LaplaceLikelihood(Likelihood):
    def observation(self, values, heads):
        return Observation(mean=heads["mean"], scale=jnp.asarray(self.sigma), noise=Laplace())


def get_config():
    return base_config({"likelihood.kind": "laplace"})

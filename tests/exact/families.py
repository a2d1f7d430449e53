"""Families of posteriors with nothing but what every family has to say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from spiral_vae.exact.inference import Posteriors
from spiral_vae.fields import pytree
from spiral_vae.model.posterior import Posterior


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Located(Posterior):
    def heads(self, latent_dim):
        return {"place": latent_dim, "log_scale": latent_dim}

    def _standardised(self, heads, z):
        return (z - heads["place"][:, None]) * jnp.exp(-heads["log_scale"][:, None])

    def _placed(self, heads, y):
        return heads["place"][:, None] + jnp.exp(heads["log_scale"])[:, None] * y


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bare(_Located):
    """The Gaussian again, of other heads."""

    def sample(self, heads, eps):
        return self._placed(heads, eps)

    def log_prob(self, heads, z):
        y = self._standardised(heads, z)
        log_scale = heads["log_scale"][:, None]
        return jnp.sum(-0.5 * y**2 - log_scale - 0.5 * np.log(2 * np.pi), axis=0)


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Logistic(_Located):
    """A family that is not Gaussian and of which scipy knows all."""

    def sample(self, heads, eps):
        return self._placed(heads, log_ndtr(eps) - log_ndtr(-eps))

    def log_prob(self, heads, z):
        y = self._standardised(heads, z)
        return jnp.sum(-y - 2 * jax.nn.softplus(-y) - heads["log_scale"][:, None], axis=0)


def bare(heads):
    """Returns heads of `Bare` for those of a Gaussian."""
    return {"place": heads["mean"], "log_scale": 0.5 * heads["logvar"]}


def as_bare(q):
    """Returns Gaussian posteriors as those of `Bare`."""
    return Posteriors(Bare(), bare(q.heads))

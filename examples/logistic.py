"""A posterior of one's own: a logistic density, with heavier tails than a Gaussian.

python -m spiral_vae.main --config=examples/logistic.py
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from spiral_vae import Posterior, base_config, kind


@kind("posterior", "logistic")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Logistic(Posterior):
    def heads(self, latent_dim):
        return {"mean": latent_dim, "log_scale": latent_dim}

    def sample(self, heads, eps):
        y = log_ndtr(eps) - log_ndtr(-eps)  # the logit of a uniform number
        return heads["mean"][:, None] + jnp.exp(heads["log_scale"])[:, None] * y

    def log_prob(self, heads, z):
        log_scale = heads["log_scale"][:, None]
        y = (z - heads["mean"][:, None]) * jnp.exp(-log_scale)
        return jnp.sum(-jnp.abs(y) - 2 * jax.nn.softplus(-jnp.abs(y)) - log_scale, axis=0)


def get_config():
    return base_config({"posterior.kind": "logistic"})

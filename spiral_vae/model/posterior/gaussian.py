"""The diagonal Gaussian posterior, q(z|x) = N(mean, diag exp(logvar))."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from spiral_vae.fields import kind
from spiral_vae.maths import gaussian
from spiral_vae.model.posterior.base import Heads, Posterior


@kind("posterior", "gaussian")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian(Posterior):
    """The posterior of Kingma & Welling 2014, https://arxiv.org/abs/1312.6114."""

    gaussian: ClassVar[bool] = True

    def heads(self, latent_dim: int) -> dict[str, int]:
        return {"mean": latent_dim, "logvar": latent_dim}

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        return gaussian.sample(eps, heads["mean"][:, None], heads["logvar"][:, None])

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        return gaussian.log_prob(z, heads["mean"][:, None], heads["logvar"][:, None])

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        # Both have the same constant, and q's square is eps^2 by construction.
        return 0.5 * jnp.sum(eps**2 + heads["logvar"][:, None] - z**2, axis=0)

    def kl(self, heads: Heads) -> jax.Array:
        return gaussian.kl_to_standard(heads["mean"], heads["logvar"])

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        return heads["mean"], heads["logvar"]

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        return ndtr((z - heads["mean"]) * jnp.exp(-0.5 * heads["logvar"]))[0]

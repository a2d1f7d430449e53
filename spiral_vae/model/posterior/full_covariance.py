"""The Gaussian posterior with a covariance of its own, q(z|x) = N(mean, scale scale^T)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from spiral_vae.fields import kind
from spiral_vae.maths import gaussian
from spiral_vae.model.posterior.base import Heads, Posterior


@kind("posterior", "full_covariance")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FullCovariance(Posterior):
    """Heads: the mean, logarithms of the squared diagonal of the scale, what is below it.

    The scale is the Cholesky factor of the covariance (Kingma & Welling 2019,
    https://arxiv.org/abs/1906.02691, section 2.5.1). With one latent it is the Gaussian.
    """

    gaussian: ClassVar[bool] = True

    def heads(self, latent_dim: int) -> dict[str, int]:
        below = {"lower": latent_dim * (latent_dim - 1) // 2} if latent_dim > 1 else {}
        return {"mean": latent_dim, "logvar": latent_dim} | below

    def _scale(self, heads: Heads) -> jax.Array:
        """Returns the Cholesky factor, [L, L, ...]."""
        dim = len(heads["mean"])
        diagonal = jnp.exp(0.5 * heads["logvar"])
        scale = jnp.zeros((dim, dim, *diagonal.shape[1:]), diagonal.dtype)
        scale = scale.at[np.diag_indices(dim)].set(diagonal)
        if dim == 1:
            return scale
        return scale.at[np.tril_indices(dim, -1)].set(heads["lower"])

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        return heads["mean"][:, None] + jnp.einsum("ij...,jk...->ik...", self._scale(heads), eps)

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        scale, residual = self._scale(heads), z - heads["mean"][:, None]
        eps: list[jax.Array] = []  # forward substitution
        for i in range(len(z)):
            known = sum((scale[i, j] * eps[j] for j in range(i)), jnp.zeros(()))
            eps.append((residual[i] - known) / scale[i, i])
        return gaussian.log_prior(jnp.stack(eps)) - 0.5 * jnp.sum(heads["logvar"], axis=0)

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        # Both have the same constant, and q's square is eps^2 by construction.
        return 0.5 * (jnp.sum(eps**2 - z**2, axis=0) + jnp.sum(heads["logvar"], axis=0))

    def kl(self, heads: Heads) -> jax.Array:
        diagonal = gaussian.kl_to_standard(heads["mean"], heads["logvar"])
        return (
            diagonal + 0.5 * jnp.sum(heads["lower"] ** 2, axis=0) if "lower" in heads else diagonal
        )

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        return heads["mean"], jnp.log(jnp.sum(self._scale(heads) ** 2, axis=1))

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        return ndtr((z - heads["mean"]) * jnp.exp(-0.5 * heads["logvar"]))[0]

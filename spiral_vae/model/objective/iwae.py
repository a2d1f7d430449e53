"""The importance-weighted bound.

IWAE_K(x) = E_q log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x)

(Burda et al. 2015, https://arxiv.org/abs/1509.00519, eq. 8). A weight of the KL other than 1 is one
of log p(z_k) - log q(z_k|x) in log w_k.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from spiral_vae.fields import kind
from spiral_vae.model.objective.base import Bound, Draws, Terms


@kind("objective", "iwae")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Iwae(Bound):
    """The log of the mean of num_samples importance weights."""

    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        num = log_prob.shape[0]
        loss = jnp.log(num) - logsumexp(log_prob + weight * draws.log_ratio, axis=0)
        return Terms(loss, -jnp.mean(log_prob, axis=0), draws.kl)

    def shares(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        return jax.nn.softmax(log_prob + weight * draws.log_ratio, axis=0)

"""The evidence lower bound.

ELBO(x) = E_q log p(x|z) - KL(q(z|x) || p(z)),   p(z) = N(0, I)

(Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 10).
"""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.fields import kind
from spiral_vae.model.objective.base import Bound, Draws, Terms


@kind("objective", "elbo")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Elbo(Bound):
    """The ELBO, its KL in closed form or by quadrature."""

    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        reconstruction = -jnp.mean(log_prob, axis=0)
        return Terms(reconstruction + weight * draws.kl, reconstruction, draws.kl)

"""The evidence lower bound.

ELBO(x) = E_q log p(x|z) - KL(q(z|x) || p(z)),   p(z) = N(0, I)

(Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 10). Its gradient is estimated with the
KL as it is known, or by sticking the landing (Roeder, Wu & Duvenaud 2017,
https://arxiv.org/abs/1703.09194): the KL is the mean of log q(z|x) - log p(z) over the samples, and
the score of q, whose expectation is 0, is left out. That has the same expectation, and no variance
where q is the exact posterior.
"""

import dataclasses

import jax

from spiral_vae.fields import field, kind, one_of
from spiral_vae.model.objective.base import Bound, Draws, Terms


@kind("objective", "elbo")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Elbo(Bound):
    """The ELBO."""

    estimator: str = field(
        "reparameterised",
        one_of("reparameterised", "stl"),
        "of the gradient: with the KL as it is known, or by sticking the landing",
        static=True,
    )

    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        reconstruction = -draws.mean(log_prob)
        kl = draws.kl
        if self.estimator == "stl":
            kl = -draws.mean(draws.path_log_ratio)
        return Terms(reconstruction + weight * kl, reconstruction, draws.kl)

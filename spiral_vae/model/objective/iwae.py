"""The importance-weighted bound.

IWAE_K(x) = E_q log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x)

(Burda et al. 2015, https://arxiv.org/abs/1509.00519, eq. 8). A weight beta of the KL is one of
log p(z_k) - log q(z_k|x) in log w_k. Of a mixture each component is drawn, and its weights count
with its share (Morningstar et al. 2020, https://arxiv.org/abs/2003.01687).

The signal of the plain gradient of the encoder is lost as K grows (Rainforth et al. 2018,
https://arxiv.org/abs/1802.04537). The doubly reparameterised one (Tucker et al. 2018,
https://arxiv.org/abs/1810.04152) has the same expectation: with v_k the normalised weights, the
score of q in log w_k, at -beta v_k, has that of -beta v_k (1 - v_k) d log w_k / dz_k, so that the
gradient along z_k is taken 1 - beta (1 - v_k) times. It holds where z_k is drawn of the q in w_k,
not of one of its components. Sticking the landing, which leaves the score out, would be biased.
"""

import dataclasses
from typing import ClassVar

import jax

from spiral_vae.fields import Together, field, kind, kinds, one_of
from spiral_vae.model.objective.base import Bound, Draws, Terms


def _stratified(kind: str) -> bool:
    return getattr(kinds("posterior")[kind], "stratified", False)


@kind("objective", "iwae")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Iwae(Bound):
    """The log of the mean of num_samples importance weights."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("posterior.kind", "objective.estimator"),
            lambda kind, estimator: estimator != "dreg" or not _stratified(kind),
            "objective.estimator 'dreg' needs draws of q itself, not of parts of it",
        ),
    )

    estimator: str = field(
        "reparameterised",
        one_of("reparameterised", "dreg"),
        "of the gradient: with the score of q, or doubly reparameterised",
        static=True,
    )

    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        ratio = draws.path_log_ratio if self.estimator == "dreg" else draws.log_ratio
        loss = -draws.log_mean_exp(log_prob + weight * ratio)
        return Terms(loss, -draws.mean(log_prob), draws.kl)

    def shares(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        return draws.softmax(log_prob + weight * draws.log_ratio)

    @property
    def scales_paths(self) -> bool:
        return self.estimator == "dreg"

    def path_factors(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        return 1 - weight * (1 - self.shares(draws, log_prob, weight))

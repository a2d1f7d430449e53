"""A posterior that multiplies the prior by what a point says: q(z|x) = p(z) exp(h z - J z^2/2) / Z.

The encoder puts out a place and the logarithm of a variance, as if it had measured z there: J =
exp(-logvar), h = J mean. Alone that is the Gaussian of the variance 1 / (1 + J). Where the latents
of a sequence hang together, the potentials of all its points make the posterior of all its z
(Johnson et al. 2016, https://arxiv.org/abs/1603.06277).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import Together, field, integer, kind
from spiral_vae.model.posterior.base import Heads, Posterior
from spiral_vae.model.posterior.gaussian import Gaussian


@kind("posterior", "potential")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Potential(Posterior):
    """The prior times a Gaussian potential."""

    gaussian: ClassVar[bool] = True
    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("posterior.refinement", "dynamics.kind"),
            lambda refinement, dynamics: refinement == 0 or dynamics != "none",
            "posterior.refinement is of sequences: it must be 0 without dynamics",
        ),
    )

    refinement: int = field(
        0,
        integer(0, 100),
        "passes by which the decoder refines the potentials of a sequence; the encoder learns from "
        "the outcome",
        static=True,
    )

    @property
    def passes(self) -> int:
        return self.refinement

    def heads(self, latent_dim: int) -> dict[str, int]:
        return {"mean": latent_dim, "logvar": latent_dim}

    def potential(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        precision = jnp.exp(-heads["logvar"])
        return precision * heads["mean"], precision

    def _alone(self, heads: Heads) -> Heads:
        h, precision = self.potential(heads)
        return {"mean": h / (1 + precision), "logvar": -jnp.log1p(precision)}

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        return Gaussian().sample(self._alone(heads), eps)

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        return Gaussian().log_prob(self._alone(heads), z)

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        return Gaussian().log_ratio(self._alone(heads), z, eps)

    def kl(self, heads: Heads) -> jax.Array:
        return Gaussian().kl(self._alone(heads))

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        return Gaussian().moments(self._alone(heads))

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        return Gaussian().cdf(self._alone(heads), z)

"""A mixture of diagonal Gaussians, q(z|x) = sum_c pi_c N(mean_c, diag exp(logvar_c)).

Each component is a stratum: E_q f = sum_c pi_c E_{N_c} f, so every component is drawn at every step
and its share has a gradient without the score's variance (Roeder, Wu & Duvenaud 2017,
https://arxiv.org/abs/1703.09194, section 4; Morningstar et al. 2020,
https://arxiv.org/abs/2003.01687, whose bound with importance weights this gives under `iwae`).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, ndtr

from spiral_vae.fields import field, integer, kind
from spiral_vae.maths import gaussian
from spiral_vae.model.posterior.base import Heads, Posterior


@kind("posterior", "mixture")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture(Posterior):
    """A mixture of Gaussians; heads of one latent are those of its components, side by side."""

    stratified: ClassVar[bool] = True
    kl_of_draws: ClassVar[bool] = True
    local: ClassVar[bool] = True

    num_components: int = field(4, integer(1, 64), "Gaussians of a mixture", static=True)

    def heads(self, latent_dim: int) -> dict[str, int]:
        num = self.num_components
        return {"mean": num * latent_dim, "logvar": num * latent_dim, "logit": num}

    @property
    def constants(self) -> dict[str, float]:
        return {"num": self.num_components}

    @property
    def strata(self) -> int:
        return self.num_components

    def log_mass(self, heads: Heads) -> jax.Array:
        return jax.nn.log_softmax(heads["logit"], axis=0)

    def _components(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        """Returns means and log variances, [L, S, ...] both.

        A head of 0 is a place of its own, even over +-1: equal components would stay equal.
        """
        mean, logvar = (
            heads[name].reshape(-1, self.num_components, *heads[name].shape[1:])
            for name in ("mean", "logvar")
        )
        return mean + self._spread().reshape(-1, *(1,) * (mean.ndim - 2)), logvar

    def _spread(self) -> np.ndarray:
        num = self.num_components
        return np.linspace(-1, 1, num, dtype=np.float32) if num > 1 else np.zeros(1, np.float32)

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        mean, logvar = self._components(heads)
        own = eps.reshape(len(eps), self.num_components, -1, *eps.shape[2:])
        z = gaussian.sample(own, mean[:, :, None], logvar[:, :, None])
        return z.reshape(*eps.shape[:2], *z.shape[3:])

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        mean, logvar = self._components(heads)
        own = gaussian.log_prob(z[:, None], mean[:, :, None], logvar[:, :, None])
        return logsumexp(self.log_mass(heads)[:, None] + own, axis=0)

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        means, logvars = self._components(heads)
        mass = jnp.exp(self.log_mass(heads))
        mean = jnp.sum(mass * means, axis=1)
        spread = (means - mean[:, None]) ** 2
        return mean, jnp.log(jnp.sum(mass * (jnp.exp(logvars) + spread), axis=1))

    def pieces(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        mean, logvar = self._components(heads)
        return mean[0], jnp.exp(0.5 * logvar[0])

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        mean, logvar = self._components(heads)
        mass = jnp.exp(self.log_mass(heads))
        return jnp.sum(mass * ndtr((z[0] - mean[0]) * jnp.exp(-0.5 * logvar[0])))

    def near(self, mean: jax.Array, logvar: jax.Array, log_mass: jax.Array) -> Heads:
        # Components beyond those given share theirs, a little apart.
        place = np.arange(self.num_components) % len(mean)
        turn = np.arange(self.num_components) // len(mean)
        shift = 0.5 * (-1.0) ** turn * np.ceil(turn / 2)
        times = np.bincount(place)[place]
        return {
            "mean": mean[place] + shift * jnp.exp(0.5 * logvar[place]) - self._spread(),
            "logvar": logvar[place],
            "logit": log_mass[place] - np.log(times),
        }

"""The contract of a posterior: a family of densities q(z|x) over the latent.

The encoder puts out *heads*, named arrays; a posterior says what they mean. L is the number of
latents, K of samples, M of quadrature nodes; further axes `...` are of many examples and come last.

What every family has to say: `heads`, `sample` and `log_prob`. The rest follows from these by
quadrature, and is there to be said better where a family knows it in closed form.
"""

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from spiral_vae.fields import contract
from spiral_vae.maths import gaussian

Heads = dict[str, jax.Array]

STOP = 9.0  # quadrature under a standard normal reaches this far
_KL_NODES = 64  # of a KL that isn't known in closed form
_CDF_NODES = 4096


class Nodes(NamedTuple):
    """Quadrature under q: the sum of exp(log_weight) f(z) is E_q f."""

    z: jax.Array  # [L, M, ...]
    log_weight: jax.Array  # [M, 1, ...]
    coarse: np.ndarray  # [M], true on the nodes of the rule with half as many


@contract("posterior", "gaussian", "the family of q(z|x)")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Posterior(abc.ABC):
    """A family of posteriors."""

    of_length: ClassVar[bool] = False  # whether anything here depends on the number of epochs

    @abc.abstractmethod
    def heads(self, latent_dim: int) -> dict[str, int]:
        """Returns the names and sizes of what the encoder has to put out."""

    @abc.abstractmethod
    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        """Returns draws of q(z|x), [L, K, ...], differentiable in the heads.

        Args:
          heads: [size, ...] each.
          eps: standard normal noise, [L, K, ...].
        """

    @abc.abstractmethod
    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        """Returns log q(z|x) in nats, [K, ...], for z [L, K, ...] and heads [size, ...]."""

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        """Returns log p(z) - log q(z|x) in nats, [K, ...], for z that `sample` made of eps."""
        del eps
        return gaussian.log_prior(z) - self.log_prob(heads, z)

    def kl(self, heads: Heads) -> jax.Array:
        """Returns KL(q(z|x) || p(z)) in nats, [...]."""
        nodes = self.nodes(heads, _KL_NODES)
        log_ratio = self.log_prob(heads, nodes.z) - gaussian.log_prior(nodes.z)
        return jnp.sum(jnp.exp(nodes.log_weight) * log_ratio, axis=0)

    def nodes(self, heads: Heads, num: int) -> Nodes:
        """Returns a quadrature rule under q with (num + 1)^L nodes; num is even.

        The trapezoid rule over eps, from which `sample` makes z. On a smooth integrand it converges
        as fast as Gauss-Hermite, and unlike it also resolves one that winds within q.
        """
        latent_dim = self.latent_dim(heads)
        many = next(iter(heads.values())).ndim - 1  # axes of examples
        axis = np.linspace(-STOP, STOP, num + 1)
        eps = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij")).reshape(latent_dim, -1)
        even = np.stack(np.meshgrid(*[np.arange(num + 1) % 2 == 0] * latent_dim, indexing="ij"))
        log_weight = -0.5 * np.sum(eps**2, axis=0)
        log_weight = log_weight - np.log(np.sum(np.exp(log_weight)))
        own = (slice(None),) * 2 + (None,) * many
        return Nodes(
            z=self.sample(heads, jnp.asarray(eps[own])),
            log_weight=jnp.asarray(log_weight[own[1:]]),
            coarse=np.all(even.reshape(latent_dim, -1), axis=0),
        )

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        """Returns mean and logvar of each latent, [L, ...] both."""
        nodes = self.nodes(heads, _KL_NODES)
        weight = jnp.exp(nodes.log_weight)
        mean = jnp.sum(weight * nodes.z, axis=1)
        return mean, jnp.log(jnp.sum(weight * (nodes.z - mean[:, None]) ** 2, axis=1))

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        """Returns Q(z|x) for one example and one latent, a scalar, for z [1].

        Here `sample` is inverted, so it must rise with eps.
        """
        eps = jnp.linspace(-STOP, STOP, _CDF_NODES + 1)
        return ndtr(jnp.interp(z[0], self.sample(heads, eps[None])[0], eps))

    def latent_dim(self, heads: Heads) -> int:
        """Returns the number of latents, from the sizes of the heads."""
        sizes = {name: len(head) for name, head in heads.items()}
        return next(dim for dim in range(1, 64) if self.heads(dim) == sizes)

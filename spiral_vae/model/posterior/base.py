"""The contract of a posterior: a family of densities q(z|x) over the latent.

The encoder puts out *heads*, named arrays; a posterior says what they mean. L is the number of
latents, K of samples, M of quadrature nodes; further axes `...` are of many examples and come last.

What every family has to say: `heads`, `sample` and `log_prob`. The rest follows from these by
quadrature, and is there to be said better where a family knows it in closed form.

A family may be made of S *strata*, parts with a mass each, such as the components of a mixture.
Each gets draws of its own, which count with its mass: so masses have a gradient, and no draw is
left to chance that need not be. Along the axis of samples the draws of a stratum lie together.
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
from spiral_vae.maths.chain import Chain

Heads = dict[str, jax.Array]

STOP = 9.0  # quadrature under a standard normal reaches this far
_KL_NODES = 64  # of a KL that isn't known in closed form
_FINE_KL_NODES = 128  # of one that isn't trained on, but judged by
_CDF_NODES = 4096


class Nodes(NamedTuple):
    """Quadrature under q: the sum of exp(log_weight) f(z) is E_q f."""

    z: jax.Array  # [L, M, ...]
    log_weight: jax.Array  # [M, ...]


@contract("posterior", "gaussian", "the family of q(z|x)")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Posterior(abc.ABC):
    """A family of posteriors."""

    of_length: ClassVar[bool] = False  # whether anything here depends on the number of epochs
    gaussian: ClassVar[bool] = False  # whether with one latent it is all Gaussians and no more
    stratified: ClassVar[bool] = False  # whether there may be more than one stratum
    kl_of_draws: ClassVar[bool] = False  # whether training estimates the KL, or takes it from `kl`
    local: ClassVar[bool] = False  # whether the best member may be a local optimum

    @abc.abstractmethod
    def heads(self, latent_dim: int) -> dict[str, int]:
        """Returns the names and sizes of what the encoder has to put out."""

    @abc.abstractmethod
    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        """Returns draws of q(z|x), [L, K, ...], differentiable in the heads.

        Args:
          heads: [size, ...] each.
          eps: standard normal noise, [L, K, ...]; K is a multiple of the number of strata.
        """

    @abc.abstractmethod
    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        """Returns log q(z|x) in nats, [K, ...], for z [L, K, ...] and heads [size, ...]."""

    @property
    def constants(self) -> dict[str, float]:
        """What the density depends on besides the heads, for who evaluates it elsewhere."""
        return {}

    @property
    def strata(self) -> int:
        """The number of strata."""
        return 1

    def log_mass(self, heads: Heads) -> jax.Array | None:
        """Returns the logarithms of the strata's masses, [S, ...]; None for a single stratum."""
        del heads
        return None

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        """Returns log p(z) - log q(z|x) in nats, [K, ...], for z that `sample` made of eps."""
        del eps
        return gaussian.log_prior(z) - self.log_prob(heads, z)

    def path_log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        """Returns `log_ratio`, whose gradient goes along z alone and not by the heads."""
        del eps
        return gaussian.log_prior(z) - self.log_prob(jax.lax.stop_gradient(heads), z)

    def kl(self, heads: Heads) -> jax.Array:
        """Returns KL(q(z|x) || p(z)) in nats, [...]."""
        nodes = self.nodes(heads, _FINE_KL_NODES if self.kl_of_draws else _KL_NODES)
        log_ratio = self.log_prob(heads, nodes.z) - gaussian.log_prior(nodes.z)
        return jnp.sum(jnp.exp(nodes.log_weight) * log_ratio, axis=0)

    def nodes(self, heads: Heads, num: int) -> Nodes:
        """Returns a quadrature rule under q, with (num + 1)^L nodes a stratum.

        The trapezoid rule over eps, from which `sample` makes z. On a smooth integrand it converges
        as fast as Gauss-Hermite, and unlike it also resolves one that winds within q.
        """
        latent_dim = self.latent_dim(heads)
        axis = np.linspace(-STOP, STOP, num + 1)
        eps = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij")).reshape(latent_dim, -1)
        log_weight = -0.5 * np.sum(eps**2, axis=0)
        return self.pushed(heads, eps, log_weight - np.log(np.sum(np.exp(log_weight))))

    def pushed(self, heads: Heads, eps: np.ndarray, log_weight: np.ndarray) -> Nodes:
        """Returns the rule under q that `sample` makes of one under the standard normal law.

        Args:
          heads: [size, ...] each.
          eps: nodes, [L, M].
          log_weight: logarithms of their weights, [M].
        """
        many = next(iter(heads.values())).shape[1:]  # axes of examples
        own = (..., *(None,) * len(many))
        z = self.sample(heads, jnp.asarray(np.tile(eps, self.strata)[own]))
        weights = jnp.asarray(log_weight[own])
        if (log_mass := self.log_mass(heads)) is not None:
            weights = (log_mass[:, None] + weights).reshape(-1, *many)
        return Nodes(z, weights)

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        """Returns mean and logvar of each latent, [L, ...] both."""
        nodes = self.nodes(heads, _KL_NODES)
        weight = jnp.exp(nodes.log_weight)
        mean = jnp.sum(weight * nodes.z, axis=1)
        return mean, jnp.log(jnp.sum(weight * (nodes.z - mean[:, None]) ** 2, axis=1))

    def pieces(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        """Returns places and scales of what the density is made of, [P, ...] both, of one latent.

        Quadrature over z is as fine as these ask for, 9 scales around each place.
        """
        mean, logvar = self.moments(heads)
        return mean, jnp.exp(0.5 * logvar)

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        """Returns Q(z|x) for one example and one latent, a scalar, for z [1].

        Here `sample` is inverted, so it must rise with eps, and there must be one stratum.
        """
        eps = jnp.linspace(-STOP, STOP, _CDF_NODES + 1)
        return ndtr(jnp.interp(z[0], self.sample(heads, eps[None])[0], eps))

    def near(self, mean: jax.Array, logvar: jax.Array, log_mass: jax.Array) -> Heads | None:
        """Returns heads of a member like a mixture of Gaussians, for one example and one latent.

        From there the best member is looked for, besides from what the encoder puts out.

        Args:
          mean: of the Gaussians, [S].
          logvar: log variances, [S].
          log_mass: logarithms of their shares, [S].

        Returns:
          [size] each; None where the family doesn't say.
        """
        del mean, logvar, log_mass
        return None

    def potential(self, heads: Heads) -> tuple[jax.Array, jax.Array] | None:
        """Returns h and J >= 0, [L, ...] both, of q(z|x) = p(z) exp(h z - J z^2 / 2) / Z.

        None: q is of another form, and does not say what a point adds to a prior.
        """
        del heads
        return None

    def chain(self, z: jax.Array) -> Chain | None:
        """Returns how the latents of sequences move between nodes z [1, K, 1]; None: they don't."""
        del z
        return None

    @property
    def passes(self) -> int:
        """How often potentials are refined where dynamics tie them together."""
        return 0

    def refined(self, passes: int) -> "Posterior":
        """Returns the same with so many passes of refinement; 0: what the encoder itself says."""
        del passes
        return self

    def latent_dim(self, heads: Heads) -> int:
        """Returns the number of latents, from the sizes of the heads."""
        sizes = {name: len(head) for name, head in heads.items()}
        return next(dim for dim in range(1, 64) if self.heads(dim) == sizes)

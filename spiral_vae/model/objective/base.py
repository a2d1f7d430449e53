"""The contract of an objective: what training minimises, as named terms of one point.

Everything is in nats. K is the number of samples of z; further axes `...` are of many points and
come last. The mean over points is taken by the caller.
"""

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from spiral_vae.fields import NOT_NEGATIVE, contract, field, integer, number
from spiral_vae.maths import ramp
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.chain import Chain
from spiral_vae.maths.ramp import Time
from spiral_vae.model import networks
from spiral_vae.model.posterior import Posterior


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """Samples of q(z|x) and what the decoder makes of them."""

    z: jax.Array  # [L, K, ...]
    heads: networks.Heads  # of the decoder, [size, K, ...] each
    log_ratio: jax.Array  # log p(z) - log q(z|x), [K, ...]
    kl: jax.Array  # KL(q(z|x) || p(z)), [...]
    path_log_ratio: jax.Array  # log_ratio, whose gradient goes along z alone and not by q's heads
    log_weight: jax.Array | None = None  # of each sample, [K, ...], of sum 1; None: they are equal
    tag: jax.Array | None = None  # zeros, [K, ...]; its gradient becomes a factor on that along z
    chain: Chain | None = None  # by which the z of sequences move between the samples

    def mean(self, values: jax.Array) -> jax.Array:
        """Returns the mean of values [K, ...] over the samples, [...]."""
        if self.log_weight is None:
            return jnp.mean(values, axis=0)
        return jnp.sum(jnp.exp(self.log_weight) * values, axis=0)

    def log_mean_exp(self, values: jax.Array) -> jax.Array:
        """Returns the logarithm of the mean of exp(values) over the samples, [...]."""
        if self.log_weight is None:
            return logsumexp(values, axis=0) - jnp.log(len(values))
        return logsumexp(values + self.log_weight, axis=0)

    def evidence(self, log_prob: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns log p(x) of nodes that all points share, [...], and each node's part, [K, ...].

        Of a sequence it is log p(x_t|x_1 .. x_t-1), and the part that given all of the sequence.
        """
        if self.chain is not None:
            return self.chain.log_evidence(log_prob)
        return self.log_mean_exp(log_prob), jax.lax.stop_gradient(self.softmax(log_prob))

    def softmax(self, values: jax.Array) -> jax.Array:
        """Returns each sample's share in the mean of exp(values), [K, ...]."""
        return jax.nn.softmax(
            values if self.log_weight is None else values + self.log_weight, axis=0
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Terms:
    """What is known of a point after its draws, [...]."""

    loss: jax.Array  # what training minimises
    reconstruction: jax.Array  # -E_q log p(x|z), the constants of the likelihood included
    kl: jax.Array  # KL(q(z|x) || p(z))

    @property
    def elbo(self) -> jax.Array:
        return -self.reconstruction - self.kl


@contract("objective", "elbo", "the bound that is maximised")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(abc.ABC):
    """What training minimises."""

    of_length: ClassVar[bool] = False  # whether the weight depends on the number of epochs
    shares_z: ClassVar[bool] = False  # whether all points have the same z, and so many of them

    num_samples: int = field(
        1,
        integer(1, 10**5),
        "samples of z per point and step, of a mixture of each component; of 'evidence' the nodes "
        "of z",
        static=True,
    )

    def weight(self, time: Time) -> jax.Array:
        """Returns the weight of the KL at a time; it is made for all steps of an epoch at once."""
        del time
        return jnp.ones(())

    def noise_shape(self, latent_dim: int, strata: int, num_points: int) -> tuple[int, int, int]:
        """Returns the shape of a step's noise, [L, K, B].

        Args:
          latent_dim: L.
          strata: of the posterior, each of which is drawn num_samples times.
          num_points: B.
        """
        return latent_dim, self.num_samples * strata, num_points

    def noise(self, eps: jax.Array) -> jax.Array:
        """Returns what a step has of standard normal noise; made for all of an epoch at once."""
        return eps

    def draw(
        self,
        params: networks.Params,
        x: jax.Array,
        eps: jax.Array,
        vae: networks.VAE,
        posterior: Posterior,
    ) -> Draws:
        """Returns z and what the decoder makes of it; here samples of q, by `draw`.

        The points' axes of z and of the decoder's heads may be 1, of z that all points share.

        Args:
          params: {'encoder': ..., 'decoder': ...}.
          x: [D, B].
          eps: what `noise` returns, of `noise_shape`.
          vae: the networks.
          posterior: the family of q.
        """
        return draw(params, x, eps, vae, posterior, tagged=self.scales_paths)

    @abc.abstractmethod
    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        """Returns the loss and the terms of points.

        Args:
          draws: of the points.
          log_prob: log p(x|z) of the draws, [K, ...].
          weight: what the method `weight` gave.
        """

    def shares(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns the share of each sample in the gradient by log_prob, [K, ...], of sum 1.

        The arguments are those of `terms`.
        """
        del weight
        if draws.log_weight is None:
            return jnp.full_like(log_prob, 1 / log_prob.shape[0])
        return jnp.exp(draws.log_weight)

    @property
    def scales_paths(self) -> bool:
        """Whether gradients along the samples are taken `path_factors` times."""
        return False

    def path_factors(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns factors on the gradient along each sample of z, [K, ...].

        The arguments are those of `terms`.
        """
        del draws, weight
        return jnp.ones_like(log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound(Objective):
    """A bound whose KL has a weight."""

    beta: Number = field(1.0, NOT_NEGATIVE, "weight of the KL; 1 is the bound on log p(x)")
    kl_warmup: Number = field(
        0.0,
        number(0, 0.9),
        "fraction of the training over which the KL's weight rises linearly from 0 to beta; at "
        "least the last tenth runs at full weight",
        of_length=True,
    )

    def weight(self, time: Time) -> jax.Array:
        return self.beta * ramp.rise(time.progress, self.kl_warmup)


def draw(
    params: networks.Params,
    x: jax.Array,
    eps: jax.Array,
    vae: networks.VAE,
    posterior: Posterior,
    *,
    tagged: bool = False,
) -> Draws:
    """Returns samples of q(z|x) for one point, or for many.

    Args:
      params: {'encoder': ..., 'decoder': ...}.
      x: [D, ...].
      eps: standard normal noise, a column for each sample of z: [L, K, ...].
      vae: the networks.
      posterior: the family of q.
      tagged: whether gradients along z wait for a factor, which comes as that of `tag`.
    """
    heads = vae.encode(params, x)
    kl = jnp.zeros(()) if posterior.kl_of_draws else posterior.kl(heads)
    z = posterior.sample(heads, eps)
    tag = None
    if tagged:
        z, tag = _tagged(z)
    log_ratio = posterior.log_ratio(heads, z, eps)
    decoded = vae.decode(params, z)
    path_log_ratio = posterior.path_log_ratio(heads, z, eps)
    log_weight = posterior.log_mass(heads)
    if log_weight is not None:
        each = z.shape[1] // posterior.strata
        log_weight = jnp.repeat(log_weight, each, axis=0) - math.log(each)
    draws = Draws(z, decoded, log_ratio, kl, path_log_ratio, log_weight, tag)
    if posterior.kl_of_draws:
        draws = dataclasses.replace(draws, kl=-draws.mean(log_ratio))
    return draws


@jax.custom_vjp
def _tagged(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns z [L, K, ...] and zeros [K, ...], whose gradient is a factor on that along z.

    So a factor that depends on what is made of z needs no second pass.
    """
    return z, jnp.zeros(z.shape[1:], z.dtype)


_tagged.defvjp(lambda z: (_tagged(z), None), lambda _, gradients: (gradients[0] * gradients[1],))

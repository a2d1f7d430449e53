"""Lower bounds on the evidence of one point, as named terms.

    ELBO(x)   = E_q log p(x|z) - KL(q(z|x) || p(z)),   p(z) = N(0, I)
    IWAE_K(x) = E_q log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x)

(Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 10; Burda et al. 2015,
https://arxiv.org/abs/1509.00519, eq. 8). Everything is in nats for one point; the mean over points
is taken by the caller, last.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from spiral_vae import gaussian, networks
from spiral_vae.likelihood import Heads

KINDS = ("elbo", "iwae")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """Samples of q(z|x) for one point and what the decoder makes of them."""

    z: jax.Array  # [K, L]
    heads: Heads  # leaves [K, D]
    log_ratio: jax.Array  # log p(z) - log q(z|x), [K]
    kl: jax.Array  # KL(q(z|x) || p(z)), in closed form


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Terms:
    """What is known of one point after its draws; leading axes as the caller's `vmap` made them."""

    loss: jax.Array  # what training minimises: the bound's negative, its KL weighted
    reconstruction: jax.Array  # -E_q log p(x|z), the Gaussian's constant included
    kl: jax.Array  # KL(q(z|x) || p(z))

    @property
    def elbo(self) -> jax.Array:
        return -self.reconstruction - self.kl


def draw(params: networks.Params, x: jax.Array, eps: jax.Array, vae: networks.VAE) -> Draws:
    """Returns samples of q(z|x) for one point.

    Args:
      params: {'encoder': ..., 'decoder': ...}.
      x: [D].
      eps: standard normal noise, [K, L], one row a sample of z.
      vae: the networks.
    """
    mean, logvar = vae.encode(params, x)
    z = jax.vmap(gaussian.sample, in_axes=(0, None, None))(eps, mean, logvar)
    heads = jax.vmap(vae.decode, in_axes=(None, 0))(params, z)
    # log q(z|x) and log p(z) have the same constant; q's square is eps^2 by construction.
    log_ratio = 0.5 * jnp.sum(eps**2 + logvar - z**2, axis=-1)
    return Draws(z, heads, log_ratio, gaussian.kl_to_standard(mean, logvar))


def terms(draws: Draws, log_prob: jax.Array, beta: jax.typing.ArrayLike, kind: str) -> Terms:
    """Returns the loss and the terms of the ELBO of one point.

    Args:
      draws: of the point.
      log_prob: log p(x|z) of its samples, [K].
      beta: weight of the KL, or in log w_k of log p(z_k) - log q(z_k|x).
      kind: 'elbo' or 'iwae'.
    """
    reconstruction = -jnp.mean(log_prob)
    if kind == "elbo":
        loss = reconstruction + beta * draws.kl
    else:
        num = log_prob.shape[0]
        loss = jnp.log(num) - logsumexp(log_prob + beta * draws.log_ratio)
    return Terms(loss, reconstruction, draws.kl)


def weights(draws: Draws, log_prob: jax.Array, beta: jax.typing.ArrayLike, kind: str) -> jax.Array:
    """Returns the weight of each sample in the loss's gradient by log_prob, [K], of sum 1."""
    if kind == "elbo":
        return jnp.full_like(log_prob, 1 / log_prob.shape[0])
    return jax.nn.softmax(log_prob + beta * draws.log_ratio)

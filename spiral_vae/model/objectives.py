"""Lower bounds on the evidence of one point, as named terms.

    ELBO(x)   = E_q log p(x|z) - KL(q(z|x) || p(z)),   p(z) = N(0, I)
    IWAE_K(x) = E_q log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x)

(Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 10; Burda et al. 2015,
https://arxiv.org/abs/1509.00519, eq. 8). Everything is in nats for one point. Many points have a
last axis in all arrays; the mean over them is taken by the caller.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from spiral_vae.maths import gaussian
from spiral_vae.model import networks
from spiral_vae.model.likelihood import Heads

KINDS = ("elbo", "iwae")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws:
    """Samples of q(z|x) for one point and what the decoder makes of them."""

    z: jax.Array  # [L, K]
    heads: Heads  # leaves [D, K]
    log_ratio: jax.Array  # log p(z) - log q(z|x), [K]
    kl: jax.Array  # KL(q(z|x) || p(z)), in closed form


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Terms:
    """What is known of one point after its draws, scalars."""

    loss: jax.Array  # what training minimises: the bound's negative, its KL weighted
    reconstruction: jax.Array  # -E_q log p(x|z), the Gaussian's constant included
    kl: jax.Array  # KL(q(z|x) || p(z))

    @property
    def elbo(self) -> jax.Array:
        return -self.reconstruction - self.kl


def draw(params: networks.Params, x: jax.Array, eps: jax.Array, vae: networks.VAE) -> Draws:
    """Returns samples of q(z|x) for one point, or for B points.

    Args:
      params: {'encoder': ..., 'decoder': ...}.
      x: [D] or [D, B].
      eps: standard normal noise, a column for each sample of z: [L, K] or [L, K, B].
      vae: the networks.
    """
    mean, logvar = vae.encode(params, x)
    kl = gaussian.kl_to_standard(mean, logvar)
    mean, logvar = mean[:, None], logvar[:, None]  # for all samples
    z = gaussian.sample(eps, mean, logvar)
    # log q(z|x) and log p(z) have the same constant; q's square is eps^2 by construction.
    log_ratio = 0.5 * jnp.sum(eps**2 + logvar - z**2, axis=0)
    return Draws(z, vae.decode(params, z), log_ratio, kl)


def terms(draws: Draws, log_prob: jax.Array, beta: jax.typing.ArrayLike, kind: str) -> Terms:
    """Returns the loss and the terms of the ELBO of one point, or of B points.

    Args:
      draws: of the point or points.
      log_prob: log p(x|z) of their samples, [K] or [K, B].
      beta: weight of the KL, or in log w_k of log p(z_k) - log q(z_k|x).
      kind: 'elbo' or 'iwae'.
    """
    reconstruction = -jnp.mean(log_prob, axis=0)
    if kind == "elbo":
        loss = reconstruction + beta * draws.kl
    else:
        num = log_prob.shape[0]
        loss = jnp.log(num) - logsumexp(log_prob + beta * draws.log_ratio, axis=0)
    return Terms(loss, reconstruction, draws.kl)


def weights(draws: Draws, log_prob: jax.Array, beta: jax.typing.ArrayLike, kind: str) -> jax.Array:
    """Returns the weight of each sample in the gradient by log_prob, of sum 1; args as `terms`."""
    if kind == "elbo":
        return jnp.full_like(log_prob, 1 / log_prob.shape[0])
    return jax.nn.softmax(log_prob + beta * draws.log_ratio, axis=0)

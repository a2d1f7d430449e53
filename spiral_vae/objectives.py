"""The evidence lower bound of one point, as named terms.

    ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),   p(z) = N(0, I)

(Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 10). Both terms are sums over
dimensions, in nats for one point; the mean over points is taken by the caller, last.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae import gaussian, networks
from spiral_vae.likelihood import Fixed

KINDS = ("elbo",)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Terms:
    """The terms of the bound, nats; leading axes as the caller's `vmap` made them."""

    reconstruction: jax.Array  # -E_q log p(x|z), the Gaussian's constant included
    kl: jax.Array  # KL(q(z|x) || p(z))

    @property
    def elbo(self) -> jax.Array:
        return -self.reconstruction - self.kl

    def loss(self, kl_weight: jax.typing.ArrayLike) -> jax.Array:
        """Returns what training minimises: -ELBO with the KL weighted (beta-VAE)."""
        return self.reconstruction + kl_weight * self.kl


def elbo(
    params: networks.Params, x: jax.Array, eps: jax.Array, vae: networks.VAE, likelihood: Fixed
) -> Terms:
    """Returns the terms of the ELBO of one point, the reconstruction averaged over the samples.

    Args:
      params: {'encoder': ..., 'decoder': ...}.
      x: [D].
      eps: standard normal noise, [num_samples, L], one row a sample of z.
      vae: the networks.
      likelihood: p(x|z).
    """
    mean, logvar = vae.encode(params, x)

    def log_likelihood(eps: jax.Array) -> jax.Array:
        return likelihood.log_prob(x, vae.decode(params, gaussian.sample(eps, mean, logvar)))

    reconstruction = -jnp.mean(jax.vmap(log_likelihood)(eps))
    return Terms(reconstruction, gaussian.kl_to_standard(mean, logvar))

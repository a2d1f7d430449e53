"""The diagonal Gaussian: sample by reparameterisation, log density, KL to the standard normal.

In terms of `logvar` = log sigma^2, which a network can put out without a constraint. Sums run over
the dimensions, the first axis; other axes, if there are any, are of many examples, whose means are
the caller's.
"""

import math

import jax
import jax.numpy as jnp

from spiral_vae.maths.arrays import Array

LOG_2PI = math.log(2 * math.pi)


def sample(eps: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Returns mean + sigma * eps, a draw of N(mean, sigma^2) when eps is one of N(0, 1).

    The randomness comes in by `eps`, so gradients reach `mean` and `logvar` (the
    reparameterisation of Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, section 2.4).

    Args:
      eps: standard normal noise, [L, ...].
      mean: [L, ...].
      logvar: log sigma^2, [L, ...].
    """
    return mean + jnp.exp(0.5 * logvar) * eps


def log_prob(x: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Returns log N(x; mean, diag exp(logvar)) in nats, [...]; its constant is kept.

    Args:
      x: [D, ...].
      mean: [D, ...].
      logvar: log sigma^2, [D, ...].
    """
    return -0.5 * jnp.sum((x - mean) ** 2 * jnp.exp(-logvar) + logvar + LOG_2PI, axis=0)


def log_prior(z: Array, axis: int = 0) -> Array:
    """Returns log N(z; 0, I) in nats, the prior of every model; jax or numpy, as z is.

    Args:
      z: [L, ...], or with the dimensions along another axis.
      axis: of the dimensions.
    """
    return -0.5 * (z**2 + LOG_2PI).sum(axis)


def kl_to_standard(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Returns KL(N(mean, diag exp(logvar)) || N(0, I)) in nats, [...].

    Kingma & Welling 2014, appendix B: 1/2 sum(mean^2 + sigma^2 - 1 - log sigma^2). The last three
    terms are written with expm1: near the prior they cancel to less than a float's rounding.

    Args:
      mean: [L, ...].
      logvar: log sigma^2, [L, ...].
    """
    return 0.5 * jnp.sum(mean**2 + jnp.expm1(logvar) - logvar, axis=0)

"""The importance-weighted bound for any number of samples, exact.

L_K(x) = E log 1/K sum_k w_k,   w_k = p(x, z_k) / q(z_k|x),   z_k ~ q(z|x)   (Burda et al. 2015)

An integral over K latents, and yet of one dimension: with log s the integral of
(exp(-t) - exp(-t s)) / t over t > 0 (Frullani) and t = exp(tau),

    L_K = log p + int [exp(-e^tau) - M(e^tau / K)^K] dtau,   M(t) = E_q exp(-t w / p(x)),

where M is quadrature under q. With K its distance from log p(x) falls as chi^2 / 2K, where chi^2,
of p(z|x) from q, is finite (Domke & Sheldon 2018, https://arxiv.org/abs/1808.09034): with the tails
of a tanh decoder it is not where the variance of a Gaussian q is below 1/2.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from spiral_vae import numerics
from spiral_vae.exact.inference import Posteriors, in_blocks, log_likelihood
from spiral_vae.maths import shapes
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observe

# The trapezoid rule converges exponentially here: half of the step changes the last digits alone.
_START, _STEP = -38.0, 0.3
_STOP = 260.0  # of tau, unless weights are so small that more is needed
_HUGE = 700.0  # whose exponential is still a number
_SEEN = 1e-30  # mass under q of nodes that count


def iwae(x: np.ndarray, q: Posteriors, observe: Observe, num_samples: int) -> np.ndarray:
    """Returns L_K of N points in nats, [N], for K independent draws of q.

    Args:
      x: [N, D].
      q: their q(z|x).
      observe: p(x|z) for a batch of z.
      num_samples: K.
    """

    def block(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray]:
        under = q[rows].under(2)
        log_prob, _ = log_likelihood(observe, x, under.z)
        log_w = log_prob + log_prior(under.z, axis=-1) - under.log_q
        log_p = logsumexp(np.log(under.weight) + log_w, axis=1)
        lowest = np.min(np.where(under.weight > _SEEN, log_w - np.asarray(log_p)[:, None], 0))
        stop = _STOP * shapes.bucket(int(np.ceil((10 - lowest) / _STOP)))
        function = functools.partial(_expected, num_samples=num_samples, stop=stop)
        with numerics.double():
            return (shapes.mapped(function, log_w, np.log(under.weight), size=16),)

    return in_blocks(block, q[:1].under(2).z.shape[1], x, np.arange(len(x)))[0]


def log_mean(
    log_w: jax.Array, log_weight: jax.Array, num_samples: int, stop: float = _STOP
) -> jax.Array:
    """Returns E log 1/K sum_k w_k, a scalar, of one point; it can be differentiated.

    Args:
      log_w: log w at the nodes of a quadrature under q, [M].
      log_weight: logarithms of the nodes' weights, [M].
      num_samples: K.
      stop: of the integral over tau; more than log p - log w of any node with a mass.
    """
    log_p = logsumexp(log_weight + log_w)

    def difference(tau: jax.Array) -> jax.Array:
        tw = jnp.exp(jnp.minimum(tau - jnp.log(num_samples) + log_w - log_p, _HUGE))
        # M near 1 by what it lacks, else by itself
        lacks = jnp.sum(jnp.exp(log_weight) * jnp.expm1(-tw))
        near = jnp.log1p(jnp.maximum(lacks, -0.9))
        log_m = num_samples * jnp.where(lacks > -0.5, near, logsumexp(log_weight - tw))
        t = jnp.exp(jnp.minimum(tau, _HUGE))
        return jnp.where(tau < 0, jnp.expm1(-t) - jnp.expm1(log_m), jnp.exp(-t) - jnp.exp(log_m))

    taus = jnp.arange(_START, stop, _STEP)
    return log_p + _STEP * jnp.sum(jax.lax.map(difference, taus, batch_size=128))


@functools.partial(jax.jit, static_argnames=("num_samples", "stop"))
def _expected(log_w: jax.Array, log_weight: jax.Array, num_samples: int, stop: float) -> jax.Array:
    function = functools.partial(log_mean, num_samples=num_samples, stop=stop)
    return jax.vmap(function)(log_w, log_weight)

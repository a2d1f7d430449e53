"""Refinement of potentials: what the decoder says of each point, in the place of the encoder's.

A Gaussian q = p(z_1 .. z_T) prod_t exp(h_t z_t - J_t z_t^2 / 2) / Z has its largest bound where

    J_t = -E_q d^2 log p(x_t|z_t) / dz^2,   h_t = J_t m_t + E_q d log p(x_t|z_t) / dz,

with m_t the mean of q given the whole sequence (conjugate-computation variational inference: Khan &
Lin 2017, https://arxiv.org/abs/1703.04265). For -d^2 log p stands |dm/dz|^2 in units of the noise
(Gauss-Newton), which is not negative and leaves the mean of q where it would be. A pass goes most
of the way to the right-hand sides, taken on three nodes of each marginal. No gradient goes through.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae.maths import observation as observation_lib
from spiral_vae.model.likelihood import Likelihood, Values
from spiral_vae.model.networks import VAE, Heads, Params

_DAMPING = 0.7  # share of a pass in the new potentials
_NODES = np.array([-(3**0.5), 0.0, 3**0.5])  # Gauss-Hermite, in standard deviations
_WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])

Marginals = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Seen:
    """Points, and the model that looks at them."""

    x: jax.Array  # [D, B]
    params: Params  # of the decoder
    values: Values  # of the likelihood
    vae: VAE
    likelihood: Likelihood

    def slopes(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns d log p(x|z) / dz, and |dm/dz|^2 in units of the noise, [K, B], for z [K, B]."""

        def one(x: jax.Array, heads: Heads) -> tuple[jax.Array, ...]:
            found = self.likelihood.observation(self.values, heads)
            return found.log_prob(x), found.mean, found.scale

        def every(z: jax.Array) -> tuple[jax.Array, ...]:
            heads = self.vae.decode(self.params, z[None])
            of_point = jax.vmap(one, in_axes=(None, -1), out_axes=-1)
            return jax.vmap(of_point, in_axes=(-1, -1), out_axes=-1)(self.x, heads)

        (_, _, scale), (slope, ahead, _) = jax.jvp(every, (z,), (jnp.ones_like(z),))
        whiten = jax.vmap(observation_lib.whiten, in_axes=-1, out_axes=-1)
        square = jnp.sum(jax.vmap(whiten, in_axes=-1, out_axes=-1)(ahead, scale) ** 2, axis=0)
        return slope, square


def refined(
    h: jax.Array, precision: jax.Array, marginals: Marginals, seen: Seen, passes: int
) -> tuple[jax.Array, jax.Array]:
    """Returns potentials after some passes, [B] both.

    Args:
      h: of each point, [B].
      precision: J >= 0, [B].
      marginals: h and J -> mean and variance of each z given all of its sequence, [B] both.
      seen: the points.
      passes: how many.
    """
    start = jax.lax.stop_gradient((h, precision))
    points = dataclasses.replace(
        seen,
        params=jax.lax.stop_gradient(seen.params),
        values=jax.lax.stop_gradient(seen.values),
    )

    def one(_: int, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        mean, variance = marginals(*found)
        z = mean + jnp.sqrt(variance) * jnp.asarray(_NODES, mean.dtype)[:, None]
        slope, square = (jnp.asarray(_WEIGHTS, mean.dtype) @ part for part in points.slopes(z))
        h, precision = found
        h += _DAMPING * (square * mean + slope - h)
        return h, precision + _DAMPING * (square - precision)

    return jax.lax.fori_loop(0, passes, one, start)

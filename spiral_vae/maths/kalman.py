"""The Kalman filter and smoother of a scalar Gauss-Markov sequence, in natural parameters.

    z_1 ~ N(0, 1),  z' = a z + sqrt(1 - a^2) e;   each place has a potential exp(h z - J z^2 / 2)

J = 0 (and h = 0) is a place of which nothing is known. No step divides by J, by a variance that may
be 0, or by a. (Kalman 1960, https://doi.org/10.1115/1.3662552; Rauch, Tung & Striebel 1965,
https://doi.org/10.2514/3.3166.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Smoothed(NamedTuple):
    """The normalised product of a Gauss-Markov prior and of potentials."""

    log_z: jax.Array  # logarithm of the mean of the product of potentials under the prior, [...]
    mean: jax.Array  # of each z, [T, ...]
    variance: jax.Array  # [T, ...]
    covariance: jax.Array  # of each z and the next one, [T - 1, ...]


def smooth(h: jax.Array, precision: jax.Array, a: jax.Array, noise: jax.Array) -> Smoothed:
    """Returns the law of sequences given their potentials.

    Args:
      h: [T, ...], further axes of many sequences.
      precision: J >= 0, [T, ...].
      a: correlation of neighbours.
      noise: 1 - a^2, which the caller may know more exactly.
    """

    def forward(carry, potential):
        m, p, log_z = carry
        h, j = potential
        s = 1 + j * p
        found = (m + p * h) / s, p / s
        log_z += -0.5 * jnp.log(s) + (h * m + 0.5 * p * h**2 - 0.5 * j * m**2) / s
        ahead = a * found[0], a**2 * found[1] + noise
        return (*ahead, log_z), (*found, *ahead)

    zeros = jnp.zeros_like(h[0])
    (_, _, log_z), (m, p, ahead_m, ahead_p) = jax.lax.scan(
        forward, (zeros, zeros + 1, zeros), (h, precision)
    )

    def backward(later, found):
        m, p, ahead_m, ahead_p = found
        gain = a * p / ahead_p
        mean = m + gain * (later[0] - ahead_m)
        variance = p + gain**2 * (later[1] - ahead_p)
        return (mean, variance), (mean, variance, gain * later[1])

    last = m[-1], p[-1]
    before = m[:-1], p[:-1], ahead_m[:-1], ahead_p[:-1]
    _, (mean, variance, covariance) = jax.lax.scan(backward, last, before, reverse=True)
    return Smoothed(
        log_z,
        jnp.concatenate([mean, last[0][None]]),
        jnp.concatenate([variance, last[1][None]]),
        covariance,
    )

"""p(x|z): noise around a mean, for the decoder and for the true process.

    x = mean + scale eps,  eps_i independent: N(0, 1) or another `Noise`.

Scale is one standard deviation for all dimensions, one for each, or the Cholesky factor of a
covariance. Written for one z; of many z when all leaves have a leading axis.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae.maths.arrays import Array
from spiral_vae.maths.noise import Noise, Normal


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """p(x|z) at one z."""

    mean: Array  # [D]
    scale: Array  # standard deviation [], one a dimension [D], or lower triangular [D, D]
    noise: Noise = Normal()

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Returns log p(x|z) in nats for one x [D]."""
        y = whiten(x - self.mean, self.scale)
        log_scale = jnp.log(jnp.diagonal(self.scale) if jnp.ndim(self.scale) == 2 else self.scale)
        return jnp.sum(self.noise.log_prob(y) - log_scale)

    def full(self) -> "Observation":
        """Returns the same with its scale as a matrix [D, D], so that all kinds look alike."""
        dim = self.mean.shape[0]
        scale = self.scale if jnp.ndim(self.scale) == 2 else jnp.eye(dim) * self.scale
        return dataclasses.replace(self, scale=scale)


# Decodes a batch: z [N, L] -> leaves mean [N, D], scale [N, D, D] and the noise's; numpy, float64.
Observe = Callable[[np.ndarray], Observation]


def whiten(residual: jax.Array, scale: jax.Array) -> jax.Array:
    """Returns y [D] with scale y = residual [D], for any of the three shapes of scale.

    With residual [D, K] and scale [D, D, K] for K of them.
    """
    if jnp.ndim(scale) < 2:
        return residual / scale
    y: list[jax.Array] = []  # forward substitution, unrolled: D is small
    for i in range(residual.shape[0]):
        known = sum((scale[i, j] * y[j] for j in range(i)), jnp.zeros(()))
        y.append((residual[i] - known) / scale[i, i])
    return jnp.stack(y)


def around(decode: Callable[[np.ndarray], np.ndarray], sigma: Array) -> Observe:
    """Returns `Observe` for a decoder that puts out means alone.

    Args:
      decode: the mean of p(x|z) for a batch, [N, L] -> [N, D].
      sigma: standard deviation, one for all dimensions or one for each [D]; or the lower
        triangular factor of the covariance [D, D].
    """

    def observe(z: np.ndarray) -> Observation:
        mean = np.asarray(decode(z), np.float64)
        scale = sigma if np.ndim(sigma) == 2 else np.eye(mean.shape[1]) * sigma
        return Observation(mean=mean, scale=np.broadcast_to(scale, (len(mean), *scale.shape)))

    return observe


# Facts about batches of full observations, in numpy.


def covariance(observation: Observation) -> np.ndarray:
    """Returns the covariances, [N, D, D]; infinite where the noise's variance is."""
    scale = observation.scale
    if observation.noise.gaussian:
        return scale @ np.swapaxes(scale, 1, 2)
    dim = scale.shape[1]
    variance = np.broadcast_to(observation.noise.variance(), (len(scale), dim))
    if np.all(np.isfinite(variance)):
        return np.einsum("nij,nj,nkj->nik", scale, variance, scale)
    total = variance * np.diagonal(scale, axis1=1, axis2=2) ** 2
    return np.where(np.eye(dim) > 0, total[:, None], 0.0)


def mean_sigmas(observation: Observation, weight: np.ndarray) -> np.ndarray:
    """Returns the root mean square standard deviation of each dimension, [D], for weights [N]."""
    variance = np.diagonal(covariance(observation), axis1=1, axis2=2)
    if np.isinf(variance).any():
        return np.sqrt(weight @ variance / weight.sum())
    first = variance[0]  # a constant comes back to the last digit
    return np.sqrt(first + weight @ (variance - first) / weight.sum())


def extremes(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest scale over all directions, [N] each."""
    scale = observation.scale
    if scale.shape[1] == 1:
        return scale[:, 0, 0], scale[:, 0, 0]
    if scale.shape[1] > 2:
        values = np.linalg.svd(scale, compute_uv=False)
        return values[:, -1], values[:, 0]
    a, b, d = scale[:, 0, 0], scale[:, 1, 0], scale[:, 1, 1]  # of 2 x 2, in closed form
    total, difference = np.hypot(a + d, b), np.hypot(a - d, b)  # sums of the singular values
    return 0.5 * np.abs(total - difference), 0.5 * (total + difference)


def draw(rng: np.random.Generator, observation: Observation) -> np.ndarray:
    """Returns one x for each z, [N, D]."""
    eps = observation.noise.draw(rng, observation.mean.shape)
    return observation.mean + np.einsum("nij,nj->ni", observation.scale, eps)

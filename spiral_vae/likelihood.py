"""What the decoder's sigma is: the Gaussian p(x|z) around the decoder's mean.

A likelihood is a small pytree of numbers, so its numbers can be lanes of a sweep.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae import gaussian

KINDS = ("fixed",)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed:
    """A given sigma, the same for all dimensions and all z."""

    sigma: jax.typing.ArrayLike  # standard deviation

    def log_prob(self, x: jax.Array, mean: jax.Array) -> jax.Array:
        """Returns log p(x|z) = log N(x; mean, sigma^2 I) in nats for one point x [D]."""
        return gaussian.log_prob(x, mean, 2 * jnp.log(self.sigma))

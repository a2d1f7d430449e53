"""The contract of a likelihood: what the noise of the decoder is and where it comes from.

A likelihood is a small pytree of numbers, so its numbers can be lanes of a sweep; `init` gives the
parameters that it adds to the gradient's and the values that it carries along itself. Both together
are the `values` from which the noise follows. Written for one point and one z; D is the number of
data dimensions.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from spiral_vae.fields import POSITIVE, Together, contract, field
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.ramp import Time

Values = dict[str, jax.Array]
Heads = dict[str, jax.Array]

MIN_SIGMA = 1e-4  # hard floor of estimated standard deviations; float32 trains nothing below


class Formula(NamedTuple):
    """A scale that the heads say, in numbers, for who evaluates it without this package.

    variance_i = floor^2 + exp(clip(offset_i + factor_i logvar_i, low, high)) in each dimension i;
    the noise is normal, or a Student-t with least_dof + softplus(dof_i) degrees of freedom.
    """

    floor: Number
    offset: jax.Array  # [D]
    factor: jax.Array  # [D]
    low: float
    high: float
    least_dof: float | None


@contract("likelihood", "fixed", "what sigma is")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Likelihood(abc.ABC):
    """A decoder's noise; in the base class nothing is learned or carried."""

    of_length: ClassVar[bool] = False  # whether `update` depends on the number of epochs
    together: ClassVar[tuple[Together, ...]] = ()
    sigma: Number = field(
        0.2, POSITIVE, "standard deviation (not variance) of p(x|z), or where it starts"
    )

    def heads(self, dim: int) -> dict[str, int]:
        """Returns the names and sizes of what the decoder has to put out, 'mean' first."""
        return {"mean": dim}

    @property
    def detached(self) -> tuple[str, ...]:
        """The heads that train no hidden layer."""
        return ()

    @property
    def weight_decay_of_heads(self) -> Mapping[str, Number]:
        """The weight decay of heads, relative to the decoder's learning rate, by name."""
        return {}

    @property
    def rate(self) -> Number:
        """The learning rate of the parameters of `init`, where it has any."""
        return 0.0

    @property
    def known_sigma(self) -> Number | None:
        """Sigma, where it is given."""
        return None

    def init(self, dim: int) -> tuple[Values, Values]:
        """Returns the parameters for the gradient and the values that `update` keeps."""
        del dim
        return {}, {}

    def begin(self, carried: Values, x: jax.Array, num: Number) -> Values:
        """Returns what is carried, of `init`, for the data that training begins with.

        Args:
          carried: by `init`.
          x: points that are seen, [n, D]; some of them twice, in the place of those that are not.
          num: how many are seen.
        """
        del x, num
        return carried

    @abc.abstractmethod
    def observation(self, values: Values, heads: Heads) -> Observation:
        """Returns p(x|z) as it is judged, for the heads at one z."""

    def formula(self, values: Values, dim: int) -> Formula | None:
        """Returns how the scale follows from the heads; None where it doesn't, or otherwise."""
        del values, dim
        return None

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        """Returns log p(x|z) or its lower bound in nats, for one point x [D]."""
        return self.observation(values, heads).log_prob(x)

    @property
    def separate(self) -> bool:
        """Whether the decoder maximises `decoder_log_prob` in place of `log_prob`."""
        return False

    def decoder_log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        """Returns what the decoder maximises; the arguments are those of `log_prob`."""
        return self.log_prob(values, x, heads)

    def update(self, carried: Values, moment: jax.Array, share: jax.Array, time: Time) -> Values:
        """Returns the carried values, before the gradient of each step.

        Args:
          carried: values.
          moment: E (x - m)(x - m)^T over the points of the step and their z ~ q, [D, D].
          share: of the data that these points are.
          time: of the step.
        """
        del moment, share, time
        return carried

    def end_epoch(self, carried: Values) -> Values:
        """Returns the carried values after an epoch."""
        return carried


# Scales: of isotropic noise [], of one a dimension [D], of a full covariance [D, D].


def covariance(scale: jax.Array, dim: int) -> jax.Array:
    """Returns the covariance [D, D] of any of the three shapes of scale."""
    return scale @ scale.T if scale.ndim == 2 else jnp.eye(dim) * scale**2


def scale_like(scale: jax.Array, moment: jax.Array) -> jax.Array:
    """Returns the scale, in the shape of another one, of the part of a covariance that it holds."""
    if scale.ndim == 2:
        return jnp.linalg.cholesky(moment + MIN_SIGMA**2 * jnp.eye(len(moment)))
    variance = jnp.diagonal(moment)
    if scale.ndim == 0:
        variance = jnp.mean(variance)
    return jnp.sqrt(jnp.maximum(variance, MIN_SIGMA**2))


def isotropic(moment: jax.Array) -> jax.Array:
    """Returns the covariance [D, D] of the same trace that has no direction."""
    return jnp.mean(jnp.diagonal(moment)) * jnp.eye(len(moment))

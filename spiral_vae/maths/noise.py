"""Standardised noise in one dimension: what is around the mean of p(x|z), in units of its scale.

A user's noise is a `pytree` that derives from `Noise`; it needs `log_prob`, `draw`, `cdf` and
`variance` alone.
"""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from scipy import special

from spiral_vae.fields import pytree
from spiral_vae.maths.arrays import Array
from spiral_vae.maths.gaussian import LOG_2PI


@dataclasses.dataclass(frozen=True)
class Noise(abc.ABC):
    """A law of independent dimensions; its numbers are leaves with the dimension last, [..., D]."""

    gaussian: ClassVar[bool] = False  # else nothing is known of its tails
    top: ClassVar[float] = np.inf  # bound of a log density that falls on both sides of 0

    @abc.abstractmethod
    def log_prob(self, y: Array) -> Array:
        """Returns the log density, elementwise."""

    @abc.abstractmethod
    def variance(self) -> np.ndarray | float:
        """Returns the variance, in shapes that broadcast to [..., D]; infinite where it is."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Returns independent draws, [..., D]."""

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Returns independent draws, [..., D], on the device; consumes the key.

        Only an encoder that learns from draws of the model needs it.
        """
        raise NotImplementedError("an encoder that learns from draws of the model needs it")

    @abc.abstractmethod
    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Returns the distribution function, elementwise."""

    def dimension(self, i: int) -> "Noise":
        """Returns the law of one dimension."""
        return jax.tree.map(lambda leaf: leaf[..., i], self)


@pytree
@dataclasses.dataclass(frozen=True)
class Normal(Noise):
    """N(0, 1)."""

    gaussian: ClassVar[bool] = True
    top: ClassVar[float] = -0.5 * LOG_2PI

    def log_prob(self, y: Array) -> Array:
        return -0.5 * (y**2 + LOG_2PI)

    def variance(self) -> float:
        return 1.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape)

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, shape)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        return special.ndtr(y)


@pytree
@dataclasses.dataclass(frozen=True)
class StudentT(Noise):
    """Student's t."""

    dof: Array  # degrees of freedom, [..., D]
    top: ClassVar[float] = 0.0

    def log_prob(self, y: Array) -> Array:
        half = 0.5 * (self.dof + 1)
        constant = gammaln(half) - gammaln(0.5 * self.dof) - 0.5 * jnp.log(jnp.pi * self.dof)
        return constant - half * jnp.log1p(y**2 / self.dof)

    def variance(self) -> np.ndarray:
        dof = np.asarray(self.dof)
        found = np.full_like(dof, np.inf)
        np.divide(dof, dof - 2, out=found, where=dof > 2)
        return found

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape) / np.sqrt(rng.chisquare(self.dof, shape) / self.dof)

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.t(key, self.dof, shape)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        return special.stdtr(self.dof, y)

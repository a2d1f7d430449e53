"""Where on a curve the points of a data set lie.

A place is given as its mass F(t), the share of the points of the law of t before it.
"""

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from spiral_vae.fields import Together, contract, field, finite, integer, kind, number
from spiral_vae.maths.arrays import Number


@contract(
    "design",
    "grid",
    "places on an even 'grid', both ends included; 'random': drawn each for itself; 'sequence': "
    "of sequences, along which they move",
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Design(abc.ABC):
    """Places of points; those of a sequence follow one another."""

    together: ClassVar[tuple[Together, ...]] = ()

    @property
    def sequence_length(self) -> int:
        """The number of places in a sequence."""
        return 1

    @property
    def correlation(self) -> Number:
        """That of z at neighbouring places of a sequence."""
        return 0.0

    @abc.abstractmethod
    def mass(self, key: jax.Array, num_points: int) -> jax.Array:
        """Returns the mass at each place, [num_points]; consumes the key."""

    def observed(self, key: jax.Array, num_points: int) -> jax.Array | None:
        """Returns 1 for each place that is seen and 0 for others, [n]; None: all are seen."""
        del key, num_points
        return None


@kind("design", "grid")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid(Design):
    """An even grid."""

    def mass(self, key: jax.Array, num_points: int) -> jax.Array:
        del key
        return jnp.linspace(0.0, 1.0, num_points)


@kind("design", "random")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Random(Design):
    """Draws of the law of t."""

    def mass(self, key: jax.Array, num_points: int) -> jax.Array:
        return jax.random.uniform(key, (num_points,))


@kind("design", "sequence")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequence(Design):
    """Stationary sequences of a Gaussian z, z' = a z + sqrt(1 - a^2) e, at the places Phi(z).

    The law of a single place is that of 'random'; only how they follow one another is added.
    """

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("data.length", "data.num_points"),
            lambda length, num_points: num_points % length == 0,
            "data.num_points must be a multiple of data.length: whole sequences",
        ),
        Together(
            ("data.length", "train.batch_size"),
            lambda length, batch_size: batch_size % length == 0,
            "train.batch_size must be a multiple of data.length: whole sequences",
        ),
    )

    length: int = field(40, integer(2, 10**5), "points of a sequence", static=True)
    a: Number = field(
        0.98,
        finite("a number in [0, 1)", lambda value: 0 <= value < 1),
        "correlation of z at neighbouring points; its time constant is -1 / ln a points",
    )
    missing: float = field(
        0.0, number(0, 0.9), "share of the points that are not seen, each by chance", static=True
    )

    @property
    def sequence_length(self) -> int:
        return self.length

    @property
    def correlation(self) -> Number:
        return self.a

    def mass(self, key: jax.Array, num_points: int) -> jax.Array:
        return ndtr(self.latents(key, num_points // self.length)).reshape(-1)

    def observed(self, key: jax.Array, num_points: int) -> jax.Array | None:
        if not self.missing:
            return None
        return (jax.random.uniform(key, (num_points,)) >= self.missing).astype(jnp.float32)

    def latents(self, key: jax.Array, num_sequences: int) -> jax.Array:
        """Returns z of sequences, [num_sequences, length]; consumes the key."""
        e = jax.random.normal(key, (self.length, num_sequences))
        scale = jnp.sqrt(1 - jnp.square(jnp.asarray(self.a)))

        def step(z: jax.Array, e: jax.Array) -> tuple[jax.Array, jax.Array]:
            z = self.a * z + scale * e
            return z, z

        _, z = jax.lax.scan(step, e[0], e[1:])
        return jnp.concatenate([e[:1], z]).T


def time_constant(a: float) -> float:
    """Returns -1 / ln a, the number of points over which a correlation falls to 1 / e."""
    return -1 / math.log(a) if a > 0 else 0.0

"""A known curve with noise: all that exactness needs.

    x = f(t) + (noise_sigma + noise_slope t) eps,  eps ~ N(0, I)

A kind of curve says `dim`, `point` and the law of t: the latter by `quantile`, `density`, `cdf` and
`pieces`, or by deriving from `Interval`, where

    u in [u_start, u_stop],  t = sqrt(u) or t = u.
"""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import (
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    Together,
    choice,
    field,
    number,
    one_of,
    optional,
)
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.observation import Observation
from spiral_vae.process.base import Data, Process
from spiral_vae.process.design import Design

_SEEN = 2  # folded into the key for which points are seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve(Process):
    """Points around a curve."""

    closed: ClassVar[bool] = False  # whether each piece ends where it begins

    noise_sigma: Number = field(
        0.2, POSITIVE, "standard deviation of the noise at t = 0, each dimension"
    )
    noise_slope: Number = field(0.0, NOT_NEGATIVE, "growth of the noise per unit t")
    design: Design = choice("design", "grid", "where the points lie")

    @abc.abstractmethod
    def point(self, t: jax.Array) -> jax.Array:
        """Returns the noise-free point f(t), [D], for one t."""

    @abc.abstractmethod
    def quantile(self, mass: jax.Array) -> jax.Array:
        """Returns the t below which a share of the points lies, elementwise."""

    @abc.abstractmethod
    def density(self, t: jax.Array) -> jax.Array:
        """Returns the density p(t), elementwise, for t within the pieces."""

    @abc.abstractmethod
    def cdf(self, t: jax.Array) -> jax.Array:
        """Returns the share of points with a smaller t, elementwise; 0 to 1 over the pieces."""

    @abc.abstractmethod
    def pieces(self) -> jax.Array:
        """Returns the intervals of t that the curve is made of, rising, [P, 2]."""

    @property
    def sequence_length(self) -> int:
        return self.design.sequence_length

    @property
    def sequence_correlation(self) -> Number:
        return self.design.correlation

    @property
    def truth(self) -> "Curve":
        return self

    def observation(self, t: jax.Array) -> Observation:
        """Returns p(x|t) for one t; its scale is the Cholesky factor of the noise's covariance."""
        scale = (self.noise_sigma + self.noise_slope * t) * jnp.eye(self.dim)
        return Observation(mean=self.point(t), scale=scale)

    def sample(self, key: jax.Array) -> Data:
        key_u, key_eps = jax.random.split(key)
        t = self.quantile(self.design.mass(key_u, self.num_points))
        eps = jax.random.normal(key_eps, (self.num_points, self.dim))
        made = jax.vmap(self.observation)(t)
        x = made.mean + jnp.einsum("nij,nj->ni", made.scale, eps)
        observed = self.design.observed(jax.random.fold_in(key, _SEEN), self.num_points)
        if observed is not None:
            x = jnp.where(observed[:, None] > 0, x, 0.0)
        return Data(t, x, observed=observed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval(Curve):
    """A curve over one interval of t."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("data.u_start", "data.u_stop"),
            lambda start, stop: start < stop,
            "data.u_start must be < data.u_stop",
        ),
    )

    t_law: str = field(
        "sqrt",
        one_of("sqrt", "uniform"),
        "'sqrt': t = sqrt(u), even along a spiral; 'uniform': t = u",
        static=True,
    )
    u_start: Number = field(0.01, number(0, 1), "where u begins")
    u_stop: Number = field(1.0, number(0, 1), "where u ends")

    def _t_of_u(self, u: jax.Array) -> jax.Array:
        return jnp.sqrt(u) if self.t_law == "sqrt" else u

    def quantile(self, mass: jax.Array) -> jax.Array:
        return self._t_of_u(self.u_start + (self.u_stop - self.u_start) * mass)

    def density(self, t: jax.Array) -> jax.Array:
        du_dt = 2 * t if self.t_law == "sqrt" else jnp.ones_like(t)
        return du_dt / (self.u_stop - self.u_start)

    def cdf(self, t: jax.Array) -> jax.Array:
        u = t**2 if self.t_law == "sqrt" else t
        return (u - self.u_start) / (self.u_stop - self.u_start)

    def pieces(self) -> jax.Array:
        return self._t_of_u(jnp.asarray([[self.u_start, self.u_stop]]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces(Curve):
    """One or more curves of a standard size, with as many points on each.

    t = 2 p + s,  s in [0, 1] the place along the piece p: even in s, with a gap between pieces.
    """

    num_pieces: ClassVar[int] = 1

    size: Number = field(1.0, POSITIVE, "factor on the curve's standard size")

    @abc.abstractmethod
    def place(self, piece: jax.Array, s: jax.Array) -> jax.Array:
        """Returns a point of a piece in standard size, [D], for one piece and one s."""

    def _split(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        piece = jnp.clip(jnp.floor(0.5 * t + 0.25), 0, self.num_pieces - 1)
        return piece, t - 2 * piece

    def point(self, t: jax.Array) -> jax.Array:
        return self.size * self.place(*self._split(t))

    def quantile(self, mass: jax.Array) -> jax.Array:
        along = self.num_pieces * mass
        piece = jnp.clip(jnp.floor(along), 0, self.num_pieces - 1)
        return piece + along

    def density(self, t: jax.Array) -> jax.Array:
        return jnp.full_like(t, 1 / self.num_pieces)

    def cdf(self, t: jax.Array) -> jax.Array:
        piece, s = self._split(t)
        return (piece + s) / self.num_pieces

    def pieces(self) -> jax.Array:
        start = 2.0 * jnp.arange(self.num_pieces)
        return jnp.stack([start, start + 1], axis=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane(Curve):
    """Points in the plane, whose noise may have axes.

    x = f(t) + R diag(noise_sigma_x + noise_slope t, noise_sigma_y + noise_slope t) eps

    with R the rotation by noise_angle.
    """

    dim: ClassVar[int] = 2

    noise_sigma_x: Number | None = field(
        None, optional(POSITIVE), "the same of the first axis alone; none: noise_sigma"
    )
    noise_sigma_y: Number | None = field(
        None, optional(POSITIVE), "the same of the second axis alone; none: noise_sigma"
    )
    noise_angle: Number = field(0.0, FINITE, "rotation of the two axes of the noise, rad")

    def observation(self, t: jax.Array) -> Observation:
        first, second = (
            (self.noise_sigma if own is None else own) + self.noise_slope * t
            for own in (self.noise_sigma_x, self.noise_sigma_y)
        )
        cos, sin = jnp.cos(self.noise_angle), jnp.sin(self.noise_angle)
        sigma_x = jnp.hypot(cos * first, sin * second)
        covariance = cos * sin * (first**2 - second**2)
        lower = [[sigma_x, jnp.zeros_like(t)], [covariance / sigma_x, first * second / sigma_x]]
        return Observation(mean=self.point(t), scale=jnp.asarray(lower))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaneCurve(Plane, Interval):
    """A curve in the plane over one interval of t."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanePieces(Plane, Pieces):
    """Curves of a standard size in the plane."""

"""Monotone rational-quadratic splines from the line onto itself.

Between knots (x_i, y_i), with the slopes d_i there, a quotient of two quadratics; beyond the
outermost knots, at +-REACH, the identity (Durkan et al. 2019, https://arxiv.org/abs/1906.04032,
section 3.1; Gregory & Delbourgo 1982). N is the number of bins; further axes `...` are of many
splines.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

REACH = 4.0
_LEAST_BIN = 1e-3  # of the whole range
_LEAST_SLOPE = 1e-3
_UNIT = math.log(math.expm1(1 - _LEAST_SLOPE))  # softplus of it is a slope of 1, less the least


class Spline(NamedTuple):
    """The knots and the slopes there, [N + 1, ...] each."""

    x: jax.Array
    y: jax.Array
    slope: jax.Array


def constants() -> dict[str, float]:
    """Returns what a spline depends on besides its numbers."""
    return {"reach": REACH, "leastBin": _LEAST_BIN, "leastSlope": _LEAST_SLOPE}


def spline(widths: jax.Array, heights: jax.Array, slopes: jax.Array) -> Spline:
    """Returns the spline of numbers without constraint; all 0 is the identity.

    Args:
      widths: logits of the bins' shares along x, [N, ...].
      heights: the same along y, [N, ...].
      slopes: at the inner knots, through a softplus, [N - 1, ...].
    """
    inner = _LEAST_SLOPE + jax.nn.softplus(slopes + _UNIT)
    one = jnp.ones_like(widths[:1])  # where the identity begins
    return Spline(_knots(widths), _knots(heights), jnp.concatenate([one, inner, one]))


def _knots(logits: jax.Array) -> jax.Array:
    share = _LEAST_BIN + (1 - len(logits) * _LEAST_BIN) * jax.nn.softmax(logits, axis=0)
    inner = REACH * (2 * jnp.cumsum(share, axis=0)[:-1] - 1)
    end = jnp.full_like(logits[:1], REACH)  # to the last digit
    return jnp.concatenate([-end, inner, end])


class _Bin(NamedTuple):
    """The bin of each place."""

    x: jax.Array  # where it begins
    y: jax.Array
    width: jax.Array
    height: jax.Array
    begin: jax.Array  # slopes at its ends
    end: jax.Array

    @property
    def mean(self) -> jax.Array:
        return self.height / self.width

    @property
    def excess(self) -> jax.Array:
        return self.begin + self.end - 2 * self.mean


def _bin(spline: Spline, own: jax.Array, place: jax.Array) -> _Bin:
    """Returns the bins in which `place`, within the knots `own`, lies."""
    index = jnp.sum(place[None] >= own[1:-1], axis=0)

    def at(values: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values, index[None], axis=0)[0]

    x, y, slope = spline
    return _Bin(
        x=at(x[:-1]),
        y=at(y[:-1]),
        width=at(jnp.diff(x, axis=0)),
        height=at(jnp.diff(y, axis=0)),
        begin=at(slope[:-1]),
        end=at(slope[1:]),
    )


def _aligned(spline: Spline, x: jax.Array) -> Spline:
    """Returns the splines with an axis of one for each that x has more than they."""
    more = (1,) * (x.ndim + 1 - spline.x.ndim)
    return Spline(*(leaf.reshape(len(leaf), *more, *leaf.shape[1:]) for leaf in spline))


def forward(spline: Spline, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns y and log dy/dx at x, whose last axes are those of the splines, or 1 there."""
    spline = _aligned(spline, x)
    inside = jnp.clip(x, -REACH, REACH)  # before all else, or gradients outside would be nan
    own = _bin(spline, spline.x, inside)
    t = jnp.clip((inside - own.x) / own.width, 0, 1)
    both = t * (1 - t)
    below = own.mean + own.excess * both
    y = own.y + own.height * (own.mean * t**2 + own.begin * both) / below
    above = own.end * t**2 + 2 * own.mean * both + own.begin * (1 - t) ** 2
    log_slope = 2 * jnp.log(own.mean) + jnp.log(above) - 2 * jnp.log(below)
    beyond = jnp.abs(x) > REACH
    return jnp.where(beyond, x, y), jnp.where(beyond, 0.0, log_slope)


def inverse(spline: Spline, y: jax.Array) -> jax.Array:
    """Returns x at y: the root of a quadratic in a form without cancellation."""
    spline = _aligned(spline, y)
    inside = jnp.clip(y, -REACH, REACH)
    own = _bin(spline, spline.y, inside)
    risen = (inside - own.y) / own.height
    a = own.mean - own.begin + own.excess * risen
    b = own.begin - own.excess * risen
    c = -own.mean * risen
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, jnp.finfo(y.dtype).tiny))
    t = jnp.where(
        b >= 0,
        -2 * c / jnp.where(b >= 0, b + root, 1.0),
        (root - b) / jnp.where(b < 0, 2 * a, 1.0),
    )
    x = own.x + own.width * jnp.clip(t, 0, 1)
    return jnp.where(jnp.abs(y) > REACH, y, x)

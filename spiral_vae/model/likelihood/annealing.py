"""A sigma that is too large at first, and falls.

While the noise is about as wide as the data the evidence has few local optima, or one: the curve
unfolds along the longest axis first and gains detail as the noise shrinks (deterministic annealing:
Rose 1998, https://doi.org/10.1109/5.726788). Training adds to the noise of the likelihood one of
standard deviation

    f(p) = f_0 0.05^(p / anneal)  for a progress p < anneal,  then 0,

f_0 = anneal_from sqrt(lambda_1), where lambda_1 is the largest variance of the data in any
direction. With noise above sqrt(lambda_1) nothing is learned: the optimum has collapsed. What is
judged and stored as sigma never has f in it.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import POSITIVE, Together, field, number
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood.base import Heads, Likelihood, Values

_START = 0.9
_LAST = 0.05  # of f, just before it is left out, as a share of the first
_SQUARINGS = 20  # of a covariance, for its largest eigenvalue: the power 2^20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealed(Likelihood):
    """A likelihood of one sigma that may begin with a larger one."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("likelihood.anneal", "likelihood.anneal_from"),
            lambda share, start: share > 0 or start == _START,
            "likelihood.anneal_from counts where likelihood.anneal is > 0",
        ),
        Together(
            ("likelihood.anneal", "encoder.after"),
            lambda share, after: share + after < 1,
            "likelihood.anneal + encoder.after must be < 1: what is added stays as it is after",
        ),
    )

    anneal: float = field(
        0.0,
        number(0, 0.95),
        "fraction of the training in which noise is added to that of the likelihood, less and "
        "less; 0: never",
        static=True,
        of_length=True,
    )
    anneal_from: Number = field(
        _START,
        POSITIVE,
        "the first of the added noise, over the data's largest standard deviation in any "
        "direction, above which a model collapses",
    )

    def begin(self, carried: Values, x: jax.Array, num: Number) -> Values:
        del num
        if not self.anneal:
            return carried
        start = self.anneal_from * jnp.sqrt(_largest_variance(x))
        return carried | {"anneal_from": start, "anneal": start}

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        found = self.observation(values, heads)
        if self.anneal:
            found = dataclasses.replace(found, scale=jnp.hypot(found.scale, values["anneal"]))
        return found.log_prob(x)

    def update(self, carried: Values, moment: jax.Array, share: jax.Array, time: Time) -> Values:
        carried = super().update(carried, moment, share, time)
        if not self.anneal:
            return carried
        part = time.progress / self.anneal
        added = jnp.where(part < 1, carried["anneal_from"] * _LAST**part, 0.0)
        return carried | {"anneal": added}


def _largest_variance(x: jax.Array) -> jax.Array:
    """Returns the largest eigenvalue of the covariance of x [n, D]."""
    centred = x - jnp.mean(x, axis=0)
    covariance = centred.T @ centred / len(x)
    power = covariance
    for _ in range(_SQUARINGS):  # not by LAPACK, whose results are another machine's own
        power = power / jnp.trace(power)
        power = power @ power
    return jnp.sum(power * covariance) / jnp.trace(power)

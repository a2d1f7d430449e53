"""Sigma from a tolerance of the reconstruction."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from spiral_vae.fields import POSITIVE, field, finite, kind, optional
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood.base import Heads, Likelihood, Values

_MAX_STEP = 0.05  # of log lambda, each step
_LAMBDA = (1e-6, 1e6)  # range of the multiplier
_KAPPA_RATE = 0.1  # of kappa, as a part of lambda's rate; below 1/2 or the pair is unstable


@kind("likelihood", "geco")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Geco(Likelihood):
    """The least KL whose reconstruction is good to kappa (Rezende & Viola 2018,
    https://arxiv.org/abs/1810.00597).

    Minimises KL + lambda C with C = E||x - m(z)||^2 - D kappa^2 while lambda rises where C > 0 and
    falls where C < 0, in its logarithm. A model with that loss is one with sigma^2 = 1/(2 lambda),
    and that is the sigma in all that is reported; for the right kappa it equals kappa.
    Without a kappa, a slower loop looks for that one: d log kappa^2 = eta log(2 lambda kappa^2).
    (Its opposite, kappa^2 <- 1/(2 lambda), would run away from the fixed point.)
    """

    kappa: Number | None = field(
        None,
        optional(POSITIVE),
        "root mean square error a dimension that is aimed at; none: it is found",
    )
    geco_rate: Number = field(0.01, POSITIVE, "of log lambda a step, for a relative excess of 1")
    geco_averaging: Number = field(
        0.99,
        finite("a number in [0, 1)", lambda value: 0 <= value < 1),
        "weight of the past in the average of the excess (elsewhere averaging is of the newest)",
    )

    def init(self, dim: int) -> tuple[Values, Values]:
        return {}, {
            "log_lambda": -jnp.log(2 * jnp.square(self.sigma)),
            "constraint": jnp.zeros(()),  # moving average of C / (D kappa^2)
            "log_kappa": jnp.log(self.sigma if self.kappa is None else self.kappa),
        }

    def observation(self, values: Values, heads: Heads) -> Observation:
        scale = jnp.exp(-0.5 * (jnp.log(2.0) + values["log_lambda"]))
        return Observation(mean=heads["mean"], scale=scale)

    def update(self, carried: Values, moment: jax.Array, share: jax.Array, time: Time) -> Values:
        del share, time
        error = jnp.trace(moment) / len(moment) * jnp.exp(-2 * carried["log_kappa"]) - 1
        constraint = self.geco_averaging * carried["constraint"] + (1 - self.geco_averaging) * error
        step = jnp.clip(self.geco_rate * constraint, -_MAX_STEP, _MAX_STEP)
        log_lambda = jnp.clip(carried["log_lambda"] + step, *map(math.log, _LAMBDA))
        log_kappa = carried["log_kappa"]
        if self.kappa is None:
            excess = jnp.log(2.0) + log_lambda + 2 * log_kappa
            log_kappa = log_kappa + 0.5 * _KAPPA_RATE * self.geco_rate * jnp.clip(excess, -5, 5)
        return {"log_lambda": log_lambda, "constraint": constraint, "log_kappa": log_kappa}

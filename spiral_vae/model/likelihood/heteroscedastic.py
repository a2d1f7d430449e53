"""Sigma for each z, and what keeps it in bounds.

The plain likelihood is unbounded (a variance may shrink around a point; Mattei & Frellsen 2018,
https://arxiv.org/abs/1802.04826), so there are stabilisers. The encoder is always trained on the
bound itself.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from spiral_vae.fields import NOT_NEGATIVE, Together, choice, contract, field, kind, number
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.noise import Noise, Normal, StudentT
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood.base import Formula, Heads, Likelihood, Values
from spiral_vae.model.likelihood.covariance import WarmUp
from spiral_vae.model.likelihood.estimator import Averaging, moved

_LEAST, _MOST = 1e-3, 10.0  # standard deviation by a head
_LOG_VARIANCE = (2 * math.log(_LEAST), 2 * math.log(_MOST))
_MIN_DOF = 3.0  # so that a Student-t has a variance


@contract("stabiliser", "none", "what keeps sigma(z) in bounds")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stabiliser:
    """What differs from the plain likelihood; in the base class nothing does."""

    heads: ClassVar[tuple[str, ...]] = ("logvar",)  # of the decoder, besides the mean
    detached: ClassVar[bool] = False  # whether these train no hidden layer
    separate: ClassVar[bool] = False  # whether the decoder has a loss of its own
    least_dof: ClassVar[float | None] = None  # of a Student-t; None for normal noise

    def init(self, sigma: Number) -> Values:
        """Returns the values to carry."""
        del sigma
        return {}

    def log_variance(self, values: Values, sigma: Number, logvar: jax.Array) -> jax.Array:
        """Returns log sigma^2 of each dimension, [D], for the head [D]."""
        del values
        return 2 * jnp.log(sigma) + logvar

    def noise(self, heads: Heads) -> Noise:
        """Returns the law of the standardised noise."""
        del heads
        return Normal()

    def log_prob(self, observation: Observation, x: jax.Array) -> jax.Array:
        """Returns what takes the place of log p(x|z) in the bound."""
        return observation.log_prob(x)

    def decoder_log_prob(self, observation: Observation, x: jax.Array) -> jax.Array:
        """Returns what the decoder maximises, where it has a loss of its own."""
        return observation.log_prob(x)

    def update(self, carried: Values, moment: jax.Array, time: Time) -> Values:
        """Returns the carried values before a step."""
        del moment, time
        return carried


@kind("stabiliser", "none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Stabiliser):
    """The plain likelihood, its variances within wide bounds."""


@kind("stabiliser", "beta_nll")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BetaNll(Stabiliser):
    """The decoder's gradient weighted by var^beta_nll, dimension by dimension (Seitzer et al. 2022,
    https://arxiv.org/abs/2203.09168)."""

    separate: ClassVar[bool] = True

    beta_nll: Number = field(
        0.5, number(0, 1), "the gradient is weighted by var^beta_nll; 0 is the plain likelihood"
    )

    def decoder_log_prob(self, observation: Observation, x: jax.Array) -> jax.Array:
        weight = jax.lax.stop_gradient(observation.scale ** (2 * self.beta_nll))
        y = (x - observation.mean) / observation.scale
        return -jnp.sum(weight * (jnp.log(observation.scale) + 0.5 * y**2))


@kind("stabiliser", "faithful")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Faithful(Stabiliser):
    """The mean by squared error, the variance by likelihood on top of what the mean has learned
    (Stirn et al. 2023, https://arxiv.org/abs/2212.09184)."""

    detached: ClassVar[bool] = True
    separate: ClassVar[bool] = True

    def decoder_log_prob(self, observation: Observation, x: jax.Array) -> jax.Array:
        mean = observation.mean
        found = dataclasses.replace(observation, mean=jax.lax.stop_gradient(mean))
        return found.log_prob(x) - 0.5 * jnp.sum((x - mean) ** 2)


@kind("stabiliser", "warmup")
@dataclasses.dataclass(frozen=True, kw_only=True)
class OneSigmaFirst(WarmUp, Averaging, Stabiliser):
    """One sigma for all z, in closed form, at first; then the variance is freed (after Detlefsen,
    Jorgensen & Hauberg 2019, https://arxiv.org/abs/1906.03260, whose two optimisers and
    extrapolation are left out)."""

    def init(self, sigma: Number) -> Values:
        return {"scale": jnp.asarray(sigma, jnp.float32), "free": jnp.zeros(())}

    def log_variance(self, values: Values, sigma: Number, logvar: jax.Array) -> jax.Array:
        return 2 * jnp.log(values["scale"]) + values["free"] * logvar

    def update(self, carried: Values, moment: jax.Array, time: Time) -> Values:
        free = self.free(time)
        scale = moved({"scale": carried["scale"]}, moment, self.averaging)["scale"]
        return {
            "scale": jnp.where(free, carried["scale"], scale),
            "free": free.astype(jnp.float32),
        }


@kind("stabiliser", "student_t")
@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegratedOut(Stabiliser):
    """An inverse-Gamma variance integrated out, which leaves a Student-t (Takahashi et al. 2018,
    IJCAI)."""

    heads: ClassVar[tuple[str, ...]] = ("logvar", "dof")
    least_dof: ClassVar[float | None] = _MIN_DOF

    def noise(self, heads: Heads) -> Noise:
        return StudentT(_MIN_DOF + jax.nn.softplus(heads["dof"]))


@kind("stabiliser", "variational")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Variational(IntegratedOut):
    """A Gamma posterior q(precision|z) and a Gamma(1, 1e-3) prior (Stirn & Knowles 2020,
    https://arxiv.org/abs/2006.04910); judged by its predictive Student-t."""

    def log_prob(self, observation: Observation, x: jax.Array) -> jax.Array:
        # q(precision|z) = Gamma(a, b), of which the Student-t with 2a degrees of freedom and
        # scale^2 = b/a is the mixture.
        assert isinstance(observation.noise, StudentT)
        dof = observation.noise.dof
        a, b = 0.5 * dof, 0.5 * dof * observation.scale**2
        square = (x - observation.mean) ** 2
        expected = 0.5 * (digamma(a) - jnp.log(2 * jnp.pi * b) - square * a / b)
        return jnp.sum(expected - _kl_gamma(a, b, 1.0, 1e-3))


@kind("likelihood", "heteroscedastic")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Heteroscedastic(Likelihood):
    """Standard deviations that the decoder puts out, one a dimension, for each z."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("likelihood.floor", "data.rdot"),
            lambda floor, rdot: floor < abs(rdot),
            "likelihood.floor must be < the spread of the data, |data.rdot|",
        ),
        Together(
            ("likelihood.kind", "likelihood.sigma"),
            lambda kind, sigma: kind != "heteroscedastic" or _LEAST <= sigma <= _MOST,
            f"likelihood.sigma must be in [{_LEAST:g}, {_MOST:g}] for 'heteroscedastic': beyond "
            "that the head has no gradient",
        ),
    )

    floor: Number = field(0.0, NOT_NEGATIVE, "least standard deviation")
    weight_decay: Number = field(0.0, NOT_NEGATIVE, "of the variance head")
    stabiliser: Stabiliser = choice("stabiliser", "none", "what keeps sigma(z) in bounds")

    def heads(self, dim: int) -> dict[str, int]:
        return {"mean": dim} | {name: dim for name in self.stabiliser.heads}

    @property
    def detached(self) -> tuple[str, ...]:
        return self.stabiliser.heads if self.stabiliser.detached else ()

    @property
    def weight_decay_of_heads(self) -> Mapping[str, Number]:
        return {name: self.weight_decay for name in self.stabiliser.heads}

    def init(self, dim: int) -> tuple[Values, Values]:
        del dim
        return {}, self.stabiliser.init(self.sigma)

    def observation(self, values: Values, heads: Heads) -> Observation:
        logvar = self.stabiliser.log_variance(values, self.sigma, heads["logvar"])
        variance = jnp.square(self.floor) + jnp.exp(jnp.clip(logvar, *_LOG_VARIANCE))
        noise = self.stabiliser.noise(heads)
        return Observation(mean=heads["mean"], scale=jnp.sqrt(variance), noise=noise)

    def formula(self, values: Values, dim: int) -> Formula:
        none, one = (
            self.stabiliser.log_variance(values, self.sigma, jnp.full(dim, value))
            for value in (0.0, 1.0)
        )
        return Formula(self.floor, none, one - none, *_LOG_VARIANCE, self.stabiliser.least_dof)

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        return self.stabiliser.log_prob(self.observation(values, heads), x)

    @property
    def separate(self) -> bool:
        return self.stabiliser.separate

    def decoder_log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        return self.stabiliser.decoder_log_prob(self.observation(values, heads), x)

    def update(self, carried: Values, moment: jax.Array, share: jax.Array, time: Time) -> Values:
        return self.stabiliser.update(carried, moment, time)


def _kl_gamma(a: jax.Array, b: jax.Array, prior_a: float, prior_b: float) -> jax.Array:
    """Returns KL(Gamma(a, rate b) || Gamma(prior_a, rate prior_b)), elementwise."""
    return (
        (a - prior_a) * digamma(a)
        - gammaln(a)
        + math.lgamma(prior_a)
        + prior_a * (jnp.log(b) - math.log(prior_b))
        + a * (prior_b / b - 1)
    )

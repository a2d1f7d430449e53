"""One covariance for all z: isotropic, diagonal or full, found by any `Estimator`."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import NOT_NEGATIVE, Together, choice, contract, field, kind, number
from spiral_vae.maths import ramp
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood.annealing import Annealed
from spiral_vae.model.likelihood.base import Heads, Likelihood, Values
from spiral_vae.model.likelihood.estimator import ByGradient, Estimator, Rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUp:
    """A start with one sigma, so that the curve is found before its noise is told apart."""

    of_length: ClassVar[bool] = True

    warmup: Number = field(0.5, number(0, 1), "fraction of the training with one sigma")

    def free(self, time: Time) -> jax.Array:
        """Returns whether the start is over."""
        return ramp.after(time.progress, self.warmup)


@contract("covariance_stabiliser", "none", "what keeps the noise from explaining the curve")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stabiliser:
    """What a covariance starts with."""

    def free(self, time: Time) -> jax.Array | None:
        """Returns whether directions may differ by now; None where they always may."""
        del time
        return None


@kind("covariance_stabiliser", "none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Free(Stabiliser):
    """A covariance that is free from the start."""


@kind("covariance_stabiliser", "warmup")
@dataclasses.dataclass(frozen=True, kw_only=True)
class OneSigmaFirst(WarmUp, Stabiliser):
    """Of the moments the isotropic part alone counts at first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Covariance(Likelihood):
    """A Gaussian likelihood whose scale an estimator finds."""

    @abc.abstractmethod
    def parts(self) -> tuple[Estimator, Stabiliser]:
        """Returns what finds the scale and what it starts with."""

    @abc.abstractmethod
    def start(self, dim: int) -> jax.Array:
        """Returns the scale for a sigma of 1, in the shape that it has."""

    def init(self, dim: int) -> tuple[Values, Values]:
        estimator, stabiliser = self.parts()
        scale = jnp.asarray(self.sigma * self.start(dim), jnp.float32)
        return estimator.init(scale, dim, isinstance(stabiliser, WarmUp))

    def observation(self, values: Values, heads: Heads) -> Observation:
        estimator, stabiliser = self.parts()
        scale = estimator.scale(values, isinstance(stabiliser, WarmUp))
        return Observation(mean=heads["mean"], scale=scale)

    def update(self, carried: Values, moment: jax.Array, share: jax.Array, time: Time) -> Values:
        estimator, stabiliser = self.parts()
        return estimator.update(carried, moment, share, stabiliser.free(time))

    def end_epoch(self, carried: Values) -> Values:
        return self.parts()[0].end_epoch(carried)


@kind("likelihood", "closed_form")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm(Covariance):
    """One sigma, in closed form."""

    estimator: Estimator = choice(
        "estimator", "full_data", "over what the closed form is taken", without=("learned",)
    )

    def parts(self) -> tuple[Estimator, Stabiliser]:
        return self.estimator, Free()

    def start(self, dim: int) -> jax.Array:
        return jnp.ones(())


@kind("likelihood", "learned")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Rate, Annealed, Covariance):
    """One sigma, by gradient, for which the curve's freedom can be paid.

    A curve that is fitted to n points in D dimensions follows their noise in some c of the n D
    numbers, so that its residuals are too small, and so is the sigma of maximum likelihood. With
    c / n log sigma added to the log p of each point the optimum is

        sigma^2 = sum |x - m|^2 / (n D - c),

    which has no bias where c is right: what restricted likelihood does for a linear model
    (Patterson & Thompson 1971, https://doi.org/10.1093/biomet/58.3.545).
    """

    together: ClassVar[tuple[Together, ...]] = (
        *Annealed.together,
        Together(
            ("likelihood.freedom", "data.num_points"),
            lambda freedom, num_points: freedom < num_points,
            "likelihood.freedom must be < data.num_points",
        ),
    )

    freedom: float = field(
        0.0,
        NOT_NEGATIVE,
        "numbers of the data, c, that the curve follows beyond its noise: sigma^2 is the sum of "
        "squares over n D - c",
        static=True,
    )

    def begin(self, carried: Values, x: jax.Array, num: Number) -> Values:
        carried = super().begin(carried, x, num)
        if not self.freedom:
            return carried
        return carried | {"freedom": jnp.asarray(self.freedom / num, jnp.float32)}

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        found = super().log_prob(values, x, heads)
        if not self.freedom:
            return found
        return found + values["freedom"] * jnp.log(self.observation(values, heads).scale)

    def parts(self) -> tuple[Estimator, Stabiliser]:
        return ByGradient(learning_rate=self.learning_rate), Free()

    def start(self, dim: int) -> jax.Array:
        return jnp.ones(())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Directed(Covariance):
    """A covariance whose directions differ."""

    estimator: Estimator = choice("estimator", "full_data", "how the covariance is found")
    stabiliser: Stabiliser = choice(
        "covariance_stabiliser", "none", "whether it starts with one sigma"
    )

    def parts(self) -> tuple[Estimator, Stabiliser]:
        return self.estimator, self.stabiliser

    @property
    def rate(self) -> Number:
        return self.estimator.rate


@kind("likelihood", "per_dimension")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PerDimension(_Directed):
    """A sigma for each dimension."""

    def start(self, dim: int) -> jax.Array:
        return jnp.ones(dim)


@kind("likelihood", "full_covariance")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FullCovariance(_Directed):
    """A full covariance."""

    def start(self, dim: int) -> jax.Array:
        return jnp.eye(dim)

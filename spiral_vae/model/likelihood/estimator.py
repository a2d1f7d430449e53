"""How a constant scale is found: as the residuals' own, or by gradient.

The closed forms take the maximum-likelihood covariance given the two networks, S = E E_q (x - m(z))
(x - m(z))^T, or its isotropic or diagonal part (Rybkin, Daniilidis & Levine 2021,
https://arxiv.org/abs/2006.13202, who take the batch's). Each can begin with one sigma for all
directions, and be freed later.
"""

import abc
import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.fields import NOT_NEGATIVE, SHARE, contract, field, kind
from spiral_vae.maths.arrays import Number
from spiral_vae.model.likelihood.base import Values, covariance, isotropic, scale_like


@contract("estimator", "full_data", "how the scale is found")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimator(abc.ABC):
    """A way to find a scale."""

    @property
    def rate(self) -> Number:
        """The learning rate of its parameters, where it has any."""
        return 0.0

    @abc.abstractmethod
    def init(self, scale: jax.Array, dim: int, warmup: bool) -> tuple[Values, Values]:
        """Returns params and carried values.

        Args:
          scale: to start from, [], [D] or [D, D].
          dim: D.
          warmup: whether there is a time with one sigma.
        """

    @abc.abstractmethod
    def scale(self, values: Values, warmup: bool) -> jax.Array:
        """Returns the scale."""

    @abc.abstractmethod
    def update(
        self, carried: Values, moment: jax.Array, share: jax.Array, free: jax.Array | None
    ) -> Values:
        """Returns the carried values for a step on `share` of the data.

        Args:
          carried: values.
          moment: of the residuals, [D, D].
          share: of the data.
          free: whether directions may differ by now; None without a warm-up.
        """

    def end_epoch(self, carried: Values) -> Values:
        """Returns the carried values after an epoch."""
        return carried


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ClosedForm(Estimator):
    """The residuals' own scale, which is carried."""

    def init(self, scale: jax.Array, dim: int, warmup: bool) -> tuple[Values, Values]:
        del dim, warmup
        return {}, {"scale": scale}

    def scale(self, values: Values, warmup: bool) -> jax.Array:
        del warmup  # what entered was isotropic until then
        return values["scale"]

    def update(
        self, carried: Values, moment: jax.Array, share: jax.Array, free: jax.Array | None
    ) -> Values:
        if free is not None:
            moment = jnp.where(free, moment, isotropic(moment))
        return self.closer(carried, moment, share)

    @abc.abstractmethod
    def closer(self, carried: Values, moment: jax.Array, share: jax.Array) -> Values:
        """Returns the carried values for a moment that may count as it is."""


@kind("estimator", "full_data")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FullData(_ClosedForm):
    """The mean over the data, taken from the points as an epoch passes over them."""

    def init(self, scale: jax.Array, dim: int, warmup: bool) -> tuple[Values, Values]:
        return {}, {"scale": scale, "sum": jnp.zeros((dim, dim))}

    def closer(self, carried: Values, moment: jax.Array, share: jax.Array) -> Values:
        return carried | {"sum": carried["sum"] + share * moment}

    def end_epoch(self, carried: Values) -> Values:
        total = carried["sum"]
        return {"scale": scale_like(carried["scale"], total), "sum": jnp.zeros_like(total)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Averaging:
    """A scale that moves towards each batch's moment."""

    averaging: Number = field(0.05, SHARE, "weight of the newest batch in a moving average")


@kind("estimator", "batch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch(_ClosedForm):
    """The batch's own."""

    def closer(self, carried: Values, moment: jax.Array, share: jax.Array) -> Values:
        return moved(carried, moment, 1.0)


@kind("estimator", "moving_average")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MovingAverage(_ClosedForm, Averaging):
    """A moving average of batches (as Asperti & Trentin 2020, https://arxiv.org/abs/2002.07514)."""

    def closer(self, carried: Values, moment: jax.Array, share: jax.Array) -> Values:
        return moved(carried, moment, self.averaging)


def moved(carried: Values, moment: jax.Array, rate: Number) -> Values:
    """Returns a carried scale whose covariance has moved by `rate` towards a moment [D, D]."""
    old = covariance(carried["scale"], len(moment))
    return {"scale": scale_like(carried["scale"], old + rate * (moment - old))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """Parameters with a learning rate of their own."""

    learning_rate: Number = field(1e-3, NOT_NEGATIVE, "of a learned log sigma")

    @property
    def rate(self) -> Number:
        """The learning rate."""
        return self.learning_rate


@kind("estimator", "learned")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ByGradient(Rate, Estimator):
    """Log standard deviations that are parameters as any other (Dai & Wipf 2019,
    https://arxiv.org/abs/1903.05789); a full covariance by its Cholesky factor.

    During a warm-up they are one number: their mean, whose gradient moves them alike.
    """

    def init(self, scale: jax.Array, dim: int, warmup: bool) -> tuple[Values, Values]:
        full = scale.ndim == 2
        params = {"log_scale": jnp.log(jnp.diagonal(scale) if full else scale)}
        if full:
            params["lower"] = jnp.zeros((dim, dim))  # in units of its row's scale
        return params, {"free": jnp.zeros(())} if warmup else {}

    def scale(self, values: Values, warmup: bool) -> jax.Array:
        free = values.get("free", 1.0)
        log_scale = values["log_scale"]
        if warmup:
            log_scale = jnp.mean(log_scale) + free * (log_scale - jnp.mean(log_scale))
        scale = jnp.exp(log_scale)
        if "lower" not in values:
            return scale
        return scale[:, None] * (jnp.eye(len(scale)) + free * jnp.tril(values["lower"], -1))

    def update(
        self, carried: Values, moment: jax.Array, share: jax.Array, free: jax.Array | None
    ) -> Values:
        del moment, share
        return carried if free is None else {"free": free.astype(jnp.float32)}

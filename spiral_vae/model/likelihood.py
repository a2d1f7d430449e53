"""What sigma is: the ways to set, estimate or learn the noise of the decoder.

One contract for all of them. A likelihood is a small pytree of numbers, so its numbers can be
lanes of a sweep; `init` gives the parameters that it adds to the gradient's and the values that it
carries along itself. Both together are the `values` from which the noise follows:

    init() -> params, carried
    observation(values, heads) -> p(x|z) for the decoder's heads at one z
    log_prob(values, x, heads) -> what takes the place of log p(x|z) in the bound
    decoder_log_prob(values, x, heads) -> what the decoder maximises instead, where it differs
    update(carried, moment, share, progress) -> carried, before the gradient of each step
    end_epoch(carried) -> carried

with `moment` = E (x - m)(x - m)^T over the points of the step and their z ~ q, [D, D].
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from spiral_vae.maths.observation import Observation

KINDS = (
    "fixed",
    "closed_form",
    "learned",
    "geco",
    "per_dimension",
    "full_covariance",
    "heteroscedastic",
)
ESTIMATORS = ("full_data", "batch", "moving_average", "learned")
STABILISERS = ("none", "beta_nll", "faithful", "warmup", "student_t", "variational")
DATA_DIM = 2

MIN_SIGMA = 1e-4  # hard floor of estimated standard deviations; float32 trains nothing below
_LOG_VARIANCE = (2 * math.log(1e-3), 2 * math.log(10.0))  # range of a variance head
_MIN_DOF = 3.0  # so that a Student-t has a variance
_MAX_STEP = 0.05  # of log lambda, each step
_LAMBDA = (1e-6, 1e6)  # range of GECO's multiplier
_KAPPA_RATE = 0.1  # of kappa, as a part of lambda's rate; below 1/2 or the pair is unstable

Values = dict[str, jax.Array]
Heads = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likelihood:
    """What most kinds share: a Gaussian around the decoder's mean, nothing learned or carried."""

    @property
    def heads(self) -> tuple[str, ...]:
        """What the decoder has to put out."""
        return ("mean",)

    def init(self) -> tuple[Values, Values]:
        """Returns the parameters for the gradient and the values that `update` keeps."""
        return {}, {}

    def observation(self, values: Values, heads: Heads) -> Observation:
        """Returns p(x|z) as it is judged, for the heads at one z."""
        raise NotImplementedError

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        """Returns log p(x|z) or its lower bound in nats, for one point x [D]."""
        return self.observation(values, heads).log_prob(x)

    # What the decoder maximises where that is not `log_prob`, with the same arguments.
    decoder_log_prob = None

    def update(
        self, carried: Values, moment: jax.Array, share: jax.Array, progress: jax.Array
    ) -> Values:
        """Returns the carried values for a step on `share` of the data."""
        del moment, share, progress
        return carried

    def end_epoch(self, carried: Values) -> Values:
        """Returns the carried values after an epoch."""
        return carried


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Likelihood):
    """A given sigma, the same for all dimensions and all z."""

    sigma: jax.typing.ArrayLike  # standard deviation

    def observation(self, values: Values, heads: Heads) -> Observation:
        return Observation(mean=heads["mean"], scale=jnp.asarray(self.sigma))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm(Likelihood):
    """The maximum-likelihood covariance of the residuals under q, given the two networks.

    S = E E_q (x - m(z)) (x - m(z))^T, or its isotropic or diagonal part (Rybkin, Daniilidis &
    Levine 2021, https://arxiv.org/abs/2006.13202, who take the batch's). The mean over the data is
    taken from the points as an epoch passes over them, and set at its end ('full_data'); or S moves
    by `rate` towards each batch's moment ('moving_average'), with rate 1 onto it ('batch').
    With a warm-up only the isotropic part of the moments counts until then.
    """

    sigma: jax.typing.ArrayLike  # the start
    rate: jax.typing.ArrayLike
    warmup: jax.typing.ArrayLike | None = None  # fraction of the training
    covariance: str = dataclasses.field(metadata={"static": True})
    estimator: str = dataclasses.field(metadata={"static": True})

    def init(self) -> tuple[Values, Values]:
        scale = jnp.asarray(self.sigma * _SHAPE[self.covariance], jnp.float32)
        total = jnp.zeros((DATA_DIM, DATA_DIM))
        return {}, {"scale": scale} | ({"sum": total} if self.estimator == "full_data" else {})

    def observation(self, values: Values, heads: Heads) -> Observation:
        return Observation(mean=heads["mean"], scale=values["scale"])

    def update(self, carried, moment, share, progress):
        if self.warmup is not None:
            moment = jnp.where(progress < self.warmup, _isotropic(moment), moment)
        if self.estimator == "full_data":
            return carried | {"sum": carried["sum"] + share * moment}
        old = _covariance(carried["scale"])
        return {"scale": _scale(old + self.rate * (moment - old), self.covariance)}

    def end_epoch(self, carried):
        if self.estimator != "full_data":
            return carried
        total = carried["sum"]
        return {"scale": _scale(total, self.covariance), "sum": jnp.zeros_like(total)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Likelihood):
    """Log standard deviations that are parameters as any other (Dai & Wipf 2019,
    https://arxiv.org/abs/1903.05789); a full covariance by its Cholesky factor.

    With a warm-up they are one number until then: their mean, whose gradient moves them alike.
    """

    sigma: jax.typing.ArrayLike  # the start
    warmup: jax.typing.ArrayLike | None = None  # fraction of the training
    covariance: str = dataclasses.field(metadata={"static": True})

    def init(self) -> tuple[Values, Values]:
        size = () if self.covariance == "isotropic" else (DATA_DIM,)
        params = {"log_scale": jnp.broadcast_to(jnp.log(self.sigma), size)}
        if self.covariance == "full":
            params["lower"] = jnp.zeros((DATA_DIM, DATA_DIM))  # in units of its row's scale
        return params, {} if self.warmup is None else {"free": jnp.zeros(())}

    def observation(self, values: Values, heads: Heads) -> Observation:
        free = values.get("free", 1.0)
        log_scale = values["log_scale"]
        if self.warmup is not None:
            log_scale = jnp.mean(log_scale) + free * (log_scale - jnp.mean(log_scale))
        scale = jnp.exp(log_scale)
        if self.covariance == "full":
            scale = scale[:, None] * (jnp.eye(DATA_DIM) + free * jnp.tril(values["lower"], -1))
        return Observation(mean=heads["mean"], scale=scale)

    def update(self, carried, moment, share, progress):
        if self.warmup is None:
            return carried
        return {"free": (progress >= self.warmup).astype(jnp.float32)}


@jax.tree_util.register_dataclass
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

    sigma: jax.typing.ArrayLike  # the start of 1/sqrt(2 lambda)
    kappa: jax.typing.ArrayLike  # root mean square error a dimension; its start if it is searched
    rate: jax.typing.ArrayLike  # of log lambda for an error of 1 in C / (D kappa^2), each step
    averaging: jax.typing.ArrayLike  # weight of the past in the moving average of C, [0, 1)
    search: bool = dataclasses.field(metadata={"static": True})

    def init(self) -> tuple[Values, Values]:
        return {}, {
            "log_lambda": -jnp.log(2 * jnp.square(self.sigma)),
            "constraint": jnp.zeros(()),  # moving average of C / (D kappa^2)
            "log_kappa": jnp.log(self.kappa),
        }

    def observation(self, values: Values, heads: Heads) -> Observation:
        scale = jnp.exp(-0.5 * (jnp.log(2.0) + values["log_lambda"]))
        return Observation(mean=heads["mean"], scale=scale)

    def update(self, carried, moment, share, progress):
        error = jnp.trace(moment) / DATA_DIM * jnp.exp(-2 * carried["log_kappa"]) - 1
        constraint = self.averaging * carried["constraint"] + (1 - self.averaging) * error
        step = jnp.clip(self.rate * constraint, -_MAX_STEP, _MAX_STEP)
        log_lambda = jnp.clip(carried["log_lambda"] + step, *map(math.log, _LAMBDA))
        log_kappa = carried["log_kappa"]
        if self.search:
            excess = jnp.log(2.0) + log_lambda + 2 * log_kappa
            log_kappa = log_kappa + 0.5 * _KAPPA_RATE * self.rate * jnp.clip(excess, -5, 5)
        return {"log_lambda": log_lambda, "constraint": constraint, "log_kappa": log_kappa}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Heteroscedastic(Likelihood):
    """Standard deviations that the decoder puts out, one a dimension, for each z.

    The plain likelihood is unbounded (a variance may shrink around a point; Mattei & Frellsen 2018,
    https://arxiv.org/abs/1802.04826), so there are stabilisers:

    none: the plain likelihood, its variances within wide bounds.
    beta_nll: the decoder's gradient weighted by var^exponent, dimension by dimension (Seitzer et
      al. 2022, https://arxiv.org/abs/2203.09168).
    faithful: the mean by squared error, the variance by likelihood on top of what the mean has
      learned (Stirn et al. 2023, https://arxiv.org/abs/2212.09184).
    warmup: one sigma for all z, in closed form, until `warmup` of the training; then the variance
      is freed (after Detlefsen, Jorgensen & Hauberg 2019, https://arxiv.org/abs/1906.03260, whose
      two optimisers and extrapolation are left out).
    student_t: an inverse-Gamma variance integrated out (Takahashi et al. 2018, IJCAI).
    variational: a Gamma posterior q(precision|z) and a Gamma(1, 1e-3) prior (Stirn & Knowles 2020,
      https://arxiv.org/abs/2006.04910); judged by its predictive Student-t.

    The encoder is always trained on the bound itself. A floor can be set under the variance.
    """

    sigma: jax.typing.ArrayLike  # around which the variance starts
    floor: jax.typing.ArrayLike  # least standard deviation
    exponent: jax.typing.ArrayLike  # beta_nll: 0 is the plain likelihood
    warmup: jax.typing.ArrayLike  # warmup: fraction of the training
    rate: jax.typing.ArrayLike  # warmup: of the moving average
    stabiliser: str = dataclasses.field(metadata={"static": True})

    @property
    def heads(self) -> tuple[str, ...]:
        student = self.stabiliser in ("student_t", "variational")
        return ("mean", "logvar", "dof") if student else ("mean", "logvar")

    def init(self) -> tuple[Values, Values]:
        if self.stabiliser != "warmup":
            return {}, {}
        return {}, {"scale": jnp.asarray(self.sigma, jnp.float32), "free": jnp.zeros(())}

    def observation(self, values: Values, heads: Heads) -> Observation:
        logvar = heads["logvar"]
        if self.stabiliser == "warmup":
            logvar = 2 * jnp.log(values["scale"]) + values["free"] * logvar
        else:
            logvar = 2 * jnp.log(self.sigma) + logvar
        variance = jnp.square(self.floor) + jnp.exp(jnp.clip(logvar, *_LOG_VARIANCE))
        dof = _MIN_DOF + jax.nn.softplus(heads["dof"]) if "dof" in heads else None
        return Observation(mean=heads["mean"], scale=jnp.sqrt(variance), dof=dof)

    def log_prob(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        student = self.observation(values, heads)
        if self.stabiliser != "variational":
            return student.log_prob(x)
        # q(precision|z) = Gamma(a, b), of which the Student-t with 2a degrees of freedom and
        # scale^2 = b/a is the mixture.
        a, b = 0.5 * student.dof, 0.5 * student.dof * student.scale**2
        expected = 0.5 * (digamma(a) - jnp.log(2 * jnp.pi * b) - (x - student.mean) ** 2 * a / b)
        return jnp.sum(expected - _kl_gamma(a, b, 1.0, 1e-3))

    @property
    def decoder_log_prob(self):
        if self.stabiliser == "beta_nll":
            return self._beta_nll
        return self._faithful if self.stabiliser == "faithful" else None

    def _beta_nll(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        found = self.observation(values, heads)
        weight = jax.lax.stop_gradient(found.scale ** (2 * self.exponent))
        y = (x - found.mean) / found.scale
        return -jnp.sum(weight * (jnp.log(found.scale) + 0.5 * y**2))

    def _faithful(self, values: Values, x: jax.Array, heads: Heads) -> jax.Array:
        mean = heads["mean"]  # the decoder is detached: the other head trains no hidden layer
        found = self.observation(values, heads | {"mean": jax.lax.stop_gradient(mean)})
        return found.log_prob(x) - 0.5 * jnp.sum((x - mean) ** 2)

    def update(self, carried, moment, share, progress):
        if self.stabiliser != "warmup":
            return carried
        free = progress >= self.warmup
        old = _covariance(carried["scale"])
        scale = _scale(old + self.rate * (moment - old), "isotropic")
        return {
            "scale": jnp.where(free, carried["scale"], scale),
            "free": free.astype(jnp.float32),
        }


_SHAPE = {  # of scale
    "isotropic": np.ones(()),
    "per_dimension": np.ones(DATA_DIM),
    "full": np.eye(DATA_DIM),
}


def _scale(covariance: jax.Array, shape: str) -> jax.Array:
    """Returns the scale of the part of a covariance [D, D] that a shape can hold."""
    if shape == "full":
        return jnp.linalg.cholesky(covariance + MIN_SIGMA**2 * jnp.eye(DATA_DIM))
    variance = jnp.diagonal(covariance)
    if shape == "isotropic":
        variance = jnp.mean(variance)
    return jnp.sqrt(jnp.maximum(variance, MIN_SIGMA**2))


def _isotropic(covariance: jax.Array) -> jax.Array:
    """Returns the covariance [D, D] of the same trace that has no direction."""
    return jnp.mean(jnp.diagonal(covariance)) * jnp.eye(DATA_DIM)


def _covariance(scale: jax.Array) -> jax.Array:
    """Returns the covariance [D, D] of any of the three shapes of scale."""
    return scale @ scale.T if scale.ndim == 2 else jnp.eye(DATA_DIM) * scale**2


def _kl_gamma(a: jax.Array, b: jax.Array, prior_a: float, prior_b: float) -> jax.Array:
    """Returns KL(Gamma(a, rate b) || Gamma(prior_a, rate prior_b)), elementwise."""
    return (
        (a - prior_a) * digamma(a)
        - gammaln(a)
        + math.lgamma(prior_a)
        + prior_a * (jnp.log(b) - math.log(prior_b))
        + a * (prior_b / b - 1)
    )

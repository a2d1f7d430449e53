"""A Gauss-Markov latent with one learned number, its time constant.

    z_1 ~ N(0, 1),  z' = a z + sqrt(1 - a^2) e,   a = exp(-1 / tau),  1 - a^2 = -expm1(-2 / tau)

Of the posteriors, one with potentials becomes the Kalman smoother of these, which may be refined
before, and any other that of each point for itself, under the dynamics as a prior: mean field, to
show what structure buys.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import POSITIVE, Together, field, finite, kind
from spiral_vae.maths import gaussian, kalman
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.chain import Chain
from spiral_vae.model.dynamics import refinement
from spiral_vae.model.dynamics.base import Dynamics
from spiral_vae.model.dynamics.refinement import Seen
from spiral_vae.model.networks import Params
from spiral_vae.model.posterior import Posterior
from spiral_vae.model.posterior.base import Heads

_APART = 1e-6  # of a correlation from 0 and 1, where float32 has no time constant
_OBJECTIVES, _POSTERIORS = ("elbo", "evidence"), ("gaussian", "potential")


@kind("dynamics", "markov")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Markov(Dynamics):
    """A stationary autoregression of order one."""

    ties: ClassVar[bool] = True
    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("dynamics.kind", "model.latent_dim"),
            lambda kind, latent_dim: kind != "markov" or latent_dim == 1,
            "dynamics are of one latent: model.latent_dim must be 1",
        ),
        Together(
            ("dynamics.kind", "posterior.kind"),
            lambda kind, posterior: kind != "markov" or posterior in _POSTERIORS,
            "posterior.kind must be one of gaussian, potential under dynamics",
        ),
        Together(
            ("dynamics.kind", "objective.kind"),
            lambda kind, objective: kind != "markov" or objective in _OBJECTIVES,
            "objective.kind must be one of elbo, evidence under dynamics",
        ),
        Together(
            ("dynamics.kind", "objective.estimator"),
            lambda kind, estimator: kind != "markov" or estimator == "reparameterised",
            "objective.estimator must be 'reparameterised' under dynamics",
        ),
        Together(
            ("dynamics.kind", "encoder.sleep", "encoder.after"),
            lambda kind, sleep, after: kind != "markov" or sleep + after == 0,
            "encoder.sleep and encoder.after draw single points: they must be 0 under dynamics",
        ),
    )

    start: Number = field(
        0.9,
        finite("a number in (0, 1)", lambda value: 0 < value < 1),
        "the correlation of neighbouring latents from which it is learned, where no start of the "
        "training knows one",
    )
    learning_rate: Number = field(0.01, POSITIVE, "of the logarithm of the time constant")

    def init(self) -> Params:
        return self.begin(jnp.asarray(self.start))

    def begin(self, correlation: jax.Array) -> Params:
        bounded = jnp.clip(correlation, _APART, 1 - _APART)
        return {"dynamics": {"log_tau": -jnp.log(-jnp.log(bounded))}}

    @property
    def rate(self) -> Number:
        return self.learning_rate

    def correlation(self, params: Params) -> jax.Array:
        return jnp.exp(-jnp.exp(-params["dynamics"]["log_tau"]))

    def tied(
        self, params: Params, posterior: Posterior, length: int, weight: jax.Array, seen: Seen
    ) -> Posterior:
        rate = jnp.exp(-params["dynamics"]["log_tau"])
        return Tied(
            alone=posterior,
            a=jnp.exp(-rate),
            noise=-jnp.expm1(-2 * rate),
            length=length,
            weight=weight,
            seen=seen,
            num_passes=posterior.passes,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tied(Posterior):
    """The posterior of the latents of sequences, point by point; log q is that of one point."""

    alone: Posterior  # of single points
    a: jax.Array
    noise: jax.Array  # 1 - a^2
    length: int  # T
    weight: jax.Array  # [S T]
    seen: Seen
    num_passes: int = 0  # of refinement

    def refined(self, passes: int) -> Posterior:
        return dataclasses.replace(self, num_passes=passes)

    def heads(self, latent_dim: int) -> dict[str, int]:
        return self.alone.heads(latent_dim)

    def moments(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        mean, logvar, _ = self._solved(heads)
        return mean[None], logvar[None]

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        mean, logvar = self.moments(heads)
        return gaussian.sample(eps, mean[:, None], logvar[:, None])

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        mean, logvar = self.moments(heads)
        return gaussian.log_prob(z, mean[:, None], logvar[:, None])

    def kl(self, heads: Heads) -> jax.Array:
        """Returns KL(q || p) of whole sequences over their points, of equal shares, [S T].

        Where q is refined, it has besides the gradient of KL(q || what the encoder says), by which
        the encoder learns: through q none comes to it.
        """
        _, _, kl = self._solved(heads)
        seen = jnp.sum(self.weight.reshape(-1, self.length), axis=1)
        return jnp.repeat(kl / jnp.maximum(seen, 1), self.length)

    def chain(self, z: jax.Array) -> Chain:
        # On an even grid, whose step is the same everywhere and drops out of the sums to 1.
        nodes = z[0, :, 0]
        return Chain(
            log_start=jax.nn.log_softmax(-0.5 * nodes**2),
            log_move=-0.5 * (nodes - self.a * nodes[:, None]) ** 2 / self.noise,
            weight=self.weight,
            length=self.length,
        )

    def _solved(self, heads: Heads) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns mean and logvar of each point, [S T], and KL(q || p) of each sequence, [S]."""
        found = self.alone.potential(heads)
        if found is None:
            return self._mean_field(heads)
        told = self._by_time(found[0][0] * self.weight), self._by_time(found[1][0] * self.weight)
        h, precision = self._refined(*told) if self.num_passes else told
        law = kalman.smooth(h, precision, self.a, self.noise)
        square = law.mean**2 + law.variance
        kl = jnp.sum(h * law.mean - 0.5 * precision * square, axis=0) - law.log_z
        if self.num_passes:
            mean, second = jax.lax.stop_gradient((law.mean, square))
            fit = self._fit(told[0], told[1], mean, second)
            kl += fit - jax.lax.stop_gradient(fit)
        return self._by_point(law.mean), jnp.log(self._by_point(law.variance)), kl

    def _refined(self, h: jax.Array, precision: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns refined potentials, [T, S]."""
        a, noise = jax.lax.stop_gradient((self.a, self.noise))

        def marginals(h: jax.Array, precision: jax.Array) -> tuple[jax.Array, jax.Array]:
            law = kalman.smooth(*self._potentials(h, precision), a, noise)
            return self._by_point(law.mean), self._by_point(law.variance)

        start = self._by_point(h), self._by_point(precision)
        found = refinement.refined(*start, marginals, self.seen, self.num_passes)
        return self._potentials(*found)

    def _potentials(self, h: jax.Array, precision: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns those of single points, [S T] both, by time, none where nothing is seen."""
        return self._by_time(h * self.weight), self._by_time(precision * self.weight)

    def _fit(
        self, h: jax.Array, precision: jax.Array, mean: jax.Array, square: jax.Array
    ) -> jax.Array:
        """Returns KL(q || the law with these potentials) up to a constant, [S].

        Args:
          h: [T, S].
          precision: [T, S].
          mean: E_q z, [T, S].
          square: E_q z^2, [T, S].
        """
        a, noise = jax.lax.stop_gradient((self.a, self.noise))
        law = kalman.smooth(h, precision, a, noise)
        return law.log_z - jnp.sum(h * mean - 0.5 * precision * square, axis=0)

    def _mean_field(self, heads: Heads) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the same of independent q, of which E_q log p(z_1 .. z_T) is needed."""
        mean, logvar = (part[0] for part in self.alone.moments(heads))
        m, v = self._by_time(mean), jnp.exp(self._by_time(logvar))
        first = m[0] ** 2 + v[0]
        moved = ((m[1:] - self.a * m[:-1]) ** 2 + v[1:] + self.a**2 * v[:-1]) / self.noise
        log_p = -0.5 * (first + jnp.sum(moved + jnp.log(self.noise), axis=0))
        kl = -0.5 * jnp.sum(1 + jnp.log(v), axis=0) - log_p
        return mean, logvar, kl

    def _by_time(self, values: jax.Array) -> jax.Array:
        return values.reshape(-1, self.length).T

    def _by_point(self, values: jax.Array) -> jax.Array:
        return values.T.reshape(-1)

"""A posterior of any shape on the line: a normal variable through a spline, moved and stretched.

    z = mean + exp(logvar / 2) T(eps),   eps ~ N(0, 1)

with T a monotone rational-quadratic spline (`maths.spline`).
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp, ndtr

from spiral_vae.fields import Together, field, integer, kind
from spiral_vae.maths import gaussian
from spiral_vae.maths import spline as spline_lib
from spiral_vae.model.posterior.base import STOP, Heads, Nodes, Posterior


@kind("posterior", "spline")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spline(Posterior):
    """A normal variable through a spline; of one latent."""

    kl_of_draws: ClassVar[bool] = True
    local: ClassVar[bool] = True
    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("posterior.kind", "model.latent_dim"),
            lambda kind, latent_dim: latent_dim == 1,
            "a spline is of one latent: model.latent_dim must be 1",
        ),
    )

    num_bins: int = field(8, integer(2, 64), "pieces of a spline", static=True)

    def heads(self, latent_dim: int) -> dict[str, int]:
        num = self.num_bins
        own = {"mean": 1, "logvar": 1, "width": num, "height": num, "slope": num - 1}
        return {name: latent_dim * size for name, size in own.items()}

    @property
    def constants(self) -> dict[str, float]:
        return {"num": self.num_bins, **spline_lib.constants()}

    def _spline(self, heads: Heads) -> spline_lib.Spline:
        """Returns T with an axis for the draws, [N + 1, 1, ...]."""
        parts = (heads[name][:, None] for name in ("width", "height", "slope"))
        return spline_lib.spline(*parts)

    def sample(self, heads: Heads, eps: jax.Array) -> jax.Array:
        y, _ = spline_lib.forward(self._spline(heads), eps[0])
        return gaussian.sample(y[None], heads["mean"][:, None], heads["logvar"][:, None])

    def _log_prob_at(self, heads: Heads, eps: jax.Array) -> jax.Array:
        """Returns log q(z|x) at the z that `sample` makes of eps [K, ...]."""
        _, log_slope = spline_lib.forward(self._spline(heads), eps)
        return gaussian.log_prior(eps[None]) - log_slope - 0.5 * heads["logvar"]

    def _eps(self, heads: Heads, z: jax.Array) -> jax.Array:
        y = (z - heads["mean"][:, None]) * jnp.exp(-0.5 * heads["logvar"][:, None])
        return spline_lib.inverse(self._spline(heads), y[0])

    def log_prob(self, heads: Heads, z: jax.Array) -> jax.Array:
        return self._log_prob_at(heads, self._eps(heads, z))

    def log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        return gaussian.log_prior(z) - self._log_prob_at(heads, eps[0])

    def path_log_ratio(self, heads: Heads, z: jax.Array, eps: jax.Array) -> jax.Array:
        # To first order eps as a function of z: no root is solved.
        held = jax.lax.stop_gradient(heads)
        _, log_slope = spline_lib.forward(self._spline(held), eps[0])
        dz_deps = jnp.exp(log_slope + 0.5 * held["logvar"])
        moved = eps[0] + (z - jax.lax.stop_gradient(z))[0] / dz_deps
        return gaussian.log_prior(z) - self._log_prob_at(held, moved)

    def nodes(self, heads: Heads, num: int) -> Nodes:
        """Returns a quadrature rule under q, [1, M, ...]: Gauss-Legendre between the knots of T.

        T's second derivative jumps at the knots. A quarter of `num` goes to each bin and each tail.
        """
        x = self._spline(heads).x[:, 0]
        end = jnp.full_like(x[:1], STOP)
        edges = jnp.concatenate([-end, x, end])
        node, weight = (
            part.reshape(-1, *(1,) * (x.ndim - 1))
            for part in np.polynomial.legendre.leggauss(num // 4)
        )
        half = 0.5 * jnp.diff(edges, axis=0)[:, None]
        eps = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * node).reshape(-1, *x.shape[1:])
        log_weight = jnp.log((half * weight).reshape(eps.shape)) + gaussian.log_prior(eps[None])
        return Nodes(self.sample(heads, eps[None]), log_weight - logsumexp(log_weight, axis=0))

    def pieces(self, heads: Heads) -> tuple[jax.Array, jax.Array]:
        # The bins, the peaks at knots where T is flat, and the whole.
        x, y, slope = (leaf[:, 0] for leaf in self._spline(heads))
        width = jnp.diff(x, axis=0)
        width = jnp.minimum(
            *(jnp.concatenate(w) for w in ((width[:1], width), (width, width[-1:])))
        )
        whole = jnp.zeros_like(y[:1])
        place = jnp.concatenate([0.5 * (y[1:] + y[:-1]), y, whole])
        scale = jnp.concatenate([0.5 * jnp.diff(y, axis=0), slope * width, whole + 1])
        size = jnp.exp(0.5 * heads["logvar"])
        return heads["mean"] + size * place, size * scale

    def cdf(self, heads: Heads, z: jax.Array) -> jax.Array:
        return ndtr(self._eps(heads, z[:, None])[0])

    def near(self, mean: jax.Array, logvar: jax.Array, log_mass: jax.Array) -> Heads:
        first = jnp.argmax(log_mass)
        flat = {name: jnp.zeros(size) for name, size in self.heads(1).items()}
        return flat | {"mean": mean[first, None], "logvar": logvar[first, None]}

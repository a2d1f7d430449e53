"""How good the encoder is: the exact ELBO and the gap to the exact evidence, taken apart.

    log p(x) = ELBO(x) + KL(q(z|x) || p(z|x))
    inference gap = log p - ELBO(q) = (log p - ELBO(q*)) + (ELBO(q*) - ELBO(q))
                                    = approximation gap   + amortisation gap

with q* the best Gaussian for that x (Cremer, Li & Duvenaud 2018,
https://arxiv.org/abs/1801.03558). Everything is quadrature in float64; nothing is sampled.

Encoders and decoders are plain callables on batches, so models of any origin can be judged.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from spiral_vae import numerics
from spiral_vae.exact import mixture
from spiral_vae.exact.mixture import Mixture, gauss_legendre
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observation, Observe
from spiral_vae.model.posterior import Gaussian, Posterior
from spiral_vae.model.posterior.base import STOP

Encode = Callable[[np.ndarray], dict[str, np.ndarray]]  # x [N, D] -> heads of q(z|x), [N, size]

_MAX_POINTS = 1 << 18  # z that are decoded at once
_MAX_PAIRS = 1 << 22  # of points and nodes that are taken at once
_CLIMB_NODES = 64  # of the quadrature with which the best Gaussian is looked for
_CLIMB_STEPS = 16
_CLIMBED = 1e-12  # nats that a step promises, below which it isn't taken


class Under(NamedTuple):
    """Quadrature under N posteriors with M nodes each."""

    z: np.ndarray  # [N, M, L]
    weight: np.ndarray  # [N, M], of sum 1
    log_q: np.ndarray  # log q(z|x) at the nodes in nats, [N, M]
    coarse: np.ndarray  # true on the nodes of the rule with half as many, [N, M]


@dataclasses.dataclass(frozen=True)
class Posteriors:
    """q(z|x) of N points, in float64."""

    family: Posterior
    heads: dict[str, np.ndarray]  # [N, size] each

    def __len__(self) -> int:
        return len(next(iter(self.heads.values())))

    def __getitem__(self, rows: Any) -> "Posteriors":
        return Posteriors(self.family, {name: head[rows] for name, head in self.heads.items()})

    @functools.cached_property
    def latent_dim(self) -> int:
        return self.family.latent_dim({name: head[0] for name, head in self.heads.items()})

    @functools.cached_property
    def _summary(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._mapped(_summary, size=256)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each latent, [N, L]."""
        return self._summary[0]

    @property
    def logvar(self) -> np.ndarray:
        """Log variance of each latent, [N, L]."""
        return self._summary[1]

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation of each latent, [N, L]."""
        return np.exp(0.5 * self.logvar)

    @property
    def kl(self) -> np.ndarray:
        """KL(q(z|x) || p(z)) in nats, [N]."""
        return self._summary[2]

    @property
    def entropy(self) -> np.ndarray:
        """-E_q log q(z|x) in nats, [N]."""
        under = self.under()
        return -np.sum(under.weight * under.log_q, axis=1)

    def under(self) -> Under:
        """Returns quadrature under each."""
        return Under(*self._mapped(_UNDER[self.latent_dim], size=256))

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Returns log q(z|x) in nats, [N, M], of all pairs of posteriors and z [M, L]."""

        def at(block: np.ndarray) -> np.ndarray:
            return self._mapped(functools.partial(_log_prob, block.T), size=256).T

        return shapes.mapped(at, z, size=1024).T

    def cdf(self, z: np.ndarray) -> np.ndarray:
        """Returns Q(z|x), [N], for one latent each, [N, 1]."""
        return self._mapped(_cdf, z, size=512)

    def _mapped(self, function: Callable, *batches: np.ndarray, size: int) -> Any:
        with numerics.double():
            family = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), self.family)
            heads = {name: np.asarray(head, np.float64) for name, head in self.heads.items()}
            return shapes.mapped(functools.partial(function, family), heads, *batches, size=size)


@jax.jit
def _log_prob(z: jax.Array, family: Posterior, heads: dict[str, jax.Array]) -> jax.Array:
    """Returns log q(z|x), [N, M], for z [L, M] and heads [N, size]."""
    return jax.vmap(lambda heads: family.log_prob(heads, z))(heads)


def _jitted(function: Callable) -> Callable:
    """Returns function(family, heads, ...) of one point for many, compiled."""

    def many(family: Posterior, *batches: jax.Array) -> Any:
        return jax.vmap(functools.partial(function, family))(*batches)

    return jax.jit(many)


def _under(num: int) -> Callable:
    def under(family: Posterior, heads: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        nodes = family.nodes(heads, num)
        weight, coarse = jnp.exp(nodes.log_weight), jnp.asarray(nodes.coarse)
        return nodes.z.T, weight, family.log_prob(heads, nodes.z), coarse

    return _jitted(under)


_UNDER = {1: _under(256), 2: _under(64)}  # by the number of latents
_summary = _jitted(lambda family, heads: (*family.moments(heads), family.kl(heads)))
_cdf = _jitted(lambda family, heads, z: family.cdf(heads, z))


@dataclasses.dataclass(frozen=True)
class Elbo:
    """The exact terms of the bound for N points, nats, [N] each."""

    reconstruction: np.ndarray  # -E_q log p(x|z)
    kl: np.ndarray  # KL(q(z|x) || p(z))
    residual: np.ndarray  # E_q ||x - m(z)||^2, each in units of the noise's scale at z
    error: np.ndarray  # of the reconstruction, by halving the nodes

    @property
    def elbo(self) -> np.ndarray:
        return -self.reconstruction - self.kl


def elbo(x: np.ndarray, q: Posteriors, observe: Observe) -> Elbo:
    """Returns the exact ELBO of N points.

    Args:
      x: [N, D].
      q: their q(z|x).
      observe: p(x|z) for a batch of z.
    """

    def block(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        under = q[rows].under()
        log_prob, square = log_likelihood(observe, x, under.z)
        weight, coarse = under.weight, under.coarse[0]
        some = weight[:, coarse]
        return (
            np.sum(log_prob * weight, axis=1) / np.sum(weight, axis=1),
            np.sum(log_prob[:, coarse] * some, axis=1) / np.sum(some, axis=1),
            np.sum(square * weight, axis=1) / np.sum(weight, axis=1),
        )

    nodes = {1: 257, 2: 65**2}[q.latent_dim]
    fine, coarse, residual = _in_blocks(block, nodes, x, np.arange(len(x)))
    return Elbo(reconstruction=-fine, kl=q.kl, residual=residual, error=np.abs(fine - coarse))


def aggregate(q: Posteriors) -> tuple[float, float]:
    """Returns I_q(x; z) and KL(q(z) || p(z)) in nats, for the N points and a one-dimensional z.

    q(z) is the mean of q(z|x) over the points. The two add up to the mean KL term of the ELBO
    (Hoffman & Johnson 2016, "ELBO surgery"); the entropy of q(z) and its cross entropy with p(z)
    are integrated on one set of nodes, the entropy of each q(z|x) on its own.
    """
    z, weight = gauss_legendre(_panels(q.mean[:, 0], q.scale[:, 0]))
    log_q = _log_mean(q, z)
    mass = weight * np.exp(log_q)
    information = -mass @ log_q - np.mean(q.entropy)
    return float(information), float(mass @ (log_q - log_prior(z[None])))


def _log_mean(q: Posteriors, z: np.ndarray) -> np.ndarray:
    """Returns log q(z), [K], the logarithm of the mean of all q(z|x), for one latent z [K]."""
    parts = []
    for block in np.array_split(z, -(-len(z) * len(q) // _MAX_PAIRS)):
        parts.append(logsumexp(q.log_prob(block[:, None]), axis=0) - np.log(len(q)))
    return np.concatenate(parts)


def _panels(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns panel edges for a mixture of Gaussians on the line, [P + 1].

    A panel is twice as long as the narrowest Gaussian that reaches it with 9 standard deviations.
    """
    low, high = mean - STOP * scale, mean + STOP * scale
    place = np.unique(np.concatenate([low, high]))
    narrowest = np.full(len(place) - 1, np.inf)  # between neighbouring places
    for block in np.array_split(np.arange(len(place) - 1), -(-len(place) * len(mean) // 2**24)):
        inside = (low <= place[block, None]) & (high >= place[block + 1, None])
        narrowest[block] = np.min(np.where(inside, scale, np.inf), axis=1)
    total = np.concatenate([[0.0], np.cumsum(np.diff(place) / (2 * narrowest))])
    return np.interp(np.linspace(0, total[-1], int(np.ceil(total[-1])) + 1), total, place)


@dataclasses.dataclass(frozen=True)
class BestGaussian:
    """q*, the Gaussian with the highest ELBO for each of N points; one latent dimension."""

    q: Posteriors
    elbo: np.ndarray  # [N], nats


def gaussians(mean: np.ndarray, logvar: np.ndarray) -> Posteriors:
    """Returns Gaussian posteriors, for mean and logvar [N, L]."""
    return Posteriors(Gaussian(), {"mean": mean, "logvar": logvar})


def best_gaussian(x: np.ndarray, q: Posteriors, observe: Observe, nodes: Mixture) -> BestGaussian:
    """Returns the best Gaussian posterior for each x, never worse than one like the q given.

    The ELBO of each x is climbed by Newton's method over (mean, logvar) from the given q's moments
    and from the highest modes of the exact posterior, each with the width of its Laplace
    approximation.

    Args:
      x: [N, D].
      q: of the encoder, of any family.
      observe: p(x|z) for a batch of z.
      nodes: the model's mixture, whose nodes show the modes.
    """
    given = np.concatenate([q.mean, q.logvar], axis=1)[:, None]
    starts = np.concatenate([given, _modes(x, nodes)], axis=1)  # [N, S, 2]
    num_starts = starts.shape[1]
    (found,) = _in_blocks(
        lambda x, q: (_climb(x, q, observe),),
        _CLIMB_NODES,
        np.repeat(x, num_starts, axis=0),
        starts.reshape(-1, 2),
    )
    candidates = np.concatenate([given, found.reshape(starts.shape)], axis=1)
    flat = gaussians(*np.split(candidates.reshape(-1, 2), 2, axis=1))
    values = elbo(np.repeat(x, num_starts + 1, axis=0), flat, observe).elbo.reshape(len(x), -1)
    best = np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=1)
    row = np.arange(len(x))
    chosen = candidates[row, best]
    return BestGaussian(gaussians(chosen[:, :1], chosen[:, 1:]), values[row, best])


def _modes(x: np.ndarray, nodes: Mixture, num: int = 2) -> np.ndarray:
    """Returns (z, log variance) of the highest modes of p(z|x), [N, num, 2].

    The variance is Laplace's with second derivatives left out: 1 / (1 + ||m'||^2), m' in units of
    the noise's scale.
    """
    stride = max(1, len(nodes.z) // 8192)
    some = jax.tree.map(lambda leaf: leaf[::stride], nodes)
    z = some.z[:, 0]
    log_joint = mixture.log_joint(x, some)
    inner = log_joint[:, 1:-1]
    peak = (inner >= log_joint[:, :-2]) & (inner > log_joint[:, 2:])
    order = np.argsort(np.where(peak, -inner, np.inf), axis=1)[:, :num] + 1
    slope = np.linalg.solve(some.observation.scale, np.gradient(some.mean, z, axis=0)[..., None])
    logvar = -np.log1p(np.sum(slope**2, axis=(1, 2)))[order]
    return np.stack([z[order], logvar], axis=-1)


def _climb(x: np.ndarray, q: np.ndarray, observe: Observe) -> np.ndarray:
    """Returns the (mean, logvar), [N, 2], that Newton's method reaches from q for x [N, D].

    With h_k = E_q[log p(x|z) He_k(eps)], z = mean + s eps, the derivatives of E_q log p(x|z) are
    h_k / s^k by the mean and, as d/dlogvar = s^2/2 d^2/dmean^2 under a Gaussian, sums of h_k by
    logvar (Stein's identity). So values of the decoder are enough. Steps are uphill along every
    axis of the Hessian and no longer than a radius: in units of s for the mean, nats for logvar.
    """
    eps, weight = np.polynomial.hermite_e.hermegauss(_CLIMB_NODES)
    hermite = (weight / weight.sum())[:, None] * np.polynomial.hermite_e.hermevander(eps, 4)

    def moments(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ELBO, [N], and h_1 .. h_4, [4, N]."""
        mean, logvar = q.T
        z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * eps
        found, _ = log_likelihood(observe, x, z[..., None])
        expected, *h = (found @ hermite).T
        return expected - 0.5 * (mean**2 + np.expm1(logvar) - logvar), np.array(h)

    value, (h1, h2, h3, h4) = moments(q)
    radius = np.ones(len(q))
    for _ in range(_CLIMB_STEPS):
        mean, logvar = q.T
        scale = np.exp(0.5 * logvar)
        gradient = np.stack([h1 - scale * mean, 0.5 * (h2 - scale**2 + 1)], axis=-1)
        mixed, second = 0.5 * h3, 0.25 * h4 + 0.5 * (h2 - scale**2)
        hessian = np.stack([h2 - scale**2, mixed, mixed, second], axis=-1).reshape(-1, 2, 2)
        curvature, axes = np.linalg.eigh(hessian)
        along = np.einsum("nij,ni->nj", axes, gradient) / np.maximum(np.abs(curvature), 1e-6)
        step = np.einsum("nij,nj->ni", axes, along)
        step *= np.minimum(1, radius / np.maximum(np.linalg.norm(step, axis=1), 1e-300))[:, None]
        if np.max(np.sum(gradient * step, axis=1)) < _CLIMBED:
            break
        trial = q + step * np.stack([scale, np.ones_like(scale)], axis=-1)
        tried, h = moments(trial)
        better = tried > value
        q = np.where(better[:, None], trial, q)
        value = np.where(better, tried, value)
        h1, h2, h3, h4 = np.where(better, h, (h1, h2, h3, h4))
        radius = np.where(better, np.minimum(2 * radius, 4.0), 0.25 * radius)
    return q


def log_likelihood(observe: Observe, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns log p(x|z) and ||x - m(z)||^2 in units of the scale, for x [N, D], z [N, M, L]."""

    def block(x: np.ndarray, z: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return _likelihoods(x, observe(z))

    flat = z.reshape(-1, z.shape[-1])
    with numerics.double():
        both = shapes.mapped(block, np.repeat(x, z.shape[1], axis=0), flat)
    return tuple(values.reshape(z.shape[:2]) for values in both)


@jax.jit
def _likelihoods(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
    def one(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
        y = observation_lib.whiten(x - observation.mean, observation.scale)
        return observation.log_prob(x), jnp.sum(y**2)

    return jax.vmap(one)(x, observation)


def _in_blocks(function: Callable, nodes: int, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns function's [N]-shaped results, computed for so many points that memory is bounded."""
    size = max(1, _MAX_POINTS // nodes)
    num = len(arrays[0])
    blocks = [function(*(a[i : i + size] for a in arrays)) for i in range(0, num, size)]
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))

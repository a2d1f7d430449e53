"""How good the encoder is: the exact ELBO and the gap to the exact evidence, taken apart.

    log p(x) = ELBO(x) + KL(q(z|x) || p(z|x))
    inference gap = log p - ELBO(q) = (log p - ELBO(q*)) + (ELBO(q*) - ELBO(q))
                                    = approximation gap   + amortisation gap

with q* the best Gaussian for that x, or the best member of q's family: see `best` (Cremer, Li &
Duvenaud 2018, https://arxiv.org/abs/1801.03558). Everything is quadrature in float64; nothing is
sampled.

Encoders and decoders are plain callables on batches, so models of any origin can be judged.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from spiral_vae import numerics
from spiral_vae.exact.ground_truth import Density
from spiral_vae.exact.mixture import Mixture, at_nodes, edges, gauss_legendre
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observation, Observe
from spiral_vae.model.posterior import Gaussian, Posterior
from spiral_vae.model.posterior.base import STOP

Encode = Callable[[np.ndarray], dict[str, np.ndarray]]  # x [N, D] -> heads of q(z|x), [N, size]

_MAX_POINTS = 1 << 18  # z that are decoded at once
_MAX_PAIRS = 1 << 22  # of points and nodes that are taken at once
_FINE = 4  # times as many nodes, for the entropy of what isn't smooth or of one scale
_SETTLED = 1e-9  # relative error with which quadrature under q is not refined
# Shares of the nodes under q, the lesser for the error; more, the wider q is for the decoder. Each
# of 27 and 40 sees what the other misses, as what goes round once between two nodes of both does so
# 1080 times on the whole; of 44 and 64, 704 times. Two latents begin with the latter.
_RUNGS = ((27 / 256, 40 / 256), (11 / 64, 1 / 4), (1 / 2, 1))
_NUM_NODES = {1: 256, 2: 64}  # of quadrature under q, each latent, by the number of latents


class Under(NamedTuple):
    """Quadrature under N posteriors with M nodes each."""

    z: np.ndarray  # [N, M, L]
    weight: np.ndarray  # [N, M], of sum 1
    log_q: np.ndarray  # log q(z|x) at the nodes in nats, [N, M]


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
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mapped(_moments, size=256)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each latent, [N, L]."""
        return self._moments[0]

    @property
    def logvar(self) -> np.ndarray:
        """Log variance of each latent, [N, L]."""
        return self._moments[1]

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation of each latent, [N, L]."""
        return np.exp(0.5 * self.logvar)

    @property
    def kl(self) -> np.ndarray:
        """KL(q(z|x) || p(z)) in nats, [N]."""
        if not self.family.kl_of_draws:
            return self.mapped(_kl, size=256)
        under = self.under(self._fine)
        return np.sum(under.weight * (under.log_q - log_prior(under.z, axis=-1)), axis=1)

    @property
    def entropy(self) -> np.ndarray:
        """-E_q log q(z|x) in nats, [N]."""
        under = self.under(self._fine)
        return -np.sum(under.weight * under.log_q, axis=1)

    @property
    def _fine(self) -> int:
        """How many times as many nodes it takes for the entropy."""
        return _FINE if self.family.kl_of_draws and self.latent_dim == 1 else 1

    def under(self, refine: float = 1.0) -> Under:
        """Returns quadrature under each.

        Args:
          refine: factor on the number of nodes; 0.5 gives the rule that errors are judged by.
        """
        num = round(refine * _NUM_NODES[self.latent_dim])
        return Under(*self.mapped(_under(num), size=256))

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Returns log q(z|x) in nats, [N, M], of all pairs of posteriors and z [M, L]."""

        def at(block: np.ndarray) -> np.ndarray:
            return self.mapped(functools.partial(_log_prob, block.T), size=256).T

        return shapes.mapped(at, z, size=1024).T

    def cdf(self, z: np.ndarray) -> np.ndarray:
        """Returns Q(z|x), [N], for one latent each, [N, 1]."""
        return self.mapped(_cdf, z, size=512)

    def mapped(self, function: Callable, *batches: np.ndarray, size: int) -> Any:
        """Returns function(family, heads, *batches) in float64, `size` posteriors at a time."""
        with numerics.double():
            family = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), self.family)
            heads = {name: np.asarray(head, np.float64) for name, head in self.heads.items()}
            return shapes.mapped(functools.partial(function, family), heads, *batches, size=size)


@jax.jit
def _log_prob(z: jax.Array, family: Posterior, heads: dict[str, jax.Array]) -> jax.Array:
    """Returns log q(z|x), [N, M], for z [L, M] and heads [N, size]."""
    return jax.vmap(lambda heads: family.log_prob(heads, z))(heads)


def jitted(function: Callable) -> Callable:
    """Returns function(family, heads, ...) of one point for many, compiled."""

    def many(family: Posterior, *batches: jax.Array) -> Any:
        return jax.vmap(functools.partial(function, family))(*batches)

    return jax.jit(many)


@functools.cache
def _under(num: int) -> Callable:
    def under(family: Posterior, heads: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        nodes = family.nodes(heads, num)
        return nodes.z.T, jnp.exp(nodes.log_weight), family.log_prob(heads, nodes.z)

    return jitted(under)


_moments = jitted(lambda family, heads: family.moments(heads))
_kl = jitted(lambda family, heads: family.kl(heads))
_pieces = jitted(lambda family, heads: family.pieces(heads))
_log_prob_of_own = jitted(lambda family, heads, z: family.log_prob(heads, z))
_cdf = jitted(lambda family, heads, z: family.cdf(heads, z))


@dataclasses.dataclass(frozen=True)
class PerPoint:
    """What is known of N points, in fields that can be indexed by them."""

    def __getitem__(self, rows: Any) -> Self:
        """Returns what is known of some of them."""
        fields = dataclasses.fields(self)
        return type(self)(*(getattr(self, field.name)[rows] for field in fields))


@dataclasses.dataclass(frozen=True)
class Elbo(PerPoint):
    """The exact terms of the bound for N points, nats, [N] each."""

    reconstruction: np.ndarray  # -E_q log p(x|z)
    kl: np.ndarray  # KL(q(z|x) || p(z))
    residual: np.ndarray  # E_q ||x - m(z)||^2, each in units of the noise's scale at z
    error: np.ndarray  # of the reconstruction, by fewer nodes

    @property
    def elbo(self) -> np.ndarray:
        return -self.reconstruction - self.kl


def elbo(x: np.ndarray, q: Posteriors, observe: Observe, density: Density | None = None) -> Elbo:
    """Returns the exact ELBO of N points.

    E_q log p(x|z) is a sum over nodes that q has of its own. Where they don't resolve the decoder,
    as it winds within a wide q, it is one over the nodes of p(x), which do; and where these don't
    resolve q, as it has narrow parts and wide ones, over panels that resolve both.

    Args:
      x: [N, D].
      q: their q(z|x).
      observe: p(x|z) for a batch of z.
      density: the model's; without it, or with two latents, q's own nodes are all there are.
    """
    first, *others = _RUNGS[q.latent_dim - 1 :]
    own = _on_own_nodes(x, q, observe, *first)
    for shares in others:
        rows = _unsettled(own)
        if len(rows):  # errors of few nodes and of many don't compare: those of more are meant
            many = _on_own_nodes(x[rows], q[rows], observe, *shares)
            for values, those in zip(own, many, strict=True):
                values[rows] = those
    if density is not None and q.latent_dim == 1:
        for rule in (_on_nodes_of, _on_panels):
            rows = _unsettled(own)
            if len(rows):
                own = _better(own, rule(x[rows], q[rows], observe, density), rows)
    return Elbo(reconstruction=-own.mean, kl=q.kl, residual=own.residual, error=own.error)


class _UnderQ(NamedTuple):
    """Means under q of N points, [N] each."""

    mean: np.ndarray  # of log p(x|z)
    residual: np.ndarray
    error: np.ndarray  # of the first, by fewer nodes


def _unsettled(found: _UnderQ) -> np.ndarray:
    """Returns the rows whose mean isn't known well enough."""
    return np.flatnonzero(found.error > _SETTLED * np.maximum(1, np.abs(found.mean)))


def _better(found: _UnderQ, other: _UnderQ, rows: np.ndarray) -> _UnderQ:
    """Returns what was found, and at some rows the other where its error is smaller."""
    better = other.error < found.error[rows]
    new = _UnderQ(*(values.copy() for values in found))
    for values, those in zip(new, other, strict=True):
        values[rows[better]] = those[better]
    return new


def _on_own_nodes(
    x: np.ndarray, q: Posteriors, observe: Observe, less: float, share: float
) -> _UnderQ:
    """Returns the means by a share of q's nodes, and by a lesser one the error."""

    def means(refine: float) -> tuple[np.ndarray, ...]:
        def block(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            under = q[rows].under(refine)
            return _means(log_likelihood(observe, x[rows], under.z), under.weight)

        return in_blocks(block, q[:1].under(refine).z.shape[1], np.arange(len(x)))

    (coarse, _), (fine, residual) = means(less), means(share)
    return _UnderQ(fine, residual, np.abs(fine - coarse))


def _on_nodes_of(x: np.ndarray, q: Posteriors, observe: Observe, density: Density) -> _UnderQ:
    """Returns the means by the nodes of p(x), at which the decoder is known already."""
    del observe

    def means(nodes: Mixture) -> tuple[np.ndarray, ...]:
        def block(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            weight = np.exp(q[rows].log_prob(nodes.z) + nodes.log_weight)
            means = _means(at_nodes(_pairs, x[rows], nodes), weight)
            return *means, np.abs(np.sum(weight, axis=1) - 1)

        return in_blocks(block, len(nodes.z), np.arange(len(x)))

    (coarse, _, _), (fine, residual, lost) = means(density.coarse), means(density.fine)
    # A q between two nodes is missed by both rules.
    return _UnderQ(fine, residual, np.abs(fine - coarse) + lost * np.abs(fine))


def _on_panels(x: np.ndarray, q: Posteriors, observe: Observe, density: Density) -> _UnderQ:
    """Returns the means by panels that resolve q and the decoder."""

    def means(nodes: Mixture, sides: int) -> tuple[np.ndarray, ...]:
        def block(rows: np.ndarray) -> tuple[np.ndarray, ...]:
            z, weight = on_panels(q[rows], nodes, sides)
            return _means(log_likelihood(observe, x[rows], z[..., None]), weight)

        num = on_panels(q[:1], nodes, sides)[0].shape[1]
        return in_blocks(block, num, np.arange(len(x)))

    (coarse, _), (fine, residual) = means(density.coarse, 19), means(density.fine, 37)
    return _UnderQ(fine, residual, np.abs(fine - coarse))


def on_panels(q: Posteriors, nodes: Mixture, sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns z and weights under q, [N, M], by panels between the nodes' edges and its own.

    Args:
      q: N posteriors of one latent.
      nodes: of a model, whose decoder is smooth between their edges.
      sides: how many edges each part of q has.
    """
    places, scales = q.mapped(_pieces, size=256)
    own = places[..., None] + scales[..., None] * np.linspace(-STOP, STOP, sides)
    own = own.reshape(len(q), -1)
    low, high = own.min(axis=1, keepdims=True), own.max(axis=1, keepdims=True)
    shared = np.clip(edges(nodes), low, high)  # panels of no width have no weight
    z, weight = gauss_legendre(np.sort(np.concatenate([own, shared], axis=1), axis=1))
    return z, weight * np.exp(q.mapped(_log_prob_of_own, z[:, None], size=256))


def _means(values: tuple[np.ndarray, ...], weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the sums of values [N, M] with weights [N, M], [N] each."""
    return tuple(np.sum(one * weight, axis=1) for one in values)


def aggregate(q: Posteriors) -> tuple[float, float]:
    """Returns I_q(x; z) and KL(q(z) || p(z)) in nats, for the N points and a one-dimensional z.

    q(z) is the mean of q(z|x) over the points. The two add up to the mean KL term of the ELBO
    (Hoffman & Johnson 2016, "ELBO surgery"); the entropy of q(z) and its cross entropy with p(z)
    are integrated on one set of nodes, the entropy of each q(z|x) on its own.
    """
    places, scales = q.mapped(_pieces, size=256)
    z, weight = gauss_legendre(_panels(places.ravel(), scales.ravel()))
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


def gaussians(mean: np.ndarray, logvar: np.ndarray) -> Posteriors:
    """Returns Gaussian posteriors, for mean and logvar [N, L]."""
    return Posteriors(Gaussian(), {"mean": mean, "logvar": logvar})


def log_likelihood(observe: Observe, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns log p(x|z) and ||x - m(z)||^2 in units of the scale, for x [N, D], z [N, M, L]."""

    def block(x: np.ndarray, z: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return _likelihoods(x, observe(z))

    flat = z.reshape(-1, z.shape[-1])
    with numerics.double():
        both = shapes.mapped(block, np.repeat(x, z.shape[1], axis=0), flat)
    return tuple(values.reshape(z.shape[:2]) for values in both)


@jax.jit
def _pairs(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
    """Returns the same of all pairs, [N, K] each, for x [N, D] and K observations."""

    def of_one(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _likelihoods(jnp.broadcast_to(x, observation.mean.shape), observation)

    return jax.vmap(of_one)(x)


@jax.jit
def _likelihoods(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
    def one(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
        y = observation_lib.whiten(x - observation.mean, observation.scale)
        return observation.log_prob(x), jnp.sum(y**2)

    return jax.vmap(one)(x, observation)


def in_blocks(function: Callable, nodes: int, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns function's [N]-shaped results, computed for so many points that memory is bounded."""
    size = max(1, _MAX_POINTS // nodes)
    num = len(arrays[0])
    blocks = [function(*(a[i : i + size] for a in arrays)) for i in range(0, num, size)]
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))

"""Densities of the form p(x) = integral p(z) p(x|z) dz, exact by quadrature.

Both the true process (z is t, the mean of p(x|t) the spiral) and any decoder (p(z) is the prior)
are of this form. On quadrature nodes it becomes a finite mixture of `Observation`s, and every exact
answer of this project is a sum over such a mixture. All of it is float64 and in the log domain.

With one latent the nodes are Gauss-Legendre panels whose edges are even in the arc length of m
measured in sigma, so that narrow likelihoods and flat tails each get what they need: sigma = 1e-4
costs more nodes, not another method. With two latents they are a tensor grid.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from spiral_vae import numerics
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.arrays import Array
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.noise import Noise
from spiral_vae.maths.observation import Observation, Observe

PANEL_NODES = 16
_MAX_PANELS = 2**20
_PANEL_LENGTH = 4.0  # a panel's arc length in sigma; 16 nodes integrate it to rounding
_STEEP = 16  # times as long as its neighbours, a step of the mean that may be a jump
_ROUNDING = 1e-6  # standard deviations, below which a step is rounding
_BISECTIONS = 48  # after which its place is known to rounding
_BLOCK = 64  # nodes that are bounded together, as most of them can't matter
_MANY = 256  # blocks, of which each x gets its own
_TOGETHER = 4  # fewer blocks: how many more make another program
_POINTS = 512  # x whose densities are computed at once
_FEW = 32  # and where the result is one number a node, not one a point
SECOND_MODE = 0.05  # mass of the second mode that makes a posterior count as bimodal
NEGLIGIBLE = 50.0  # nats below the largest node, before a block is left out


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """Quadrature nodes of p(z) p(x|z) over z; numpy arrays, float64."""

    z: np.ndarray  # nodes, [K, L]
    log_weight: np.ndarray  # log of the quadrature weight, [K]
    log_prior: np.ndarray  # log p(z), [K]
    observation: Observation  # p(x|z), leaves [K, ...]

    @property
    def mean(self) -> np.ndarray:
        """The means of p(x|z), [K, D]."""
        return self.observation.mean

    @property
    def mass(self) -> np.ndarray:
        """The share of each node in p(x), [K], of sum 1 up to the error of the rule."""
        return np.exp(self.log_weight + self.log_prior)

    @property
    def noise_sigmas(self) -> np.ndarray:
        """The root mean square of the noise in each dimension, [D]."""
        return observation_lib.mean_sigmas(self.observation, self.mass)


@functools.cache
def _panel() -> tuple[np.ndarray, np.ndarray]:
    """Returns the nodes and weights of a panel from -1 to 1; its eigenvalues take a millisecond."""
    return np.polynomial.legendre.leggauss(PANEL_NODES)


def gauss_legendre(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes and weights, [..., PANEL_NODES * P], of Gauss-Legendre on P panels.

    Args:
      edges: rising panel edges, [..., P + 1].
    """
    node, weight = _panel()
    half = 0.5 * np.diff(edges)[..., None]
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])[..., None]
    shape = (*edges.shape[:-1], -1)
    return (middle + half * node).reshape(shape), (half * weight).reshape(shape)


def edges(mixture: Mixture) -> np.ndarray:
    """Returns the edges of a mixture's panels, rising, [P + 1], for one latent."""
    node, _ = _panel()
    first, last = mixture.z.reshape(-1, PANEL_NODES)[:, [0, -1]].T
    outside = 0.5 * (last - first) * (1 / node[-1] - 1)
    return np.append(first - outside, last[-1] + outside[-1])


def along_curve(
    observe: Observe,
    log_density: Callable[[np.ndarray], np.ndarray],
    interval: tuple[float, float],
    *,
    refine: float = 1.0,
    max_width: float = 1.0,
    reach: float = 1.0,
) -> tuple[Mixture, Mixture]:
    """Returns the mixture of a one-dimensional z on Gauss-Legendre panels, and on half as many.

    The latter is the coarse rule that errors are judged by. Where the mean jumps, as between the
    pieces of a curve, two panels meet.

    Args:
      observe: p(x|z), called on [N, 1].
      log_density: log p(z), elementwise on [N].
      interval: ends of z.
      refine: factor on the number of panels.
      max_width: widest panel in z, where p(z) sets the scale and not the mean.
      reach: how far from the curve x may lie, same unit as x. Seen from a distance d, a bend of
        angle dtheta over a length ds narrows the integrand as sqrt(1 + d dtheta/ds) does, and a
        relative change of the noise's scale as d times that.

    Raises:
      ValueError: the curve needs more panels than memory holds, or isn't finite.
    """
    # Evenly spaced in asinh(z / 4): dense where a decoder bends, sparse in far tails.
    start, stop = np.arcsinh(np.divide(interval, 4))
    z = 4 * np.sinh(np.linspace(start, stop, 2**14 + 1))
    found = observe(z[:, None])
    sigma, _ = observation_lib.extremes(found)
    step = np.diff(found.mean, axis=0)
    length = np.linalg.norm(step, axis=1)
    bend = np.zeros_like(length)
    slope = step / np.diff(z)[:, None]
    bend[1:] = np.linalg.norm(np.diff(slope, axis=0), axis=1) * np.diff(z)[1:]  # |m''| dz^2
    change = np.diff(found.scale, axis=0)
    changing = np.any(change != 0, axis=(1, 2))
    change[changing] = np.linalg.solve(found.scale[:-1][changing], change[changing])
    widening = reach * np.linalg.norm(change, axis=(1, 2))
    measure = np.sqrt(length**2 + reach * bend + widening**2)
    measure = measure / (_PANEL_LENGTH * np.minimum(sigma[1:], sigma[:-1]))
    measure = refine * (measure + np.diff(z) / max_width)
    total = np.concatenate([[0.0], np.cumsum(measure)])
    if not total[-1] <= _MAX_PANELS:
        raise ValueError(
            f"the curve of the means is {total[-1] * _PANEL_LENGTH:.2g} standard deviations long, "
            f"exact integration takes at most {_MAX_PANELS * _PANEL_LENGTH:.2g}"
        )
    jumps = _jumps(z, length / sigma[1:], observe)

    def on(total: np.ndarray) -> Mixture:
        """Returns the mixture on panels each of which is 1 long, as `total` [N] measures z."""
        even = np.linspace(0.0, total[-1], int(np.ceil(total[-1])) + 1)
        node, weight = gauss_legendre(np.union1d(np.interp(even, total, z), jumps))
        return Mixture(
            z=node[:, None],
            log_weight=np.log(weight),
            log_prior=log_density(node),
            observation=observe(node[:, None]),
        )

    return on(total), on(0.5 * total)


def _jumps(z: np.ndarray, length: np.ndarray, observe: Observe) -> np.ndarray:
    """Returns the places where the mean jumps, as between the pieces of a curve, by bisection.

    Args:
      z: rising, [N].
      length: of the mean's steps between them, in standard deviations, [N - 1].
      observe: p(x|z), called on [N, 1].
    """
    around = np.maximum(np.append(length[1:], 0), np.insert(length[:-1], 0, 0))
    (steep,) = np.nonzero(length > _STEEP * np.maximum(around, _ROUNDING))
    low, high = z[steep], z[steep + 1]
    if not len(steep):
        return low

    def step(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        return np.linalg.norm(observe(stop[:, None]).mean - observe(start[:, None]).mean, axis=1)

    whole = step(low, high)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        before = step(low, middle) > step(middle, high)
        low, high = np.where(before, low, middle), np.where(before, middle, high)
    return high[step(low, high) > 0.5 * whole]


def on_grid(observe: Observe, latent_dim: int, *, num: int, stop: float) -> Mixture:
    """Returns the mixture of a standard normal z on a tensor grid of num^latent_dim nodes.

    The trapezoid rule is used, which converges exponentially on integrands that vanish at the
    ends: to rounding once its step is 1/1.4 of the integrand's width.
    """
    axis = np.linspace(-stop, stop, num)
    z = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij"), axis=-1).reshape(-1, latent_dim)
    return Mixture(
        z=z,
        log_weight=np.full(len(z), latent_dim * np.log(axis[1] - axis[0])),
        log_prior=log_prior(z, axis=1),
        observation=observe(z),
    )


def log_density(x: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns log p(x) in nats, [N], for x [N, D].

    Blocks of nodes that lie more than 50 nats below the largest are left out, for all points or,
    where the mixture has many nodes, for each; the bound is rigorous, so this costs no accuracy.
    """
    x = np.asarray(x, np.float64)
    with numerics.double():
        blocks = Blocks.of(mixture)
        keep = num_blocks = len(blocks.radius)
        if num_blocks > _MANY:
            near = shapes.mapped(lambda x: _count_near(x, blocks), x)
            keep = min(num_blocks, shapes.bucket(int(np.max(near))))
        else:
            near = np.any(shapes.mapped(lambda x: _near(x, blocks), x), axis=0)
            index = np.append(np.flatnonzero(near), num_blocks - 1)  # the last has no weight
            index = shapes.pad(index, _TOGETHER * -(-len(index) // _TOGETHER))
            blocks = jax.tree.map(lambda leaf: leaf[index], blocks)
            keep = len(index)
        blocks = jax.device_put(blocks)
        return shapes.mapped(lambda x: _log_density(x, blocks, keep), x, size=_POINTS)


def log_posterior(x: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns log p(z|x) at the nodes, [N, K], as a density over z in nats, for x [N, D]."""
    return log_joint(x, mixture) - log_density(x, mixture)[:, None]


def log_joint(x: np.ndarray, mixture: Mixture) -> np.ndarray:
    """Returns log p(x, z) at the nodes, [N, K], for x [N, D]."""
    return mixture.log_prior + at_nodes(_log_likelihoods, x, mixture)


def at_nodes(function: Callable, x: np.ndarray, mixture: Mixture) -> Any:
    """Returns function(x, observation), arrays [N, K], for x [N, D] and a mixture's nodes."""
    num = len(mixture.z)
    size = shapes.bucket(num)
    with numerics.double():
        nodes = jax.tree.map(lambda leaf: shapes.pad(leaf, size), mixture.observation)
        nodes = jax.device_put(nodes)
        found = shapes.mapped(lambda x: function(x, nodes), x, size=_FEW)
    return jax.tree.map(lambda values: values[:, :num], found)


@jax.jit
def _log_likelihoods(x: jax.Array, observation: Observation) -> jax.Array:
    """Returns log p(x|z) of all pairs, [N, K], for x [N, D]."""
    return jax.vmap(jax.vmap(Observation.log_prob, in_axes=(0, None)), in_axes=(None, 0))(
        observation, x
    )


def second_mode(density: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the mass of the second largest mode of densities over one z, [...]; 0 with one mode.

    Modes end where the density has its minima.

    Args:
      density: at rising nodes, [..., K].
      weight: of the nodes, [K].
    """

    def of_one(density: np.ndarray) -> float:
        inner = density[1:-1]
        minima = np.flatnonzero((inner < density[:-2]) & (inner <= density[2:])) + 1
        masses = np.add.reduceat(density * weight, [0, *minima])
        return float(np.sort(masses)[-2]) if len(masses) > 1 else 0.0

    return np.apply_along_axis(of_one, -1, density)


def covariance(mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [D] and the covariance [D, D] of x."""
    weight = mixture.mass / mixture.mass.sum()
    mean = weight @ mixture.mean
    centred = mixture.mean - mean
    noise = np.tensordot(weight, observation_lib.covariance(mixture.observation), axes=1)
    return mean, (weight[:, None] * centred).T @ centred + noise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blocks:
    """The nodes in blocks of neighbours, padded with nodes of no weight; [P, _BLOCK, ...]."""

    log_weight: Array  # of quadrature, prior and the noise's determinant together, [P, B]
    mean: Array  # [P, B, D]
    whitener: Array  # inverse of the noise's scale, [P, B, D, D]
    noise: Noise  # leaves [P, B, D]
    centre: Array  # [P, D]
    radius: Array  # of the means around the centre, [P]
    top: Array  # largest log density that a node of the block can give, [P]
    precision: Array  # smallest in any direction, 1 / scale^2, [P]; 0 for tails unlike a Gaussian's

    @classmethod
    def of(cls, mixture: Mixture) -> "Blocks":
        """Returns those of a mixture; the last one has no weight at all."""
        num, dim = mixture.mean.shape
        found = mixture.observation
        size = _BLOCK * shapes.bucket(-(-num // _BLOCK) + 1)

        def split(leaf: np.ndarray) -> np.ndarray:
            return shapes.pad(leaf, size).reshape(-1, _BLOCK, *leaf.shape[1:])

        diagonal = np.diagonal(found.scale, axis1=1, axis2=2)
        log_weight = mixture.log_weight + mixture.log_prior - np.sum(np.log(diagonal), axis=1)
        log_weight = np.pad(log_weight, (0, size - num), constant_values=-np.inf).reshape(
            -1, _BLOCK
        )
        largest_weight = log_weight.max(axis=1)
        mean = split(mixture.mean)
        centre = 0.5 * (mean.max(axis=1) + mean.min(axis=1))
        _, largest = observation_lib.extremes(found)
        noise = found.noise  # if it isn't Gaussian its tails may be too heavy to leave anything out
        precision = split(largest**-2.0).min(axis=1) if noise.gaussian else np.zeros(len(mean))
        return cls(
            log_weight=log_weight,
            mean=mean,
            whitener=split(np.linalg.inv(found.scale)),
            noise=jax.tree.map(split, noise),
            centre=centre,
            radius=np.linalg.norm(mean - centre[:, None], axis=-1).max(axis=1),
            top=_plus(largest_weight, dim * noise.top),
            precision=precision,
        )

    @property
    def nodes(self) -> tuple[Array, Array, Array, Noise]:
        """What a term of the sum is made of: weight, mean, whitener and noise; [P, B, ...]."""
        return self.log_weight, self.mean, self.whitener, self.noise

    def kept(self, near: jax.Array, keep: int) -> "Blocks":
        """Returns those that are near [P], and so many of no weight that there are `keep`."""
        (index,) = jnp.nonzero(near, size=keep, fill_value=len(self.radius) - 1)
        return jax.tree.map(lambda leaf: leaf[index], self)

    def upper(self, x: jax.Array, around: jax.Array | float = 0.0) -> jax.Array:
        """Returns upper bounds of the blocks' largest term, [P], as near as `around` to x [D]."""
        distance = jnp.linalg.norm(x - self.centre, axis=-1) - self.radius - around
        return self.top - 0.5 * self.precision * jnp.maximum(distance, 0.0) ** 2


def _plus(log_weight: np.ndarray, top: float) -> np.ndarray:
    """Returns the sum, which stays -inf where there is no weight."""
    return np.add(
        log_weight, top, where=np.isfinite(log_weight), out=np.full_like(log_weight, -np.inf)
    )


def _log_terms(
    x: jax.Array, log_weight: jax.Array, mean: jax.Array, whitener: jax.Array, noise: Noise
) -> jax.Array:
    """Returns the logarithms of the mixture's terms at one x, [...] as log_weight."""
    total = log_weight
    for i in range(mean.shape[-1]):  # unrolled, which is five times as fast as a contraction
        y = sum(whitener[..., i, j] * (x[j] - mean[..., j]) for j in range(i + 1))
        total += noise.dimension(i).log_prob(y)
    return total


def _near_one(x: jax.Array, blocks: Blocks) -> jax.Array:
    """Returns which blocks may matter to one x, [P]."""
    first = jax.tree.map(lambda leaf: leaf[:, 0], blocks.nodes)
    return blocks.upper(x) > jnp.max(_log_terms(x, *first)) - NEGLIGIBLE


@jax.jit
def _near(x: jax.Array, blocks: Blocks) -> jax.Array:
    """Returns the same for many x, [N, P]."""
    return jax.vmap(_near_one, in_axes=(0, None))(x, blocks)


@jax.jit
def _count_near(x: jax.Array, blocks: Blocks) -> jax.Array:
    """Returns for each x how many blocks may matter."""
    return jax.lax.map(
        lambda x: jnp.sum(_near_one(x, blocks)), x, batch_size=_batch(len(blocks.radius))
    )


def _log_density_at(x: jax.Array, blocks: Blocks, keep: int) -> jax.Array:
    if keep < len(blocks.radius):
        blocks = blocks.kept(_near_one(x, blocks), keep)
    return logsumexp(_log_terms(x, *blocks.nodes))


@jax.jit(static_argnames="keep")
def _log_density(x: jax.Array, blocks: Blocks, keep: int) -> jax.Array:
    batch = _batch(max(keep * _BLOCK, len(blocks.radius)))
    return jax.lax.map(lambda x: _log_density_at(x, blocks, keep), x, batch_size=batch)


def _batch(elements: int) -> int:
    """Returns how many points to take at once so that a temporary array stays near 16 MiB."""
    return max(1, 2**21 // elements)

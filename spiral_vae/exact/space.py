"""A grid over the space of x, and the densities of mixtures at its nodes.

Where the noise of a mixture is independent in every dimension, so that p(x|z) is a product of
functions of one coordinate each, its density on a tile of the grid is a product of matrices:
exponentials are taken along the sides of the tile alone.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae import numerics
from spiral_vae.exact import mixture
from spiral_vae.exact.mixture import NEGLIGIBLE, Blocks, Mixture
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.noise import Noise

_RADIUS = 9.0  # of the space around the curve, in sigma: mass e^(-40) lies outside
_MAX_CELLS = 2**28  # of the space
_STEP = 0.35  # of the space's grid, in sigma
_TILE = 4096  # nodes of a tile at most
_TOGETHER = 4  # tiles
_SMALLEST = 1e-280  # sum of products, below which some of them may have become 0


class Estimate(NamedTuple):
    """A result and the error that halving the nodes shows, or of draws its standard error."""

    value: float
    error: float


@dataclasses.dataclass(frozen=True)
class Space:
    """Nodes over the space of x; the sum of f(x) * cell is the integral of f."""

    index: np.ndarray  # of the nodes, in steps along each dimension, [N, D]
    step: float

    @functools.cached_property
    def x(self) -> np.ndarray:
        """The nodes, [N, D]."""
        return self.index * self.step

    @property
    def cell(self) -> float:
        """The volume that a node stands for."""
        return self.step ** self.index.shape[1]

    @functools.cached_property
    def coarse(self) -> np.ndarray:
        """True on every second line all ways, [N]: the coarse rule, 2^D * cell."""
        return np.all(self.index % 2 == 0, axis=1)

    def integral(self, values: np.ndarray) -> Estimate:
        """Returns the integral over the space of `values`, [N] at its nodes."""
        fine = float(np.sum(values) * self.cell)
        return Estimate(fine, abs(fine - self.coarse_integral(values[self.coarse])))

    def coarse_integral(self, values: np.ndarray) -> float:
        """Returns the same by the coarse rule, for values at its nodes."""
        return float(np.sum(values) * 2 ** self.index.shape[1] * self.cell)

    def log_density(self, nodes: Mixture) -> np.ndarray:
        """Returns log p(x) of a mixture in nats, [N]."""
        if not _separable(nodes):
            return mixture.log_density(self.x, nodes)
        lines, tile, within = self._tiles
        with numerics.double():
            blocks = Blocks.of(nodes)
            most = np.max(shapes.mapped(lambda lines: _count(lines, blocks), lines, size=_TOGETHER))
            keep = min(len(blocks.radius), shapes.bucket(int(most)))
            blocks = jax.device_put(blocks)
            whole = shapes.mapped(lambda lines: _on(lines, blocks, keep), lines, size=_TOGETHER)
        found = whole[tile, within]
        lost = np.isnan(found)
        if np.any(lost):
            found[lost] = mixture.log_density(self.x[lost], nodes)
        return found

    def coarse_log_density(self, nodes: Mixture) -> np.ndarray:
        """Returns the same at the nodes of the coarse rule."""
        return self._every_second.log_density(nodes)

    @functools.cached_property
    def _every_second(self) -> "Space":
        return Space(self.index[self.coarse] // 2, 2 * self.step)

    @functools.cached_property
    def _tiles(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the sides of T tiles, [T, D, S], and of each node the tile and its place there.

        The places are counted along the last dimension first; [N] each.
        """
        dim = self.index.shape[1]
        side = round(_TILE ** (1 / dim))
        tile, within = np.divmod(self.index, side)
        low = tile.min(axis=0)
        shape = tuple(tile.max(axis=0) - low + 1)
        flat, of_node = np.unique(
            np.ravel_multi_index(tuple((tile - low).T), shape), return_inverse=True
        )
        corner = np.stack(np.unravel_index(flat, shape), axis=-1) + low
        lines = (side * corner[:, :, None] + np.arange(side)) * self.step
        return lines, of_node, np.asarray(np.ravel_multi_index(tuple(within.T), (side,) * dim))


def around(nodes: Mixture, step: float | None = None) -> Space:
    """Returns a grid over all places where a mixture's density is not negligible.

    Args:
      nodes: of a truth or a model.
      step: of the grid, by default the one that the mixture asks for.

    Raises ValueError where that is too small for a grid.
    """
    smallest, largest = observation_lib.extremes(nodes.observation)
    step = step or step_of(nodes)
    margin = int(np.ceil(_RADIUS * float(largest.max()) / step))
    # Thin out the curve to cells of the grid, then take every cell within the margin of one.
    cells = np.unique(np.rint(nodes.mean / step).astype(np.int64), axis=0)
    low = cells.min(axis=0) - margin
    shape = cells.max(axis=0) + margin + 1 - low
    if np.prod(shape, dtype=float) > _MAX_CELLS:
        raise ValueError(f"the noise, {smallest.min():.2g}, is too small for a grid of the space")
    mask = np.zeros(shape, bool)
    mask[tuple((cells - low).T)] = True
    for axis in range(mask.ndim):  # a cube of cells around each: a box filter along all axes
        total = np.cumsum(np.insert(mask, 0, False, axis=axis), axis=axis, dtype=np.int64)
        size = mask.shape[axis]
        upper = np.minimum(np.arange(size) + margin + 1, size)
        lower = np.maximum(np.arange(size) - margin, 0)
        mask = np.take(total, upper, axis=axis) > np.take(total, lower, axis=axis)
    return Space(np.argwhere(mask) + low, step)


def step_of(nodes: Mixture) -> float:
    """Returns the step of a grid of the space that a mixture asks for: 0.35 of its least noise."""
    smallest, _ = observation_lib.extremes(nodes.observation)
    return _STEP * float(smallest.min())


def num_cells(nodes: Mixture, step: float) -> float:
    """Returns how many cells a grid of the space would have at most."""
    _, largest = observation_lib.extremes(nodes.observation)
    extent = np.ptp(nodes.mean, axis=0) + 2 * _RADIUS * largest.max()
    return float(np.prod(extent / step))


def _separable(nodes: Mixture) -> bool:
    """Returns whether the noise is independent in every one of several dimensions."""
    scale = nodes.observation.scale
    dim = scale.shape[1]
    return dim > 1 and not np.any(scale[:, ~np.eye(dim, dtype=bool)])


def _terms(lines: jax.Array, mean: jax.Array, whitener: jax.Array, noise: Noise) -> list[jax.Array]:
    """Returns the logarithms of each dimension's factor of p(x|z), [S, K], for lines [D, S]."""
    return [
        noise.dimension(i).log_prob(whitener[:, i, i] * (line[:, None] - mean[:, i]))
        for i, line in enumerate(lines)
    ]


def _near(lines: jax.Array, blocks: Blocks) -> jax.Array:
    """Returns which blocks may matter anywhere on a tile, [P], for its lines [D, S]."""
    ends = lines[:, jnp.array([0, -1])]
    upper = blocks.upper(jnp.mean(ends, axis=1), 0.5 * jnp.linalg.norm(ends[:, 1] - ends[:, 0]))
    log_weight, *first = jax.tree.map(lambda leaf: leaf[:, 0], blocks.nodes)
    # In the corner that is farthest from it, as a noise that has a top falls on both sides.
    least = log_weight + sum(jnp.min(term, axis=0) for term in _terms(ends, *first))
    return upper > jnp.max(least) - NEGLIGIBLE


@jax.jit
def _count(lines: jax.Array, blocks: Blocks) -> jax.Array:
    """Returns of each tile how many blocks may matter, for lines [T, D, S]."""
    return jax.lax.map(lambda lines: jnp.sum(_near(lines, blocks)), lines)


@functools.partial(jax.jit, static_argnames="keep")
def _on(lines: jax.Array, blocks: Blocks, keep: int) -> jax.Array:
    """Returns log p at the nodes of tiles, [T, S^D], nan where products can't tell it."""
    return jax.lax.map(lambda lines: _on_tile(lines, blocks, keep), lines)


def _on_tile(lines: jax.Array, blocks: Blocks, keep: int) -> jax.Array:
    kept = blocks.kept(_near(lines, blocks), keep).nodes
    log_weight, *nodes = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), kept)
    terms = _terms(lines, *nodes)
    top = jnp.max(log_weight + sum(jnp.max(term, axis=0) for term in terms))
    *others, last = terms
    product = jnp.exp(log_weight - top)[None]
    for term in others:
        product = (product[:, None] * jnp.exp(term)).reshape(-1, len(log_weight))
    total = (product @ jnp.exp(last).T).ravel()
    return jnp.where(total > _SMALLEST, jnp.log(total) + top, jnp.nan)

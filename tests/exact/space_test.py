"""Densities on a grid of the space, by products along its lines, against sums over all nodes."""

import numpy as np
import pytest
from scipy import stats

from spiral_vae.exact import ground_truth, mixture, space
from spiral_vae.maths.noise import StudentT
from spiral_vae.maths.observation import Observation, around
from spiral_vae.process import Spiral
from tests.exact.curves import HELIX
from tests.exact.nodes import brute_force, wave

# One standard deviation, one a dimension (the second correlated), and one that follows z.
LOWER = np.array([[0.3, 0.0], [0.2, 0.2]])


def _louder_outside(z):
    scale = (0.2 + 0.1 * np.abs(np.tanh(z)))[..., None] * np.diag([1.0, 1.5])
    return Observation(mean=wave(z), scale=scale)


def _heavy_tails(z):
    noise = StudentT(np.full((len(z), 2), 3.0))
    return Observation(mean=wave(z), scale=np.tile(0.3 * np.eye(2), (len(z), 1, 1)), noise=noise)


def _nodes(observe):
    nodes, _ = mixture.along_curve(observe, stats.norm.logpdf, (-12.0, 12.0))
    return nodes


@pytest.mark.parametrize(
    "observe",
    [
        around(wave, 0.2),
        around(wave, np.diag([0.1, 0.4])),
        around(wave, LOWER),
        _louder_outside,
        _heavy_tails,
    ],
    ids=["one", "two", "correlated", "following", "heavy"],
)
def test_the_density_on_a_grid_is_the_sum_over_all_nodes(observe):
    nodes = _nodes(observe)
    grid = space.around(_nodes(around(wave, 0.3)))
    found = grid.log_density(nodes)
    some = np.arange(len(grid.x))[:: len(grid.x) // 500]
    np.testing.assert_allclose(found[some], brute_force(grid.x[some], nodes), rtol=1e-12)
    np.testing.assert_allclose(grid.coarse_log_density(nodes), found[grid.coarse], rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.02, 0.005])
def test_what_products_lose_is_summed_in_the_log_domain(sigma):
    """Of a curve in noise so small that the factors of a term far away are 0 in float64."""
    nodes = _nodes(around(wave, sigma))
    grid = space.around(_nodes(around(wave, 0.3)))
    some = np.arange(len(grid.x))[:: len(grid.x) // 300]
    exact = brute_force(grid.x[some], nodes)
    assert exact.min() < -2_000  # e^-745 is the least number there is
    np.testing.assert_allclose(grid.log_density(nodes)[some], exact, rtol=1e-12)


def test_many_tiles_and_nodes_of_which_few_matter():
    """A spiral in small noise: its grid has dozens of tiles, each of which sees a part of it."""
    nodes = ground_truth.truth_density(Spiral(noise_sigma=0.02)).fine
    grid = space.around(nodes)
    lines, tile, _ = grid._tiles
    assert len(lines) > 50
    assert len(np.unique(tile)) == len(lines)
    some = np.arange(len(grid.x))[:: len(grid.x) // 500]
    found = grid.log_density(nodes)
    np.testing.assert_allclose(found[some], brute_force(grid.x[some], nodes), rtol=1e-12)
    np.testing.assert_allclose(np.sum(np.exp(found)) * grid.cell, 1, rtol=1e-9)


def test_three_dimensions():
    nodes = ground_truth.truth_density(HELIX).fine
    grid = space.around(nodes)
    some = np.arange(len(grid.x))[:: len(grid.x) // 500]
    found = grid.log_density(nodes)
    np.testing.assert_allclose(found[some], brute_force(grid.x[some], nodes), rtol=1e-12)


def test_a_tile_holds_each_node_once_at_its_place():
    grid = space.around(_nodes(around(wave, 0.1)))
    lines, tile, within = grid._tiles
    side = lines.shape[2]
    first, second = np.divmod(within, side)
    placed = np.stack([lines[tile, 0, first], lines[tile, 1, second]], axis=-1)
    np.testing.assert_array_equal(placed, grid.x)
    assert len(np.unique(tile * side**2 + within)) == len(grid.x)

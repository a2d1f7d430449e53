"""The curves that people know, against scikit-learn and against what their names say."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn import datasets

from spiral_vae.exact import ground_truth
from spiral_vae.exact.space import Space
from spiral_vae.process import (
    Circle,
    EightGaussians,
    FigureEight,
    Helix,
    Lissajous,
    Rings,
    SCurve,
    SwissRoll,
    TwoMoons,
)
from spiral_vae.process.design import Random

ALL = (
    *(Circle(), EightGaussians(), FigureEight(), Helix(), Lissajous(), Rings(), Rings(num_rings=4)),
    *(SCurve(), SwissRoll(), TwoMoons()),
)
curves = pytest.mark.parametrize("curve", ALL, ids=lambda curve: type(curve).__name__)


def _points(curve, piece, s):
    """Points of a piece, [N, D]; float64."""
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(curve.point)(2 * piece + jnp.asarray(s, jnp.float64)))


def test_two_moons_are_scikit_learns():
    x, label = datasets.make_moons(200, shuffle=False)
    s = np.linspace(0, 1, 100)
    for piece in (0, 1):
        wanted = 2 * x[label == piece] - [1, 0.2]
        np.testing.assert_allclose(_points(TwoMoons(), piece, s), wanted, atol=1e-12)


def test_two_rings_are_scikit_learns():
    x, label = datasets.make_circles(200, shuffle=False, factor=0.5)
    s = np.linspace(0, 1, 100, endpoint=False)
    for piece in (0, 1):  # scikit-learn calls the inner one 1
        wanted = 3 * x[label == 1 - piece]
        np.testing.assert_allclose(_points(Rings(), piece, s), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("curve", "make", "factor", "s_of_t"),
    [
        (SCurve(), datasets.make_s_curve, 2, lambda t: t / (3 * math.pi) + 0.5),
        (
            SwissRoll(),
            datasets.make_swiss_roll,
            1 / 5,
            lambda t: (t / (1.5 * math.pi) - 1) / 2,
        ),
    ],
)
def test_sheets_are_scikit_learns_seen_from_their_end(curve, make, factor, s_of_t):
    x, t = make(300, random_state=0)
    s = s_of_t(t)
    np.testing.assert_allclose(_points(curve, 0, s), factor * x[:, [0, 2]], atol=1e-12)
    assert stats.kstest(s, "uniform").pvalue > 1e-3  # and even in the same parameter


def test_four_rings_have_even_radii():
    s = np.linspace(0, 1, 7)
    for piece, radius in enumerate((0.75, 1.5, 2.25, 3.0)):
        found = _points(Rings(num_rings=4), piece, s)
        np.testing.assert_allclose(np.hypot(*found.T), radius, rtol=1e-12)


def test_eight_gaussians_are_what_their_name_says():
    """Their density is known: an even mixture, and their information is log 8."""
    curve = EightGaussians()
    angle = 2 * np.pi * np.arange(8) / 8
    centres = 4 / np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for piece in range(8):
        found = _points(curve, piece, [0.0, 0.4, 1.0])
        np.testing.assert_allclose(found, np.tile(centres[piece], (3, 1)), atol=1e-12)
    x = np.array([[2.8, 0.1], [0.3, -2.5], [0.0, 0.0]])
    wanted = np.mean([stats.multivariate_normal(c, 0.04).pdf(x) for c in centres], axis=0)
    found, _ = ground_truth.truth_density(curve).log_density(x)
    np.testing.assert_allclose(found, np.log(wanted), atol=1e-9)
    apart = ground_truth.truth(EightGaussians(noise_sigma=0.1))  # at 20 sigmas from each other
    assert apart.information.value == pytest.approx(np.log(8), abs=1e-8)


def test_a_helix_winds_twice_around_a_cylinder():
    x, y, z = _points(Helix(), 0, np.linspace(0, 1, 101)).T
    np.testing.assert_allclose(np.hypot(x, y), 2, rtol=1e-12)
    np.testing.assert_allclose(np.unwrap(np.arctan2(y, x))[-1], 4 * np.pi, rtol=1e-12)
    np.testing.assert_allclose(z, np.linspace(-2, 2, 101), atol=1e-12)


def test_a_figure_eight_and_a_lissajous_figure_cross_where_they_should():
    eight = _points(FigureEight(), 0, [0.0, 0.25, 0.5])
    np.testing.assert_allclose(eight, [[0, 0], [2, 0], [0, 0]], atol=1e-12)
    s = np.linspace(0, 1, 50)
    found = _points(Lissajous(), 0, s)
    angle = 2 * np.pi * s
    np.testing.assert_allclose(found[:, 0], 2 * np.cos(3 * angle), atol=1e-12)
    np.testing.assert_allclose(found[:, 1], 2 * np.sin(2 * angle), atol=1e-12)


@curves
def test_closed_curves_end_where_they_begin_and_others_do_not(curve):
    for piece in range(curve.num_pieces):
        start, stop = _points(curve, piece, [0.0, 1.0])
        assert (np.linalg.norm(stop - start) < 1e-9) == (
            curve.closed or isinstance(curve, EightGaussians)
        )


@curves
def test_size_is_a_factor_on_the_curve_and_not_on_the_noise(curve):
    t = jnp.asarray(0.3)
    large = dataclasses.replace(curve, size=2.5)
    np.testing.assert_allclose(large.point(t), 2.5 * curve.point(t), rtol=1e-6)
    np.testing.assert_array_equal(large.observation(t).scale, curve.observation(t).scale)


@curves
def test_the_truth_has_mass_one_and_is_the_density_of_its_draws(curve):
    """The entropy against -log p* of other draws, which are means without any grid."""
    truth = ground_truth.truth(curve)
    assert truth.mass.value == pytest.approx(1, abs=1e-8)
    data = dataclasses.replace(curve, num_points=4_000, design=Random()).sample(jax.random.key(1))
    nll = -truth.density.log_density(np.asarray(data.x, np.float64))[0]
    error = nll.std() / np.sqrt(len(nll)) + truth.entropy.error
    assert truth.entropy.value == pytest.approx(nll.mean(), abs=4 * error)
    density = ground_truth.model_density(ground_truth.true_decoder(curve), 1)
    found = ground_truth.cross_entropy(truth, density)
    # The true decoder jumps between pieces, within a panel of the rule in z.
    jump = 2e-2 if curve.num_pieces > 1 else 1e-7
    assert found.value - truth.entropy.value == pytest.approx(0, abs=jump)


def test_draws_in_place_of_a_grid_agree_with_it():
    """A helix in noise that is loud enough for a grid; and the error of a KL is smaller than
    those of what it is made of, as both are means over the same draws."""
    curve = Helix(size=0.5, noise_sigma=0.6)
    grid = ground_truth.truth(curve)
    assert isinstance(grid.space, Space)
    draws = ground_truth._draws(curve, grid.density)
    own = dataclasses.replace(grid, space=draws, log_density=np.log(draws.density), entropy=None)
    entropy = draws.integral(-draws.density * np.log(draws.density))
    own = dataclasses.replace(own, entropy=entropy)
    assert 1e-3 < entropy.error < 1e-2
    assert entropy.value == pytest.approx(grid.entropy.value, abs=4 * entropy.error)
    other = ground_truth.truth_density(Helix(size=0.5, noise_sigma=0.8))
    exact, found = (ground_truth.cross_entropy(truth, other) for truth in (grid, own))
    assert found.value == pytest.approx(exact.value, abs=4 * found.error)
    kl, exact_kl = found.value - entropy.value, exact.value - grid.entropy.value
    assert kl == pytest.approx(exact_kl, abs=4 * found.kl_error)
    assert found.kl_error < 0.6 * found.error
    assert exact_kl > 0.01

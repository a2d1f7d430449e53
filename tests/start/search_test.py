"""The search for an order: each of its parts against what is known, then the whole."""

import itertools
import math

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp, ndtri

from spiral_vae.process import Helix, Spiral
from spiral_vae.start import ByOrder, curve, path, ridge
from spiral_vae.start.search import search

# The ridge


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("length", [0.3, 1.2])
def test_the_ridge_of_points_on_a_line_is_the_line(dim, length):
    """Whatever the kernels along it; and nobody is moved along it but by its tilt."""
    x = np.zeros((60, dim))
    x[:, 0] = np.linspace(-3, 3, 60)
    tangent = np.zeros_like(x)
    tangent[:, 0] = 1
    start = x[10:50] + np.array([0.0, 0.15, -0.1])[:dim]
    found, direction = ridge._shifted(x, start, tangent, 0.3, length)
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-3)
    np.testing.assert_allclose(np.abs(direction[:, 0]), 1, atol=1e-3)
    np.testing.assert_allclose(found[:, 0], start[:, 0], atol=0.02)


def test_the_ridge_of_a_noisy_ring_is_a_ring():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    x = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.normal(size=(400, 2))
    y = ridge.ridge(x, 0.3, 0.25, 4.0)
    radius = np.hypot(*y.T)
    assert radius.std() < 0.4 * np.hypot(*x.T).std()
    assert radius.mean() == pytest.approx(3, abs=0.1)  # kernels as wide as the noise
    assert np.all(np.linalg.norm(y - x, axis=1) < 1)


def test_the_bandwidth_is_that_of_the_largest_leave_one_out_likelihood():
    x = np.random.default_rng(1).normal(size=(80, 2))
    found = ridge.bandwidth(x)

    def likelihood(width):
        total = 0.0
        for i in range(len(x)):
            rest = np.delete(x, i, axis=0)
            kernel = stats.norm(scale=width)
            total += logsumexp(kernel.logpdf(rest - x[i]).sum(axis=1)) - np.log(len(rest))
        return total

    for factor in (0.9, 1.1):
        assert likelihood(found) > likelihood(factor * found)


def test_the_bandwidth_of_few_points_is_half_of_their_size():
    x = 3 * np.random.default_rng(0).normal(size=(4, 2))
    size = np.sqrt(np.sum(np.var(x, axis=0, ddof=1)))
    assert ridge.bandwidth(x) == pytest.approx(0.5 * size, rel=1e-12)


# The path


@pytest.mark.parametrize("seed", range(4))
def test_a_short_path_is_the_shortest_where_all_can_be_tried(seed):
    places = np.random.default_rng(seed).normal(size=(8, 2))

    def length(order):
        return np.sum(np.linalg.norm(np.diff(places[list(order)], axis=0), axis=1))

    wanted = min(map(length, itertools.permutations(range(8))))
    found = path.shortest(places, np.random.default_rng(0), rounds=30)
    assert sorted(found) == list(range(8))
    assert length(found) == pytest.approx(wanted, abs=0.1 * wanted)
    local = path._local(_away(places), np.append(found, 8))
    np.testing.assert_array_equal(local, np.append(found, 8))  # nothing is left to gain


def _away(places):
    away = np.zeros((len(places) + 1, len(places) + 1))
    away[:-1, :-1] = np.linalg.norm(places[:, None] - places, axis=-1)
    return away


def test_moves_gain_what_they_say():
    places = np.random.default_rng(5).normal(size=(30, 2))
    away, order = _away(places), np.random.default_rng(0).permutation(31)
    moved, gain = path._or_opt(away, order)
    assert sorted(moved) == list(range(31)) and gain > 0
    assert path._length(away, order) - path._length(away, moved) == pytest.approx(gain, rel=1e-9)
    reversed_ = path._two_opt(away, order)
    assert path._length(away, reversed_) < path._length(away, order)


def test_places_along_a_line_are_in_their_order():
    t = np.random.default_rng(0).permutation(np.linspace(0, 1, 60))
    places = np.stack([np.cos(5 * t), np.sin(5 * t)], axis=1)
    found = t[path.shortest(places, np.random.default_rng(1), rounds=5)]
    assert np.all(np.diff(found) > 0) or np.all(np.diff(found) < 0)


# The curve


def _points(num=120):
    return np.asarray(Spiral(num_points=num).sample(jax.random.key(0)).x, np.float64)


def test_smoothing_solves_its_system():
    rng = np.random.default_rng(0)
    mass, pull = rng.uniform(size=9), rng.normal(size=(9, 2))
    second = np.diff(np.eye(9), n=2, axis=0)
    wanted = np.linalg.solve(np.diag(mass) + 0.7 * second.T @ second, pull)
    np.testing.assert_allclose(curve._smooth(mass, pull, 0.7), wanted, rtol=1e-9)


@pytest.mark.parametrize("learn_sigma", [False, True])
def test_the_score_is_the_penalised_evidence_and_no_step_lowers_it(learn_sigma):
    x, nodes = _points(), np.random.default_rng(0).normal(size=(30, 2))
    price = curve.Price(1e-3, learn_sigma)
    scores = []
    for num_steps in range(12):
        found = curve.fitted(x, nodes, 0.4, price, num_steps)
        scores.append(found.score)
    assert np.all(np.diff(scores) > -1e-2)  # float32's rounding of 120 points
    assert scores[-1] > scores[0] + 10
    log_prob = stats.norm(scale=found.sigma).logpdf(x[:, None] - found.nodes).sum(axis=-1)
    evidence = logsumexp(log_prob, axis=1) - np.log(30)
    assert found.log_evidence == pytest.approx(evidence.mean(), abs=1e-4)
    bends = np.sum(np.diff(found.nodes, n=2, axis=0) ** 2)
    assert found.score == pytest.approx(evidence.sum() - 0.5e-3 * 30**3 * bends, abs=1e-2)
    weight = np.exp(log_prob - logsumexp(log_prob, axis=1, keepdims=True))
    np.testing.assert_allclose(found.place, weight @ ((np.arange(30) + 0.5) / 30), atol=1e-4)
    assert (found.sigma == 0.4) == (not learn_sigma)


def test_even_nodes_have_equal_mass():
    points = np.stack([np.arange(10.0), np.zeros(10)], axis=1)
    found = curve.even_nodes(points[::-1], np.arange(10)[::-1], 5)
    np.testing.assert_allclose(found[:, 0], [0.5, 2.5, 4.5, 6.5, 8.5])


def _joints(nodes):
    """The pairs of neighbours."""
    return {frozenset(map(tuple, pair)) for pair in itertools.pairwise(nodes)}


def test_a_cut_joins_the_same_nodes_another_way():
    nodes = np.random.default_rng(0).normal(size=(40, 2))
    rng = np.random.default_rng(1)
    changed = 0
    for _ in range(60):
        found = curve._cut(nodes, 10.0, rng)
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(nodes, axis=0))
        cut = len(_joints(nodes) - _joints(found))
        assert cut <= 3
        changed += cut > 0
    assert changed > 55  # but for a reversal of a single node at an end


def test_cuts_mend_a_curve_that_is_joined_wrongly():
    x = _points(200)
    t = np.sqrt(np.linspace(0.01, 1, 64))
    nodes = 2.5 * t[:, None] * np.stack([np.cos(8.8 * t), np.sin(8.8 * t)], axis=1)
    price = curve.Price(1e-3, learn_sigma=False)
    right = curve.fitted(x, nodes, 0.2, price, 30)
    wrong = curve.fitted(x, np.concatenate([nodes[20:], nodes[:20]]), 0.2, price, 30)
    assert wrong.score < right.score - 5
    rng = np.random.default_rng(0)
    found = curve.mended(x, wrong, price, rng, num_cuts=150, heat=0.0)
    assert found.score > right.score - 3


# The whole


@pytest.mark.parametrize("sigma", [0.2, None])
def test_two_turns_are_found(sigma):
    process = Spiral(omega=4 * math.pi, u_start=0.0, num_points=200)
    data = process.sample(jax.random.key(3))
    found = search(np.asarray(data.x), 0, sigma, num_cuts=60, max_attempts=2)
    assert abs(stats.spearmanr(found.z, data.t).statistic) > 0.98
    np.testing.assert_allclose(np.sort(found.z), ndtri((np.arange(200) + 0.5) / 200), atol=1e-12)
    assert found.sigma == pytest.approx(0.2, rel=0.2)
    again = search(np.asarray(data.x), 0, sigma, num_cuts=60, max_attempts=2)
    np.testing.assert_array_equal(found.z, again.z)
    assert (found.log_evidence, found.agreed) == (again.log_evidence, again.agreed)


def test_a_helix_is_found_in_three_dimensions():
    data = Helix(num_points=150).sample(jax.random.key(0))
    found = search(np.asarray(data.x), 0, 0.2, num_cuts=10, max_attempts=1)
    assert abs(stats.spearmanr(found.z, data.t).statistic) > 0.98
    assert found.attempts == 1 and not found.agreed


def test_the_pull_fades():
    start = ByOrder(weight=2.0, share=0.4)
    found = [float(start.pull(np.float32(p))) for p in (0.0, 0.1, 0.2, 0.4, 0.9)]
    np.testing.assert_allclose(found, [2, 1.5, 1, 0, 0], atol=1e-6)


def test_the_search_knows_no_unit_and_no_origin():
    x = _points()
    found = search(x, 0, 0.2, num_cuts=10, max_attempts=1)
    # By powers of two nothing is rounded.
    other = search(
        1024 * x + 4096 * 1024 * np.array([1, -3]), 0, 0.2 * 1024, num_cuts=10, max_attempts=1
    )
    np.testing.assert_allclose(other.z, found.z, atol=1e-12)
    assert other.sigma == found.sigma * 1024
    assert other.log_evidence == pytest.approx(found.log_evidence - 2 * np.log(1024), abs=1e-9)


def test_a_sigma_as_wide_as_the_points_leaves_one_place():
    found = search(_points(), 0, 20.0, num_cuts=3, max_attempts=1)
    assert np.isfinite(found.z).all() and np.isfinite(found.log_evidence)


def test_points_that_are_not_seen_have_no_say():
    x = _points()
    holes = np.full((130, 2), np.nan)
    holes[np.arange(130) % 13 != 0] = x
    start = ByOrder(num_cuts=10, max_attempts=1)
    found, wanted = start.order(holes, 3, 0.2, 1), start.order(x, 3, 0.2, 1)
    assert found.log_evidence == wanted.log_evidence
    np.testing.assert_array_equal(found.z[np.isfinite(holes[:, 0])], wanted.z)

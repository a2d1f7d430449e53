"""Order along curves in one and in several pieces, open and closed."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.exact.order import correlation, order, rank

LINE = jnp.array([[0.0, 1.0]])
TWO = jnp.array([[0.0, 0.3], [0.5, 1.5]])
T = np.concatenate([np.linspace(0, 0.3, 40), np.linspace(0.5, 1.5, 60)])


def _order(z, t=T, pieces=TWO, closed=False):
    return float(order(jnp.asarray(z, jnp.float32), jnp.asarray(t, jnp.float32), pieces, closed))


@pytest.mark.parametrize("ties", [False, True])
def test_on_one_piece_it_is_scipys(ties):
    rng = np.random.default_rng(0)
    t, z = rng.uniform(size=60), rng.normal(size=60)
    z = np.round(z) if ties else z
    wanted = abs(stats.spearmanr(z, t).statistic)
    assert _order(z, t, LINE) == pytest.approx(wanted, abs=1e-5)
    assert _order(-np.exp(z), t, LINE) == pytest.approx(wanted, abs=1e-5)
    np.testing.assert_allclose(rank(jnp.asarray(z)) + 1, stats.rankdata(z))


def test_pieces_may_come_in_any_order_and_either_way_round():
    first, second = T < 0.4, T > 0.4
    for flip_first in (1, -1):
        for flip_second in (1, -1):
            for gap in (10, -10):
                z = np.where(first, flip_first * T, flip_second * T + gap)
                assert _order(z) == pytest.approx(1, abs=1e-6)
    # But a piece must not begin within the other, nor turn back within itself.
    assert _order(np.where(second, T - 1, T)) < 0.9
    assert _order(np.where(second, abs(T - 1), T - 10)) < 0.9


@pytest.mark.parametrize("turn", [0.0, 0.2, 0.77])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_closed_curve_may_be_entered_anywhere(turn, sign):
    t = (np.arange(100) + 0.5) / 100
    z = sign * ((t - turn) % 1)
    assert _order(z, t, LINE, closed=True) == pytest.approx(1, abs=1e-6)
    assert (_order(z, t, LINE) < 0.9) == (turn > 0)
    folded = np.abs((t - turn) % 1 - 0.5)
    assert _order(folded, t, LINE, closed=True) < 0.5


def test_two_rings_are_entered_each_for_itself():
    t = np.concatenate([(np.arange(50) + 0.5) / 50, 1 + (np.arange(50) + 0.5) / 50])
    pieces = jnp.array([[0.0, 1.0], [1.0, 2.0]])
    z = np.where(t < 1, (t - 0.3) % 1, -5 - (t - 0.6) % 1)
    assert _order(z, t, pieces, closed=True) == pytest.approx(1, abs=1e-6)
    assert _order(z, t, pieces) < 0.95


def test_a_constant_has_no_order():
    assert _order(np.zeros(100)) == 0
    assert correlation(jnp.zeros(3), jnp.arange(3.0)) == 0

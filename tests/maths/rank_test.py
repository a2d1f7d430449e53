"""Rank correlation against SciPy, ties included."""

import numpy as np
import pytest
from scipy import stats

from spiral_vae.maths.rank import spearman


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("num", [2, 17, 300])
def test_it_agrees_with_scipy(num, ties):
    rng = np.random.default_rng(num)
    a, b = rng.normal(size=(2, num))
    b = b + 0.5 * a
    if ties and num > 2:
        a, b = np.round(a), np.round(b)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(np.exp(a), -b) == pytest.approx(-spearman(a, b), abs=1e-12)


def test_with_a_constant_it_is_zero():
    rising = np.arange(5.0)
    assert spearman(np.ones(5), rising) == 0
    assert spearman(rising, np.zeros(5)) == 0
    assert spearman(np.ones(5), np.ones(5)) == 0

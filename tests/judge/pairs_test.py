"""Differences over pairs, and their intervals."""

import numpy as np
import pytest
from scipy import stats

from spiral_vae.judge import pairs
from spiral_vae.judge.pairs import paired


def rows(distances, method="one", seeds=None):
    seeds = seeds or range(len(distances))
    return [
        {"problem": "post", "method": method, "seed": seed, "status": "ok", "kl_to_truth": value}
        if np.isfinite(value)
        else {"problem": "post", "method": method, "seed": seed, "status": "not finite at step 1"}
        for seed, value in zip(seeds, distances, strict=True)
    ]


def test_pairs_are_of_the_same_seed():
    one, other = rows([0.1, 0.2, 0.3], seeds=[2, 0, 1]), rows([0.0, 0.5, 9.0], "b", [0, 1, 7])
    np.testing.assert_allclose(paired(one, other).difference, [0.2, -0.2])
    assert (paired(one, other).wins, paired(one, other).against) == (1, "b")


def test_no_seed_in_common_is_an_error():
    with pytest.raises(ValueError, match="in common"):
        paired(rows([0.1]), rows([0.1], seeds=[5]))


def test_a_copy_is_the_same_in_every_pair():
    distances = list(np.random.default_rng(0).uniform(size=9)) + [np.inf]
    found = paired(rows(distances), rows(distances))
    assert not found.difference.any()
    assert (found.verdict, found.ties, found.low, found.high) == ("the same", 10, 0.0, 0.0)


def test_a_lane_that_failed_is_infinitely_far():
    found = paired(rows([np.inf, 0.1, np.inf]), rows([0.2, np.inf, np.inf]))
    np.testing.assert_array_equal(found.difference, [np.inf, -np.inf, 0.0])


@pytest.mark.parametrize(("shift", "verdict"), [(-0.3, "better"), (0.3, "worse")])
def test_a_shift_of_all_is_beyond_noise(shift, verdict):
    noise = np.random.default_rng(1).normal(0, 0.05, (2, 16))
    found = paired(rows(list(1 + noise[0] + shift)), rows(list(1 + noise[1])))
    assert found.verdict == verdict
    assert found.low <= found.median <= found.high


def test_few_seeds_have_no_verdict():
    assert paired(rows([0.1] * 5), rows([0.2] * 5)).verdict == "too few seeds"


def test_the_interval_is_that_of_order_statistics():
    # The median of a resample of n is the k-th value or less where at least half of its draws are.
    values = np.random.default_rng(2).normal(size=101)
    _, low, high = pairs.interval(values)
    share = np.arange(1, 102) / 101
    law = stats.binom.sf(50, 101, share)  # P(median of a resample <= k-th value)
    wanted = np.sort(values)[[np.searchsorted(law, level) for level in (0.05, 0.95)]]
    near = np.sort(values)
    for found, right in ((low, wanted[0]), (high, wanted[1])):
        # 4 000 resamples: the levels have a standard error of .0034, a rank here or there
        assert abs(np.searchsorted(near, found) - np.searchsorted(near, right)) <= 1


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        _, low, high = pairs.interval(rng.normal(size=16))
        covered += low <= 0 <= high
    # Percentiles of a median of 16 values: exactly 0.92 by the order statistics of a binomial.
    assert abs(covered / 200 - 0.92) < 4 * np.sqrt(0.92 * 0.08 / 200)

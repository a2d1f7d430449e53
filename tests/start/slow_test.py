"""The slow feature against the latent that made the sequences."""

import math

import jax
import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from spiral_vae.process import Spiral
from spiral_vae.process.design import Sequence
from spiral_vae.start.slow import SlowFeature, _kalman, slow_feature, smoothed


@pytest.mark.parametrize(("turns", "missing"), [(1, 0.0), (2, 0.0), (2, 0.3)])
def test_the_places_follow_the_latent(turns, missing):
    design = Sequence(length=40, a=0.995, missing=missing)
    spiral = Spiral(omega=2 * math.pi * turns, u_start=0.0, num_points=2000, design=design)
    data = spiral.sample(jax.random.key(0))
    x = np.array(data.x)
    if data.observed is not None:
        x[np.asarray(data.observed) == 0] = np.nan
    found = SlowFeature().order(x, 0, None, 40)
    seen = np.isfinite(x[:, 0])
    assert abs(spearmanr(found.z[seen], np.asarray(data.t)[seen]).statistic) > 0.97
    assert abs(found.correlation - 0.995) < 0.004  # as far as 50 sequences tell
    assert found.facts() == {"start_correlation": found.correlation}


def test_the_smoother_recovers_the_correlation_of_a_noisy_sequence():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 50))
    for t in range(1, 50):
        z[:, t] = 0.95 * z[:, t - 1] + math.sqrt(1 - 0.95**2) * z[:, t]
    y = z + 0.5 * rng.normal(size=z.shape)
    mean, a = smoothed(y, np.ones(z.shape))
    assert abs(a - 0.95) < 0.005  # four standard errors: sqrt((1 - a^2) / 10 000) = 0.003, noise
    assert np.corrcoef(mean.ravel(), z.ravel())[0, 1] > np.corrcoef(y.ravel(), z.ravel())[0, 1]


def test_the_smoother_is_the_posterior_of_the_gaussian():
    """z ~ N(0, C) times exp(h z - j z^2 / 2), solved with the matrices whole."""
    rng = np.random.default_rng(0)
    y, precision, a = rng.normal(size=(3, 7)), rng.uniform(0, 4, size=(3, 7)), 0.8
    precision[1, 2:4] = 0  # not seen
    log_z, mean = _kalman(y, precision, a)
    place = np.arange(7)
    prior = a ** np.abs(place[:, None] - place)
    for i in range(3):
        h, j = precision[i] * y[i], np.diag(precision[i])
        posterior = np.linalg.inv(np.linalg.inv(prior) + j)
        wanted = 0.5 * h @ posterior @ h - 0.5 * np.linalg.slogdet(np.eye(7) + prior @ j)[1]
        np.testing.assert_allclose(mean[i], posterior @ h, rtol=1e-10)
        np.testing.assert_allclose(log_z[i], wanted, rtol=1e-10)


def test_the_slowest_feature_is_found_among_faster_ones():
    """A place that drifts, two that jump; seen through a map whose inverse is a polynomial."""
    rng = np.random.default_rng(0)
    slow = np.cumsum(0.1 * rng.normal(size=(30, 40)), axis=1)
    fast = rng.normal(size=(30, 40, 2))
    x = np.stack([slow + 0.5 * fast[..., 0] ** 2, fast[..., 0], fast[..., 1] - slow], axis=-1)
    seen = rng.uniform(size=slow.shape) > 0.2
    score = slow_feature(np.where(seen[..., None], x, np.nan), seen, degree=2, lag=2)
    assert abs(spearmanr(score[seen], slow[seen]).statistic) > 0.999
    num = np.sum(seen)
    quantiles = norm.ppf((np.arange(num) + 0.5) / num)
    np.testing.assert_allclose(np.sort(score[seen]), quantiles, rtol=1e-9)
    assert np.all(score[~seen] == 0)


def test_points_of_which_none_are_a_lag_apart_have_places_still():
    x = np.random.default_rng(0).normal(size=(6, 10, 2))
    x[:, 3:] = np.nan
    found = SlowFeature(lag=4).order(x.reshape(60, 2), 0, None, 10)
    assert np.isfinite(found.z).all() and 0 <= found.correlation <= 1

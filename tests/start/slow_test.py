"""The slow feature against the latent that made the sequences."""

import math

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from spiral_vae.process import Spiral
from spiral_vae.process.design import Sequence
from spiral_vae.start.slow import SlowFeature, smoothed


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


def test_points_of_which_none_are_a_lag_apart_have_places_still():
    x = np.random.default_rng(0).normal(size=(6, 10, 2))
    x[:, 3:] = np.nan
    found = SlowFeature(lag=4).order(x.reshape(60, 2), 0, None, 10)
    assert np.isfinite(found.z).all() and 0 <= found.correlation <= 1

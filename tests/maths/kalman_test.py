"""The Kalman smoother against a multivariate normal law, made whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae import numerics
from spiral_vae.maths import kalman

A, T = 0.8, 7


def _dense(h, precision, a):
    """The same law by matrices: log Z, mean [T], covariance [T, T]."""
    prior = a ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    covariance = np.linalg.inv(np.linalg.inv(prior) + np.diag(precision))
    mean = covariance @ h
    log_z = 0.5 * (h @ mean + np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(prior)[1])
    return log_z, mean, covariance


@pytest.mark.parametrize("missing", [(), (0, 3, 4, 6), tuple(range(T))])
def test_it_is_the_product_of_prior_and_potentials(missing):
    rng = np.random.default_rng(0)
    seen = np.isin(np.arange(T), missing, invert=True)
    precision, h = seen * rng.gamma(1, 5, T), seen * rng.normal(0, 3, T)
    with numerics.double():
        found = kalman.smooth(jnp.asarray(h), jnp.asarray(precision), A, 1 - A**2)
    log_z, mean, covariance = _dense(h, precision, A)
    np.testing.assert_allclose(found.log_z, log_z, atol=1e-12)
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.variance, np.diag(covariance), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.diag(covariance, 1), atol=1e-12)


def test_the_gradient_of_log_z_by_h_is_the_mean():
    h, precision = jnp.linspace(-1, 2, T), jnp.linspace(0.5, 4, T)
    found = kalman.smooth(h, precision, A, 1 - A**2)
    slope = jax.grad(lambda h: kalman.smooth(h, precision, A, 1 - A**2).log_z)(h)
    np.testing.assert_allclose(slope, found.mean, rtol=1e-5, atol=1e-6)


def test_it_agrees_with_cuthbert():
    """Measured by its square-root filter and smoother, version 0.1.1; the first place is unseen."""
    a, sigma, num = 0.995, 0.2, 8
    slope, bias = np.array([0.8, -0.5]), np.array([0.1, 0.2])
    i = np.arange(num)
    away = np.stack([np.cos(3 * i), np.sin(5 * i)], axis=1) - bias
    seen = (i > 0).astype(float)
    h, precision = seen * (away @ slope) / sigma**2, seen * np.sum(slope**2) / sigma**2
    with numerics.double():
        law = kalman.smooth(jnp.asarray(h), jnp.asarray(precision), a, 1 - a**2)
    found = kalman.Smoothed(*map(np.asarray, law))
    log_p = -0.5 * np.sum(away[1:] ** 2) / sigma**2 - (num - 1) * np.log(2 * np.pi * sigma**2)
    np.testing.assert_allclose(found.log_z + log_p, -108.310620226746, atol=1e-11)
    mean = [0.016900750280546, 0.016985678673916, 0.094176559266159, -0.073325878042255]
    np.testing.assert_allclose(found.mean[:4], mean, atol=1e-13)
    variance = [0.02652532914981, 0.016717082043191, 0.012900850087194, 0.011481348826964]
    np.testing.assert_allclose(found.variance[:4], variance, atol=1e-13)

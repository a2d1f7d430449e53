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

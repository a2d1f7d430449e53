"""L_K against double quadrature, Monte Carlo, and what it has to be at both ends of K."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from spiral_vae.exact import bound, inference
from spiral_vae.exact.inference import Posteriors, gaussians
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import around
from spiral_vae.model.posterior import Mixture

W, SIGMA = np.array([1.3, -0.7]), 0.5
LINE = around(lambda z: z * W, SIGMA)
VARIANCE = SIGMA**2 / (SIGMA**2 + W @ W)
X = np.random.default_rng(0).multivariate_normal([0, 0], np.outer(W, W) + 0.25 * np.eye(2), 6)


def _q(shift=0.3, ratio=1.4):
    """The exact posterior of the line, moved and widened."""
    mean = X @ W[:, None] / (SIGMA**2 + W @ W) + shift * np.sqrt(VARIANCE)
    return gaussians(mean, np.full_like(mean, np.log(ratio * VARIANCE)))


def _mixture(size=0.3):
    rng = np.random.default_rng(1)
    heads = {name: size * rng.normal(size=(6, num)) for name, num in Mixture().heads(1).items()}
    return Posteriors(Mixture(), heads)


def _far():
    """With weights from 1 down to exp(-1000), for which the integral is longer."""
    return _mixture(size=1.0)


def _log_evidence():
    covariance = np.outer(W, W) + SIGMA**2 * np.eye(2)
    square = np.einsum("ni,ij,nj->n", X, np.linalg.inv(covariance), X)
    return -0.5 * square - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def _log_w(q):
    under = q.under()
    log_prob, _ = inference.log_likelihood(LINE, X, under.z)
    return log_prob + log_prior(under.z, axis=-1) - under.log_q, under.weight


families = pytest.mark.parametrize("q", [_q, _mixture])


@pytest.mark.parametrize("q", [_q, _mixture, _far])
def test_of_one_sample_it_is_the_elbo(q):
    expected = inference.elbo(X, q(), LINE).elbo
    np.testing.assert_allclose(bound.iwae(X, q(), LINE, 1), expected, atol=1e-10)


@families
def test_of_two_samples_it_is_the_double_quadrature(q):
    expected = [
        np.sum(weight[:, None] * weight * (np.logaddexp(log_w[:, None], log_w) - np.log(2)))
        for log_w, weight in zip(*_log_w(q()), strict=True)
    ]
    np.testing.assert_allclose(bound.iwae(X, q(), LINE, 2), expected, atol=1e-9)


def test_it_rises_with_the_samples_and_stays_below_the_evidence():
    found = np.array([bound.iwae(X, _mixture(), LINE, num) for num in (1, 2, 3, 8, 64, 1024)])
    assert np.all(np.diff(found, axis=0) > 0)
    assert np.all(found[-1] < _log_evidence() + 1e-12)


def test_of_the_posterior_itself_it_is_the_evidence():
    q = _q(shift=0.0, ratio=1.0)
    np.testing.assert_allclose(bound.iwae(X, q, LINE, 7), _log_evidence(), atol=1e-10)


def test_it_closes_as_the_variance_of_the_weights_says():
    """K (log p - L_K) goes to half of chi^2, with an error of order 1 / K."""
    log_w, weight = _log_w(_q())
    w = np.exp(log_w - _log_evidence()[:, None])
    half = 0.5 * np.sum(weight * (w - 1) ** 2, axis=1)
    scaled = [num * (_log_evidence() - bound.iwae(X, _q(), LINE, num)) for num in (128, 1024)]
    errors = [np.max(np.abs(value / half - 1)) for value in scaled]
    assert errors[1] < 0.01 and errors[0] / errors[1] == pytest.approx(8, rel=0.2)


def test_of_five_samples_it_is_that_of_monte_carlo():
    rng, repeats = np.random.default_rng(2), 40_000
    mean, logvar = _q().mean, _q().logvar
    z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * rng.standard_normal((6, repeats, 5))
    square = np.sum((X[:, None, None] - z[..., None] * W) ** 2, axis=-1) / SIGMA**2
    log_w = -0.5 * square - np.log(2 * np.pi * SIGMA**2) - 0.5 * z**2 + 0.5 * logvar[:, None]
    log_w += 0.5 * (z - mean[:, None]) ** 2 * np.exp(-logvar)[:, None]
    values = np.asarray(logsumexp(log_w, axis=-1)) - np.log(5)
    error = values.std(axis=1) / np.sqrt(repeats)
    assert np.all(np.abs(values.mean(axis=1) - bound.iwae(X, _q(), LINE, 5)) < 5 * error)


def test_its_gradient_is_that_of_the_double_quadrature():
    with jax.enable_x64(True):
        log_w, weight = (jnp.asarray(part[0]) for part in _log_w(_q()))

        def double(log_w):
            pairs = jnp.logaddexp(log_w[:, None], log_w) - jnp.log(2)
            return jnp.sum(weight[:, None] * weight * pairs)

        found = jax.grad(lambda log_w: bound.log_mean(log_w, jnp.log(weight), 2))(log_w)
        np.testing.assert_allclose(found, jax.grad(double)(log_w), atol=1e-10)

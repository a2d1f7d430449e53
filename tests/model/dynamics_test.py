"""Posteriors of sequences against dense Gaussian laws."""

import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae import numerics
from spiral_vae.model.dynamics import Independent, Markov
from spiral_vae.model.posterior import Gaussian, Potential

S, T, A = 2, 5, 0.85
PRIOR = A ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))


@pytest.fixture
def heads():
    rng = np.random.default_rng(0)
    with numerics.double():
        return {
            "mean": jnp.asarray(rng.normal(size=(1, S * T))),
            "logvar": jnp.asarray(rng.normal(-1, 0.5, size=(1, S * T))),
        }


def _tied(posterior, weight=None, seen=None):
    dynamics = Markov(start=A)
    weight = jnp.ones(S * T) if weight is None else jnp.asarray(weight)
    return dynamics.tied(dynamics.init(), posterior, T, weight, seen)


def _kl(mean, covariance):
    """KL(N(mean, covariance) || N(0, PRIOR)) by matrices."""
    inside = np.trace(np.linalg.solve(PRIOR, covariance)) + mean @ np.linalg.solve(PRIOR, mean)
    return 0.5 * (inside - T + np.linalg.slogdet(PRIOR)[1] - np.linalg.slogdet(covariance)[1])


def test_potentials_are_smoothed(heads):
    with numerics.double():
        tied = _tied(Potential())
        mean, logvar = tied.moments(heads)
        kl = np.asarray(tied.kl(heads)).reshape(S, T)
    for s in range(S):
        part = slice(s * T, (s + 1) * T)
        precision = np.exp(-np.asarray(heads["logvar"])[0, part])
        covariance = np.linalg.inv(np.linalg.inv(PRIOR) + np.diag(precision))
        dense = covariance @ (precision * np.asarray(heads["mean"])[0, part])
        np.testing.assert_allclose(mean[0, part], dense, atol=1e-10)
        np.testing.assert_allclose(np.exp(logvar[0, part]), np.diag(covariance), atol=1e-10)
        np.testing.assert_allclose(kl[s], _kl(dense, covariance) / T, atol=1e-10)


def test_any_other_posterior_is_mean_field(heads):
    with numerics.double():
        tied = _tied(Gaussian())
        kl = np.asarray(tied.kl(heads)).reshape(S, T)
        np.testing.assert_array_equal(tied.moments(heads)[0], heads["mean"])
    for s in range(S):
        part = slice(s * T, (s + 1) * T)
        mean = np.asarray(heads["mean"])[0, part]
        covariance = np.diag(np.exp(np.asarray(heads["logvar"])[0, part]))
        np.testing.assert_allclose(kl[s], _kl(mean, covariance) / T, atol=1e-10)


def test_of_what_is_not_seen_the_prior_is_left(heads):
    weight = np.repeat([1.0, 0.0], T)
    with numerics.double():
        tied = _tied(Potential(), weight)
        mean, logvar = tied.moments(heads)
        np.testing.assert_allclose(mean[0, T:], 0, atol=1e-12)
        np.testing.assert_allclose(logvar[0, T:], 0, atol=1e-12)
        np.testing.assert_allclose(tied.kl(heads)[T:], 0, atol=1e-12)


def test_without_dynamics_the_posterior_is_itself():
    posterior = Potential()
    assert Independent().tied({}, posterior, T, jnp.ones(T), None) is posterior


def test_a_potential_alone_is_the_prior_times_it(heads):
    """On a grid: proportional to p(z) exp(h z - J z^2 / 2)."""
    z = np.linspace(-6, 6, 2001)
    with numerics.double():
        one = {name: head[:, :1] for name, head in heads.items()}
        h, precision = (float(part[0, 0]) for part in Potential().potential(one))
        density = np.exp(np.asarray(Potential().log_prob(one, jnp.asarray(z)[None, :, None])))[:, 0]
    product = np.exp(-0.5 * z**2 + h * z - 0.5 * precision * z**2)
    np.testing.assert_allclose(density, product / (product.sum() * (z[1] - z[0])), atol=1e-8)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.995, 1.0])
def test_any_correlation_has_a_time_constant(correlation):
    dynamics = Markov(start=A)
    params = dynamics.begin(jnp.asarray(correlation))
    assert np.isfinite(params["dynamics"]["log_tau"])
    assert float(dynamics.correlation(params)) == pytest.approx(correlation, abs=2e-6)

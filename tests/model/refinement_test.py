"""Refined potentials against closed forms: of a line they are known, of q they lose the sight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae import numerics
from spiral_vae.model.dynamics import Markov, Seen
from spiral_vae.model.likelihood import Fixed
from spiral_vae.model.posterior import Potential

S, T, A, SIGMA = 2, 5, 0.85, 0.4
SLOPE, BIAS = np.array([0.8, -0.5]), np.array([0.1, 0.2])
PRIOR = A ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, S * T))
WEIGHT = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 0.0])
HEADS = {"mean": RNG.normal(size=(1, S * T)), "logvar": RNG.normal(-1, 0.5, size=(1, S * T))}


class Line:
    def decode(self, params, z):
        return {"mean": jnp.stack([s * z[0] + b for s, b in zip(SLOPE, BIAS, strict=True)])}


class Wave:
    def decode(self, params, z):
        return {"mean": jnp.stack([jnp.sin(2 * z[0]), z[0] ** 2])}


def _seen(vae):
    return Seen(jnp.asarray(X), {}, {}, vae, Fixed(sigma=SIGMA))


def _tied(passes, vae=None, weight=WEIGHT):
    dynamics = Markov(start=A)
    seen = _seen(vae or Line())
    posterior = Potential(refinement=passes)
    return dynamics.tied(dynamics.init(), posterior, T, jnp.asarray(weight), seen)


def _heads():
    return jax.tree.map(jnp.asarray, HEADS)


def _dense(h, precision):
    """Means [S T] and covariances [S, T, T] of sequences with such potentials."""
    means, covariances = [], []
    for s in range(S):
        part = slice(s * T, (s + 1) * T)
        covariances.append(np.linalg.inv(np.linalg.inv(PRIOR) + np.diag(precision[part])))
        means.append(covariances[-1] @ h[part])
    return np.concatenate(means), np.stack(covariances)


def _told():
    precision = WEIGHT * np.exp(-HEADS["logvar"][0])
    return precision * HEADS["mean"][0], precision


def _of_line():
    """The potentials of a line, exactly."""
    precision = WEIGHT * np.sum(SLOPE**2) / SIGMA**2
    return WEIGHT * (SLOPE @ (X - BIAS[:, None])) / SIGMA**2, precision


def test_slopes_are_derivatives():
    z = np.linspace(-1, 1, 3 * S * T).reshape(3, -1)

    def log_prob(z):
        mean = np.stack([np.sin(2 * z), z**2])
        return -0.5 * np.sum((X[:, None] - mean) ** 2, axis=0) / SIGMA**2

    with numerics.double():
        slope, square = _seen(Wave()).slopes(jnp.asarray(z))
    step = 1e-6
    found = (log_prob(z + step) - log_prob(z - step)) / (2 * step)
    np.testing.assert_allclose(slope, found, atol=1e-6)
    np.testing.assert_allclose(square, (4 * np.cos(2 * z) ** 2 + 4 * z**2) / SIGMA**2, rtol=1e-12)


@pytest.mark.parametrize("passes", [1, 3])
def test_of_a_line_each_pass_takes_seven_tenths_of_the_way(passes):
    told, line = _told(), _of_line()
    left = 0.3**passes
    mean, covariance = _dense(*(b + left * (a - b) for a, b in zip(told, line, strict=True)))
    with numerics.double():
        found, logvar = _tied(passes).moments(_heads())
    np.testing.assert_allclose(found[0], mean, atol=1e-12)
    variance = np.diagonal(covariance, axis1=1, axis2=2).ravel()
    np.testing.assert_allclose(np.exp(logvar[0]), variance, atol=1e-12)


def test_the_mean_comes_to_rest_where_prior_and_points_pull_alike():
    """P m = E_q d log p(x|z), the mean over the same three nodes; any sigma of q would do."""
    with numerics.double():
        mean, logvar = (np.asarray(part[0]) for part in _tied(60, Wave()).moments(_heads()))
        nodes = mean + np.exp(0.5 * logvar) * np.array([[-np.sqrt(3)], [0], [np.sqrt(3)]])
        slope = np.asarray(_seen(Wave()).slopes(jnp.asarray(nodes))[0])
    pull = WEIGHT * (np.array([1, 4, 1]) / 6 @ slope)
    prior = np.linalg.solve(PRIOR, mean.reshape(S, T).T).T.ravel()
    np.testing.assert_allclose(prior, pull, atol=1e-7)


def test_the_encoder_learns_what_came_of_it():
    """The gradient is that of KL(refined q || the encoder's), by dense matrices."""
    mean, covariance = _dense(
        *(b + 0.09 * (a - b) for a, b in zip(_told(), _of_line(), strict=True))
    )

    def kl(heads):
        precision = WEIGHT * jnp.exp(-heads["logvar"][0])
        h = precision * heads["mean"][0]
        total = 0.0
        for s in range(S):
            part = slice(s * T, (s + 1) * T)
            inverse = np.linalg.inv(PRIOR) + jnp.diag(precision[part])
            away = mean[part] - jnp.linalg.solve(inverse, h[part])
            total += 0.5 * (jnp.trace(inverse @ covariance[s]) + away @ inverse @ away)
            total -= 0.5 * jnp.linalg.slogdet(inverse)[1]
        return total

    def found(heads):
        each = jnp.asarray(WEIGHT).reshape(S, T).sum(axis=1).repeat(T)
        return jnp.sum(_tied(2).kl(heads) * each) / T

    with numerics.double():
        wanted, own = jax.grad(kl)(_heads()), jax.grad(found)(_heads())
        value = _tied(2).kl(_heads())
        eps = jnp.ones((1, 1, S * T))
        none = jax.grad(lambda heads: jnp.sum(_tied(2).sample(heads, eps)))(_heads())
    for name in HEADS:
        np.testing.assert_allclose(own[name], wanted[name], atol=1e-10)
        np.testing.assert_array_equal(none[name], 0)
    # Its value is the KL to the prior of the refined one.
    for s in range(S):
        part = slice(s * T, (s + 1) * T)
        inside = np.trace(np.linalg.solve(PRIOR, covariance[s]))
        inside += mean[part] @ np.linalg.solve(PRIOR, mean[part]) - T
        inside += np.linalg.slogdet(PRIOR)[1] - np.linalg.slogdet(covariance[s])[1]
        exact = 0.5 * inside / WEIGHT[part].sum()
        np.testing.assert_allclose(value[part], exact, atol=1e-12)


def test_without_passes_the_encoder_is_believed():
    told = _dense(*_told())[0]
    with numerics.double():
        for law in (_tied(0), _tied(3).refined(0)):
            np.testing.assert_allclose(law.moments(_heads())[0][0], told, atol=1e-12)

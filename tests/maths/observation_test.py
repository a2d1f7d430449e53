"""p(x|z) against scipy, and draws of it against its own density."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.maths import observation
from spiral_vae.maths.noise import Normal, StudentT
from spiral_vae.maths.observation import Observation

MEAN = np.array([0.4, -0.7])
X = np.array([1.1, 0.2])
LOWER = np.array([[0.5, 0.0], [-0.3, 0.8]])


@pytest.mark.parametrize("scale", [np.array(0.3), np.array([0.3, 0.9]), LOWER], ids=str)
def test_gaussian_log_prob_is_scipys_for_all_shapes_of_scale(scale):
    covariance = scale @ scale.T if scale.ndim == 2 else np.eye(2) * scale**2
    expected = stats.multivariate_normal(MEAN, covariance).logpdf(X)
    with jax.enable_x64(True):
        one = Observation(mean=jnp.asarray(MEAN), scale=jnp.asarray(scale))
        assert float(one.log_prob(jnp.asarray(X))) == pytest.approx(expected, rel=1e-12)
        assert float(one.full().log_prob(jnp.asarray(X))) == pytest.approx(expected, rel=1e-12)


def test_student_t_log_prob_is_scipys():
    scale, dof = np.array([0.3, 0.9]), np.array([3.0, 40.0])
    expected = stats.t(dof, MEAN, scale).logpdf(X).sum()
    with jax.enable_x64(True):
        noise = StudentT(jnp.asarray(dof))
        one = Observation(mean=jnp.asarray(MEAN), scale=jnp.asarray(scale), noise=noise)
        assert float(one.log_prob(jnp.asarray(X))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_log_prob_is_scipys_in_any_number_of_dimensions(dim):
    rng = np.random.default_rng(dim)
    mean, x = rng.normal(size=(2, dim))
    scale = np.tril(rng.normal(size=(dim, dim)), -1) + np.diag(rng.uniform(0.3, 2, dim))
    expected = stats.multivariate_normal(mean, scale @ scale.T).logpdf(x)
    with jax.enable_x64(True):
        one = Observation(mean=jnp.asarray(mean), scale=jnp.asarray(scale))
        assert float(one.log_prob(jnp.asarray(x))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_extremes_are_the_singular_values(dim):
    scale = np.tril(np.random.default_rng(0).normal(size=(50, dim, dim)))
    if dim == 1:
        scale = np.abs(scale)  # elsewhere the signs of the diagonal don't matter
    smallest, largest = observation.extremes(Observation(mean=np.zeros((50, dim)), scale=scale))
    values = np.linalg.svd(scale, compute_uv=False)
    expected = values[:, [0, -1]]
    np.testing.assert_allclose(np.stack([largest, smallest], axis=1), expected, rtol=1e-9)


def test_covariance_is_infinite_where_the_noise_has_no_variance():
    noise = StudentT(np.array([[1.5, 4.0], [3.0, 4.0]]))
    scale = np.tile(np.diag([0.5, 0.8]), (2, 1, 1))
    one = Observation(mean=np.zeros((2, 2)), scale=scale, noise=noise)
    expected = [np.diag([np.inf, 2 * 0.64]), np.diag([3 * 0.25, 2 * 0.64])]
    np.testing.assert_allclose(observation.covariance(one), expected, rtol=1e-12)
    mean = observation.mean_sigmas(one, np.array([1.0, 1.0]))
    np.testing.assert_allclose(mean, [np.inf, math.sqrt(2 * 0.64)])


@pytest.mark.parametrize("dof", [None, np.array([5.0, 30.0])], ids=["gaussian", "student_t"])
def test_draws_have_the_covariance(dof):
    num = 200_000
    scale = LOWER if dof is None else np.diag(np.diag(LOWER))
    many = Observation(
        mean=np.tile(MEAN, (num, 1)),
        scale=np.tile(scale, (num, 1, 1)),
        noise=Normal() if dof is None else StudentT(np.tile(dof, (num, 1))),
    )
    x = observation.draw(np.random.default_rng(0), many)
    expected = observation.covariance(many)[0]
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.02)  # 5 standard errors
    if dof is not None:
        np.testing.assert_allclose(
            np.diagonal(expected), stats.t(dof, scale=np.diag(LOWER)).var(), rtol=1e-12
        )


def test_around_gives_all_shapes_of_sigma():
    z = np.array([[0.1], [0.2], [0.3]])
    for sigma in (0.3, np.array([0.3, 0.9]), LOWER):
        found = observation.around(lambda z: np.hstack([z, 2 * z]), sigma)(z)
        expected = sigma if np.ndim(sigma) == 2 else np.eye(2) * sigma
        np.testing.assert_array_equal(found.mean, np.hstack([z, 2 * z]))
        np.testing.assert_array_equal(found.scale, [expected] * 3)

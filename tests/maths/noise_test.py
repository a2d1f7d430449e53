"""Standardised noise against scipy, and draws of it against its own variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from spiral_vae.maths.noise import Normal, StudentT

DOF = np.array([3.0, 5.0, 40.0])
CASES = {"normal": (Normal(), stats.norm), "student_t": (StudentT(DOF), stats.t(DOF))}
cases = pytest.mark.parametrize(("noise", "truth"), CASES.values(), ids=CASES.keys())
Y = np.array([[-30.0, -3.0, -0.5], [0.0, 0.2, 1.0], [2.5, 8.0, 30.0]])


@cases
def test_log_prob_and_cdf_are_scipys(noise, truth):
    with jax.enable_x64(True):
        found = jax.tree.map(jnp.asarray, noise).log_prob(jnp.asarray(Y))
        np.testing.assert_allclose(found, truth.logpdf(Y), rtol=1e-11)
    np.testing.assert_allclose(noise.cdf(Y), truth.cdf(Y), rtol=1e-10)


@pytest.mark.parametrize("i", range(len(DOF)))
@pytest.mark.parametrize("noise", [Normal(), StudentT(DOF)], ids=["normal", "student_t"])
def test_density_integrates_to_one_and_to_the_cdf(noise, i):
    with jax.enable_x64(True):
        one = jax.tree.map(jnp.asarray, noise.dimension(i))

        def density(y):
            return float(jnp.exp(one.log_prob(jnp.float64(y))))

        total = integrate.quad(density, -np.inf, np.inf, epsabs=1e-12)[0]
        below = integrate.quad(density, -np.inf, 0.7, epsabs=1e-12)[0]
    assert total == pytest.approx(1, abs=1e-8)
    assert below == pytest.approx(float(noise.dimension(i).cdf(np.float64(0.7))), abs=1e-8)


@cases
def test_variance_is_scipys(noise, truth):
    np.testing.assert_allclose(noise.variance(), truth.var(), rtol=1e-12)


def test_variance_is_infinite_up_to_two_degrees_of_freedom():
    found = StudentT(np.array([0.5, 1.0, 2.0, 2.5])).variance()
    np.testing.assert_array_equal(found, [np.inf, np.inf, np.inf, 5])


@cases
def test_top_bounds_the_log_density(noise, truth):
    del truth
    assert np.max(noise.log_prob(np.zeros(3))) <= noise.top + 1e-6  # float32


@pytest.mark.parametrize("i", range(len(DOF)))
def test_dimension_is_the_law_of_one(i):
    assert Normal().dimension(i) == Normal()
    one = StudentT(np.stack([DOF, DOF + 1])).dimension(i)
    np.testing.assert_array_equal(one.dof, [DOF[i], DOF[i] + 1])
    np.testing.assert_allclose(one.cdf(np.full(2, 0.7)), stats.t([DOF[i], DOF[i] + 1]).cdf(0.7))


@cases
def test_draws_follow_the_law(noise, truth):
    num = 200_000
    noise = noise if isinstance(noise, Normal) else StudentT(DOF + 6)  # a finite fourth moment
    y = noise.draw(np.random.default_rng(0), (num, 3))
    assert y.shape == (num, 3)
    variance = np.broadcast_to(noise.variance(), 3)
    z = (np.mean(y**2, axis=0) - variance) / (np.std(y**2, axis=0) / np.sqrt(num))
    assert np.all(np.abs(z) < 5)
    assert np.all(np.abs(np.corrcoef(y.T) - np.eye(3)) < 5 / np.sqrt(num))
    for i in range(3):
        assert stats.kstest(noise.dimension(i).cdf(y[:, i]), "uniform").pvalue > 1e-3

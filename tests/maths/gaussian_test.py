"""The diagonal Gaussian against scipy, quadrature and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from spiral_vae.maths import gaussian

EPS = float(np.finfo(np.float32).eps)
CASES = [
    ([0.0], [0.0]),
    ([1.5], [-0.7]),
    ([-3.0], [2.0]),
    ([0.2], [-8.0]),
    ([0.4, -1.1], [0.5, -2.0]),
    ([0.0, 2.0, -0.3], [-4.0, 1.0, 0.0]),
]
cases = pytest.mark.parametrize(("mean", "logvar"), CASES)


@cases
def test_log_prob_is_scipys(mean, logvar):
    x = np.linspace(-2, 3, len(mean))
    truth = stats.multivariate_normal(mean, np.diag(np.exp(logvar)))
    with jax.enable_x64(True):
        found = gaussian.log_prob(*map(jnp.asarray, (x, mean, logvar)))
        assert found.shape == ()
        assert float(found) == pytest.approx(truth.logpdf(x), rel=1e-12)
        arguments = tuple(map(jnp.asarray, (x, mean, logvar)))
        check_grads(gaussian.log_prob, arguments, order=2, modes=["rev"], rtol=1e-5)


def test_a_scalar_logvar_counts_once_for_every_dimension():
    x, mean = jnp.array([0.3, -1.0, 2.0]), jnp.zeros(3)
    truth = stats.multivariate_normal(np.zeros(3), np.exp(0.8)).logpdf(x)
    # float32 sums of terms of order 1
    assert float(gaussian.log_prob(x, mean, jnp.float32(0.8))) == pytest.approx(truth, rel=1e-6)


def _kl_by_quadrature(mean, logvar):
    """The KL of one dimension from its definition, over 12 standard deviations."""
    q, p = stats.norm(mean, np.exp(logvar / 2)), stats.norm()
    reach = 12 * np.exp(logvar / 2)

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    return integrate.quad(integrand, mean - reach, mean + reach, points=[mean], epsabs=1e-12)[0]


@cases
def test_kl_is_its_definition_and_the_sum_over_dimensions(mean, logvar):
    with jax.enable_x64(True):
        found = gaussian.kl_to_standard(jnp.asarray(mean), jnp.asarray(logvar))
        assert found.shape == ()
        expected = sum(map(_kl_by_quadrature, mean, logvar))
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@cases
def test_kl_gradient_has_its_closed_form(mean, logvar):
    with jax.enable_x64(True):
        arguments = jnp.asarray(mean), jnp.asarray(logvar)
        grads = jax.grad(gaussian.kl_to_standard, argnums=(0, 1))(*arguments)
        np.testing.assert_allclose(grads[0], mean, rtol=1e-12)
        np.testing.assert_allclose(grads[1], (np.exp(logvar) - 1) / 2, rtol=1e-12, atol=1e-15)


def test_kl_at_the_prior_is_exactly_zero_with_zero_gradient():
    zeros = jnp.zeros(2)
    value, grads = jax.value_and_grad(gaussian.kl_to_standard, argnums=(0, 1))(zeros, zeros)
    assert value == 0
    np.testing.assert_array_equal(grads, np.zeros((2, 2)))


@pytest.mark.parametrize("logvar", [s * 10.0**-k for k in (1, 2, 3, 4) for s in (1, -1)])
def test_kl_near_the_prior_keeps_its_digits_in_float32(logvar):
    """exp(v) - 1 - v would be all rounding below 5e-4, where it is smaller than float32's eps."""
    logvar = float(np.float32(logvar))
    exact = 0.5 * (logvar**2 / 2 + logvar**3 / 6 + logvar**4 / 24 + logvar**5 / 120)
    found = gaussian.kl_to_standard(jnp.zeros(1), jnp.full(1, logvar, jnp.float32))
    # The last rounding is that of expm1(v), about v, against a difference of about v^2 / 2.
    assert float(found) == pytest.approx(exact, rel=4 * EPS / abs(logvar))
    grad = jax.grad(gaussian.kl_to_standard, argnums=1)(jnp.zeros(1), jnp.full(1, logvar))
    np.testing.assert_allclose(grad, np.expm1(logvar) / 2, atol=EPS)  # its exp(v) - 1 is near 0


def test_kl_is_unbiased_by_monte_carlo():
    """KL = E_q[log q - log p] with the package's own sample and log_prob: the three agree."""
    mean, logvar, num = jnp.array([0.7, -0.4]), jnp.array([-1.0, 0.3]), 20_000
    eps = jax.random.normal(jax.random.key(0), (num, 2))
    z = jax.vmap(gaussian.sample, in_axes=(0, None, None))(eps, mean, logvar)
    log_prob = jax.vmap(gaussian.log_prob, in_axes=(0, None, None))
    terms = np.asarray(log_prob(z, mean, logvar) - log_prob(z, jnp.zeros(2), jnp.zeros(2)))
    error = terms.std() / np.sqrt(num)
    assert abs(terms.mean() - gaussian.kl_to_standard(mean, logvar)) < 5 * error


def test_sample_is_a_shift_and_a_scale():
    """With logvar = log sigma^2, sigma = 1 and 3: whole numbers come out to rounding."""
    eps, mean = jnp.array([2.0, -1.0]), jnp.array([10.0, 20.0])
    found = gaussian.sample(eps, mean, jnp.log(jnp.array([1.0, 9.0])))
    np.testing.assert_allclose(found, [12, 17], rtol=1e-6)


def test_reparameterised_gradients_are_those_of_the_expectation():
    """E sin(z) = sin(m) exp(-s^2 / 2) for z ~ N(m, s^2)."""
    mean, logvar, num = 0.6, -0.5, 20_000
    var = np.exp(logvar)

    def estimate(mean, logvar, eps):
        return jnp.sin(gaussian.sample(eps, mean, logvar))

    eps = jax.random.normal(jax.random.key(1), (num,))
    grads = jax.vmap(jax.grad(estimate, argnums=(0, 1)), in_axes=(None, None, 0))
    exact = np.cos(mean) * np.exp(-var / 2), -np.sin(mean) * np.exp(-var / 2) * var / 2
    for grad, expected in zip(grads(mean, logvar, eps), exact, strict=True):
        grad = np.asarray(grad, np.float64)
        assert abs(grad.mean() - expected) < 5 * grad.std() / np.sqrt(num)

"""The Gaussian posterior against scipy, and what a family is given without saying it itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import integrate, stats

from spiral_vae.maths import gaussian
from spiral_vae.model.posterior import Gaussian, Posterior

Q = Gaussian()
CASES = [
    ([0.0], [0.0]),
    ([1.5], [-0.7]),
    ([-3.0], [1.0]),
    ([0.2], [-8.0]),
    ([0.4, -1.1], [0.5, -2.0]),
]
cases = pytest.mark.parametrize(("mean", "logvar"), CASES)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _heads(mean, logvar):
    return {"mean": jnp.asarray(mean), "logvar": jnp.asarray(logvar)}


def _many(num):
    """Heads of as many examples, [1, num] each."""
    rng = np.random.default_rng(3)
    return _heads(rng.normal(size=(1, num)), rng.normal(size=(1, num)) - 1)


@pytest.mark.parametrize(("mean", "logvar"), [case for case in CASES if len(case[0]) == 1])
def test_log_prob_integrates_to_one(mean, logvar):
    def density(z):
        return float(jnp.exp(Q.log_prob(_heads(mean, logvar), jnp.array([[z]])))[0])

    reach = 10 * np.exp(0.5 * logvar[0])
    total = integrate.quad(density, mean[0] - reach, mean[0] + reach, points=mean)[0]
    assert total == pytest.approx(1, abs=1e-8)


@cases
def test_log_prob_is_scipys(mean, logvar):
    z = np.random.default_rng(0).normal(size=(len(mean), 6))
    truth = stats.multivariate_normal(mean, np.diag(np.exp(logvar)))
    found = Q.log_prob(_heads(mean, logvar), jnp.asarray(z))
    np.testing.assert_allclose(found, truth.logpdf(z.T), rtol=1e-12)


@cases
def test_log_ratio_is_that_of_prior_and_density_of_its_own_samples(mean, logvar):
    heads = _heads(mean, logvar)
    eps = jnp.asarray(np.random.default_rng(1).normal(size=(len(mean), 8)))
    z = Q.sample(heads, eps)
    expected = gaussian.log_prior(z) - Q.log_prob(heads, z)
    assert expected.shape == (8,)
    np.testing.assert_allclose(Q.log_ratio(heads, z, eps), expected, rtol=1e-12, atol=1e-12)
    found = Posterior.log_ratio(Q, heads, z, eps)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@cases
def test_nodes_are_a_quadrature_rule_for_q(mean, logvar):
    latent_dim = len(mean)
    for num in (64, 32):
        nodes = Q.nodes(_heads(mean, logvar), num)
        assert nodes.z.shape == (latent_dim, (num + 1) ** latent_dim)
        weight, z = np.exp(nodes.log_weight), np.asarray(nodes.z)
        assert weight.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(z @ weight, mean, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(z**2 @ weight, np.square(mean) + np.exp(logvar), rtol=1e-8)


@cases
def test_what_every_family_is_given_is_the_closed_form_of_the_gaussian(mean, logvar):
    heads = _heads(mean, logvar)
    assert float(Posterior.kl(Q, heads)) == pytest.approx(float(Q.kl(heads)), rel=1e-8, abs=1e-8)
    for found, own, expected in zip(
        Posterior.moments(Q, heads), Q.moments(heads), (mean, logvar), strict=True
    ):
        np.testing.assert_array_equal(own, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("mean", "logvar"), [case for case in CASES if len(case[0]) == 1])
def test_cdf_is_scipys_as_every_family_is_given_it(mean, logvar):
    heads, sigma = _heads(mean, logvar), np.exp(0.5 * logvar[0])
    for z in mean[0] + sigma * np.array([-8.0, -3.3, -1.0, 0.0, 0.123, 2.0, 5.5]):
        expected = stats.norm(mean[0], sigma).cdf(z)
        assert float(Q.cdf(heads, jnp.array([z]))) == pytest.approx(expected, rel=1e-12)
        found = Posterior.cdf(Q, heads, jnp.array([z]))
        assert found.shape == ()
        assert float(found) == pytest.approx(expected, abs=1e-8)


def test_kl_by_quadrature_has_the_gradients_of_the_closed_form():
    """It is trained on."""
    heads = _heads([0.4, -1.1], [0.5, -2.0])
    found = jax.grad(lambda heads: Posterior.kl(Q, heads))(heads)
    expected = jax.grad(Q.kl)(heads)
    for name in heads:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-8)
    check_grads(lambda heads: Posterior.kl(Q, heads), (heads,), order=1, modes=["rev"], rtol=1e-5)


def test_many_examples_along_further_axes_are_as_many_single_ones():
    heads = _many(5)
    eps = jnp.asarray(np.random.default_rng(2).normal(size=(1, 3, 5)))

    def found(heads, eps):
        z = Q.sample(heads, eps)
        nodes = Q.nodes(heads, 8)
        return {
            "z": z,
            "log_prob": Q.log_prob(heads, z),
            "log_ratio": [q.log_ratio(Q, heads, z, eps) for q in (Gaussian, Posterior)],
            "kl": [q.kl(Q, heads) for q in (Gaussian, Posterior)],
            "moments": [q.moments(Q, heads) for q in (Gaussian, Posterior)],
            "nodes": nodes.z,
            "expected": jnp.sum(jnp.exp(nodes.log_weight) * nodes.z[0] ** 2, axis=0),
        }

    singles = [
        found({name: head[:, i] for name, head in heads.items()}, eps[..., i]) for i in range(5)
    ]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *singles)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14),
        found(heads, eps),
        stacked,
    )


def test_sample_is_differentiable_in_the_heads():
    heads, eps = _heads([0.3], [-1.0]), jnp.array([[2.0]])
    grads = jax.grad(lambda heads: Q.sample(heads, eps)[0, 0])(heads)
    np.testing.assert_allclose(grads["mean"], [1], rtol=1e-12)
    np.testing.assert_allclose(grads["logvar"], [np.exp(-0.5)], rtol=1e-12)  # sigma eps / 2


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_heads_say_the_number_of_latents(latent_dim):
    sizes = Q.heads(latent_dim)
    assert sizes == {"mean": latent_dim, "logvar": latent_dim}
    assert Q.latent_dim({name: jnp.zeros((size, 4)) for name, size in sizes.items()}) == latent_dim

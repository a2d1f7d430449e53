"""What experiments/claims computes, against closed forms and second ways to the same number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from experiments.claims import rate, regularised, signal_to_noise, width, wrong_models
from spiral_vae import base_config, numerics
from spiral_vae.config import axes, lanes, sources
from spiral_vae.config.values import with_values
from spiral_vae.exact import bound
from spiral_vae.exact.inference import gaussians
from spiral_vae.maths.observation import around
from spiral_vae.model.objective import base
from spiral_vae.training import train

W, SIGMA = np.array([1.3, -0.7]), 0.5
LINE = around(lambda z: z * W, SIGMA)
VARIANCE = SIGMA**2 / (SIGMA**2 + W @ W)  # of the line's posteriors


@pytest.fixture(autouse=True)
def double():
    with numerics.double():
        yield


# signal_to_noise


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_of_one_sample_the_gradient_is_that_of_the_elbo(dim):
    p = signal_to_noise.problem(0, dim, 8)
    by_b, by_mu = signal_to_noise.exact(p, 1)
    np.testing.assert_allclose(by_b, p.x + p.mu - 2 * p.mean, atol=1e-7)
    np.testing.assert_allclose(by_mu, p.mean - p.mu, atol=1e-7)


@pytest.mark.parametrize("num", [2, 30, 1000])
def test_in_one_dimension_the_gradient_is_that_of_quadrature_under_q(num):
    p = signal_to_noise.problem(1, 1, 5)
    eps = np.linspace(-9, 9, 401)
    log_weight = jnp.asarray(norm.logpdf(eps) + np.log(eps[1] - eps[0]))

    def of_point(mean, mu, x):
        z = mean + np.sqrt(2 / 3) * eps
        log_p = -0.5 * (z - mu) ** 2 - 0.5 * (x - z) ** 2
        return bound.log_mean(log_p + 0.5 * eps**2, log_weight, num)

    both = jax.vmap(jax.grad(of_point, (0, 1)), (0, None, 0))(p.mean[:, 0], p.mu[0], p.x[:, 0])
    for found, expected in zip(signal_to_noise.exact(p, num), both, strict=True):
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-7)


@pytest.mark.parametrize("dim", [1, 20])
def test_signals_and_noise_go_to_their_first_order(dim):
    p, num = signal_to_noise.problem(2, dim, 4), 2_000
    theory = signal_to_noise.predicted(p, num)
    by_b, by_mu = signal_to_noise.exact(p, num)
    np.testing.assert_allclose(by_b, theory["DReG"][0], atol=0.02 * np.abs(by_b).max())
    np.testing.assert_allclose(by_mu, theory["mu"][0], atol=0.01)
    found = signal_to_noise.drawn(p, jax.random.key(0), num, 400)
    for name, (_, variance) in theory.items():
        ratio = np.sum(found[name][1], axis=1) / np.sum(variance, axis=1)
        np.testing.assert_allclose(ratio, 1, atol=0.25)  # a variance of 400 heavy-tailed draws


def test_draws_of_every_gradient_have_the_exact_mean():
    p, repeats = signal_to_noise.problem(3, 2, 50), 2_000
    by_b, by_mu = signal_to_noise.exact(p, 5)
    found = signal_to_noise.drawn(p, jax.random.key(1), 5, repeats)
    for name, truth in (("plain", by_b), ("DReG", by_b), ("mu", by_mu)):
        mean, variance = found[name]
        assert np.sqrt(np.mean((mean - truth) ** 2 * repeats / variance)) == pytest.approx(
            1, abs=0.25
        )


def test_slope_of_a_power():
    rows = [{"samples": k, "snr": 3 * k**-0.5} for k in (1, 16, 64, 256)]
    assert signal_to_noise.slope(rows) == pytest.approx(-0.5)


# rate


def _line(ratio, shift=0.3):
    """Points of the line, log p(x), and their posteriors, moved and widened."""
    x = np.random.default_rng(0).normal(size=(4, 2))
    mean = x @ W[:, None] / (SIGMA**2 + W @ W) + shift * np.sqrt(VARIANCE)
    covariance = np.outer(W, W) + SIGMA**2 * np.eye(2)
    square = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    log_evidence = -0.5 * square - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    return x, log_evidence, gaussians(mean, np.full_like(mean, np.log(ratio * VARIANCE)))


@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.5])
def test_chi_square_of_gaussians(ratio):
    x, log_evidence, q = _line(ratio)
    found, depth = rate.chi_square(x, q, LINE, log_evidence)
    expected = ratio / np.sqrt(2 * ratio - 1) * np.exp(0.3**2 / (2 * ratio - 1)) - 1
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert np.all(depth > 30)
    if ratio > 1:
        gap = log_evidence - bound.iwae(x, q, LINE, 10_000)
        np.testing.assert_allclose(10_000 * gap, expected / 2, rtol=1e-3)


def test_a_valley_parts_what_counts_from_a_tail_that_diverges():
    place = np.linspace(-30, 30, 1201)
    hill, tail = -0.5 * place**2, 0.2 * place**2 - 100
    total, depth = rate.valley(np.logaddexp(hill, tail)[None])
    np.testing.assert_allclose(total, np.log(np.sqrt(2 * np.pi) * 20), atol=1e-9)
    assert 60 < depth[0] < 80


def test_the_prior_is_mixed_in_with_its_share():
    _, _, q = _line(1.3)
    z = np.linspace(-3, 3, 7)[:, None]
    both = 0.9 * np.exp(q.log_prob(z)) + 0.1 * norm.pdf(z[:, 0])
    np.testing.assert_allclose(rate.with_prior(q, 0.1).log_prob(z), np.log(both), rtol=1e-6)


# regularised


def test_differences_are_paired_by_seed():
    rows = [
        {"way": way, "seed": seed, "nll": nll}
        for way, seed, nll in (
            ("plain", 0, 1.0),
            ("plain", 1, 5.0),
            ("other", 1, 4.0),
            ("other", 0, 3.0),
        )
    ]
    mean, error, lower = regularised.paired(rows, "nll", "plain")
    assert (mean, error, lower) == (0.5, pytest.approx(1.5), 1)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_denoising_is_the_elbo_of_an_encoder_that_sees_noise(noise):
    config = base_config({"data.num_points": 5, "train.batch_size": 5})
    (group,) = lanes.groups(config, axes.expand(config, ())[1])
    lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), group.lanes)
    state, _ = train.init(lane)
    own = sources.load_file(regularised.KIND).Denoising(input_noise=noise, num_samples=3)
    x, eps = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((2, 5), own.noise_shape(1, 1, 5)))
    )
    found = own.draw(state.params, x, eps, lane.vae, lane.posterior)
    seen = x + noise * eps[0, -2:]
    expected = base.draw(state.params, seen, eps[:, :3], lane.vae, lane.posterior)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found.z.shape == (1, 3, 5)


# wrong_models


def test_a_gaussian_costs_nothing_on_a_line():
    x, _, q = _line(3.0)
    np.testing.assert_allclose(wrong_models.price(x, LINE, q), 0, atol=1e-9)


def test_a_gaussian_pays_for_one_of_two_modes():
    """Of two equal modes far from one another it takes one, at ln 2."""
    curve = lanes_of("absolute value")
    truth = wrong_models.drawn(curve, 40)
    far = np.abs(np.abs(truth.z[:, 0]) - 0.67) < 0.3  # from the ends of the line
    assert np.sum(far) > 5
    np.testing.assert_allclose(truth.gap[far], np.log(2), atol=0.03)


def lanes_of(curve):
    config = with_values(wrong_models.get_config(), wrong_models.CURVES[curve])
    group = lanes.groups(config, axes.expand(config, ())[1])[0]
    return jax.tree.map(lambda leaf: float(np.asarray(leaf)[0]), group.lanes.data)


# width


@pytest.mark.parametrize("normed", [True, False])
def test_a_point_s_bound_is_an_integral(normed):
    x, mean, log_scale, theta = 1.7, 0.4, -0.3, width.Theta(0.2, 0.01)

    def integrand(z):
        square = (x - theta.mean - z * np.sin(z) - z) ** 2 + theta.variance
        log_q = norm.logpdf(z, mean, np.exp(log_scale))
        log_p = -0.5 * z**2 - 0.5 * square * np.exp(-2 * np.cos(z)) - normed * np.cos(z)
        return np.exp(log_q) * (log_p - np.log(2 * np.pi) - log_q)

    expected, _ = integrate.quad(integrand, -6, 6, epsabs=1e-12)
    q = width.Q(jnp.asarray([mean]), jnp.asarray([log_scale]))
    for num in (width.NODES, width.FINE_NODES):
        found = width.bound_of(jnp.asarray([x]), width.moments(q, normed, num), theta)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_best_theta_is_where_the_bound_is_flat():
    points = jnp.asarray(width.draw(0, 20, 1.0)[0])
    q = width.Q(0.1 * points, jnp.full(20, -0.5))
    slope = jax.grad(width.total, 2)(points, q, width.best_theta(points, q), True)
    np.testing.assert_allclose(slope, 0, atol=1e-9)


@pytest.mark.parametrize("spread", width.SPREADS.values())
def test_the_search_finds_what_no_other_q_exceeds(spread):
    x, theta = width.draw(1, 6, spread)
    points, of = jnp.asarray(x), width.Theta(jnp.asarray(theta), jnp.asarray(0.0))
    q = width.searched(points, of, True)
    found = width.bound_of(points, width.moments(q, True, width.FINE_NODES), of)
    z = np.linspace(-20, 20, 40_001)
    log_joint = norm.logpdf(z) + norm.logpdf(
        x[:, None], theta + z * np.sin(z) + z, np.exp(np.cos(z))
    )
    evidence = np.log(np.sum(np.exp(log_joint), axis=1) * (z[1] - z[0]))
    assert np.all(found < evidence)
    mean, log_scale = np.meshgrid(np.linspace(-12, 12, 481), np.linspace(-3, 0.5, 36))
    q = width.Q(jnp.asarray(mean), jnp.asarray(log_scale))
    for i in range(6):
        others = width.bound_of(points[i], width.moments(q, True, width.FINE_NODES), of)
        assert found[i] >= jnp.max(others) - 1e-9


def test_a_fit_of_q_for_each_point_is_no_worse_than_a_network():
    (row, _) = width.measured(1.0, 50, 0, (2,), 30)
    assert row["gap"] > 0

"""The exact bound and its gaps: probabilistic PCA in closed form, the identity, Monte Carlo."""

import jax
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from spiral_vae.exact import ground_truth, inference, mixture
from spiral_vae.exact.best import best_gaussian
from spiral_vae.exact.inference import Posteriors, gaussians
from spiral_vae.exact.model import functions_of
from spiral_vae.maths.noise import StudentT
from spiral_vae.maths.observation import Observation, around
from spiral_vae.model import networks
from spiral_vae.model.likelihood import Fixed
from spiral_vae.model.networks import Hidden
from spiral_vae.model.posterior import FullCovariance, Gaussian, Mixture, Spline
from tests.exact.families import Logistic, as_bare
from tests.exact.identities import chi_square, kl_to_posterior, pieces

PI = np.pi
W, B = np.array([1.3, -0.7]), np.array([0.4, -0.2])
SIGMA = 0.5
POSTERIOR_VAR = SIGMA**2 / (SIGMA**2 + W @ W)


def _line(z):
    return z * W + B


LINE = around(_line, SIGMA)


def _points(num=40, seed=0):
    """Points of the linear model and a few far from it, [num, 2]."""
    x = np.random.default_rng(seed).multivariate_normal(
        B, np.outer(W, W) + SIGMA**2 * np.eye(2), num
    )
    x[:3] *= 3
    return x


def _posterior(x):
    """The exact posterior of the line."""
    mean = (x - B) @ W[:, None] / (SIGMA**2 + W @ W)
    return gaussians(mean, np.full_like(mean, np.log(POSTERIOR_VAR)))


def _mean_logvar(q):
    return q.heads["mean"], q.heads["logvar"]


def _evidence(x):
    return stats.multivariate_normal(B, np.outer(W, W) + SIGMA**2 * np.eye(2)).logpdf(x)


def _density(x=None):
    reach = 3.0 if x is None else float(np.max(np.linalg.norm(x - B, axis=1)))
    return ground_truth.model_density(LINE, 1, reach)


def _gaussian_kl(mean_q, var_q, mean_p, var_p):
    return 0.5 * ((var_q + (mean_q - mean_p) ** 2) / var_p - 1 - np.log(var_q / var_p))


def _bad_q(x):
    """A Gaussian that is wrong by about a standard deviation and in its width by up to two."""
    mean, logvar = _mean_logvar(_posterior(x))
    wobble = np.arange(len(x))[:, None]
    return gaussians(mean + 0.5 * np.sin(wobble), logvar + 0.7 * np.cos(2 * wobble))


# Probabilistic PCA


def test_evidence_of_a_line():
    x = _points()
    value, error = _density(x).log_density(x)
    np.testing.assert_allclose(value, _evidence(x), atol=1e-8, rtol=0)
    assert np.all(error < 1e-8)


@pytest.mark.parametrize("q", [_posterior, _bad_q])
def test_elbo_of_a_line(q):
    x = _points()
    found = inference.elbo(x, q(x), LINE)
    mean, logvar = _mean_logvar(q(x))
    m, s2 = mean[:, 0], np.exp(logvar[:, 0])
    residual = (np.sum((x - _line(mean)) ** 2, axis=1) + s2 * (W @ W)) / SIGMA**2
    reconstruction = 0.5 * residual + np.log(2 * PI * SIGMA**2)
    # the weights end at 9 standard deviations, where 1e-18 is left; the rest is rounding
    np.testing.assert_allclose(found.residual, residual, atol=1e-10)
    np.testing.assert_allclose(found.reconstruction, reconstruction, atol=1e-10)
    np.testing.assert_allclose(found.kl, _gaussian_kl(m, s2, 0, 1), atol=1e-10)
    gap = _gaussian_kl(m, s2, _posterior(x).heads["mean"][:, 0], POSTERIOR_VAR)
    np.testing.assert_allclose(found.elbo, _evidence(x) - gap, atol=1e-8)
    assert np.all(found.error < 1e-8)


@pytest.mark.parametrize("q", [_posterior, _bad_q])
def test_kl_to_the_posterior_of_a_line(q):
    x = _points()
    found = kl_to_posterior(x, q(x), LINE, _evidence(x))
    mean, logvar = _mean_logvar(q(x))
    exact = _gaussian_kl(mean, np.exp(logvar), _posterior(x).heads["mean"], POSTERIOR_VAR)[:, 0]
    np.testing.assert_allclose(found, exact, atol=1e-8)


@pytest.mark.parametrize("start", [_posterior, _bad_q])
def test_the_best_gaussian_of_a_line_is_the_posterior_and_closes_the_gap(start):
    x = _points()
    best = best_gaussian(x, start(x), LINE, _density(x))
    np.testing.assert_allclose(_evidence(x) - best.elbo, 0, atol=1e-8)
    # A gap of 1e-8 nats leaves sqrt(2e-8) of a standard deviation.
    for name, head in _posterior(x).heads.items():
        np.testing.assert_allclose(best.q.heads[name], head, atol=2e-4)


def test_all_of_a_line_with_correlated_noise():
    """Evidence N(B, W W^T + S); q is wrong, its best replacement the exact posterior."""
    lower = np.array([[0.5, 0.0], [-0.6, 0.3]])
    noise, precision = lower @ lower.T, np.linalg.inv(lower @ lower.T)
    x, observe = _points(), around(_line, lower)
    variance = 1 / (1 + W @ precision @ W)
    posterior = variance * (x - B) @ precision @ W
    log_evidence = stats.multivariate_normal(B, np.outer(W, W) + noise).logpdf(x)
    reach = float(np.max(np.linalg.norm(x - B, axis=1)))
    density = ground_truth.model_density(observe, 1, reach)
    value, error = density.log_density(x)
    np.testing.assert_allclose(value, log_evidence, atol=1e-8, rtol=0)
    assert np.all(error < 1e-8)

    q = _bad_q(x)
    mean, logvar = _mean_logvar(q)
    m, s2 = mean[:, 0], np.exp(logvar[:, 0])
    bound = inference.elbo(x, q, observe)
    residual = x - _line(mean)
    square = np.sum(residual @ precision * residual, axis=1) + s2 * (W @ precision @ W)
    np.testing.assert_allclose(bound.residual, square, atol=1e-10)
    kl = _gaussian_kl(m, s2, posterior, variance)
    np.testing.assert_allclose(bound.elbo, log_evidence - kl, atol=1e-8)
    found = kl_to_posterior(x, q, observe, log_evidence)
    np.testing.assert_allclose(found, kl, atol=1e-8)
    best = best_gaussian(x, q, observe, density)
    np.testing.assert_allclose(best.elbo, log_evidence, atol=1e-8)
    # A gap of 1e-8 nats leaves sqrt(2e-8) of a standard deviation.
    np.testing.assert_allclose(best.q.heads["mean"][:, 0], posterior, atol=2e-4)
    np.testing.assert_allclose(best.q.heads["logvar"], np.log(variance), atol=2e-4)


def test_law_of_the_principal_component():
    """At |w|^2 = lam1 - sigma^2 and s^2 = sigma^2 / lam1 the ELBO is stationary in everything.

    Over four points whose covariance is diag(lam) to the last digit; the mean KL is then
    0.5 ln(lam1 / sigma^2).
    """
    lam1, lam2, sigma = 1.8, 1.1, 0.4
    x = np.sqrt(2) * np.array(
        [[lam1**0.5, 0], [-(lam1**0.5), 0], [0, lam2**0.5], [0, -(lam2**0.5)]]
    )
    w = np.array([np.sqrt(lam1 - sigma**2), 0.0])

    def terms(p):
        """p: decoder's w and b, encoder's a and c, log s^2."""
        mean = x @ p[4:6, None] + p[6]
        logvar = np.full((4, 1), p[7])
        observe = around(lambda z: z * p[:2] + p[2:4], sigma)
        return inference.elbo(x, gaussians(mean, logvar), observe)

    optimum = np.concatenate([w, [0, 0], w / lam1, [0], [np.log(sigma**2 / lam1)]])
    step = 1e-4
    gradient = [
        (np.mean(terms(optimum + step * e).elbo) - np.mean(terms(optimum - step * e).elbo))
        / (2 * step)
        for e in np.eye(8)
    ]
    # differences: exact for the quadratic ones, 1e-8 for log s^2, rounding 1e-14 / 1e-4
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    assert np.mean(terms(optimum).kl) == pytest.approx(0.5 * np.log(lam1 / sigma**2), abs=1e-10)
    # and it is the maximum, not a saddle, along the first eigenvector
    for e in np.eye(8):
        assert np.mean(terms(optimum + 0.05 * e).elbo) < np.mean(terms(optimum).elbo)


# The identity log p = ELBO + KL(q || posterior) on models that are not linear


def _interpolating_net(z, targets, seed, hidden=64, scale=3.0):
    """A tanh network of random features whose last layer meets the targets (least squares)."""
    rng = np.random.default_rng(seed)
    w1, b1 = rng.normal(0, scale, hidden), rng.normal(0, scale, hidden)

    def features(z):
        return np.concatenate([np.tanh(z * w1 + b1), np.ones_like(z)], axis=1)

    w2 = np.linalg.lstsq(features(z), targets, rcond=1e-10)[0]
    return lambda z: features(z) @ w2


def _spiral_curve(u):
    t = np.sqrt(u)
    return 2.5 * np.stack([t * np.cos(2.8 * PI * t), t * np.sin(2.8 * PI * t)], axis=-1)


def _trained_like():
    """The spiral itself as a network, points with noise, q from Laplace's approximation."""
    z = np.linspace(-3, 3, 60)[:, None]
    decode = _interpolating_net(z, _spiral_curve(0.01 + 0.99 * special.ndtr(z[:, 0])), 0)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((30, 1))
    x = decode(z) + 0.2 * rng.standard_normal((30, 2))
    return x, _laplace(decode, z, 0.2), around(decode, 0.2)


def _overfitted():
    """A network through its 12 training points at sigma = 1e-4, judged on them and on new ones.

    The new points are far from the curve in units of sigma: log p is about -1e5 and less.
    """
    rng = np.random.default_rng(2)
    z = stats.norm.ppf((np.arange(12) + 0.5) / 12)[:, None]
    x = _spiral_curve(0.01 + 0.99 * special.ndtr(z[:, 0])) + 0.2 * rng.standard_normal((12, 2))
    decode = _interpolating_net(z, x, 3)
    assert np.max(np.abs(decode(z) - x)) < 1e-6  # it does pass through
    new_z = z[::4]
    new_x = decode(new_z) + 0.05 * rng.standard_normal((3, 2))
    x, z = np.concatenate([x, new_x]), np.concatenate([z, new_z])
    return x, _laplace(decode, z, 1e-4), around(decode, 1e-4)


def _untrained():
    hidden = Hidden(hidden_dim=32, hidden_layers=1)
    vae = networks.VAE(
        data_dim=2,
        latent_dim=1,
        encoder=networks.Network(hidden=hidden, heads=(("mean", 1), ("logvar", 1))),
        decoder=networks.Network(hidden=hidden, heads=(("mean", 2),)),
    )
    params = vae.init(jax.random.key(3)) | {"likelihood": {}}
    encode, observe = functions_of(vae, Fixed(sigma=0.2), params)
    x = np.random.default_rng(4).normal(0, 1.3, (30, 2))
    return x, gaussians(**encode(x)), observe


def _collapsed():
    x = np.random.default_rng(5).normal(0, 1.3, (30, 2))
    zero = np.zeros((30, 1))
    observe = around(lambda z: np.broadcast_to([0.1, -0.3], (len(z), 2)), 1.2)
    return x, gaussians(zero + 0.1, zero - 0.2), observe


def _uneven(dof=None):
    """A curve whose noise is correlated and changes fivefold along it, Gaussian or Student-t."""
    z = np.linspace(-3, 3, 60)[:, None]
    decode = _interpolating_net(z, _spiral_curve(0.01 + 0.99 * special.ndtr(z[:, 0])), 0)

    def observe(z):
        sigma = 0.1 + 0.4 * special.expit(2 * z)
        scale = np.zeros((len(z), 2, 2))
        scale[:, 0, 0], scale[:, 1, 1] = sigma[:, 0], 0.6 - sigma[:, 0]
        if dof is None:
            scale[:, 1, 0] = 0.2 * np.sin(3 * z[:, 0])
            return Observation(mean=decode(z), scale=scale)
        noise = StudentT(dof + 2 * np.cos(z) * [1, 0.5])
        return Observation(mean=decode(z), scale=scale, noise=noise)

    rng = np.random.default_rng(9)
    z = rng.standard_normal((30, 1))
    x = decode(z) + 0.4 * rng.standard_normal((30, 2))
    x[:3] *= 3
    return x, _laplace(decode, z, 0.3), observe


def _student_t():
    return _uneven(dof=5.0)


def _laplace(decode, z, sigma):
    slope = (decode(z + 1e-5) - decode(z - 1e-5)) / 2e-5
    return gaussians(z, -np.log1p(np.sum(slope**2, axis=1, keepdims=True) / sigma**2))


@pytest.mark.parametrize(
    "model", [_trained_like, _untrained, _overfitted, _collapsed, _uneven, _student_t]
)
def test_evidence_is_elbo_plus_kl_for_every_point(model):
    x, q, observe = model()
    reach = float(np.max(np.linalg.norm(x - observe(np.zeros((1, 1))).mean, axis=1)))
    log_evidence, error = ground_truth.model_density(observe, 1, reach).log_density(x)
    bound = inference.elbo(x, q, observe)
    kl = kl_to_posterior(x, q, observe, log_evidence)
    # 1e-8 nats; where the terms are 1e5 nats themselves they carry 1e-13 of that in rounding.
    size = np.abs(log_evidence) + np.abs(bound.reconstruction)
    assert np.all(np.abs(log_evidence - bound.elbo - kl) < 1e-8 + 1e-13 * size)
    assert np.all(kl >= -1e-10 - 1e-13 * size)
    assert np.all(error < 1e-8 + 1e-13 * size)
    if model is _overfitted:  # else the identity was not tried where it is hard
        assert log_evidence[:12].min() > 0  # far likelier than under the truth, about -2.2
        assert log_evidence[12:].mean() < -1e4


@pytest.mark.parametrize("family", [Mixture(), Spline(), FullCovariance()], ids=repr)
@pytest.mark.parametrize("model", [_trained_like, _untrained, _collapsed])
def test_so_it_is_for_every_family(model, family):
    x, q, observe = model()
    rng = np.random.default_rng(8)
    heads = {name: 0.4 * rng.normal(size=(len(x), num)) for name, num in family.heads(1).items()}
    heads["mean"] += q.mean
    heads["logvar"] += q.logvar
    q = Posteriors(family, heads)
    reach = float(np.max(np.linalg.norm(x - observe(np.zeros((1, 1))).mean, axis=1)))
    log_evidence, _ = ground_truth.model_density(observe, 1, reach).log_density(x)
    bound = inference.elbo(x, q, observe)
    kl = kl_to_posterior(x, q, observe, log_evidence)
    assert np.all(np.abs(log_evidence - bound.elbo - kl) < 1e-8 + 1e-12 * np.abs(bound.elbo))


@pytest.mark.parametrize("family", [Mixture(), Spline()], ids=repr)
def test_the_two_parts_of_the_mean_kl_of_a_family(family):
    rng = np.random.default_rng(9)
    heads = {name: 0.3 * rng.normal(size=(20, num)) for name, num in family.heads(1).items()}
    q = Posteriors(family, heads)
    information, kl = inference.aggregate(q)
    tolerance = 1e-9 if family.stratified else 3e-5  # the densities of splines bend at their knots
    assert information + kl == pytest.approx(np.mean(q.kl), abs=tolerance)


def test_a_collapsed_model_has_no_gap_with_the_prior_as_q():
    x, q, observe = _collapsed()
    mean = q.heads["mean"]
    bound = inference.elbo(x, gaussians(0 * mean, 0 * mean), observe)
    exact = stats.norm.logpdf(x, [0.1, -0.3], 1.2).sum(axis=1)
    np.testing.assert_allclose(bound.kl, 0, atol=0)
    np.testing.assert_allclose(bound.elbo, exact, atol=1e-12)  # rounding
    shifted = inference.elbo(x, gaussians(mean, 0 * mean), observe)
    np.testing.assert_allclose(exact - shifted.elbo, 0.5 * 0.1**2, atol=1e-12)


# Two latents


def test_two_latents_on_a_linear_decoder():
    matrix = np.array([[1.1, 0.4], [-0.3, 0.9]])
    rng = np.random.default_rng(6)
    x, mean, logvar = rng.normal(0, 1, (3, 7, 2))
    observe = around(lambda z: z @ matrix.T + B, 0.3)
    found = inference.elbo(x, gaussians(mean, logvar), observe)
    variance = np.exp(logvar)
    residual = np.sum((x - B - mean @ matrix.T) ** 2, 1) + variance @ np.sum(matrix**2, 0)
    residual /= 0.09
    np.testing.assert_allclose(found.residual, residual, atol=1e-10)  # rounding
    kl = np.sum(_gaussian_kl(mean, variance, 0, 1), axis=1)
    exact = -0.5 * residual - np.log(2 * PI * 0.09) - kl
    np.testing.assert_allclose(found.elbo, exact, atol=1e-8)
    posterior = np.linalg.inv(np.eye(2) + matrix.T @ matrix / 0.09)
    evidence = stats.multivariate_normal(B, matrix @ matrix.T + 0.09 * np.eye(2)).logpdf(x)
    assert np.all(found.elbo < evidence)
    # at the true mean and the best diagonal variance the gap is that of the correlation alone
    q = gaussians(
        (x - B) @ matrix @ posterior / 0.09,
        np.broadcast_to(-np.log(np.diag(np.linalg.inv(posterior))), x.shape),
    )
    best = inference.elbo(x, q, observe)
    precision = np.linalg.inv(posterior)
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(evidence - best.elbo, gap, atol=1e-8)


# Chi square and the importance-weighted bound


def _gaussian_chi_square(shift, var_p, var_q):
    """integral p^2 / q - 1 of two Gaussians; finite where 2 var_q > var_p."""
    if 2 * var_q <= var_p:
        return np.inf
    spread = 2 * var_q - var_p
    return var_q / np.sqrt(var_p * spread) * np.exp(shift**2 / spread) - 1


@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("shift", [0.0, 0.5, -1.5])
def test_chi_square_of_two_gaussians(ratio, shift):
    """q has `ratio` of the posterior's variance and is off by `shift` of its deviations."""
    x = _points(5)[2:3]
    mean, logvar = _mean_logvar(_posterior(x))
    q = gaussians(mean + shift * np.sqrt(POSTERIOR_VAR), logvar + np.log(ratio))
    nodes = _density(x).fine
    found = chi_square(mixture.log_posterior(x, nodes), q, nodes)
    exact = _gaussian_chi_square(shift, 1.0, ratio)
    # the integrals are exact to rounding; near the pole at 0.5 they are large, hence relative
    np.testing.assert_allclose(found, [exact], rtol=1e-8, atol=1e-8)


def test_importance_weighted_bound_closes_as_chi_square_says():
    """The bound by Monte Carlo in plain numpy, q wider than the posterior and off its mean."""
    rng = np.random.default_rng(7)
    x = np.array([[1.4, -0.3]])
    mean, logvar = _mean_logvar(_posterior(x))
    mean, logvar = mean + 0.4 * np.sqrt(POSTERIOR_VAR), logvar + np.log(1.4)
    q = gaussians(mean, logvar)
    evidence = _evidence(x)
    nodes = _density(x).fine
    chi2 = chi_square(mixture.log_posterior(x, nodes), q, nodes)[0]
    bound, deviation = {}, {}
    for num_samples, repeats in ((1, 200_000), (2, 200_000), (5, 100_000), (10, 50_000)) + (
        (50, 20_000),
        (100, 20_000),
        (200, 20_000),
    ):
        scale = np.exp(0.5 * logvar[0, 0])
        z = mean[0, 0] + scale * rng.standard_normal((repeats, num_samples))
        log_weight = (
            stats.norm.logpdf(z)
            - stats.norm.logpdf(z, mean[0, 0], scale)
            - 0.5 * np.sum((x[0] - z[..., None] * W - B) ** 2, axis=-1) / SIGMA**2
            - np.log(2 * PI * SIGMA**2)
        )
        weight = np.exp(log_weight - evidence)  # of mean one
        average = weight.mean(axis=1)
        # mean(weight) - 1 has mean zero: subtracted, most of the noise goes and no bias comes.
        value = np.log(average) - (average - 1)
        bound[num_samples] = value.mean()  # less the evidence
        deviation[num_samples] = value.std() / np.sqrt(repeats)
        if num_samples == 1:
            skewness = np.mean((weight - 1) ** 3)
    sizes = list(bound)
    for small, large in zip(sizes, sizes[1:], strict=False):
        assert bound[small] < bound[large] < 0
    elbo = inference.elbo(x, q, LINE).elbo
    assert abs(bound[1] - (elbo - evidence)[0]) < 5 * deviation[1]
    for num_samples in (50, 100, 200):
        # The delta method to second order; the third is smaller by 1 / K and within 5 deviations.
        second = (skewness / 3 - 0.75 * chi2**2) / num_samples
        gap = -num_samples * bound[num_samples]
        assert abs(gap - (chi2 / 2 - second)) < 5 * num_samples * deviation[num_samples]
        assert gap == pytest.approx(chi2 / 2, rel=0.1)  # 5 deviations and the second order


# The aggregate posterior


@pytest.mark.parametrize("num", [1, 7, 300])
def test_the_two_parts_of_the_mean_kl(num):
    rng = np.random.default_rng(num)
    mean, logvar = rng.normal(0, 1.2, (num, 1)), rng.normal(-2, 1, (num, 1))
    information, kl = inference.aggregate(gaussians(mean, logvar))
    total = np.mean(_gaussian_kl(mean, np.exp(logvar), 0, 1))
    assert information + kl == pytest.approx(total, abs=1e-8)
    assert -1e-10 < information < np.log(num) + 1e-10


def test_aggregate_of_equal_and_of_distinct_codes():
    same = inference.aggregate(gaussians(np.full((50, 1), 0.7), np.full((50, 1), -1.0)))
    assert same[0] == pytest.approx(0, abs=1e-10)
    assert same[1] == pytest.approx(_gaussian_kl(0.7, np.exp(-1.0), 0, 1), abs=1e-10)
    codes = gaussians(np.linspace(-3, 3, 16)[:, None], np.full((16, 1), -10.0))
    apart = inference.aggregate(codes)
    # neighbours are 59 standard deviations apart
    assert apart[0] == pytest.approx(np.log(16), abs=1e-10)


def test_aggregate_of_a_line_under_its_own_data_is_the_prior():
    """The exact posterior averaged over the model's own points; by quantiles, not by chance."""
    num, gain = 1000, W @ W / (SIGMA**2 + W @ W)
    mean = np.sqrt(gain) * stats.norm.ppf((np.arange(num) + 0.5) / num)[:, None]
    q = gaussians(mean, np.full((num, 1), np.log(POSTERIOR_VAR)))
    information, kl = inference.aggregate(q)
    # the outermost of 1000 quantiles miss 2e-3 of the variance
    assert kl == pytest.approx(0, abs=1e-4)
    assert information == pytest.approx(-0.5 * np.log(POSTERIOR_VAR), abs=3e-3)


# The best Gaussian


@pytest.mark.parametrize("model", [_trained_like, _untrained, _collapsed, _uneven])
def test_both_gaps_are_never_negative(model):
    x, q, observe = model()
    mean, logvar = _mean_logvar(q)
    rng = np.random.default_rng(8)
    density = ground_truth.model_density(observe, 1, 6.0)
    log_evidence, _ = density.log_density(x)
    for noise in (0.0, 0.3, 3.0):
        other = gaussians(
            mean + noise * rng.standard_normal(mean.shape),
            logvar + noise * rng.standard_normal(mean.shape),
        )
        given = inference.elbo(x, other, observe).elbo
        best = best_gaussian(x, other, observe, density)
        assert np.all(best.elbo >= given)  # exactly: the given one is a candidate
        assert np.all(log_evidence - best.elbo >= -1e-9)  # rounding
        own = inference.elbo(x, best.q, observe).elbo
        np.testing.assert_allclose(best.elbo, own, atol=1e-12)  # it is the ELBO of what it returns


def _parabola(z):
    return np.concatenate([z**2, 0.4 * z], axis=1)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_bad_start_ends_in_the_better_of_two_modes(side):
    """x = (1, +-0.2) on (z^2, 0.4 z): modes near z = +-1, one of them clearly better."""
    x, sigma = np.array([[1.0, 0.2 * side]]), 0.15
    observe = around(_parabola, sigma)
    density = ground_truth.model_density(observe, 1)
    start = gaussians(np.array([[-side]]), np.array([[-4.0]]))
    best = best_gaussian(x, start, observe, density)
    node, weight = np.polynomial.hermite_e.hermegauss(40)
    weight = weight / weight.sum()
    mean, logvar = (
        a.ravel() for a in np.meshgrid(np.linspace(-1.6, 1.6, 641), np.linspace(-7, 0, 141))
    )
    z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * node
    square = ((x[0, 0] - z**2) ** 2 + (x[0, 1] - 0.4 * z) ** 2) @ weight
    elbo = -0.5 * square / sigma**2 - np.log(2 * PI * sigma**2)
    elbo -= _gaussian_kl(mean, np.exp(logvar), 0, 1)
    top = np.argmax(elbo)
    assert np.sign(mean[top]) == side
    assert best.elbo[0] >= elbo[top] - 1e-9  # a grid can't beat the maximum
    assert best.elbo[0] == pytest.approx(elbo[top], abs=5e-3)  # steps of the grid
    assert best.q.heads["mean"][0, 0] == pytest.approx(mean[top], abs=0.01)
    given = inference.elbo(x, start, observe).elbo
    assert best.elbo[0] > given[0] + 1  # the other mode is worse by more than a nat


def test_the_best_gaussian_may_sit_on_the_lower_mode():
    """A high, narrow mode near z = -1 and a broad one near z = 1, a little lower."""
    sigma = 0.1

    def smooth(z):
        return np.concatenate(
            [20 * (z + 1) * special.expit(-20 * z), 0.12 * special.expit(20 * z)], axis=1
        )

    x = np.zeros((1, 2))
    observe = around(smooth, sigma)
    density = ground_truth.model_density(observe, 1, 5.0)
    start = gaussians(np.array([[-1.0]]), np.array([[2 * np.log(0.005)]]))
    best = best_gaussian(x, start, observe, density)
    given = inference.elbo(x, start, observe).elbo
    joint = mixture.log_joint(x, density.fine)[0]
    assert density.fine.z[np.argmax(joint), 0] == pytest.approx(
        -1, abs=0.01
    )  # the highest is narrow
    assert best.q.heads["mean"][0, 0] > 0.3
    assert best.elbo[0] > given[0] + 0.5


@pytest.mark.parametrize("side", [0.0, 0.01, 0.05])
def test_the_best_gaussian_keeps_away_from_a_jump(side):
    """The curve breaks at z = 0, behind which nothing is likely: the other side by a closed form.

    E_q of the log likelihood of (z, +-3) is that of a quadratic in z and, where z < 0, a constant
    less: the best q is found by scipy.
    """

    def broken(z):
        return np.concatenate([10 * z, np.where(z < 0, -3.0, 3.0)], axis=1)

    sigma, height = 0.3, 3.2
    x = np.array([[10 * side, height]])
    observe = around(broken, sigma)

    def elbo(at):
        mean, scale = at[0], np.exp(0.5 * at[1])
        square = (10 * (mean - side)) ** 2 + (10 * scale) ** 2 + (height - 3) ** 2
        square += stats.norm.cdf(-mean / scale) * ((height + 3) ** 2 - (height - 3) ** 2)
        expected = -0.5 * square / sigma**2 - np.log(2 * np.pi * sigma**2)
        return expected - _gaussian_kl(mean, scale**2, 0, 1)

    best = best_gaussian(
        x, gaussians(*np.zeros((2, 1, 1))), observe, ground_truth.density_around(x, observe, 1)
    )
    exact = optimize.minimize(
        lambda at: -elbo(at),
        [0.1, -6],
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-12},
    )
    found = np.array([best.q.mean[0, 0], best.q.logvar[0, 0]])
    assert best.elbo[0] == pytest.approx(elbo(found), abs=1e-9)
    assert best.elbo[0] == pytest.approx(-exact.fun, abs=1e-8)


def test_the_best_gaussian_is_that_of_each_point_and_not_of_its_batch():
    x, q, observe = _trained_like()
    density = ground_truth.model_density(observe, 1, 6.0)
    rows = np.concatenate([np.arange(len(x)), np.arange(8)])
    x, q = x[rows], q[rows]
    together = best_gaussian(x, q, observe, density)
    alone = best_gaussian(x[5:6], q[5:6], observe, density)
    # the same climb, so rounding; blocks of 32 points are padded
    assert alone.elbo[0] == pytest.approx(together.elbo[5], abs=1e-9)
    np.testing.assert_allclose(together.elbo[30:], together.elbo[:8], atol=1e-9)


# Other families


def _some_gaussians(num, latent_dim):
    mean, logvar = np.random.default_rng(num).normal(0, 1, (2, num, latent_dim))
    return gaussians(mean, 1.5 * logvar - 1)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_a_family_that_is_the_gaussian_has_its_numbers(latent_dim):
    """What the base class finds by quadrature, against the closed forms of `Gaussian`."""
    q = _some_gaussians(9, latent_dim)
    bare = as_bare(q)
    assert len(bare) == 9 and bare.latent_dim == latent_dim
    for name in ("mean", "logvar", "scale", "kl", "entropy"):
        np.testing.assert_allclose(getattr(bare, name), getattr(q, name), atol=1e-8, err_msg=name)
    exact = 0.5 * np.sum(q.heads["logvar"] + np.log(2 * PI * np.e), axis=1)
    np.testing.assert_allclose(bare.entropy, exact, atol=1e-8)
    z = np.random.default_rng(1).normal(size=(5, latent_dim))
    log_prob = stats.norm.logpdf(z, q.mean[:, None], q.scale[:, None]).sum(axis=-1)  # all pairs
    for own in (bare, q):
        np.testing.assert_allclose(own.log_prob(z), log_prob, atol=1e-8)
    some = bare[[4, 2]]
    np.testing.assert_allclose(some.mean, q.mean[[4, 2]], atol=1e-8)


def test_a_family_that_is_the_gaussian_has_its_cdf():
    q = _some_gaussians(40, 1)
    z = q.mean + q.scale * np.linspace(-5, 5, 40)[:, None]
    exact = stats.norm.cdf(np.linspace(-5, 5, 40))
    np.testing.assert_allclose(q.cdf(z), exact, atol=1e-12)
    np.testing.assert_allclose(as_bare(q).cdf(z), exact, atol=1e-8)


@pytest.mark.parametrize("model", [_trained_like, _untrained, _uneven, _student_t])
def test_a_family_that_is_the_gaussian_has_its_bound_and_best_gaussian(model):
    x, q, observe = model()
    one, two = inference.elbo(x, q, observe), inference.elbo(x, as_bare(q), observe)
    for name in ("reconstruction", "kl", "residual", "elbo"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), atol=1e-8, rtol=1e-12)
    np.testing.assert_allclose(inference.aggregate(as_bare(q)), inference.aggregate(q), atol=1e-8)
    density = ground_truth.model_density(observe, 1, 6.0)
    best = [best_gaussian(x, own, observe, density) for own in (q, as_bare(q))]
    assert isinstance(best[1].q.family, Gaussian)
    np.testing.assert_allclose(best[1].elbo, best[0].elbo, atol=1e-8)


def test_two_latents_of_a_family_that_is_the_gaussian_have_its_bound():
    matrix = np.array([[1.1, 0.4], [-0.3, 0.9]])
    observe = around(lambda z: z @ matrix.T + B, 0.3)
    x, q = np.random.default_rng(6).normal(0, 1, (7, 2)), _some_gaussians(7, 2)
    one, two = inference.elbo(x, q, observe), inference.elbo(x, as_bare(q), observe)
    np.testing.assert_allclose(two.elbo, one.elbo, atol=1e-8, rtol=1e-12)


@pytest.mark.parametrize(("place", "scale"), [(0.0, 1.0), (1.2, 0.3), (-0.7, 0.05)])
def test_a_logistic_posterior_of_a_line_agrees_with_scipy(place, scale):
    law = stats.logistic(place, scale)
    q = Posteriors(Logistic(), {"place": np.array([[place]]), "log_scale": np.log([[scale]])})
    # The nodes reach 9 deviations of the eps that z is made of: 1e-17 of mass lies beyond.
    np.testing.assert_allclose(q.mean[0, 0], place, atol=1e-10)
    np.testing.assert_allclose(q.scale[0, 0], law.std(), rtol=1e-8)
    np.testing.assert_allclose(q.entropy[0], law.entropy(), atol=1e-8)

    def expect(function):
        # by mass, so that the quadrature has ends
        found, _ = integrate.quad(lambda mass: function(law.ppf(mass)), 0, 1, epsabs=1e-11)
        return found

    kl = -law.entropy() - expect(stats.norm.logpdf)
    np.testing.assert_allclose(q.kl[0], kl, atol=1e-8)
    x = np.array([[1.0, 0.4]])
    found = inference.elbo(x, q, LINE)
    # E ||x - m(z)||^2 needs the mean and the variance of q only
    residual = np.sum((x[0] - place * W - B) ** 2) + law.var() * (W @ W)
    exact = -0.5 * residual / SIGMA**2 - np.log(2 * PI * SIGMA**2) - kl
    np.testing.assert_allclose(found.elbo[0], exact, rtol=1e-8)
    assert found.elbo[0] < _evidence(x)
    gap = kl_to_posterior(x, q, LINE, np.atleast_1d(_evidence(x)))
    # its nodes end at 9 standard deviations, where a logistic still has 1e-7 of its mass
    np.testing.assert_allclose(_evidence(x) - found.elbo[0], gap[0], rtol=1e-4)
    z = law.ppf([0.001, 0.2, 0.5, 0.99])[:, None]
    many = q[np.zeros(4, int)]
    np.testing.assert_allclose(many.cdf(z), [0.001, 0.2, 0.5, 0.99], atol=1e-5)  # interpolated
    information, kl = inference.aggregate(many)  # of equal codes, on nodes with the same ends
    np.testing.assert_allclose([information, kl], [0, q.kl[0]], atol=1e-4)


# Where q's own nodes don't resolve what it covers.


def _winding(z):
    """An observation whose mean goes round fourteen times within |z| < 3."""
    angle = 15 * z[:, 0]
    mean = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.3 * z
    return around(lambda z: mean, 0.2)(z)


@pytest.mark.parametrize(
    ("family", "heads"),
    [
        (Gaussian(), {"mean": [0.3], "logvar": [0.4]}),
        (Gaussian(), {"mean": [-1.0], "logvar": [-2.0]}),
        # A part as narrow as no node of p(x) sees, and one that is as wide as the prior.
        (
            Mixture(num_components=2),
            {"mean": [0.123, -0.5], "logvar": [-18.0, 0.2], "logit": [0.4, 0.0]},
        ),
    ],
)
def test_a_decoder_that_winds_within_a_wide_q(family, heads):
    x = np.array([[0.8, -0.4], [-0.2, 0.9]])
    q = Posteriors(family, {name: np.tile(values, (2, 1)) for name, values in heads.items()})
    density = ground_truth.model_density(_winding, 1, 3.0)
    found = inference.elbo(x, q, _winding, density)
    assert found.error.max() < 1e-9
    # Brute force: panels over each part, those of the narrow ones in those of the wide ones.
    places, scales = q.mapped(pieces, size=2)
    sides = [p + s * np.linspace(-10, 10, 2001) for p, s in zip(places[0], scales[0], strict=True)]
    z, weight = mixture.gauss_legendre(np.sort(np.concatenate(sides)))
    mass = weight * np.exp(q[:1].log_prob(z[:, None])[0])
    np.testing.assert_allclose(mass.sum(), 1, atol=1e-12)
    log_p, residual = inference.log_likelihood(_winding, x, np.tile(z[:, None], (2, 1, 1)))
    np.testing.assert_allclose(-found.reconstruction, log_p @ mass, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.residual, residual @ mass, rtol=1e-9)


def test_a_q_as_narrow_as_the_nodes_is_told_by_its_error():
    """Both rules are the same here, so the mass that they miss is all that tells."""
    nodes = _density().fine
    density = ground_truth.Density(nodes, nodes)
    middle = len(nodes.z) // 2
    spacing = float(nodes.z[middle + 1, 0] - nodes.z[middle, 0])
    mean = nodes.z[[middle]] + np.linspace(0, 1, 5)[:, None] * spacing
    var = (0.7 * spacing) ** 2
    x = np.tile([[2.0, -1.0]], (5, 1))
    q = gaussians(mean, np.full_like(mean, np.log(var)))
    found = inference._on_nodes_of(x, q, LINE, density)
    residual = np.sum((x - mean * W - B) ** 2, axis=1) + var * (W @ W)
    exact = -0.5 * residual / SIGMA**2 - np.log(2 * PI * SIGMA**2)
    wrong = np.abs(found.mean - exact)
    assert wrong.max() > 0.01
    # Not exactly: the mass is lost where log p(x|z) is not its mean.
    np.testing.assert_allclose(found.error, wrong, rtol=0.3)


def test_panels_have_the_edges_of_their_nodes():
    density = ground_truth.model_density(_winding, 1, 3.0)
    edges = mixture.edges(density.fine)
    z, _ = mixture.gauss_legendre(edges)
    np.testing.assert_allclose(z, density.fine.z[:, 0], rtol=0, atol=1e-12)

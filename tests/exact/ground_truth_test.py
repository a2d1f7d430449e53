"""The process and a model's distance from it: constants, closed forms, an independent sum."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from spiral_vae.exact import ground_truth, space
from spiral_vae.fields import pytree
from spiral_vae.maths.noise import Noise
from spiral_vae.maths.observation import around
from spiral_vae.process import Spiral
from tests.exact.curves import HELIX, SEGMENTS, Segments, helix

PI = np.pi


def _spiral(omega, rdot, noise_sigma, u_start, u_stop, t_law="sqrt"):
    return Spiral(
        omega=omega,
        rdot=rdot,
        noise_sigma=noise_sigma,
        u_start=u_start,
        u_stop=u_stop,
        t_law=t_law,
    )


BASIC = _spiral(2.8 * PI, 2.5, 0.2, 0.01, 1.0)
SERIES = _spiral(2.8 * PI, 2.5, 0.2, 0.05, 1.0)
MISMATCH = _spiral(3 * PI, 1.0, 0.1, 0.2, 1.0)
CLEAN = _spiral(2 * PI, 1.0, 0.01, 0.1, 1.0)
UNIFORM = _spiral(2 * PI, 1.5, 0.2, 0.0, 0.9, "uniform")
NOISY = {  # noise that is not the same in all directions or not the same everywhere
    "anisotropic": dataclasses.replace(BASIC, noise_sigma_y=0.5, noise_angle=0.7),
    "sloped": dataclasses.replace(
        UNIFORM, noise_sigma_x=0.3, noise_sigma_y=0.15, noise_slope=0.2, noise_angle=-2.0
    ),
}
ALL = {
    "basic": BASIC,
    "series": SERIES,
    "mismatch": MISMATCH,
    "clean": CLEAN,
    "uniform": UNIFORM,
    **NOISY,
}
W, B = np.array([1.3, -0.7]), np.array([0.4, -0.2])


def _point(u, curve):
    """f(t(u)) in plain numpy, [..., 2]."""
    t = np.sqrt(u) if curve.t_law == "sqrt" else u
    angle = curve.omega * t
    return curve.rdot * np.stack([t * np.cos(angle), t * np.sin(angle)], axis=-1)


def _noise(u, curve):
    """The covariance R diag((noise_sigma + noise_slope t)^2) R^T at t(u), [..., 2, 2]."""
    t = np.sqrt(u) if curve.t_law == "sqrt" else u
    own = (curve.noise_sigma_x, curve.noise_sigma_y)
    sigma = np.array([curve.noise_sigma if sigma is None else sigma for sigma in own])
    sigma = sigma + curve.noise_slope * np.asarray(t)[..., None]
    cos, sin = np.cos(curve.noise_angle), np.sin(curve.noise_angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    return (rotation * sigma[..., None, :] ** 2) @ rotation.T


def _exact_decoder(curve):
    """m*(z) = f(F^-1(Phi(z))), whose density is that of the process itself."""

    def decode(z):
        u = curve.u_start + (curve.u_stop - curve.u_start) * special.ndtr(z[:, 0])
        return _point(u, curve)

    return decode


def _tanh_decoder(seed, scale=1.5, hidden=12):
    rng = np.random.default_rng(seed)
    w1, b1 = rng.normal(0, scale, hidden), rng.normal(0, scale, hidden)
    w2, b2 = rng.normal(0, 0.8, (hidden, 2)), rng.normal(0, 0.3, 2)
    return lambda z: np.tanh(z * w1 + b1) @ w2 + b2


def _gaussian_nll(truth):
    """The nll of the best Gaussian with full covariance."""
    return 0.5 * (2 * (np.log(2 * np.pi) + 1) + np.linalg.slogdet(truth.covariance)[1])


def _moments(curve):
    """The mean and covariance of x by scipy's adaptive quadrature over u."""

    def second(u, i, j):
        return _point(u, curve)[i] * _point(u, curve)[j] + _noise(u, curve)[i, j]

    mean = np.array([_expect(lambda u, i=i: _point(u, curve)[i], curve) for i in range(2)])
    square = [[_expect(lambda u, i=i, j=j: second(u, i, j), curve) for j in (0, 1)] for i in (0, 1)]
    return mean, square - np.outer(mean, mean)


def _expect(function, curve):
    """The mean of a function of u."""
    total, _ = integrate.quad(function, curve.u_start, curve.u_stop, epsabs=1e-12, limit=500)
    return total / (curve.u_stop - curve.u_start)


@pytest.mark.parametrize(
    ("curve", "low", "high", "entropy", "information", "isotropic", "gaussian"),
    [
        pytest.param(BASIC, 1.11227, 1.81123, 2.24651, 2.62751, 3.2175, 3.1881, id="basic"),
        pytest.param(SERIES, 1.15468, 1.88505, 2.20340, 2.58439, 3.2565, 3.2268, id="series"),
        pytest.param(MISMATCH, 0.19632, 0.35662, 0.49698, 2.26427, 1.5522, 1.5083, id="mismatch"),
        pytest.param(CLEAN, 0.10076, 0.29621, -2.10998, 4.26248, 1.2208, 1.0820, id="clean"),
    ],
)
def test_constants(curve, low, high, entropy, information, isotropic, gaussian):
    """Known from a computation made before this package was written, to the digits given."""
    truth = ground_truth.truth(curve)
    np.testing.assert_allclose(truth.eigenvalues, [high, low], atol=1e-4)
    assert truth.entropy.value == pytest.approx(entropy, abs=1e-4)
    assert truth.information.value == pytest.approx(information, abs=1e-4)
    assert truth.isotropic_nll == pytest.approx(isotropic, abs=1e-4)
    assert _gaussian_nll(truth) == pytest.approx(gaussian, abs=1e-4)
    assert truth.entropy.error < 1e-6  # far inside the digits given


@pytest.mark.parametrize("name", ALL)
def test_the_space_holds_all_the_mass(name):
    mass = ground_truth.truth(ALL[name]).mass
    assert mass.value == pytest.approx(1, abs=1e-8)
    assert mass.error < 1e-8


def test_noise_too_small_for_a_grid_of_the_space_is_refused():
    """A spiral 5 wide in steps of 3.5e-5 would be 2e10 cells."""
    curve = dataclasses.replace(BASIC, noise_sigma=1e-4)
    with pytest.raises(ValueError, match="the noise, 0.0001, is too small for a grid of the space"):
        ground_truth.truth(curve)


@pytest.mark.parametrize("name", ALL)
def test_moments_agree_with_adaptive_quadrature(name):
    truth = ground_truth.truth(ALL[name])
    mean, covariance = _moments(ALL[name])
    np.testing.assert_allclose(truth.mean, mean, atol=1e-10)  # epsabs of quad is 1e-12
    np.testing.assert_allclose(truth.covariance, covariance, atol=1e-10)


@pytest.mark.parametrize("name", ["basic", "uniform"])
def test_the_moments_of_the_space_are_those_of_the_mixture(name):
    truth = ground_truth.truth(ALL[name])
    density = np.exp(truth.log_density)
    for d in range(2):
        first = truth.space.integral(density * truth.space.x[:, d])
        assert first.value == pytest.approx(truth.mean[d], abs=1e-8)  # as the mass


@pytest.mark.parametrize("name", ["basic", "uniform", "clean"])
def test_density_of_the_process_agrees_with_adaptive_quadrature(name):
    curve = ALL[name]
    x = _point(np.array([curve.u_start, 0.4, 0.77, curve.u_stop]), curve)
    x = x + curve.noise_sigma * np.array([[0.5, -1.0], [2.0, 2.0], [-3.0, 1.0], [4.0, 0.0]])
    value, error = ground_truth.truth_density(curve).log_density(x)
    for point, found in zip(x, value, strict=True):

        def density(u, point=point):
            square = np.sum((point - _point(u, curve)) ** 2, axis=-1) / curve.noise_sigma**2
            return np.exp(-0.5 * square) / (2 * PI * curve.noise_sigma**2)

        grid = np.linspace(curve.u_start, curve.u_stop, 4001)
        around = grid[np.argsort(density(grid))[-1:]]  # tell quad where the peak is
        exact, _ = integrate.quad(
            density, curve.u_start, curve.u_stop, points=around, epsabs=0, epsrel=1e-10, limit=500
        )
        exact /= curve.u_stop - curve.u_start
        assert found == pytest.approx(np.log(exact), abs=1e-8)  # epsrel of quad
    assert np.all(error < 1e-8)


@pytest.mark.parametrize("name", NOISY)
def test_entropy_and_information_of_uneven_noise_are_those_of_a_plain_grid(name):
    """Nothing of the package: u by Gauss-Legendre, x on a Cartesian box, scipy's solver."""
    curve, truth = ALL[name], ground_truth.truth(ALL[name])
    node, weight = np.polynomial.legendre.leggauss(160)
    u = curve.u_start + (curve.u_stop - curve.u_start) * 0.5 * (node + 1)
    mean, noise = _point(u, curve), _noise(u, curve)
    step, reach = 0.1, 9 * np.sqrt(np.max(np.linalg.eigvalsh(noise)))  # half of the least noise
    low, high = mean.min(axis=0) - reach, mean.max(axis=0) + reach
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    x = np.stack(np.meshgrid(*axes), axis=-1)
    density = sum(
        0.5 * w * stats.multivariate_normal(m, c).pdf(x)
        for w, m, c in zip(weight, mean, noise, strict=True)
    )
    entropy = np.sum(special.entr(density)) * step**2
    assert truth.entropy.value == pytest.approx(entropy, abs=1e-6)
    assert truth.entropy.error < 1e-6
    noise_entropy = _expect(
        lambda u: 0.5 * np.linalg.slogdet(2 * PI * np.e * _noise(u, curve))[1], curve
    )
    assert truth.information.value == pytest.approx(entropy - noise_entropy, abs=1e-6)
    variance = [_expect(lambda u, i=i: _noise(u, curve)[i, i], curve) for i in range(2)]
    np.testing.assert_allclose(truth.noise_sigmas, np.sqrt(variance), rtol=1e-10)


@pytest.mark.parametrize("name", NOISY)
def test_the_true_decoder_is_at_no_distance_from_uneven_noise(name):
    curve, truth = ALL[name], ground_truth.truth(ALL[name])
    density = ground_truth.model_density(ground_truth.true_decoder(curve), 1)
    nll = ground_truth.cross_entropy(truth, density)
    assert nll.value - truth.entropy.value == pytest.approx(0, abs=1e-8)
    assert _kl_from_truth(truth, density).value == pytest.approx(0, abs=1e-8)
    # and the noise matters: isotropic noise as loud is at a distance
    isotropic = around(_exact_decoder(curve), truth.noise_sigma)
    nll = ground_truth.cross_entropy(truth, ground_truth.model_density(isotropic, 1))
    assert nll.value - truth.entropy.value > 0.01


def test_information_does_not_depend_on_the_unit_of_x():
    doubled = _spiral(2.8 * PI, 5.0, 0.4, 0.01, 1.0)
    one, two = ground_truth.truth(BASIC), ground_truth.truth(doubled)
    # the grids scale along, so the rounding is nearly the same
    assert two.information.value == pytest.approx(one.information.value, abs=1e-9)
    assert two.entropy.value - one.entropy.value == pytest.approx(2 * np.log(2), abs=1e-9)


def test_loud_noise_gives_a_gaussian_without_information():
    truth = ground_truth.truth(_spiral(2 * PI, 1e-3, 1.0, 0.1, 1.0))
    # KL to a Gaussian is of the order of (signal / noise)^3 or smaller: 1e-9
    assert truth.entropy.value == pytest.approx(_gaussian_nll(truth), abs=1e-8)
    assert truth.information.value == pytest.approx(
        0.5 * np.log(np.linalg.det(truth.covariance)), abs=1e-8
    )


@pytest.mark.parametrize("name", ["basic", "mismatch", "uniform"])
def test_the_exact_decoder_is_at_no_distance_either_way(name):
    """Only z against t: the same density by another route; ends cost what halving shows."""
    curve = ALL[name]
    truth = ground_truth.truth(curve)
    density = ground_truth.model_density(around(_exact_decoder(curve), curve.noise_sigma), 1)
    nll = ground_truth.cross_entropy(truth, density)
    assert nll.value - truth.entropy.value == pytest.approx(0, abs=1e-8)
    assert _kl_from_truth(truth, density).value == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(("sigma", "seed"), [(0.2, 0), (0.05, 1), (1.0, 2)])
def test_a_models_density_has_mass_one(sigma, seed):
    density = ground_truth.model_density(around(_tanh_decoder(seed), sigma), 1)
    grid = space.around(density.fine)
    mass = grid.integral(np.exp(grid.log_density(density.fine)))
    assert mass.value == pytest.approx(1, abs=1e-8)
    assert mass.error < 1e-8


@pytest.mark.parametrize("sigma", [2.0, 0.5, 0.2, 0.02])
def test_a_linear_decoder_has_the_closed_form_cross_entropy(sigma):
    """-E log N(x; b, C) needs the mean and covariance of p* only; these are adaptive's."""
    truth = ground_truth.truth(BASIC)
    density = ground_truth.model_density(around(lambda z: z * W + B, sigma), 1, reach=5.0)
    mean, covariance = _moments(BASIC)
    model = np.outer(W, W) + sigma**2 * np.eye(2)
    second = covariance + np.outer(mean - B, mean - B)
    exact = 0.5 * (np.linalg.slogdet(2 * PI * model)[1] + np.trace(np.linalg.solve(model, second)))
    nll = ground_truth.cross_entropy(truth, density)
    assert nll.value == pytest.approx(exact, abs=1e-8, rel=1e-11)  # rel: nll is 1e3 at 0.02
    assert abs(nll.value - exact) <= nll.error + 1e-8
    assert nll.value >= _gaussian_nll(truth)


def _with_error(density, shift):
    """The same density with a coarse rule that is wrong by so many nats everywhere."""
    weight = density.coarse.log_weight + shift
    return dataclasses.replace(
        density, coarse=dataclasses.replace(density.coarse, log_weight=weight)
    )


@pytest.mark.parametrize("shift", [-0.2, 0.1])
def test_an_error_is_the_distance_of_both_rules(shift):
    """Of one that is wrong by a known number, in log p(x) and in the nll."""
    truth = ground_truth.truth(BASIC)
    plain = ground_truth.model_density(around(lambda z: z * W + B, 0.5), 1, reach=5.0)
    wrong = _with_error(plain, shift)
    value, error = wrong.log_density(truth.space.x[::50])
    np.testing.assert_array_equal(value, plain.log_density(truth.space.x[::50])[0])
    np.testing.assert_allclose(error, abs(shift), rtol=1e-6)
    found, exact = (ground_truth.cross_entropy(truth, one) for one in (wrong, plain))
    assert found.value == exact.value
    assert found.error == pytest.approx(abs(shift), rel=1e-3)  # the mass on the coarse nodes


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_error_of_an_integral_is_the_distance_to_every_second_node(dim):
    """Nodes of the coarse rule alone have values: it takes them for 2^D as many."""
    index = np.stack(np.meshgrid(*[np.arange(8)] * dim), axis=-1).reshape(-1, dim)
    grid = space.Space(index, 0.5)
    found = grid.integral(np.all(index % 2 == 0, axis=1).astype(float))
    assert found == (4**dim * 0.5**dim, (2**dim - 1) * 4**dim * 0.5**dim)


def test_a_far_point_is_paid_for_in_the_tail_of_the_prior():
    """On a short line at small sigma the posterior of a far point lies beyond |z| = 20."""
    w, sigma = 0.1 * W, 0.02
    x = np.array([[2.0, -1.0], [4.0, -2.0]]) + B
    density = ground_truth.model_density(around(lambda z: z * w + B, sigma), 1, reach=5.0)
    exact = stats.multivariate_normal(B, np.outer(w, w) + sigma**2 * np.eye(2)).logpdf(x)
    assert (x[1] - B) @ w / (sigma**2 + w @ w) > 20
    value, error = density.log_density(x)
    np.testing.assert_allclose(value, exact, rtol=1e-11)  # rounding of terms of 1e4 nats
    assert np.all(error < 1e-8)


def _kl_from_truth(truth, density, **limits):
    log_density = ground_truth.cross_entropy(truth, density).log_density
    return ground_truth.kl_from_truth(truth, density, log_density, **limits)


@pytest.mark.parametrize("sigma", [0.16, 0.2, 0.25])
def test_kl_from_truth_is_the_same_on_the_truths_space_and_on_the_models_own(sigma, monkeypatch):
    truth = ground_truth.truth(BASIC)
    decode = _exact_decoder(BASIC)
    density = ground_truth.model_density(around(lambda z: 0.95 * decode(z), sigma), 1)
    shared = _kl_from_truth(truth, density)
    monkeypatch.setattr(ground_truth, "_OUTSIDE", 0.0)  # so that it never holds all
    own = _kl_from_truth(truth, density)
    assert own.value > 0.01 and own != shared
    assert abs(own.value - shared.value) <= own.error + shared.error + 1e-9


def _gaussian_kl(mean_p, cov_p, mean_q, cov_q):
    solve = np.linalg.solve(cov_q, cov_p)
    shift = mean_q - mean_p
    return 0.5 * (
        np.trace(solve)
        - len(shift)
        - np.linalg.slogdet(solve)[1]
        + shift @ np.linalg.solve(cov_q, shift)
    )


def test_kl_from_truth_of_a_line_where_the_truth_is_nearly_gaussian():
    truth = ground_truth.truth(_spiral(2 * PI, 1e-3, 1.0, 0.1, 1.0))
    density = ground_truth.model_density(around(lambda z: z * W + B, 0.9), 1)
    exact = _gaussian_kl(B, np.outer(W, W) + 0.81 * np.eye(2), truth.mean, truth.covariance)
    # the truth is a Gaussian up to (1e-3)^3 times a polynomial of the model's third moments
    assert _kl_from_truth(truth, density).value == pytest.approx(exact, abs=1e-7)


def test_kl_from_truth_is_nan_where_the_space_would_be_too_large():
    truth = ground_truth.truth(BASIC)
    density = ground_truth.model_density(around(_tanh_decoder(0), 0.2), 1)
    assert np.isfinite(_kl_from_truth(truth, density).value)
    far = ground_truth.model_density(around(lambda z: 30 + 0 * z @ np.ones((1, 2)), 0.2), 1)
    assert np.isnan(_kl_from_truth(truth, far, max_nodes=100).value)


def _log_mixture(x, means, weights, sigma):
    """log sum_k weights_k N(x; means_k, sigma^2 I), by products and plain loops of blocks."""
    out = []
    for part in np.array_split(x, 32):
        square = np.sum(part**2, 1)[:, None] - 2 * part @ means.T + np.sum(means**2, 1)
        exponent = np.log(weights) - 0.5 * square / sigma**2 - np.log(2 * PI * sigma**2)
        top = exponent.max(axis=1, keepdims=True)
        out.append(top[:, 0] + np.log(np.exp(exponent - top).sum(axis=1)))
    return np.concatenate(out)


@pytest.mark.parametrize(("seed", "sigma"), [(3, 0.2), (4, 0.3)])
def test_against_an_independent_computation_in_numpy(seed, sigma):
    """Nothing of the package: u by Gauss-Legendre, z by a trapezoid, x on a Cartesian box."""
    curve, decode = BASIC, _tanh_decoder(seed, hidden=6)
    node, weight = np.polynomial.legendre.leggauss(400)
    u = curve.u_start + (curve.u_stop - curve.u_start) * 0.5 * (node + 1)
    truth_means, truth_weights = _point(u, curve), 0.5 * weight
    z = np.linspace(-12, 12, 1501)
    z_weights = stats.norm.pdf(z) * (z[1] - z[0])
    means = decode(z[:, None])
    both = np.concatenate([truth_means, means])
    low, high = both.min(axis=0) - 8 * sigma, both.max(axis=0) + 8 * sigma
    # A fifth of the noise: log p has sharp ridges half-way between far arms of a curve.
    step = 0.04
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    x = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    log_truth = _log_mixture(x, truth_means, truth_weights, curve.noise_sigma)
    log_model = _log_mixture(x, means, z_weights, sigma)
    nll = -np.sum(np.exp(log_truth) * log_model) * step**2
    kl_to = np.sum(np.exp(log_truth) * (log_truth - log_model)) * step**2
    kl_from = np.sum(np.exp(log_model) * (log_model - log_truth)) * step**2

    truth = ground_truth.truth(curve)
    density = ground_truth.model_density(around(decode, sigma), 1)
    found = ground_truth.cross_entropy(truth, density)
    # relative part: nll is far from 1 where a random model misses the data
    assert found.value == pytest.approx(nll, abs=1e-6, rel=1e-8)
    assert found.value - truth.entropy.value == pytest.approx(kl_to, abs=1e-6, rel=1e-8)
    found = _kl_from_truth(truth, density)
    # Those ridges of log p* cost it up to 1e-4 here, which its own error must admit.
    assert abs(found.value - kl_from) <= found.error + 1e-6
    assert found.value == pytest.approx(kl_from, abs=2e-4)


def test_divergences_do_not_care_about_the_direction_of_z():
    truth, decode = ground_truth.truth(BASIC), _tanh_decoder(5)
    one, two = (
        ground_truth.cross_entropy(truth, ground_truth.model_density(around(d, 0.2), 1)).value
        for d in (decode, lambda z: decode(-z))
    )
    assert one == pytest.approx(two, rel=1e-9)  # other nodes, so the error of the rule


@pytest.mark.parametrize("latent_dim", [3, 5])
def test_more_than_two_latents_are_refused(latent_dim):
    with pytest.raises(ValueError, match=f"at most 2 latent dimensions, not {latent_dim}"):
        ground_truth.model_density(around(lambda z: z[:, :2], 0.2), latent_dim)


def test_two_latents_on_a_linear_decoder():
    matrix = np.array([[1.1, 0.4], [-0.3, 0.9]])
    density = ground_truth.model_density(around(lambda z: z @ matrix.T + B, 0.3), 2)
    gaussian = stats.multivariate_normal(B, matrix @ matrix.T + 0.09 * np.eye(2))
    x = np.concatenate([gaussian.rvs(15, random_state=np.random.default_rng(6)), [[4.0, -4.0]]])
    value, error = density.log_density(x)
    np.testing.assert_allclose(value, gaussian.logpdf(x), atol=1e-8, rtol=0)
    assert np.all(error < 1e-8)


@pytest.mark.parametrize("name", ["basic", "uniform", "sloped"])
def test_true_decoder_takes_quantiles_of_z_to_quantiles_of_t(name):
    curve = ALL[name]
    share = np.arange(1, 100) / 100
    u = curve.u_start + (curve.u_stop - curve.u_start) * share
    t = np.sqrt(u) if curve.t_law == "sqrt" else u
    point = curve.rdot * t * np.array([np.cos(curve.omega * t), np.sin(curve.omega * t)])
    found = ground_truth.true_decoder(curve)(stats.norm.ppf(share)[:, None])
    np.testing.assert_allclose(found.mean, point.T, atol=1e-12)
    covariance = found.scale @ np.swapaxes(found.scale, 1, 2)
    np.testing.assert_allclose(covariance, _noise(u, curve), atol=1e-12)


# Curves of other kinds


def _blurred_uniform(length, sigma):
    """The density of a uniform number in [0, length] and a Gaussian one added, and its reach."""

    def density(y):
        upper, lower = special.ndtr(y / sigma), special.ndtr((y - length) / sigma)
        return (upper - lower) / length

    return density, (-9 * sigma, length + 9 * sigma)


def test_a_truth_in_two_pieces_has_mass_one_and_the_closed_form_entropy():
    """Pieces that don't overlap: h = H(share) + the mean of their own, each a line's."""
    truth, sigma = ground_truth.truth(SEGMENTS), 0.3
    assert truth.mass.value == pytest.approx(1, abs=1e-8)
    assert truth.mass.error < 1e-8
    across = 0.5 * np.log(2 * PI * np.e * sigma**2)
    shares = np.array([0.3, 0.7])
    own = []
    for length in Segments.lengths:
        density, ends = _blurred_uniform(length, sigma)
        along, _ = integrate.quad(lambda y, p=density: special.entr(p(y)), *ends, epsabs=1e-12)
        own.append(across + along)
    exact = special.entr(shares).sum() + shares @ own
    assert truth.entropy.value == pytest.approx(exact, abs=1e-8)
    assert truth.information.value == pytest.approx(exact - 2 * across, abs=1e-8)
    # t is uniform on each line, so its moments are known
    points = np.array([[[0, 0], [2, 0]], [[1, 9], [1, 9.5]]], float)
    middle, half = points.mean(axis=1), 0.5 * (points[:, 1] - points[:, 0])
    mean = shares @ middle
    second = np.einsum("p,pi,pj->ij", shares, middle, middle)
    second += np.einsum("p,pi,pj->ij", shares, half, half) / 3
    np.testing.assert_allclose(truth.mean, mean, atol=1e-12)  # rounding
    covariance = second - np.outer(mean, mean) + sigma**2 * np.eye(2)
    np.testing.assert_allclose(truth.covariance, covariance, atol=1e-12)


def test_the_density_of_a_truth_in_two_pieces_is_that_of_its_lines():
    x = np.array([[0.0, 0.0], [1.1, -0.4], [2.5, 0.3], [1.0, 9.2], [0.4, 10.0], [1.0, 5.0]])
    first, _ = _blurred_uniform(2.0, 0.3)
    second, _ = _blurred_uniform(0.5, 0.3)
    normal = stats.norm(scale=0.3).pdf
    exact = 0.3 * first(x[:, 0]) * normal(x[:, 1])
    exact += 0.7 * normal(x[:, 0] - 1) * second(x[:, 1] - 9)
    value, error = ground_truth.truth_density(SEGMENTS).log_density(x)
    np.testing.assert_allclose(value, np.log(exact), atol=1e-8)
    assert np.all(error < 1e-8)


def test_the_true_decoder_of_two_pieces_jumps_where_their_mass_does():
    z = stats.norm.ppf([0.15, 0.2999, 0.3001, 0.65])[:, None]
    mean = [[1.0, 0.0], [1.9993333333, 0.0], [1.0, 9.0000714286], [1.0, 9.25]]
    found = ground_truth.true_decoder(SEGMENTS)(z)
    np.testing.assert_allclose(found.mean, mean, atol=1e-9)  # the digits given


def test_a_truth_in_three_dimensions_agrees_with_a_plain_grid():
    """Nothing of the package: t by Gauss-Legendre, x on a Cartesian box."""
    truth, sigma = ground_truth.truth(HELIX), 0.6
    assert truth.mass.value == pytest.approx(1, abs=1e-8)
    assert truth.mass.error < 1e-8
    node, weight = np.polynomial.legendre.leggauss(48)
    t = 0.5 * (node + 1)
    mean = helix(t)
    step = 0.3  # half of the noise
    low, high = mean.min(axis=0) - 9 * sigma, mean.max(axis=0) + 9 * sigma
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    # a Gaussian of three dimensions is a product, so the mixture is one contraction
    factors = [
        stats.norm(scale=sigma).pdf(axis[:, None] - mean[:, i]) for i, axis in enumerate(axes)
    ]
    density = np.einsum("k,xk,yk,zk->xyz", 0.5 * weight, *factors, optimize=True)
    entropy = np.sum(special.entr(density)) * step**3
    assert truth.entropy.value == pytest.approx(entropy, abs=1e-8)
    noise_entropy = 1.5 * np.log(2 * PI * np.e * sigma**2)
    assert truth.information.value == pytest.approx(entropy - noise_entropy, abs=1e-8)
    centre = 0.5 * weight @ mean
    covariance = np.einsum("k,ki,kj->ij", 0.5 * weight, mean - centre, mean - centre)
    np.testing.assert_allclose(truth.mean, centre, atol=1e-12)  # rounding
    np.testing.assert_allclose(truth.covariance, covariance + sigma**2 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(truth.noise_sigmas, 0.6, rtol=1e-12)


def test_the_true_decoder_in_three_dimensions_is_at_no_distance():
    truth = ground_truth.truth(HELIX)
    density = ground_truth.model_density(ground_truth.true_decoder(HELIX), 1)
    nll = ground_truth.cross_entropy(truth, density)
    assert nll.value - truth.entropy.value == pytest.approx(0, abs=1e-8)
    found = _kl_from_truth(truth, density, max_nodes=10**6)
    assert found.value == pytest.approx(0, abs=1e-8)


# Noise of other kinds


@pytree
@dataclasses.dataclass(frozen=True)
class Laplace(Noise):
    """Of variance one; its density has a kink."""

    law: ClassVar = stats.laplace(scale=np.sqrt(0.5))

    def log_prob(self, y):
        return -np.sqrt(2) * jnp.abs(y) - 0.5 * np.log(2)

    def variance(self):
        return 1.0

    def draw(self, rng, shape):
        return self.law.rvs(shape, random_state=rng)

    def cdf(self, y):
        return self.law.cdf(y)


@pytree
@dataclasses.dataclass(frozen=True)
class Logistic(Laplace):
    """Of variance one; smooth."""

    law: ClassVar = stats.logistic(scale=np.sqrt(3) / PI)

    def log_prob(self, y):
        y = PI / np.sqrt(3) * y
        return -y - 2 * jax.nn.softplus(-y) + np.log(PI / np.sqrt(3))


def _with_noise(noise, sigma):
    def observe(z):
        return dataclasses.replace(around(lambda z: z * W + B, sigma)(z), noise=noise)

    return observe


# Nodes converge fast on what is smooth; a kink costs what halving them shows.
@pytest.mark.parametrize(
    ("noise", "mass", "shown"), [(Laplace(), 2e-4, 0.01), (Logistic(), 1e-8, 1e-8)]
)
def test_noise_of_a_users_own_gives_a_density_of_mass_one(noise, mass, shown):
    density = ground_truth.model_density(_with_noise(noise, 0.3), 1, reach=5.0)
    step = 0.1
    axis = np.arange(-12, 12, step)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    value, error = density.log_density(x)
    assert np.sum(np.exp(value)) * step**2 == pytest.approx(1, abs=mass)
    assert np.sum(np.exp(value) * error) * step**2 < shown


@pytest.mark.parametrize("noise", [Laplace(), Logistic()])
def test_noise_of_a_users_own_agrees_with_adaptive_quadrature(noise):
    density = ground_truth.model_density(_with_noise(noise, 0.3), 1, reach=5.0)
    x = np.array([[0.4, -0.2], [1.0, 0.0], [3.0, -1.0], [-2.0, 5.0]])
    value, error = density.log_density(x)
    for point, found, own in zip(x, value, error, strict=True):

        def joint(z, point=point):
            y = (point - z * W - B) / 0.3
            return stats.norm.pdf(z) * np.prod(noise.law.pdf(y)) / 0.3**2

        kinks = (point - B) / W
        exact, _ = integrate.quad(
            joint, -12, 12, points=[0, *kinks], epsabs=0, epsrel=1e-11, limit=500
        )
        assert abs(found - np.log(exact)) <= own + 1e-8
        assert found == pytest.approx(np.log(exact), abs=0.01)

"""Mixtures on nodes against closed forms, a plain sum over all nodes and exact polynomials."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate, special, stats

from spiral_vae.exact import mixture
from spiral_vae.maths.noise import StudentT
from spiral_vae.maths.observation import Observation, around
from tests.exact.nodes import brute_force, wave

W, B = np.array([1.3, -0.7]), np.array([0.4, -0.2])
LOWER = np.array([[0.5, 0.0], [-0.6, 0.3]])  # the scale of correlated noise


def _line(z):
    return z * W + B


def _log_normal_z(z):
    return stats.norm.logpdf(z)


def _on_line(sigma):
    fine, _ = mixture.along_curve(around(_line, sigma), _log_normal_z, (-12.0, 12.0))
    return fine


def _on_wave(sigma):
    fine, _ = mixture.along_curve(around(wave, sigma), _log_normal_z, (-12.0, 12.0))
    return fine


def _isotropic(mean, sigma):
    """p(x|z) with a standard deviation for each node, [K]."""
    return Observation(mean=mean, scale=sigma[:, None, None] * np.eye(mean.shape[1]))


def _near_wave(num, distance, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((num, 1))
    return wave(z) + distance * rng.standard_normal((num, 2))


def test_gauss_legendre_integrates_polynomials_of_degree_31_on_uneven_panels():
    edges = np.array([-1.0, -0.9, 0.3, 2.0])
    node, weight = mixture.gauss_legendre(edges)
    for degree in range(32):
        exact = (2.0 ** (degree + 1) - (-1.0) ** (degree + 1)) / (degree + 1)
        # rounding of a sum of 48 terms as large as 2^31
        np.testing.assert_allclose(weight @ node**degree, exact, rtol=1e-13)


def test_gauss_legendre_takes_a_batch_of_panels_row_by_row():
    edges = np.array([[0.0, 1.0, 3.0], [-2.0, 0.5, 0.75]])
    node, weight = mixture.gauss_legendre(edges)
    for row in range(2):
        alone = mixture.gauss_legendre(edges[row])
        np.testing.assert_array_equal(node[row], alone[0])
        np.testing.assert_array_equal(weight[row], alone[1])


@pytest.mark.parametrize("sigma", [2.0, 0.2, 1e-2, 1e-4])
def test_a_line_gives_the_closed_form_gaussian(sigma):
    rng = np.random.default_rng(1)
    gaussian = stats.multivariate_normal(B, np.outer(W, W) + sigma**2 * np.eye(2))
    x = np.concatenate([gaussian.rvs(30, random_state=rng), B + 8 * sigma * np.eye(2)])
    # rounding: the exponent is a difference of squares of size |x|^2 / sigma^2
    tolerance = 1e-10 + 1e-15 * 30 / sigma**2
    np.testing.assert_allclose(
        mixture.log_density(x, _on_line(sigma)), gaussian.logpdf(x), atol=tolerance, rtol=0
    )


def test_a_curve_that_is_too_long_for_exact_integration_is_refused():
    """24 |W| / sigma standard deviations, at 1e-7 some 3.5e8; 16 nodes to 4 of them."""
    with pytest.raises(ValueError, match=r"3\.5e\+08 standard deviations long, .* at most 4\.2e"):
        _on_line(1e-7)
    assert len(_on_line(1e-4).z) > 1e6  # within memory's bounds


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_curve_that_is_not_finite_is_refused(bad):
    def observe(z):
        return around(lambda z: np.where(z > 1, bad, z * W), 0.2)(z)

    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="standard deviations"):
        mixture.along_curve(observe, _log_normal_z, (-12.0, 12.0))


@pytest.mark.parametrize("place", [0.0, 0.3, -1 / 7])
def test_a_mean_that_jumps_gives_the_closed_form_mixture(place):
    """Far mixtures of half lines: p(x) by scipy on each side; the nodes of both have an edge."""

    def broken(z):
        return np.concatenate([z, np.where(z < place, -3.0, 3.0)], axis=1)

    x = np.array([[place, 3.0], [place + 0.1, -3.0], [place - 0.2, 2.8]])
    for nodes in mixture.along_curve(around(broken, 0.1), _log_normal_z, (-12.0, 12.0)):
        assert np.min(np.abs(mixture.edges(nodes) - place)) < 1e-12
        found = mixture.log_density(x, nodes)
        for one, value in zip(x, found, strict=True):
            exact = 0.0
            for start, stop, height in ((-12, place, -3.0), (place, 12, 3.0)):
                other = stats.norm.pdf(one[1], height, 0.1)
                # prior times noise is a Gaussian in z, of mean x / 1.01 and variance .01 / 1.01
                share = stats.norm(one[0] / 1.01, 0.1 / np.sqrt(1.01))
                mass = share.cdf(stop) - share.cdf(start)
                exact += other * stats.norm.pdf(one[0], 0, np.sqrt(1.01)) * mass
            assert value == pytest.approx(np.log(exact), abs=1e-10)


def test_a_steep_mean_is_no_jump():
    def steep(z):
        return np.concatenate([np.tanh(1e5 * (z - 0.3)), 0 * z], axis=1)

    far = np.array([[-1.0, 0.0], [1.0, 0.0]])
    nodes, _ = mixture.along_curve(around(steep, 0.5), _log_normal_z, (-12.0, 12.0))
    assert not np.any(np.isclose(mixture.edges(nodes), 0.3, rtol=0, atol=1e-12))
    share = stats.norm.cdf(0.3) * stats.norm.pdf(far, -1, 0.5)[:, 0]
    share += stats.norm.sf(0.3) * stats.norm.pdf(far, 1, 0.5)[:, 0]
    exact = np.log(share * stats.norm.pdf(0, 0, 0.5))
    np.testing.assert_allclose(mixture.log_density(far, nodes), exact, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 0.02])
def test_a_line_with_correlated_noise_gives_the_closed_form_gaussian(size):
    lower = size * LOWER
    nodes, _ = mixture.along_curve(around(_line, lower), _log_normal_z, (-12.0, 12.0))
    gaussian = stats.multivariate_normal(B, np.outer(W, W) + lower @ lower.T)
    x = gaussian.rvs(30, random_state=np.random.default_rng(1))
    found = mixture.log_density(x, nodes)
    np.testing.assert_allclose(found, gaussian.logpdf(x), atol=1e-10, rtol=0)
    mean, covariance = mixture.covariance(nodes)
    np.testing.assert_allclose(mean, B, atol=1e-12)
    np.testing.assert_allclose(covariance, gaussian.cov, atol=1e-12)


def test_student_t_noise_without_a_signal_is_scipys():
    """One Student-t a dimension: of no latent, so a product; its covariance is dof / (dof - 2)."""
    scale, dof = np.array([0.3, 0.9]), np.array([5.0, 30.0])

    def observe(z):
        return Observation(
            mean=np.tile(B, (len(z), 1)),
            scale=np.tile(np.diag(scale), (len(z), 1, 1)),
            noise=StudentT(np.tile(dof, (len(z), 1))),
        )

    nodes, _ = mixture.along_curve(observe, _log_normal_z, (-12.0, 12.0))
    exact = stats.t(dof, B, scale)
    x = np.array([[0.4, 0.1], [3.0, -8.0], [-40.0, 2.0]])
    # the prior beyond |z| = 12 weighs 1e-33
    np.testing.assert_allclose(
        mixture.log_density(x, nodes), exact.logpdf(x).sum(axis=1), rtol=1e-12
    )
    _, covariance = mixture.covariance(nodes)
    np.testing.assert_allclose(covariance, np.diag(exact.var()), atol=1e-12)


def test_covariance_of_a_line_is_closed_form():
    mean, covariance = mixture.covariance(_on_line(0.3))
    # 12 digits: rounding alone, the tails beyond |z| = 12 weigh 1e-33
    np.testing.assert_allclose(mean, B, atol=1e-12)
    np.testing.assert_allclose(covariance, np.outer(W, W) + 0.09 * np.eye(2), atol=1e-12)


def test_covariance_is_that_of_the_density_and_not_of_the_nodes():
    """Weights that sum to anything: the moments are those of the normalised density."""
    nodes = _on_wave(0.1)
    doubled = dataclasses.replace(nodes, log_weight=nodes.log_weight + np.log(2))
    for a, b in zip(mixture.covariance(nodes), mixture.covariance(doubled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)  # rounding
    _, covariance = mixture.covariance(nodes)
    second = integrate.quad(lambda z: stats.norm.pdf(z) * 4 * np.tanh(z) ** 2, -12, 12)[0]
    assert covariance[0, 0] == pytest.approx(second + 0.01, abs=1e-8)  # quad's own error


@pytest.mark.parametrize(("sigma", "distance"), [(1e-3, 1e-3), (1e-3, 0.1), (3e-4, 1.0)])
def test_leaving_out_blocks_changes_nothing(sigma, distance):
    nodes = _on_wave(sigma)
    assert len(nodes.z) > 64 * 256  # else nothing is left out and this tests nothing
    x = _near_wave(20, distance)
    exact = brute_force(x, nodes)
    # nodes left out are far below rounding; exponents reach 1/sigma^2, hence the relative part
    np.testing.assert_allclose(mixture.log_density(x, nodes), exact, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("full", [False, True])
def test_leaving_out_blocks_holds_where_sigma_and_weight_vary(full):
    """A far, broad node outweighs near, narrow ones: distance alone would drop the wrong ones.

    Full covariances are needles, up to 20 long and far narrower: the width would drop the wrong.
    """
    rng = np.random.default_rng(2)
    num = 20_000
    mean = np.sort(rng.uniform(-50, 50, (num, 1)), axis=0) * [1.0, 0.3]
    found = _isotropic(mean, np.exp(rng.uniform(-9, 3, num) * (np.arange(num) % 512 < 256)))
    if full:
        scale = np.tile([[0.3, 0.0], [0.0, 0.3]], (num, 1, 1))
        scale[:, 1, 0] = rng.uniform(-20, 20, num)
        found = Observation(mean=mean, scale=scale)
    nodes = mixture.Mixture(
        z=mean[:, :1],
        log_weight=rng.uniform(-80, 0, num),
        log_prior=rng.uniform(-5, 0, num),
        observation=found,
    )
    x = rng.uniform(-50, 50, (30, 2))
    np.testing.assert_allclose(
        mixture.log_density(x, nodes), brute_force(x, nodes), rtol=1e-12, atol=1e-11
    )  # rounding of exponents up to 1e5


@pytest.mark.parametrize("num", [100, 20_000])
def test_student_t_of_many_nodes_is_the_plain_sum(num):
    """No node may be left out, however far: at 6 degrees of freedom the far ones still weigh."""
    rng = np.random.default_rng(3)
    mean = np.sort(rng.uniform(-50, 50, (num, 1)), axis=0) * [1.0, 0.3]
    nodes = mixture.Mixture(
        z=mean[:, :1],
        log_weight=rng.uniform(-20, 0, num),
        log_prior=rng.uniform(-5, 0, num),
        observation=Observation(
            mean=mean,
            scale=np.exp(rng.uniform(-9, 1, (num, 1, 2))) * np.eye(2),
            noise=StudentT(rng.uniform(3, 6, (num, 2))),
        ),
    )
    x = rng.uniform(-50, 50, (30, 2))
    np.testing.assert_allclose(
        mixture.log_density(x, nodes), brute_force(x, nodes), rtol=1e-12, atol=1e-11
    )


@pytest.mark.parametrize("num_blocks", [95, 96, 97, 128])
@pytest.mark.parametrize("end", [0, -1])
def test_the_first_and_last_block_are_counted_once(num_blocks, end):
    """Whether the last block is full or padding, at points that need few blocks or many."""
    num = 256 * num_blocks
    mean = np.linspace(-50, 50, num)[:, None] * [1.0, 0.5]
    nodes = mixture.Mixture(
        z=mean[:, :1],
        log_weight=np.full(num, -np.log(num)),
        log_prior=np.zeros(num),
        observation=_isotropic(mean, np.full(num, 0.01)),
    )
    # A point off the line needs many blocks, so the others are given room for more than theirs.
    x = mean[end] + np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 0.3], [30.0, -60.0]])
    np.testing.assert_allclose(
        mixture.log_density(x, nodes), brute_force(x, nodes), rtol=1e-12, atol=1e-11
    )  # rounding of exponents up to 1e7


@pytest.mark.parametrize("sigma", [0.2, 1e-3])
def test_a_point_does_not_depend_on_its_batch(sigma):
    nodes = _on_wave(sigma)
    x = _near_wave(100, 2 * sigma)
    whole = mixture.log_density(x, nodes)
    for num in (1, 2, 5):
        part = mixture.log_density(x[:num], nodes)
        assert part.shape == (num,)
        # another batch may keep other blocks and sum in another order: rounding only
        np.testing.assert_allclose(part, whole[:num], rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(mixture.log_density(x[::-1], nodes)[::-1], whole, atol=1e-12)


def test_log_joint_and_log_posterior_normalise():
    nodes = _on_line(0.5)
    x = np.array([[0.3, 1.0], [2.0, -2.0]])
    log_joint = mixture.log_joint(x, nodes)
    for n, k in ((0, 5), (1, 77)):
        own = stats.norm.logpdf(x[n], nodes.mean[k], 0.5).sum() + stats.norm.logpdf(nodes.z[k, 0])
        assert log_joint[n, k] == pytest.approx(own, rel=1e-13)  # rounding
    posterior = np.exp(mixture.log_posterior(x, nodes))
    weight = np.exp(nodes.log_weight)
    np.testing.assert_allclose(posterior @ weight, 1.0, atol=1e-12)  # rounding
    gain = W / (0.25 + W @ W)
    np.testing.assert_allclose(posterior @ (weight * nodes.z[:, 0]), (x - B) @ gain, atol=1e-12)


@pytest.mark.parametrize("dof", [None, 4.0])
def test_log_joint_of_correlated_and_of_heavy_tailed_noise(dof):
    nodes, _ = mixture.along_curve(around(_line, LOWER), _log_normal_z, (-12.0, 12.0))
    if dof:
        noise = StudentT(np.full(nodes.mean.shape, dof))
        nodes = dataclasses.replace(
            nodes, observation=dataclasses.replace(nodes.observation, noise=noise)
        )
    x = np.array([[0.3, 1.0], [2.0, -2.0], [30.0, 9.0]])
    total = special.logsumexp(mixture.log_joint(x, nodes) + nodes.log_weight, axis=1)
    np.testing.assert_allclose(total, brute_force(x, nodes), rtol=1e-13)  # rounding
    np.testing.assert_allclose(mixture.log_density(x, nodes), total, rtol=1e-13)


def _widening(z):
    """Both standard deviations grow by e^3 within a tenth of z."""
    return np.exp(1.5 * np.tanh(10 * (z - 0.3)))[:, None, None] * np.diag([0.05, 0.5])


def _widening_in_one_direction(z):
    scale = _widening(z)
    scale[:, 0, 0] = 0.05
    return scale


def _turning(z):
    """The axes of the noise turn by a right angle within a tenth of z."""
    angle = np.pi / 4 * (1 + np.tanh(10 * (z - 0.3)))
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0) * [0.05, 0.5]
    return np.linalg.cholesky(axes @ np.swapaxes(axes, 1, 2))


@pytest.mark.parametrize("scale_of", [_widening, _widening_in_one_direction, _turning])
def test_nodes_are_dense_where_the_noise_changes(scale_of):
    """At a constant mean, so that nothing but the noise asks for nodes."""

    def observe(z):
        return Observation(mean=np.zeros((len(z), 2)), scale=scale_of(z[:, 0]))

    x = np.array([[0.0, 0.0], [0.05, 0.1], [0.1, -0.5], [0.02, 0.9]])
    nodes, _ = mixture.along_curve(observe, _log_normal_z, (-12.0, 12.0), reach=1.0)
    node, weight = mixture.gauss_legendre(np.linspace(-12, 12, 2_001))  # even, with no rule
    even = mixture.Mixture(
        node[:, None], np.log(weight), _log_normal_z(node), observe(node[:, None])
    )
    np.testing.assert_allclose(
        mixture.log_density(x, nodes), brute_force(x, even), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("refine", [0.12, 0.2, 0.3])
def test_halving_the_nodes_bounds_the_error(refine):
    """On rules too coarse on purpose: the line's density is known, so the error can be seen."""
    sigma = 0.05
    fine, coarse = mixture.along_curve(
        around(_line, sigma), _log_normal_z, (-12.0, 12.0), refine=refine, max_width=50.0
    )
    gaussian = stats.multivariate_normal(B, np.outer(W, W) + sigma**2 * np.eye(2))
    x = gaussian.rvs(200, random_state=np.random.default_rng(3))
    value = mixture.log_density(x, fine)
    error = np.abs(value - gaussian.logpdf(x))
    shown = np.abs(value - mixture.log_density(x, coarse))
    if refine < 0.25:
        assert error.mean() > 1e-9  # there is something to bound
    assert np.mean(error) <= np.mean(shown) + 1e-11
    # Pointwise the difference may cross zero by chance, so a few points are let off.
    assert np.mean(error <= shown + 1e-11) > 0.9


def test_on_grid_gives_the_closed_form_gaussian_for_two_latents():
    matrix = np.array([[0.8, 0.3], [-0.2, 1.1]])
    nodes = mixture.on_grid(around(lambda z: z @ matrix.T + B, 0.4), 2, num=201, stop=8.0)
    gaussian = stats.multivariate_normal(B, matrix @ matrix.T + 0.16 * np.eye(2))
    x = gaussian.rvs(10, random_state=np.random.default_rng(4))
    # the prior beyond |z| = 8 weighs 1e-15
    np.testing.assert_allclose(mixture.log_density(x, nodes), gaussian.logpdf(x), atol=1e-10)

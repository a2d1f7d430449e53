"""The process against its formula, quadrature and scipy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from spiral_vae import fields
from spiral_vae.process import Spiral
from spiral_vae.process.design import Random

BASE = Spiral(omega=8.8, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)
SPIRALS = {
    "base": BASE,
    "uniform": dataclasses.replace(BASE, t_law="uniform"),
    "part": dataclasses.replace(BASE, u_start=0.3, u_stop=0.6, noise_sigma=0.5),
    "clockwise": Spiral(
        omega=-5.0, rdot=-1.5, noise_sigma=0.1, u_start=0.0, u_stop=0.8, t_law="uniform"
    ),
    "anisotropic": dataclasses.replace(BASE, noise_sigma_x=0.1, noise_sigma_y=0.4, noise_angle=0.7),
    "first_axis": dataclasses.replace(BASE, noise_sigma_x=0.5, noise_angle=0.7),
    "second_axis": dataclasses.replace(BASE, noise_sigma_y=0.5, noise_angle=0.7),
    "sloped": dataclasses.replace(
        BASE,
        noise_sigma_x=0.3,
        noise_sigma_y=0.05,
        noise_slope=0.5,
        noise_angle=-2.0,
        t_law="uniform",
    ),
}
DESIGNS = ("grid", "random")
KEY = jax.random.key(7)
spirals = pytest.mark.parametrize("spec", SPIRALS.values(), ids=SPIRALS.keys())


def _exact_t(u, spec):
    return np.sqrt(u) if spec.t_law == "sqrt" else u


def _exact_curve(t, spec):
    """The curve as a complex exponential, [..., 2], float64."""
    z = spec.rdot * t * np.exp(1j * spec.omega * t)
    return np.stack([z.real, z.imag], axis=-1)


def _noise_sigma(spec):
    """The standard deviations of both axes at t = 0, [2]."""
    own = (spec.noise_sigma_x, spec.noise_sigma_y)
    return np.array([spec.noise_sigma if sigma is None else sigma for sigma in own])


def _exact_covariance(t, spec):
    """R diag((noise_sigma + noise_slope t)^2) R^T for one t."""
    variance = (_noise_sigma(spec) + spec.noise_slope * t) ** 2
    cos, sin = np.cos(spec.noise_angle), np.sin(spec.noise_angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    return rotation @ np.diag(variance) @ rotation.T


def _curve_points(t, spec):
    return jax.vmap(spec.point)(t)


def _sample(spec, num_points, design, key=KEY):
    return dataclasses.replace(
        spec, num_points=num_points, design=fields.kinds("design")[design]()
    ).sample(key)


@spirals
def test_curve_is_the_formula(spec):
    t = np.linspace(0, 1, 57)
    found = _curve_points(jnp.asarray(t), spec)
    # The angle, up to 9, is rounded to float32: 1e-6 rad at a radius of up to 2.5.
    np.testing.assert_allclose(found, _exact_curve(t, spec), atol=5e-6)


def test_curve_turns_by_omega_and_grows_by_rdot():
    """At t = 1 with omega = pi/2 the point has turned from the x axis to the y axis."""
    spec = dataclasses.replace(BASE, omega=np.pi / 2, rdot=3.0)
    np.testing.assert_allclose(spec.point(jnp.float32(1)), [0, 3], atol=1e-6)


@pytest.mark.parametrize(("t_law", "expected"), [("sqrt", [0, 0.5, 1]), ("uniform", [0, 0.25, 1])])
def test_speed_law(t_law, expected):
    spec = dataclasses.replace(BASE, t_law=t_law, u_start=0.0)
    np.testing.assert_array_equal(spec.quantile(jnp.array([0.0, 0.25, 1.0])), expected)


def test_sqrt_law_with_much_rotation_spreads_points_evenly_along_the_curve():
    spec = dataclasses.replace(BASE, omega=1000.0, u_start=0.1)
    t = _exact_t(np.linspace(spec.u_start, spec.u_stop, 50), spec)

    def speed(t):
        return abs(spec.rdot) * np.hypot(1, spec.omega * t)

    steps = [integrate.quad(speed, a, b)[0] for a, b in zip(t[:-1], t[1:], strict=True)]
    np.testing.assert_allclose(steps, np.mean(steps), rtol=1e-4)
    # ... which the law of the package is.
    np.testing.assert_allclose(spec.quantile(jnp.linspace(0, 1, 50)), t, rtol=1e-6)


@spirals
def test_density_integrates_to_one_and_is_the_slope_of_the_cdf(spec):
    ends = [float(_exact_t(u, spec)) for u in (spec.u_start, spec.u_stop)]
    with jax.enable_x64(True):

        def density(t):
            return float(spec.density(jnp.float64(t)))

        assert integrate.quad(density, *ends)[0] == pytest.approx(1, abs=1e-12)
        t = jnp.linspace(*ends, 20, dtype=jnp.float64)
        slope = jax.vmap(jax.grad(spec.cdf))(t)
        np.testing.assert_allclose(spec.density(t), slope, rtol=1e-12)
        np.testing.assert_allclose(spec.cdf(t[jnp.array([0, -1])]), [0, 1], atol=1e-12)
        np.testing.assert_allclose(spec.pieces(), [ends], rtol=1e-12)


@spirals
def test_cdf_undoes_the_speed_law(spec):
    share = np.linspace(0, 1, 11)
    t = spec.quantile(jnp.asarray(share))
    u = spec.u_start + (spec.u_stop - spec.u_start) * share
    np.testing.assert_allclose(t, _exact_t(u, spec), rtol=1e-6)
    np.testing.assert_allclose(spec.cdf(t), share, atol=1e-6)


@spirals
def test_density_around_the_curve_is_scipys(spec):
    with jax.enable_x64(True):
        for x, t in [((0.3, -1.2), 0.4), ((2.0, 2.0), 0.05), ((0.0, 0.0), 1.0)]:
            found = spec.observation(jnp.float64(t))
            truth = stats.multivariate_normal(_exact_curve(t, spec), _exact_covariance(t, spec))
            assert float(found.log_prob(jnp.array(x))) == pytest.approx(truth.logpdf(x), rel=1e-12)
            np.testing.assert_allclose(found.scale @ found.scale.T, truth.cov, rtol=1e-12)


def test_noise_axes_turn_with_the_angle():
    """A quarter turn exchanges the two standard deviations."""
    spec = dataclasses.replace(BASE, noise_sigma_x=0.1, noise_sigma_y=0.4, noise_angle=np.pi / 2)
    scale = spec.observation(jnp.float32(0.5)).scale
    np.testing.assert_allclose(scale, [[0.4, 0], [0, 0.1]], atol=1e-7)


# Samples. The key is fixed, so a threshold of 5 standard errors is not a matter of luck.


def _moments(spec):
    """Mean [2] and second moments (xx, xy, yy) of x, by quadrature over u."""

    def average(f):
        width = spec.u_stop - spec.u_start
        return integrate.quad(lambda u: f(u) / width, spec.u_start, spec.u_stop, limit=200)[0]

    def point(u):
        return _exact_curve(_exact_t(u, spec), spec)

    mean = [average(lambda u, d=d: point(u)[d]) for d in (0, 1)]
    pairs = [(0, 0), (0, 1), (1, 1)]
    second = [
        average(
            lambda u, i=i, j=j: (
                point(u)[i] * point(u)[j] + _exact_covariance(_exact_t(u, spec), spec)[i, j]
            )
        )
        for i, j in pairs
    ]
    return np.array(mean + second)


@spirals
def test_moments_of_random_samples(spec):
    num = 50_000
    x = np.asarray(_sample(spec, num, "random").x, np.float64)
    terms = np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2])
    z = (terms.mean(axis=1) - _moments(spec)) / (terms.std(axis=1) / np.sqrt(num))
    assert np.all(np.abs(z) < 5)


@pytest.mark.parametrize("num_points", [2, 3, 200])
@spirals
def test_grid_is_even_in_u_with_both_ends(spec, num_points):
    t = _sample(spec, num_points, "grid").t
    u = np.linspace(spec.u_start, spec.u_stop, num_points)
    np.testing.assert_allclose(t, _exact_t(u, spec), rtol=1e-6, atol=1e-7)


@spirals
def test_random_u_is_uniform(spec):
    t = np.asarray(_sample(spec, 5_000, "random").t, np.float64)
    u = t**2 if spec.t_law == "sqrt" else t
    uniform = stats.uniform(spec.u_start, spec.u_stop - spec.u_start)
    assert stats.kstest(u, uniform.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / np.sqrt(len(u))  # no order among points


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", ["base", "anisotropic", "sloped"])
def test_noise_is_standard_normal_and_apart_from_t(name, design):
    num, spec = 5_000, SPIRALS[name]
    data = _sample(spec, num, design)
    cos, sin = np.cos(spec.noise_angle), np.sin(spec.noise_angle)
    along = np.asarray(data.x - _curve_points(data.t, spec)) @ np.array([[cos, -sin], [sin, cos]])
    sigma = _noise_sigma(spec) + spec.noise_slope * np.asarray(data.t)[:, None]
    eps = np.asarray(along / sigma, np.float64)
    for column in eps.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    correlation = np.corrcoef(np.stack([*eps.T, data.t]))
    assert np.all(np.abs(correlation - np.eye(3)) < 5 / np.sqrt(num))


def test_covariance_of_the_noise():
    num, spec = 50_000, SPIRALS["anisotropic"]
    data = _sample(spec, num, "random")
    residual = np.asarray(data.x - _curve_points(data.t, spec), np.float64)
    products = residual[:, [0, 0, 1]] * residual[:, [0, 1, 1]]
    expected = _exact_covariance(0.0, spec)[[0, 0, 1], [0, 1, 1]]
    z = (products.mean(axis=0) - expected) / (products.std(axis=0) / np.sqrt(num))
    assert np.all(np.abs(z) < 5)


@pytest.mark.parametrize("design", DESIGNS)
def test_another_noise_sigma_scales_the_same_noise(design):
    """Paired comparisons over the noise: a key fixes t and eps."""
    loud = dataclasses.replace(BASE, noise_sigma=0.8)
    one, four = (_sample(spec, 50, design) for spec in (BASE, loud))
    np.testing.assert_array_equal(one.t, four.t)
    curve = _curve_points(one.t, BASE)
    # x, of up to 4, is rounded to float32, and the differences keep that rounding.
    np.testing.assert_allclose(4 * (one.x - curve), four.x - curve, atol=4e-6)


def test_keys_give_different_data():
    one, two = (_sample(BASE, 50, "random", jax.random.key(k)) for k in (0, 1))
    assert not np.any(one.t == two.t)
    assert not np.any(one.x == two.x)


def test_numbers_are_leaves_and_law_and_design_are_not():
    """So all numbers can be lanes of a sweep."""
    leaves, tree = jax.tree.flatten(BASE)
    assert sorted(leaves) == sorted([8.8, 2.5, 0.2, 0.01, 1.0, 0.0, 0.0])
    assert tree != jax.tree.structure(SPIRALS["uniform"])
    for static in ({"num_points": 7}, {"design": Random()}):
        assert tree != jax.tree.structure(dataclasses.replace(BASE, **static))
    numbers = [8.8, 2.5, 0.2, 0.1, 0.4, 0.01, 1.0, 0.0, 0.7]
    assert sorted(jax.tree.leaves(SPIRALS["anisotropic"])) == sorted(numbers)

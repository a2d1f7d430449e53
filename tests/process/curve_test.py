"""What every curve is given, on the package's own and on curves of other kinds."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from spiral_vae import fields
from spiral_vae.fields import pytree
from spiral_vae.process import Curve, Interval, PlaneCurve


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cubic(Interval):
    """(t, t^2, t^3)."""

    dim: ClassVar[int] = 3

    def point(self, t):
        return jnp.stack([t, t**2, t**3])


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dashes(PlaneCurve):
    """Two dashes of the first axis, each of length 1, with 30 % of the points on the first."""

    first: float = 0.3

    def point(self, t):
        return jnp.stack([t, jnp.zeros_like(t)])

    def quantile(self, mass):
        second = 3 + (mass - self.first) / (1 - self.first)
        return jnp.where(mass < self.first, mass / self.first, second)

    def density(self, t):
        return jnp.where(t < 2, self.first, 1 - self.first)

    def cdf(self, t):
        return jnp.where(t < 2, self.first * t, self.first + (1 - self.first) * (t - 3))

    def pieces(self):
        return jnp.array([[0.0, 1.0], [3.0, 4.0]])


KEY = jax.random.key(5)
NUM = 20_000
CUBIC = Cubic(noise_sigma=0.1, noise_slope=0.4, u_start=0.2, u_stop=0.9)
DASHES = Dashes(noise_sigma=0.05)
CURVES = {"cubic": CUBIC, "dashes": DASHES} | {
    name: cls(size=1.7, noise_slope=0.1) if "size" in cls.__dataclass_fields__ else cls()
    for name, cls in fields.kinds("data").items()
    if issubclass(cls, Curve) and not fields.is_own(cls)
}
curves = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())


def _sample(curve, num=NUM, design="random", key=KEY):
    return dataclasses.replace(
        curve, num_points=num, design=fields.kinds("design")[design]()
    ).sample(key)


def _eps(curve, data):
    """The noise of isotropic samples in units of its standard deviation, [N, D]; float64."""
    residual = np.asarray(data.x - jax.vmap(curve.point)(data.t), np.float64)
    t = np.asarray(data.t, np.float64)
    return residual / (curve.noise_sigma + curve.noise_slope * t)[:, None]


@curves
@pytest.mark.parametrize("design", ["grid", "random"])
def test_noise_is_standard_normal_in_all_dimensions_and_apart_from_them(curve, design):
    eps = _eps(curve, data := _sample(curve, design=design))
    assert data.x.shape == eps.shape == (NUM, curve.dim)
    for column in eps.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert np.all(np.abs(np.corrcoef(eps.T) - np.eye(curve.dim)) < 5 / np.sqrt(NUM))


@curves
def test_u_and_noise_are_independent_streams(curve):
    """Neither point by point nor in the order of drawing, where one key for both would tie them."""
    data = _sample(curve)
    u = np.asarray(curve.cdf(data.t), np.float64)
    eps = _eps(curve, data)
    drawn = eps.ravel()[:NUM]
    for column in [*eps.T, *np.abs(eps).T, drawn]:
        assert abs(np.corrcoef(u, column)[0, 1]) < 4 / np.sqrt(NUM)


@curves
def test_random_points_follow_the_cdf_and_the_grid_is_even_in_it(curve):
    assert stats.kstest(np.asarray(curve.cdf(_sample(curve).t)), "uniform").pvalue > 1e-3
    even = curve.cdf(_sample(curve, num=101, design="grid").t)
    np.testing.assert_allclose(even, np.linspace(0, 1, 101), atol=1e-6)


@curves
def test_density_integrates_to_one_over_the_pieces_and_is_the_slope_of_the_cdf(curve):
    with jax.enable_x64(True):
        pieces = np.asarray(curve.pieces())

        def density(t):
            return float(curve.density(jnp.float64(t)))

        total = sum(integrate.quad(density, *piece)[0] for piece in pieces)
        assert total == pytest.approx(1, abs=1e-12)
        ends = np.asarray(curve.cdf(jnp.asarray(pieces)))
        np.testing.assert_allclose([ends[0, 0], ends[-1, 1]], [0, 1], atol=1e-12)
        np.testing.assert_allclose(ends[1:, 0], ends[:-1, 1], atol=1e-12)  # nothing in between
        t = jnp.asarray(np.linspace(*pieces.T, 7)[1:-1].ravel())
        np.testing.assert_allclose(jax.vmap(jax.grad(curve.cdf))(t), curve.density(t), rtol=1e-9)


def test_three_dimensions_have_the_curves_moments():
    """E x of each dimension, by quadrature over u; the noise has mean 0."""
    x = np.asarray(_sample(CUBIC).x, np.float64)
    width = CUBIC.u_stop - CUBIC.u_start
    for i in range(3):
        total = integrate.quad(lambda u, i=i: u ** ((i + 1) / 2), CUBIC.u_start, CUBIC.u_stop)[0]
        error = x[:, i].std() / np.sqrt(NUM)
        assert abs(x[:, i].mean() - total / width) < 5 * error


def test_observation_in_three_dimensions_is_scipys():
    with jax.enable_x64(True):
        x, t = np.array([0.4, 0.1, 0.3]), 0.7
        found = CUBIC.observation(jnp.float64(t))
        truth = stats.multivariate_normal([t, t**2, t**3], (0.1 + 0.4 * t) ** 2)
        assert float(found.log_prob(jnp.asarray(x))) == pytest.approx(truth.logpdf(x), rel=1e-12)
        np.testing.assert_allclose(found.scale, (0.1 + 0.4 * t) * np.eye(3), rtol=1e-12)


def test_pieces_have_their_shares_and_nothing_lies_between_them():
    """Each dash is uniform in itself."""
    t = np.asarray(_sample(DASHES).t, np.float64)
    first, second = t[t < 2], t[t >= 2]
    error = np.sqrt(0.3 * 0.7 / NUM)
    assert abs(len(first) / NUM - 0.3) < 5 * error
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert stats.kstest(second - 3, "uniform").pvalue > 1e-3


def test_a_piecewise_grid_has_points_on_both_pieces_alone():
    t = np.asarray(_sample(DASHES, num=102, design="grid").t)
    assert (t < 2).sum() == 31  # shares 0 .. 30/101
    assert np.all((t <= 1) | ((t >= 3) & (t <= 4 + 1e-6)))


def test_a_curve_of_its_own_law_keeps_the_axes_of_the_noise():
    """noise_sigma_x and noise_sigma_y of `PlaneCurve`, turned by noise_angle."""
    curve = dataclasses.replace(DASHES, noise_sigma_y=0.2, noise_angle=0.5)
    scale = np.asarray(curve.observation(jnp.float32(0.5)).scale, np.float64)
    cos, sin = np.cos(0.5), np.sin(0.5)
    rotation = np.array([[cos, -sin], [sin, cos]])
    expected = rotation @ np.diag(np.square([0.05, 0.2])) @ rotation.T
    np.testing.assert_allclose(scale @ scale.T, expected, rtol=1e-5)
    data = _sample(curve)
    residual = np.asarray(data.x - jax.vmap(curve.point)(data.t), np.float64)
    products = residual[:, [0, 0, 1]] * residual[:, [0, 1, 1]]
    z = products.mean(axis=0) - expected[[0, 0, 1], [0, 1, 1]]
    assert np.all(np.abs(z) < 5 * products.std(axis=0) / np.sqrt(NUM))


def test_a_curve_is_its_own_truth_and_its_numbers_are_leaves():
    assert DASHES.truth is DASHES
    assert sorted(jax.tree.leaves(CUBIC)) == sorted([0.1, 0.4, 0.2, 0.9])
    assert 0.3 in jax.tree.leaves(DASHES)

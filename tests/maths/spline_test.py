"""The spline against flowjax's, its inverse and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae.maths import spline
from spiral_vae.maths.spline import REACH


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _spline(num=8, seed=0, size=1.5):
    rng = np.random.default_rng(seed)
    widths, heights, slopes = (size * rng.normal(size=n) for n in (num, num, num - 1))
    return spline.spline(*map(jnp.asarray, (widths, heights, slopes)))


X = np.concatenate([np.linspace(-6, 6, 480), [-REACH, REACH, -40.0, 40.0]])


@pytest.mark.parametrize("seed", range(4))
def test_values_and_slopes_are_flowjaxs(seed):
    bijections = pytest.importorskip("flowjax.bijections")
    own = _spline(seed=seed)
    other = bijections.RationalQuadraticSpline(knots=8, interval=REACH)
    for name, value in (("x_pos", own.x), ("y_pos", own.y), ("derivatives", own.slope)):
        object.__setattr__(other, name, value)
    found, log_slope = spline.forward(own, jnp.asarray(X))
    expected, expected_slope = jax.vmap(other.transform_and_log_det)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_slope, expected_slope, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        spline.inverse(own, jnp.asarray(X)), jax.vmap(other.inverse)(X), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("num", [2, 8, 30])
def test_the_inverse_comes_back_and_the_slope_is_the_derivative(num):
    own = _spline(num)
    y, log_slope = spline.forward(own, jnp.asarray(X))
    np.testing.assert_allclose(spline.inverse(own, y), X, rtol=1e-9, atol=1e-9)
    derivative = jax.vmap(jax.grad(lambda x: spline.forward(own, x)[0]))(jnp.asarray(X[:480]))
    np.testing.assert_allclose(jnp.log(derivative), log_slope[:480], rtol=1e-9, atol=1e-9)


def test_knots_are_hit_with_their_slopes_and_beyond_is_the_identity():
    own = _spline()
    y, log_slope = spline.forward(own, own.x)
    np.testing.assert_allclose(y, own.y, atol=1e-12)
    np.testing.assert_allclose(jnp.exp(log_slope), own.slope, rtol=1e-12)
    far = jnp.array([-50.0, -4.001, 4.001, 1e6])
    np.testing.assert_array_equal(spline.forward(own, far)[0], far)
    np.testing.assert_array_equal(spline.inverse(own, far), far)
    assert (own.x[0], own.x[-1], own.slope[0], own.slope[-1]) == (-REACH, REACH, 1, 1)


def test_numbers_of_nothing_are_the_identity():
    own = spline.spline(jnp.zeros(5), jnp.zeros(5), jnp.zeros(4))
    y, log_slope = spline.forward(own, jnp.asarray(X))
    np.testing.assert_allclose(y, X, atol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)


@pytest.mark.parametrize("x", [-50.0, -REACH, 0.3, REACH, 50.0])
def test_gradients_are_finite_everywhere(x):
    def value(numbers):
        own = spline.spline(*numbers)
        y, log_slope = spline.forward(own, jnp.array(x))
        return y + log_slope + spline.inverse(own, jnp.array(x))

    numbers = (jnp.ones(4), jnp.zeros(4), jnp.ones(3))
    assert all(np.isfinite(leaf).all() for leaf in jax.grad(value)(numbers))

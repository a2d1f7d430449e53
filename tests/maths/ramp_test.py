"""Factors along the training at points where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae.maths import ramp

PROGRESS = jnp.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.7, 0.999])


def test_rise_is_linear_and_then_one():
    expected = [0, 0.25, 0.5, 0.75, 1, 1, 1]
    np.testing.assert_allclose(ramp.rise(PROGRESS, 0.4), expected, rtol=1e-6)


def test_fall_is_half_a_cosine():
    """From the share on: whole, three quarters, half, a quarter and nothing at 0, 60 .. 180 deg."""
    progress = 0.4 + 0.6 * jnp.array([0, 1 / 3, 1 / 2, 2 / 3, 1])
    np.testing.assert_allclose(ramp.fall(progress, 0.4), [1, 0.75, 0.5, 0.25, 0], atol=1e-6)


def test_after_is_true_from_the_share_on():
    expected = [False, False, False, False, True, True, True]
    np.testing.assert_array_equal(ramp.after(PROGRESS, 0.4), expected)


def test_a_share_of_zero_is_over_at_once():
    np.testing.assert_array_equal(ramp.rise(PROGRESS, 0.0), np.ones(len(PROGRESS)))
    np.testing.assert_array_equal(ramp.after(PROGRESS, 0.0), np.ones(len(PROGRESS), bool))
    np.testing.assert_allclose(ramp.fall(jnp.array([0.0, 0.5, 1.0]), 0.0), [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("factor", [ramp.rise, ramp.fall])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_share_can_be_a_lane(factor, share):
    """As an array within compiled code, which also must not divide by zero."""
    found = jax.jit(jax.vmap(factor, (None, 0)))(PROGRESS, jnp.array([share, share]))
    expected = factor(PROGRESS, share)
    np.testing.assert_allclose(found, [expected, expected], atol=1e-6)

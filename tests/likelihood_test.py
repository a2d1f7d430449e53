"""The likelihood against scipy."""

import jax
import jax.numpy as jnp
import pytest
from scipy import stats

from spiral_vae.likelihood import Fixed


@pytest.mark.parametrize("sigma", [1e-4, 0.2, 1.0, 3.0])
def test_fixed_is_a_normal_whose_standard_deviation_is_sigma(sigma):
    x, mean = [0.3, -1.0], [0.1, 0.4]
    with jax.enable_x64(True):
        found = Fixed(sigma=sigma).log_prob(jnp.array(x), jnp.array(mean))
    assert float(found) == pytest.approx(stats.norm(mean, sigma).logpdf(x).sum(), rel=1e-12)


def test_sigma_is_a_leaf():
    """So it can be a lane of a sweep."""
    assert jax.tree.leaves(Fixed(sigma=0.2)) == [0.2]

"""The chain of the training against sums over all paths, and its gradient against autodiff's."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from spiral_vae import numerics
from spiral_vae.maths.chain import Chain

K, S, T = 3, 2, 4
SEEN = [np.ones(S * T), np.array([1, 1, 0, 1, 1, 0, 0, 1.0])]


def _chain(weight):
    rng = np.random.default_rng(0)
    return Chain(
        log_start=jax.nn.log_softmax(jnp.asarray(rng.normal(size=K))),
        log_move=jnp.asarray(rng.normal(size=(K, K))),
        weight=jnp.asarray(weight),
        length=T,
    )


def _by_paths(chain, log_prob):
    """log p of each sequence, as the sum over all K^T paths."""
    log_transition = jax.nn.log_softmax(chain.log_move, axis=1)
    by_time = (log_prob * chain.weight).reshape(K, S, T)
    totals = []
    for s in range(S):
        paths = []
        for path in itertools.product(range(K), repeat=T):
            value = chain.log_start[path[0]] + by_time[path[0], s, 0]
            for t in range(1, T):
                value += log_transition[path[t - 1], path[t]] + by_time[path[t], s, t]
            paths.append(value)
        totals.append(logsumexp(jnp.stack(paths)))
    return jnp.stack(totals)


@pytest.mark.parametrize("weight", SEEN, ids=["all", "some"])
def test_evidence_masses_and_gradients_are_those_of_the_sum_over_paths(weight):
    with numerics.double():
        chain = _chain(weight)
        log_prob = jnp.asarray(np.random.default_rng(1).normal(size=(K, S * T)))

        def mean(log_prob, log_move):
            """The mean over the points that are seen, as training takes it."""
            own = chain._replace(log_move=log_move)
            value, _ = own.log_evidence(log_prob)
            return jnp.sum(value * chain.weight) / jnp.sum(chain.weight)

        def exact(log_prob, log_move):
            own = chain._replace(log_move=log_move)
            return jnp.sum(_by_paths(own, log_prob)) / jnp.sum(chain.weight)

        given = log_prob, chain.log_move
        np.testing.assert_allclose(mean(*given), exact(*given), rtol=1e-12)
        found, wanted = (jax.grad(one, (0, 1))(*given) for one in (mean, exact))
        for own, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(own, other, atol=1e-12)
        _, mass = chain.log_evidence(log_prob)
        total = jax.grad(lambda log_prob: jnp.sum(_by_paths(chain, log_prob)))(log_prob)
        np.testing.assert_allclose(mass * chain.weight, total, atol=1e-12)


def test_a_jump_that_float32_knows_no_path_for_costs_no_other_point():
    """20 points at one node and 20 at another, 40 standard deviations of a step away."""
    nodes = jnp.linspace(-4, 4, 81)
    chain = Chain(
        log_start=jax.nn.log_softmax(-0.5 * nodes**2),
        log_move=-0.5 * ((nodes - nodes[:, None]) / 0.1) ** 2,
        weight=jnp.ones(40),
        length=40,
    )
    place = jnp.where(jnp.arange(40) < 20, -2.0, 2.0)
    log_prob = -0.5 * ((nodes[:, None] - place) / 0.02) ** 2
    value, mass = chain.log_evidence(log_prob)
    gradient = jax.grad(lambda log_prob: jnp.sum(chain.log_evidence(log_prob)[0]))(log_prob)
    for found in (mass, gradient):  # each point is where it is seen
        np.testing.assert_allclose(found, nodes[:, None] == place, atol=1e-5)
    # As rare as float32 knows a move, which two sums tell together; the others don't move.
    stay = jax.nn.log_softmax(chain.log_move, axis=1)[40, 40]
    assert float(value[20] + value[21] - stay) == pytest.approx(np.log(1e-30), abs=1e-3)
    np.testing.assert_allclose(np.delete(value, [0, 20, 21]), stay, rtol=1e-5)

"""The best posteriors of sequences against closed forms and a search over dense Gaussians."""

import math

import numpy as np
import pytest
from scipy import optimize

from spiral_vae import numerics
from spiral_vae.exact import chain, forward_backward, ground_truth
from spiral_vae.maths.observation import around
from spiral_vae.process import Spiral
from tests.exact.forward_backward_test import X

A, SIGMA, T = 0.9, 0.3, X.shape[1]
SLOPE, BIAS = np.array([0.8, -0.5]), np.array([0.1, 0.2])
PRIOR = A ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
SEEN = np.array([[1.0, 1, 0, 1, 1, 1]])
CURVE = Spiral(omega=2.8 * math.pi, u_start=0.01)


def _bound(model, x, seen, mean, variance, kl):
    """The bound by Gauss-Hermite, of which the grid knows nothing."""
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    z = mean[..., None] + np.sqrt(variance)[..., None] * node
    found = model(z.reshape(-1, 1)).mean.reshape(*z.shape, 2)
    square = np.sum((x[:, :, None] - found) ** 2, axis=-1)
    scale = SIGMA if model is LINE else 0.2
    log_prob = -0.5 * square / scale**2 - np.log(2 * np.pi * scale**2)
    return np.sum(seen * (log_prob @ weight / weight.sum()), axis=1) - kl


LINE = around(lambda z: z * SLOPE + BIAS, SIGMA)
SPIRAL = ground_truth.true_decoder(CURVE)


def test_of_a_line_nothing_is_left_and_independence_costs_what_is_known():
    model = forward_backward.grid(LINE, A, 1600)
    log_p = forward_backward.log_evidence(model, X, SEEN)[:, -1]
    precision = np.linalg.inv(PRIOR) + np.diag(SEEN[0]) * np.sum(SLOPE**2) / SIGMA**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ (SEEN[0] * ((X[0] - BIAS) @ SLOPE) / SIGMA**2)
    tied, alone = chain.best(model, X, SEEN)
    np.testing.assert_allclose(tied.mean[0], mean, atol=1e-9)
    np.testing.assert_allclose(tied.variance[0], np.diag(covariance), atol=1e-9)
    gap = log_p - _bound(LINE, X, SEEN, tied.mean, tied.variance, tied.kl)
    np.testing.assert_allclose(gap, 0, atol=1e-9)
    np.testing.assert_allclose(alone.mean[0], mean, atol=1e-6)
    np.testing.assert_allclose(alone.variance[0], 1 / np.diag(precision), atol=1e-9)
    gap = log_p - _bound(LINE, X, SEEN, alone.mean, alone.variance, alone.kl)
    known = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(gap, known, atol=1e-9)


@pytest.mark.parametrize("independent", [False, True])
def test_a_climb_tells_the_bound_that_it_reached(independent):
    """And it is higher than where it came from, which is far from the top."""
    model = forward_backward.grid(SPIRAL, A, 1600)
    climber = chain._Climber(
        forward_backward.log_likelihood(model, X, SEEN), model.z, A, independent
    )
    start = np.full(SEEN.shape, 0.4), np.full(SEEN.shape, 0.3)
    found, bound = climber.climb(*start)
    own = _bound(SPIRAL, X, SEEN, found.mean, found.variance, found.kl)
    np.testing.assert_allclose(bound, own, atol=1e-6)
    _, first, second = climber.expectations(*start)
    precision = np.maximum(-second, 0)
    _, at_start, _ = climber.of(first + precision * start[0], precision)
    assert bound[0] > at_start[0] + 1


@pytest.mark.parametrize("independent", [False, True])
def test_no_dense_gaussian_is_better(independent):
    """A quasi-Newton search over means and Cholesky factors, or scales, finds the same bound."""
    model = forward_backward.grid(SPIRAL, A, 1600)
    below = np.tril_indices(T, -1)

    def unpacked(flat):
        factor = np.diag(np.exp(flat[T : 2 * T]))
        if not independent:
            factor[below] = flat[2 * T :]
        return flat[:T], factor @ factor.T, np.sum(flat[T : 2 * T])

    def loss(flat):
        mean, covariance, half = unpacked(flat)
        inside = np.trace(np.linalg.solve(PRIOR, covariance)) - T
        inside += mean @ np.linalg.solve(PRIOR, mean) + np.linalg.slogdet(PRIOR)[1]
        kl = 0.5 * inside - half
        return -float(_bound(SPIRAL, X, SEEN, mean[None], np.diag(covariance)[None], kl)[0])

    with numerics.double():
        found = chain.best(model, X, SEEN)[independent]
    own = _bound(SPIRAL, X, SEEN, found.mean, found.variance, found.kl)[0]
    start = np.zeros(2 * T if independent else 2 * T + len(below[0]))
    start[:T], start[T : 2 * T] = found.mean[0] + 0.02, -2.5
    searched = optimize.minimize(loss, start, method="L-BFGS-B", options={"maxfun": 20_000})
    np.testing.assert_allclose(own, -searched.fun, atol=1e-5)
    np.testing.assert_allclose(found.mean[0], searched.x[:T], atol=5e-3)


def test_without_memory_both_are_the_same():
    model = forward_backward.grid(SPIRAL, 0.0, 800)
    tied, alone = chain.best(model, X, SEEN)
    np.testing.assert_allclose(tied.kl, alone.kl, atol=1e-6)
    np.testing.assert_allclose(tied.mean, alone.mean, atol=1e-6)


def test_sequences_may_come_in_blocks(monkeypatch):
    model = forward_backward.grid(SPIRAL, A, 400)
    x = np.concatenate([X, X[:, ::-1], X + 0.05])
    seen = np.ones(x.shape[:2])
    whole = chain.best(model, x, seen)
    monkeypatch.setattr(forward_backward, "_MOST", T * 400)
    for one, other in zip(whole, chain.best(model, x, seen), strict=True):
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)
        np.testing.assert_allclose(one.kl, other.kl, atol=1e-6)

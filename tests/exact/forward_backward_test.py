"""The forward-backward algorithm against closed forms, the i.i.d. quadrature and known answers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from spiral_vae import numerics
from spiral_vae.exact import forward_backward, ground_truth, mixture
from spiral_vae.maths import kalman
from spiral_vae.maths.observation import around
from spiral_vae.process import Spiral

POST = Spiral(omega=2.8 * math.pi, u_start=0.01)
FOUR_TURNS = Spiral(omega=8 * math.pi, u_start=0.0)
SIGMA, A = 0.2, 0.9


def _x(omega):
    """Returns a sequence of six points beside a spiral, [1, 6, 2], without random numbers."""
    i = np.arange(6)
    t = 0.35 + 0.05 * i
    curve = 2.5 * t * np.array([np.cos(omega * t), np.sin(omega * t)])
    return (curve + 0.2 * np.array([np.cos(3 * i), np.sin(5 * i)])).T[None]


X = _x(2.8 * math.pi)


def _grid(curve=POST, a=A, num=1600):
    return forward_backward.grid(ground_truth.true_decoder(curve), a, num)


def _linear(z):
    return z * np.array([0.8, -0.5]) + np.array([0.1, 0.2])


def test_evidence_of_a_sequence_and_of_its_first_point():
    found = forward_backward.log_evidence(_grid(), X)[0]
    np.testing.assert_allclose(found[-1], -6.607328261872, atol=1e-9)
    np.testing.assert_allclose(found[0], -2.025716723275, atol=1e-9)


def test_evidence_where_points_are_missing():
    observed = np.array([[1, 1, 0, 0, 1, 1]])
    found = forward_backward.log_evidence(_grid(), X, observed)[0, -1]
    np.testing.assert_allclose(found, -5.723225997338, atol=1e-9)


def test_evidence_of_four_turns():
    found = forward_backward.log_evidence(_grid(FOUR_TURNS, 0.99, 3200), _x(8 * math.pi))
    np.testing.assert_allclose(found[0, -1], -11.65250221347, atol=1e-9)


def test_without_correlation_it_is_the_quadrature_of_single_points():
    found = forward_backward.log_evidence(_grid(a=0.0), X)[0, -1]
    np.testing.assert_allclose(found, -11.784781623634, atol=1e-9)
    density = ground_truth.truth(POST).density.fine
    np.testing.assert_allclose(found, mixture.log_density(X[0], density).sum(), atol=1e-9)


def test_a_linear_decoder_has_a_closed_form():
    model = forward_backward.grid(around(_linear, 0.3), A, 1600)
    found = forward_backward.log_evidence(model, X)[0, -1]
    w = np.array([0.8, -0.5])
    ties = A ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    covariance = np.kron(ties, np.outer(w, w)) + 0.09 * np.eye(12)
    exact = multivariate_normal(np.tile([0.1, 0.2], 6), covariance).logpdf(X.ravel())
    np.testing.assert_allclose(found, exact, atol=1e-11)
    np.testing.assert_allclose(found, -46.762694348069, atol=1e-9)


def test_time_can_be_reversed():
    both = forward_backward.log_evidence(_grid(), np.concatenate([X, X[:, ::-1]]))[:, -1]
    np.testing.assert_allclose(both[0], both[1], atol=1e-12)


def test_doubling_the_nodes_changes_nothing():
    coarse, fine = (forward_backward.log_evidence(_grid(num=num), X) for num in (800, 1599))
    np.testing.assert_allclose(coarse, fine, atol=1e-9)


def test_smoothed_marginals_are_densities_and_end_in_the_filtered_one():
    law = forward_backward.smooth(_grid(), X)
    for log_density in (law.filtered, law.smoothed):
        mass = np.exp(log_density).sum(axis=-1) * _grid().step
        np.testing.assert_allclose(mass, 1, atol=1e-10)
    np.testing.assert_allclose(np.exp(law.smoothed[0, -1]), np.exp(law.filtered[0, -1]), atol=1e-10)


def test_forecasts():
    t = np.array([0.65, 0.70])
    omega = 2.8 * math.pi
    future = (2.5 * t * np.array([np.cos(omega * t), np.sin(omega * t)])).T[None]
    model = _grid()
    found = forward_backward.forecast(model, X, future)[0]
    np.testing.assert_allclose(found, [-0.935411559397, -1.306180942854], atol=1e-9)
    whole = forward_backward.log_evidence(model, np.concatenate([X, future], axis=1))[0]
    np.testing.assert_allclose(whole[-1] - whole[5], -1.882364353693, atol=1e-9)


@pytest.mark.parametrize("seen", [[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]])
def test_evidence_is_the_bound_and_the_distance_to_the_posterior(seen):
    """log p = ELBO + KL(q || posterior), of which neither side knows the other."""
    seen = np.array(seen, float)
    precision = 200.0 * seen
    h = precision * np.array([-1.25, -1.0, -0.8, -0.75, -0.5, -0.4])
    with numerics.double():
        law = kalman.smooth(jnp.asarray(h), jnp.asarray(precision), A, 1 - A**2)
    law = kalman.Smoothed(*map(np.asarray, law))
    square = law.mean**2 + law.variance
    kl = np.sum(h * law.mean - 0.5 * precision * square) - law.log_z
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    z = law.mean[:, None] + np.sqrt(law.variance)[:, None] * node
    mean = ground_truth.true_decoder(POST)(z.reshape(-1, 1)).mean.reshape(6, 64, 2)
    square = np.sum((X[0][:, None] - mean) ** 2, axis=-1) / SIGMA**2
    log_prob = -0.5 * square - np.log(2 * np.pi * SIGMA**2)
    elbo = np.sum(seen[:, None] * log_prob * weight / weight.sum()) - kl
    model = _grid(num=1600)
    log_p = forward_backward.log_evidence(model, X, seen[None])[0, -1]
    rest = forward_backward.kl_to_posterior(
        model, X, law.mean[None], law.variance[None], law.covariance[None], seen[None]
    )[0]
    np.testing.assert_allclose(elbo + rest, log_p, atol=1e-10)
    if seen.all():
        np.testing.assert_allclose(law.log_z, 404.713782494075, atol=1e-9)
        np.testing.assert_allclose(elbo, -7.127416139850, atol=1e-9)
        np.testing.assert_allclose(kl, 9.887985653201, atol=1e-9)
        np.testing.assert_allclose(rest, 0.520087877978, atol=1e-9)

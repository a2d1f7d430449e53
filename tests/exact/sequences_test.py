"""What is told of a model of sequences: nothing of the truth itself, the known of one without
memory, shares of modes that are seen."""

import math

import numpy as np
import pytest

from spiral_vae import numerics
from spiral_vae.exact import forward_backward, ground_truth, mixture, sequences
from spiral_vae.exact.inference import gaussians
from spiral_vae.exact.sequences import HOLE, HORIZONS, NUM_FRESH, Sequences, Tied
from spiral_vae.maths.observation import around
from spiral_vae.process import Spiral

A, LENGTH = 0.98, 24
CURVE = Spiral(omega=4 * math.pi, u_start=0.0)
TRUTH = ground_truth.true_decoder(CURVE)


def _tied(x, observed):
    """The prior as the posterior of each point, at no distance from the prior."""
    return Tied(gaussians(np.zeros((len(x), 1)), np.zeros((len(x), 1))), np.zeros(len(x)))


def _judged(a):
    with numerics.double():
        return sequences.judge(TRUTH, Sequences(LENGTH, a, A, _tied), CURVE)


@pytest.fixture(scope="module")
def itself():
    return _judged(A)


@pytest.fixture(scope="module")
def memoryless():
    return _judged(0.0)


def test_the_truth_is_at_no_distance_from_itself(itself):
    metrics = itself.metrics
    zero = ["kl_rate_to_truth", "kl_rate_error", "imputation_excess"]
    zero += [f"forecast_excess_{h}" for h in HORIZONS]
    for name in zero:
        assert abs(metrics[name]) < 1e-12, name
    assert metrics["tau_ratio"] == metrics["innovation_ratio"] == 1
    assert metrics["path_found"] and metrics["kl_rate_doubling"] < 1e-6
    # The bound of the prior: log p - E_p(z) log p(x|z), both by quadrature.
    points = itself.fresh.x.reshape(-1, 2)
    nodes = ground_truth.model_density(TRUTH, 1, 6.0).fine
    under = (mixture.log_joint(points, nodes) - nodes.log_prior) @ nodes.mass
    gap = np.mean(itself.law.log_evidence[:, -1]) / LENGTH - np.mean(under)
    np.testing.assert_allclose(metrics["gap_rate"], gap, rtol=1e-9)


def test_the_parts_of_the_gap_make_the_whole(itself, memoryless):
    for metrics in (itself.metrics, memoryless.metrics):
        family, structure, amortisation = (
            metrics[f"{name}_gap_rate"] for name in ("family", "structure", "amortisation")
        )
        np.testing.assert_allclose(family + structure + amortisation, metrics["gap_rate"])
        np.testing.assert_allclose(family + structure, metrics["mean_field_gap_rate"])
        assert family > -1e-6 and structure >= 0 and amortisation > 0
        assert "refined_gap_rate" not in metrics
    assert itself.metrics["structure_gap_rate"] > 0.005
    assert memoryless.metrics["structure_gap_rate"] < 1e-6


def test_of_a_line_every_part_is_known():
    """Its posterior is Gaussian: the family leaves nothing, a shift of q and independence what
    matrices say."""
    a, sigma, length, shift = 0.9, 0.3, 12, 0.1
    slope = np.array([0.8, -0.5])
    rng = np.random.default_rng(6)
    x = rng.normal(size=(3, length, 2))
    observed = (rng.random((3, length)) < 0.8).astype(float)
    prior = a ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    mean, variance, kl, shifted, alone = [], [], [], 0.0, 0.0
    for s in range(3):
        own = np.linalg.inv(prior) + np.diag(observed[s]) * np.sum(slope**2) / sigma**2
        covariance = np.linalg.inv(own)
        mean.append(covariance @ (observed[s] * (x[s] @ slope)) / sigma**2 + shift)
        variance.append(np.diag(covariance))
        inside = np.trace(np.linalg.solve(prior, covariance)) - length
        inside += mean[s] @ np.linalg.solve(prior, mean[s])
        inside += np.linalg.slogdet(prior)[1] + np.linalg.slogdet(own)[1]
        kl.append(np.full(length, 0.5 * inside / observed[s].sum()))
        shifted += 0.5 * shift**2 * own.sum()
        alone += 0.5 * (np.sum(np.log(np.diag(own))) - np.linalg.slogdet(own)[1])

    def tied(x, observed):
        q = gaussians(np.concatenate(mean)[:, None], np.log(np.concatenate(variance))[:, None])
        return Tied(q, np.concatenate(kl), independent=False)

    judged = Sequences(length, a, 0.0, tied, refined=tied, held_out=(x, observed))
    with numerics.double():
        found = sequences.judge_held_out(around(lambda z: z * slope, sigma), judged)
    num = observed.sum()
    np.testing.assert_allclose(found["family_gap_rate"], 0, atol=1e-8)
    np.testing.assert_allclose(found["structure_gap_rate"], 0, atol=0)
    np.testing.assert_allclose(found["amortisation_gap_rate"], shifted / num, atol=1e-8)
    np.testing.assert_allclose(found["mean_field_gap_rate"], alone / num, atol=1e-8)
    assert found["refined_gap_rate"] == found["gap_rate"]


def test_without_memory_points_are_forecast_and_imputed_as_single_ones(memoryless, itself):
    x = memoryless.fresh.x
    np.testing.assert_array_equal(x, itself.fresh.x)
    density = ground_truth.model_density(TRUTH, 1, 6.0)
    alone = density.log_density(x.reshape(-1, 2))[0].reshape(NUM_FRESH, LENGTH)
    known = LENGTH - max(HORIZONS)
    ahead = forward_backward.forecast(itself.fresh.truth, x[:, :known], x[:, known:])
    for h in HORIZONS:
        excess = np.mean(ahead[:, h - 1] - alone[:, known + h - 1])
        np.testing.assert_allclose(memoryless.metrics[f"forecast_excess_{h}"], excess, atol=1e-9)
    start = (LENGTH - HOLE) // 2
    filled = itself.fresh.filled.hole
    excess = np.mean(filled - alone[:, start : start + HOLE])
    np.testing.assert_allclose(memoryless.metrics["imputation_excess"], excess, atol=1e-9)
    metrics = memoryless.metrics
    assert metrics["bimodal_alone"] == metrics["bimodal_filtered"] == metrics["bimodal_smoothed"]
    assert "tau_ratio" not in metrics


def test_an_imputed_point_is_what_its_evidence_adds(itself):
    x, model = itself.fresh.x[:3], itself.fresh.truth
    observed = np.ones(x.shape[:2])
    observed[:, [5, 9]] = 0.0
    filled = forward_backward.impute(model, x, observed)
    without = forward_backward.log_evidence(model, x, observed)[:, -1]
    for t in (5, 9):
        one_more = observed.copy()
        one_more[:, t] = 1.0
        added = forward_backward.log_evidence(model, x, one_more)[:, -1] - without
        np.testing.assert_allclose(filled[:, t], added, atol=1e-10)


def test_a_second_mode_is_the_mass_beyond_the_minimum():
    z = np.linspace(-8, 8, 4001)
    weight = np.full(len(z), z[1] - z[0])

    def normal(mean):
        return np.exp(-0.5 * (z - mean) ** 2) / np.sqrt(2 * np.pi)

    densities = np.stack([normal(0), 0.7 * normal(-4) + 0.3 * normal(4), normal(1)])
    found = mixture.second_mode(densities, weight)
    # The minimum lies where the two are as steep; each loses 1e-4 of itself to the other side.
    np.testing.assert_allclose(found, [0, 0.3, 0], atol=1e-4)
    three = 0.5 * normal(-5) + 0.2 * normal(0) + 0.3 * normal(5)
    np.testing.assert_allclose(mixture.second_mode(three, weight), 0.3, atol=5e-3)


def test_held_out_sequences_without_memory_are_single_points():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, LENGTH, 2))
    observed = (rng.random((6, LENGTH)) < 0.7).astype(float)
    own = Sequences(LENGTH, 0.0, 0.0, _tied, held_out=(x, observed))
    with numerics.double():
        found = sequences.judge_held_out(TRUTH, own)
    points = x[observed > 0]
    density = ground_truth.model_density(TRUTH, 1, 6.0)
    alone = density.log_density(points)[0]
    np.testing.assert_allclose(found["nll_rate"], -np.mean(alone), atol=1e-8)
    nodes = density.fine
    under = (mixture.log_joint(points, nodes) - nodes.log_prior) @ nodes.mass
    np.testing.assert_allclose(found["gap_rate"], np.mean(alone - under), atol=1e-8)
    # A ratio of sums: its error by leaving out one sequence at a time.
    seen = observed.sum(axis=1)
    total = forward_backward.log_evidence(forward_backward.grid(TRUTH, 0.0, 1024), x, observed)
    left = (total[:, -1].sum() - total[:, -1]) / (seen.sum() - seen)
    jackknife = np.sqrt(5 * np.mean((left - left.mean()) ** 2))
    assert 0.7 < found["nll_rate_error"] / jackknife < 1.1
    assert found["correlation"] == 0.0 and "kl_rate_to_truth" not in found
    one = Sequences(LENGTH, 0.0, 0.0, _tied, held_out=(x[:1], observed[:1]))
    with numerics.double():
        assert "nll_rate_error" not in sequences.judge_held_out(TRUTH, one)  # nor any spread


def test_of_short_sequences_nothing_is_left_out():
    short = Sequences(HOLE, A, A, _tied)
    with numerics.double():
        metrics = sequences.judge(TRUTH, short, CURVE).metrics
    assert abs(metrics["kl_rate_to_truth"]) < 1e-12
    assert "imputation_excess" not in metrics and "forecast_excess_1" not in metrics


def test_memory_takes_ambiguity_away(itself):
    metrics = itself.metrics
    assert metrics["bimodal_alone"] > metrics["bimodal_smoothed"]

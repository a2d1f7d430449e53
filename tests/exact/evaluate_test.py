"""Judging a model: on one that is exact, one that is collapsed, a line, and their mirror images."""

import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from spiral_vae.exact import evaluate, ground_truth, inference
from spiral_vae.exact.inference import Posteriors
from spiral_vae.exact.metrics import METRICS
from spiral_vae.maths.noise import StudentT
from spiral_vae.maths.observation import Observation, around
from spiral_vae.model.posterior import Gaussian
from spiral_vae.process import Spiral
from tests.exact.curves import HELIX, helix
from tests.exact.families import Bare, bare

PI = np.pi
BASIC = Spiral(omega=2.8 * PI, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)


def _curve(u):
    t = np.sqrt(u)
    return 2.5 * np.stack([t * np.cos(2.8 * PI * t), t * np.sin(2.8 * PI * t)], axis=-1)


def _data(num=120, seed=0):
    """Points of the basic process, in no order."""
    rng = np.random.default_rng(seed)
    u = rng.permutation(np.linspace(0.01, 1, num))
    return np.sqrt(u), _curve(u) + 0.2 * rng.standard_normal((num, 2))


def _exact_decode(z):
    """m*(z) = f(F^-1(Phi(z))), written with scipy alone."""
    return _curve(0.01 + 0.99 * special.ndtr(z[:, 0]))


def _moments_encoder(decode, sigma):
    """The Gaussian with the mean and variance of the exact posterior, on 1201 nodes."""
    z = np.linspace(-6, 6, 1201)
    mean = decode(z[:, None])

    def encode(x):
        square = np.sum((x[:, None] - mean) ** 2, axis=-1)
        weight = special.softmax(-0.5 * square / sigma**2 - 0.5 * z**2, axis=1)
        first = weight @ z
        variance = weight @ z**2 - first**2
        return {"mean": first[:, None], "logvar": np.log(variance)[:, None]}

    return encode


def _heads(mean, logvar=0.0):
    """Gaussians of one log variance."""
    return {"mean": mean, "logvar": np.full_like(mean, logvar)}


def _mirrored(encode, decode):
    def encode_mirrored(x):
        heads = encode(x)
        return heads | {"mean": -heads["mean"]}

    return encode_mirrored, lambda z: decode(-z)


def _judge(encode, decode, sigma=0.2, **kwargs):
    t, x = _data()
    return evaluate.evaluate(encode, around(decode, sigma), curve=BASIC, t=t, x=x, **kwargs)


@pytest.fixture(scope="module")
def exact():
    return _judge(_moments_encoder(_exact_decode, 0.2), _exact_decode, gap_points=500)


@pytest.fixture(scope="module")
def truth():
    return ground_truth.truth(BASIC)


def test_the_exact_decoder_is_at_no_distance_from_the_truth(exact, truth):
    metrics = exact.metrics
    assert metrics["kl_to_truth"] == pytest.approx(0, abs=1e-6)
    assert metrics["kl_from_truth"] == pytest.approx(0, abs=1e-6)
    assert metrics["nll"] == pytest.approx(truth.entropy.value, abs=1e-6)
    assert metrics["recovered_fraction"] == pytest.approx(1, abs=1e-6)
    for name in ("sigma_ratio", "sigma_x_ratio", "sigma_y_ratio"):
        assert metrics[name] == pytest.approx(1, abs=1e-12), name
    for name in ("noise_correlation", "sigma_log_ratio_rms", "sigma_log_ratio_max"):
        assert metrics[name] == pytest.approx(0, abs=1e-12), name
    # Half the distance of the 4096 points that stand for the curve; its length is below 16.
    half_spacing = 0.5 * 16 / 4096 / 0.2
    assert metrics["truth_to_curve"] < half_spacing
    # The truth is seen at its nodes, 16 to 4 sigma of length: gaps of up to 0.4 of a sigma.
    assert metrics["curve_to_truth"] < 0.2
    assert metrics["hausdorff_99"] < 0.2
    assert metrics["recovered"] and not metrics["collapsed"]
    assert evaluate.verdict(metrics) == "recovered"


def test_latents_of_the_exact_posterior(exact, truth):
    metrics = exact.metrics
    assert metrics["spearman"] > 0.98
    assert metrics["map_error"] < 0.1  # the noise is 0.2 on a curve of length 11: 0.02 and folds
    rank = special.ndtr(np.sign(metrics["spearman"]) * exact.points.q.mean[:, 0])
    error = np.sqrt(np.mean((rank - (exact.points.t**2 - 0.01) / 0.99) ** 2))
    assert metrics["map_error"] == pytest.approx(error, rel=1e-9)
    assert metrics["active_units"] == 1
    # A mean over 120 points; I*(x; t) is the expectation over p*, up to sampling error.
    assert metrics["information"] == pytest.approx(truth.information.value, abs=0.25)
    assert not metrics["overconfident"]


def test_metrics_hold_their_identities(exact):
    m, gaps = exact.metrics, exact.gaps
    # sums of the same float64 numbers, hence rounding; integrals of other kinds get 1e-8
    assert m["elbo"] == pytest.approx(-m["reconstruction"] - m["kl_to_prior"], abs=1e-12)
    assert m["inference_gap"] == pytest.approx(m["train_log_evidence"] - m["elbo"], abs=1e-12)
    assert m["overfit_gap"] == pytest.approx(m["train_log_evidence"] + m["nll"], abs=1e-12)
    assert m["information"] + m["aggregate_kl"] == pytest.approx(m["kl_to_prior"], abs=1e-8)
    assert len(gaps.t) == 120  # all points, as more were asked for
    total = m["approximation_gap"] + m["amortisation_gap"]
    assert total == pytest.approx(m["inference_gap"], abs=1e-12)
    assert np.all(gaps.approximation > -1e-9) and np.all(gaps.amortisation >= 0)
    reconstruction = m["residual_ratio"] + np.log(2 * PI * 0.2**2)
    assert m["reconstruction"] == pytest.approx(reconstruction, abs=1e-12)


def test_the_distance_of_ranks_to_the_uniform_law_agrees_with_scipy(exact):
    expected = stats.kstest(exact.calibration.rank, "uniform").statistic
    assert exact.metrics["sbc_ks"] == pytest.approx(expected, abs=1e-12)


def test_gaps_are_of_points_evenly_along_t():
    t, x = _data()
    report = _judge(_moments_encoder(_exact_decode, 0.2), _exact_decode, gap_points=8)
    np.testing.assert_allclose(report.gaps.t, np.sort(t)[np.arange(8) * 17], atol=0)
    index = [int(np.argmin(np.abs(t - own))) for own in report.gaps.t]
    np.testing.assert_array_equal(report.gaps.x, x[index])


def test_metrics_do_not_depend_on_the_order_of_the_points(exact):
    t, x = _data()
    encode = _moments_encoder(_exact_decode, 0.2)
    observe = around(_exact_decode, 0.2)
    other = evaluate.evaluate(encode, observe, curve=BASIC, t=t[::-1], x=x[::-1], gap_points=500)
    for name, value in exact.metrics.items():
        assert other.metrics[name] == pytest.approx(value, abs=1e-10), name  # order of sums


SAMPLED = {"sbc_ks": 0.03, "coverage_50": 0.04, "coverage_90": 0.03}  # 2000 draws, 2.5 deviations


def test_a_mirrored_latent_changes_only_the_sign_of_spearman(exact):
    other = _judge(*_mirrored(_moments_encoder(_exact_decode, 0.2), _exact_decode), gap_points=500)
    for name, value in exact.metrics.items():
        if name == "spearman":
            assert other.metrics[name] == pytest.approx(-value, abs=1e-12)
        elif name in SAMPLED:
            assert other.metrics[name] == pytest.approx(value, abs=SAMPLED[name]), name
        else:
            # other nodes in z give other rounding; L-BFGS stops at 1e-6 of a nat
            assert other.metrics[name] == pytest.approx(value, abs=1e-6), name
    assert evaluate.verdict(other.metrics) == "recovered"
    np.testing.assert_allclose(
        other.calibration.noise_coverage, exact.calibration.noise_coverage, atol=1e-12
    )


# What these reports are without.
_OTHER = {"held-out points", "a start by order", "a start by a slow feature", "sequences"}
_LACKING = [name for name, metric in METRICS.items() if _OTHER & {*metric.needs}]


def test_a_mirrored_two_latent_model_reports_its_strongest_latent():
    """The first latent does nothing; the second is the exact one, backwards.

    With louder noise, 1.0, as its space of x has few nodes and two latents have 160,000.
    """
    loud = dataclasses.replace(BASIC, noise_sigma=1.0)
    encode = _moments_encoder(_exact_decode, 1.0)
    t, x = _data(16)

    def encode_two(x):
        mean, logvar = encode(x)["mean"], encode(x)["logvar"]
        zero = np.zeros_like(mean)
        return {
            "mean": np.concatenate([zero, -mean], 1),
            "logvar": np.concatenate([zero, logvar], 1),
        }

    def decode_two(z):
        return _exact_decode(-z[:, 1:])

    report = evaluate.evaluate(encode_two, around(decode_two, 1.0), curve=loud, t=t, x=x)
    one = evaluate.evaluate(encode, around(_exact_decode, 1.0), curve=loud, t=t, x=x).metrics
    m = report.metrics
    assert report.gaps is None and report.calibration is None
    assert m["spearman"] == pytest.approx(-one["spearman"], abs=1e-12)
    assert m["active_units"] == 1
    for name in ("elbo", "kl_to_prior", "nll", "kl_to_truth", "inference_gap"):
        assert m[name] == pytest.approx(one[name], abs=1e-6), name  # a grid of step 0.04 in z
    lacking = [name for name, metric in METRICS.items() if "one latent" in metric.needs]
    assert set(METRICS) - set(m) == {*lacking, *_LACKING, "sigma_z", "sigma_z_ratio"}
    assert list(m) == [name for name in METRICS if name in m]


def test_the_error_of_the_map_is_a_root_mean_square():
    """Of ranks that are off by 0.1 for every second point and right for the others."""
    t = np.sqrt(np.linspace(0.2, 0.8, 50))
    rank = (t**2 - 0.01) / 0.99 + 0.1 * (np.arange(50) % 2)
    found = evaluate._map_error(special.ndtri(rank), t, BASIC)
    assert found == pytest.approx(0.1 / np.sqrt(2), rel=1e-9)


@pytest.mark.parametrize(("scale", "active"), [(0.08, 0), (0.12, 1)])
def test_a_latent_is_active_if_the_variance_of_its_means_is(scale, active):
    """By 0.01, of the first of two latents; the second one is constant."""
    sign = np.where(np.arange(50) % 2, 1.0, -1.0)
    heads = _heads(np.stack([scale * sign, np.zeros(50)], axis=1))
    nothing = np.zeros(50)
    bound = inference.Elbo(nothing, nothing, nothing, nothing)
    q = Posteriors(Gaussian(), heads)
    points = evaluate.Points(nothing, np.eye(50, 2), q, nothing, bound)
    assert evaluate._bound_metrics(points)["active_units"] == active


# Without a truth


@pytest.mark.parametrize("far", [6.0, 10.0])
def test_points_held_out_may_be_far_beyond_those_trained_on(far):
    """Of a line, whose density is Gaussian: N(0, 0.4^2 + 0.1^2) along and N(0, 0.1^2) across."""
    x = np.random.default_rng(0).normal(size=(100, 2)) * [0.4, 0.1]
    held_out = np.concatenate([x[:9], [[far, 0.0]]])
    variance = 0.4**2 + 0.1**2

    def line(z):
        return np.concatenate([0.4 * z, 0 * z], axis=1)

    def encode(x):
        return _heads(x[:, :1] * 0.4 / variance, np.log(0.1**2 / variance))

    m = evaluate.evaluate(encode, around(line, 0.1), x=x, held_out=held_out, gap_points=0).metrics
    law = stats.multivariate_normal([0, 0], np.diag([variance, 0.1**2]))
    assert m["nll_held_out"] == pytest.approx(-np.mean(law.logpdf(held_out)), rel=1e-9)
    assert m["inference_gap_new"] == pytest.approx(0, abs=1e-8)


def test_one_point_held_out_has_no_standard_error():
    x = np.random.default_rng(0).normal(size=(20, 2))
    line = around(lambda z: np.concatenate([z, 0 * z], axis=1), 0.5)

    def encode(x):
        return _heads(x[:, :1])

    m = evaluate.evaluate(encode, line, x=x, held_out=x[:1], gap_points=0).metrics
    assert np.isfinite(m["nll_held_out"]) and np.isfinite(m["overfit_gap"])
    assert not {"nll_held_out_error", "overfit_gap_error"} & m.keys()


def test_without_a_truth_what_needs_none_is_the_same(exact):
    """And held-out points take the place of new ones."""
    t, x = _data()
    _, held_out = _data(300, seed=5)
    encode = _moments_encoder(_exact_decode, 0.2)
    report = evaluate.evaluate(
        encode, around(_exact_decode, 0.2), x=x, t=t, held_out=held_out, gap_points=500
    )
    m = report.metrics
    needs = {"truth", "new points", "held-out points"}
    common = [name for name in exact.metrics if not needs & {*METRICS[name].needs}]
    assert len(common) > 20
    for name in common:
        # Nodes are laid for the points at hand, which are others.
        assert m[name] == pytest.approx(exact.metrics[name], rel=1e-9, abs=1e-12), name
    nll = -report.density.log_density(held_out)[0]
    assert m["nll_held_out"] == pytest.approx(nll.mean(), rel=1e-12)
    assert m["nll_held_out_error"] == pytest.approx(nll.std(ddof=1) / np.sqrt(300), rel=1e-9)
    assert m["nll_held_out"] == pytest.approx(exact.metrics["nll"], abs=4 * nll.std() / 300**0.5)
    assert m["overfit_gap"] == pytest.approx(m["train_log_evidence"] + nll.mean(), rel=1e-9)
    train = report.points.log_evidence.std(ddof=1) / np.sqrt(120)
    wanted = np.hypot(train, m["nll_held_out_error"])
    assert m["overfit_gap_error"] == pytest.approx(wanted, rel=1e-9)
    gap = nll + inference.elbo(held_out, report.new.q, around(_exact_decode, 0.2)).elbo
    assert len(report.new.t) == 300 and np.all(np.diff(report.new.t) >= 0)
    assert m["inference_gap_new"] == pytest.approx(report.new.gap.mean(), rel=1e-12)
    assert np.all(report.new.gap > -1e-9) and gap.shape == (300,)
    assert not {name for name in m if "truth" in METRICS[name].needs}
    assert report.calibration.noise_coverage is None
    assert evaluate.verdict(m) == "fitted"
    assert evaluate.verdict(m | {"overfit_gap": 0.6}) == "overfitted"
    assert evaluate.verdict(m | {"collapsed": True}) == "collapsed"


def test_points_alone_are_enough():
    _, x = _data()
    encode = _moments_encoder(_exact_decode, 0.2)
    report = evaluate.evaluate(encode, around(_exact_decode, 0.2), x=x, gap_points=4)
    m = report.metrics
    assert report.new is None and report.new_gaps is None
    assert np.all(np.diff(report.gaps.t) > 0)  # along the means of q
    assert {"spearman", "overfit_gap", "inference_gap_new"}.isdisjoint(m)
    assert m["collapse_sigma"] == pytest.approx(
        np.sqrt(np.linalg.eigvalsh(np.cov(x.T, ddof=0))[-1]), rel=1e-9
    )
    assert evaluate.verdict(m) == "fitted"


def test_a_curve_without_its_t_is_refused():
    t, x = _data()
    encode = _moments_encoder(_exact_decode, 0.2)
    with pytest.raises(ValueError, match="t is too"):
        evaluate.evaluate(encode, around(_exact_decode, 0.2), x=x, curve=BASIC)


def test_the_distance_of_the_truth_is_weighted_by_its_own_law():
    """From a decoder that is one point the mean square distance to the curve is an integral."""
    point = np.array([0.7, -0.4])
    m = _judge(_prior, lambda z: np.broadcast_to(point, (len(z), 2)), sigma=1.0).metrics
    u = np.linspace(0.01, 1, 20_001)
    square = np.sum((_curve(u) - point) ** 2, axis=1)
    wanted = np.sqrt(np.trapezoid(square, u) / 0.99) / 0.2
    assert m["truth_to_curve"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("dof", [3.0, 30.0])
def test_the_coverage_of_other_noise_is_that_of_its_cube(dof):
    """The truth's noise is Gaussian and of the same scale; each dimension counts for itself."""
    t, x = _data()

    def observe(z):
        plain = around(_exact_decode, 0.2)(z)
        return dataclasses.replace(plain, noise=StudentT(np.full((len(z), 2), dof)))

    encode = _moments_encoder(_exact_decode, 0.2)
    found = evaluate.evaluate(encode, observe, curve=BASIC, t=t, x=x, gap_points=2).calibration
    side = np.sqrt(found.nominal)
    edge = stats.t(dof).ppf((1 + side) / 2)
    wanted = (2 * special.ndtr(edge) - 1) ** 2
    np.testing.assert_allclose(found.noise_coverage, wanted, atol=4 * 0.5 / np.sqrt(2_000))


def test_three_latents_are_refused():
    with pytest.raises(ValueError, match="at most 2 latent dimensions"):
        _judge(lambda x: _heads(np.zeros((len(x), 3))), lambda z: z[:, :2])


def _constant(point):
    return lambda z: np.broadcast_to(point, (len(z), 2))


def _prior(x):
    return _heads(np.zeros((len(x), 1)))


def test_a_collapsed_model_is_the_isotropic_gaussian(truth):
    sigma = np.sqrt(np.trace(truth.covariance) / 2)
    report = _judge(_prior, _constant(truth.mean), sigma)
    m = report.metrics
    exact = truth.isotropic_nll - truth.entropy.value
    # a Gaussian's cross entropy takes the mean and covariance of p* only: rounding
    assert m["kl_to_truth"] == pytest.approx(exact, abs=1e-8)
    assert m["recovered_fraction"] == pytest.approx(0, abs=1e-8)
    for name in ("kl_to_prior", "inference_gap", "spearman", "information", "aggregate_kl"):
        assert m[name] == pytest.approx(0, abs=1e-8), name
    assert m["approximation_gap"] == pytest.approx(0, abs=1e-8)
    assert m["order_parameter"] == pytest.approx(0, abs=1e-20)
    assert m["max_scale_deviation"] == 0 and m["active_units"] == 0
    assert m["collapsed"] and not m["recovered"]
    assert evaluate.verdict(m) == "collapsed"
    _, x = _data()
    residual = np.mean(np.sum((x - truth.mean) ** 2, axis=1)) / (2 * sigma**2)
    assert m["residual_ratio"] == pytest.approx(residual, abs=1e-12)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_any_other_sigma_of_a_collapsed_model_is_worse_by_the_closed_form(truth, factor):
    sigma = factor * np.sqrt(np.trace(truth.covariance) / 2)
    m = _judge(_prior, _constant(truth.mean), sigma).metrics
    excess = 1 / factor**2 - 1 + 2 * np.log(factor)
    assert m["nll"] - truth.isotropic_nll == pytest.approx(excess, abs=1e-8)  # rounding
    assert excess > 0


def test_an_overfitted_model_is_named():
    """The training points under a mixture that sits on them: a step function over z."""
    t, x = _data()
    order = np.argsort(t)
    knots = (np.arange(len(t)) + 0.5) / len(t)

    def decode(z):
        u = special.ndtr(z[:, 0])
        return np.stack([np.interp(u, knots, x[order, d]) for d in range(2)], axis=-1)

    m = _judge(_moments_encoder(decode, 0.05), decode, 0.05, gap_points=4).metrics
    assert m["overfit_gap"] > 0.5
    assert evaluate.verdict(m) == "overfitted"


def _metrics(**kwargs):
    return {
        "collapsed": False,
        "overfit_gap": 0.0,
        "found": True,
        "recovered": True,
        **kwargs,
    }


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        (_metrics(), "recovered"),
        (_metrics(recovered=False), "inaccurate"),
        (_metrics(recovered=False, found=False), "partly folded"),
        (_metrics(recovered=False, overfit_gap=0.6), "overfitted"),
        (_metrics(recovered=False, overfit_gap=0.6, found=False), "overfitted"),
        (_metrics(overfit_gap=0.4), "recovered"),
        (_metrics(collapsed=True, recovered=False, overfit_gap=9.0, found=False), "collapsed"),
    ],
)
def test_verdict(metrics, verdict):
    assert evaluate.verdict(metrics) == verdict


def test_calibration_of_the_exact_posterior_of_a_line():
    """q is exact for its own model: ranks are uniform, whatever the truth is."""
    w, sigma = np.array([1.2, 0.5]), 0.6
    precision = 1 + w @ w / sigma**2

    def encode(x):
        mean = x @ w[:, None] / sigma**2 / precision
        return _heads(mean, -np.log(precision))

    report = _judge(encode, lambda z: z * w, sigma)
    # Kolmogorov-Smirnov at 1 %: 1.63 / sqrt(2000), binomials at 3 deviations of 2000 draws
    assert report.metrics["sbc_ks"] < 0.0365
    assert report.metrics["coverage_50"] == pytest.approx(0.5, abs=0.034)
    assert report.metrics["coverage_90"] == pytest.approx(0.9, abs=0.021)
    np.testing.assert_allclose(report.calibration.coverage, report.calibration.nominal, atol=0.034)
    for name in ("approximation_gap", "amortisation_gap", "inference_gap"):
        assert report.metrics[name] == pytest.approx(0, abs=1e-8), name


@pytest.mark.parametrize(("factor", "sign"), [(0.25, -1), (4.0, 1)])
def test_calibration_sees_a_wrong_width(factor, sign):
    w, sigma = np.array([1.2, 0.5]), 0.6
    precision = 1 + w @ w / sigma**2

    def encode(x):
        mean = x @ w[:, None] / sigma**2 / precision
        return _heads(mean, np.log(factor / precision))

    m = _judge(encode, lambda z: z * w, sigma).metrics
    # q is wider by sqrt(factor): its central half covers what that many deviations cover
    exact = 2 * stats.norm.cdf(np.sqrt(factor) * stats.norm.ppf(0.75)) - 1
    assert sign * (exact - 0.5) > 0.2
    assert m["coverage_50"] == pytest.approx(exact, abs=0.034)  # 3 deviations of 2000 draws
    # and the gap is that of two Gaussians of one mean
    assert m["inference_gap"] == pytest.approx(0.5 * (factor - 1 - np.log(factor)), abs=1e-8)
    assert m["approximation_gap"] == pytest.approx(0, abs=1e-8)


def test_the_exact_decoders_noise_ellipses_hold_what_they_say(exact):
    nominal = exact.calibration.nominal
    np.testing.assert_allclose(exact.calibration.noise_coverage, nominal, atol=0.034)


# The decoder's noise


def test_noise_of_a_model_is_reported_in_all_its_parts():
    lower = np.array([[0.5, 0.0], [-0.6, 0.3]])
    covariance = lower @ lower.T
    m = _judge(_prior, lambda z: z * [1.2, 0.5], lower, gap_points=2).metrics
    sigmas = np.sqrt(np.diagonal(covariance))
    exact = {
        "sigma": np.sqrt(np.mean(sigmas**2)),
        "sigma_x": sigmas[0],
        "sigma_y": sigmas[1],
        "noise_correlation": covariance[0, 1] / np.prod(sigmas),
        "sigma_ratio": np.sqrt(np.mean(sigmas**2)) / 0.2,
        "sigma_x_ratio": sigmas[0] / 0.2,
        "sigma_y_ratio": sigmas[1] / 0.2,
        "sigma_log_ratio_rms": np.sqrt(np.mean(np.log(sigmas / 0.2) ** 2)),
        "sigma_log_ratio_max": np.max(np.abs(np.log(sigmas / 0.2))),
    }
    for name, value in exact.items():
        assert m[name] == pytest.approx(value, rel=1e-12), name


def test_the_exact_decoder_of_uneven_noise_is_exact_in_it():
    """Noise that grows along the curve, more of it in one direction than in the other."""
    curve = dataclasses.replace(
        BASIC,
        noise_sigma_x=0.5,
        noise_sigma_y=0.3,
        noise_slope=0.25,
        noise_angle=0.6,
        omega=2.0,
    )
    cos, sin = np.cos(0.6), np.sin(0.6)

    def observe(z):
        t = np.sqrt(0.01 + 0.99 * special.ndtr(z))
        axes = np.array([[cos, -sin], [sin, cos]]) * (np.array([0.5, 0.3]) + 0.25 * t)[:, None]
        mean = 2.5 * t * np.concatenate([np.cos(2 * t), np.sin(2 * t)], axis=1)
        return Observation(mean=mean, scale=np.linalg.cholesky(axes @ np.swapaxes(axes, 1, 2)))

    t, x = _data(16)
    report = evaluate.evaluate(_prior, observe, curve=curve, t=t, x=x, gap_points=2)
    m, truth = report.metrics, ground_truth.truth(curve)
    assert m["kl_to_truth"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose([m["sigma_x"], m["sigma_y"]], truth.noise_sigmas, rtol=1e-10)
    for name in ("sigma_ratio", "sigma_x_ratio", "sigma_y_ratio"):
        assert m[name] == pytest.approx(1, abs=1e-10), name
    # Places are compared from node to node, up to a quarter of sigma apart.
    assert m["sigma_log_ratio_rms"] < 0.01 and m["sigma_log_ratio_max"] < 0.05
    # R diag(a, b)^2 R^T, a = 0.5 + 0.25 t, b = 0.3 + 0.25 t, with the moments of t = sqrt(u)
    first, second = 2 / 3 * (1 - 0.01**1.5) / 0.99, 0.5 * (1 - 0.01**2) / 0.99
    a, b = (s**2 + 2 * s * 0.25 * first + 0.25**2 * second for s in (0.5, 0.3))
    total = sin**2 * np.array([b, a]) + cos**2 * np.array([a, b])
    correlation = sin * cos * (a - b) / np.sqrt(np.prod(total))
    assert m["noise_correlation"] == pytest.approx(correlation, abs=1e-8)
    np.testing.assert_allclose(truth.noise_sigmas, np.sqrt(total), rtol=1e-8)
    nominal = report.calibration.nominal
    np.testing.assert_allclose(report.calibration.noise_coverage, nominal, atol=0.034)


# What is reported, and of which models


def test_metrics_are_declared_and_in_their_order(exact):
    lacking = {"sigma_z", "sigma_z_ratio", *_LACKING}  # of a third dimension, of own data
    assert list(exact.metrics) == [name for name in METRICS if name not in lacking]


def test_another_family_that_is_the_gaussian_has_the_same_report(exact):
    encode = _moments_encoder(_exact_decode, 0.2)
    other = _judge(lambda x: bare(encode(x)), _exact_decode, posterior=Bare(), gap_points=500)
    for name, value in exact.metrics.items():
        tolerance = 1e-6 if name.startswith("family_gap") else 1e-8  # by another descent
        assert other.metrics[name] == pytest.approx(value, abs=tolerance, rel=1e-8), name
    np.testing.assert_allclose(other.gaps.best.mean, exact.gaps.best.mean, atol=1e-6)
    np.testing.assert_allclose(other.points.q.mean, exact.points.q.mean, atol=1e-8)
    np.testing.assert_allclose(other.calibration.rank, exact.calibration.rank, atol=1e-8)


def test_the_exact_decoder_in_three_dimensions_is_at_no_distance():

    def decode(z):
        return helix(special.ndtr(z[:, 0]))

    t = np.linspace(0, 1, 40)
    x = helix(t) + 0.6 * np.random.default_rng(0).standard_normal((40, 3))
    encode = _moments_encoder(decode, 0.6)
    observe = around(decode, 0.6)
    report = evaluate.evaluate(encode, observe, curve=HELIX, t=t, x=x, gap_points=4)
    m, truth = report.metrics, ground_truth.truth(HELIX)
    assert set(METRICS) - set(m) == {*_LACKING, "noise_correlation"}  # of a plane
    assert m["kl_to_truth"] == pytest.approx(0, abs=1e-6)
    assert m["nll"] == pytest.approx(truth.entropy.value, abs=1e-6)
    assert m["recovered_fraction"] == pytest.approx(1, abs=1e-6)
    for name in ("sigma_ratio", "sigma_x_ratio", "sigma_y_ratio", "sigma_z_ratio"):
        assert m[name] == pytest.approx(1, abs=1e-12), name
    assert m["elbo"] == pytest.approx(-m["reconstruction"] - m["kl_to_prior"], abs=1e-12)
    reconstruction = 1.5 * (m["residual_ratio"] + np.log(2 * PI * 0.6**2))
    assert m["reconstruction"] == pytest.approx(reconstruction, abs=1e-12)
    nominal = report.calibration.nominal
    np.testing.assert_allclose(report.calibration.noise_coverage, nominal, atol=0.034)

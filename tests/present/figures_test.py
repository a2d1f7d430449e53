"""What is drawn of a model, on a linear one whose posterior and density are Gaussian."""

import numpy as np
import pytest
from scipy import stats

from spiral_vae.exact import evaluate
from spiral_vae.exact import model as trained
from spiral_vae.maths.observation import around
from spiral_vae.model.posterior import Gaussian
from spiral_vae.present import figures, plotting
from spiral_vae.process import Spiral

A, SIGMA = np.asarray([1.5, -0.5]), 0.7
CURVE = Spiral(omega=2.0, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)
VARIANCE = 1 / (1 + A @ A / SIGMA**2)  # of the exact posterior of z ~ N(0, 1), x ~ N(A z, SIGMA^2)


def _decode(z):
    return z[:, :1] * A


OBSERVE = around(_decode, SIGMA)


def _encode(x):
    """The exact posterior."""
    mean = x @ A[:, None] * VARIANCE / SIGMA**2
    return {"mean": mean, "logvar": np.full_like(mean, np.log(VARIANCE))}


def _model(encode, t, x):
    return trained.Model(encode, OBSERVE, Gaussian(), x, CURVE, t)


def _points(num=30):
    t = np.linspace(0.1, 1, num)
    return t, 2.5 * t[:, None] * np.stack([np.cos(2 * t), np.sin(2 * t)], axis=1)


@pytest.fixture(scope="module")
def drawn():
    """The arguments of each figure, by name."""
    t, x = _points()
    model = _model(_encode, t[::-1], x[::-1])
    return figures.of_lane(model, trained.judge(model, gap_points=25))


def test_each_figure_is_drawn_by_the_function_of_its_name(drawn, tmp_path, monkeypatch):
    assert set(drawn) == {"basic_run", "density", "gaps", "posterior", "calibration"}
    found = {}
    for name in drawn:
        monkeypatch.setattr(plotting, name, lambda name=name, **arrays: (name, arrays))
    monkeypatch.setattr(
        plotting,
        "save",
        lambda figure, folder, name, svg: found.update({name: (folder, *figure, svg)}),
    )
    figures.draw(tmp_path / "figures", drawn, svg=False)
    assert found == {name: (tmp_path / "figures", name, drawn[name], False) for name in drawn}
    assert (tmp_path / "figures").is_dir()


def test_the_arrays_are_the_arguments_of_the_functions(drawn, tmp_path):
    for svg in (False, True):  # and a folder that is there already is drawn into again
        figures.draw(tmp_path, drawn, svg=svg)
        names = {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")[: 1 + svg]}
        assert {path.name for path in tmp_path.iterdir()} == names


def test_the_density_is_that_of_the_model_and_of_the_truth(drawn):
    found = drawn["density"]
    step = found["grid_x"][1] - found["grid_x"][0]
    assert found["grid_y"][1] - found["grid_y"][0] == pytest.approx(step)  # square pixels
    points = np.stack(np.meshgrid(found["grid_x"], found["grid_y"]), axis=-1)
    blur = SIGMA**2 + (0.5 * step) ** 2
    exact = stats.multivariate_normal([0, 0], np.outer(A, A) + blur * np.eye(2)).pdf(points)
    np.testing.assert_allclose(found["model"], exact, atol=1e-6 * exact.max())
    # All of the truth lies inside: the grid goes three sigma beyond the data.
    assert found["truth"].sum() * step**2 == pytest.approx(1, abs=0.01)
    centre = np.einsum("yx,yxd->d", found["truth"], points) * step**2
    u = np.linspace(0.01, 1, 100_001)
    curve = 2.5 * np.sqrt(u)[:, None] * np.stack([np.cos(2 * u**0.5), np.sin(2 * u**0.5)], axis=1)
    np.testing.assert_allclose(centre, curve.mean(axis=0), atol=0.02)


def test_the_posteriors_are_exact_and_belong_to_their_points(drawn):
    found = drawn["posterior"]
    z, points = found["z"], found["points"]
    assert np.all(np.diff(z) >= 0) and len(points) in (5, 6)
    for row, x in enumerate(points):
        mean = x @ A * VARIANCE / SIGMA**2
        exact = stats.norm(mean, np.sqrt(VARIANCE)).pdf(z)
        # Interpolated between the nodes of the mixture, in the log.
        np.testing.assert_allclose(found["exact"][row], exact, atol=0.01)
        for name in ("encoder", "best"):
            np.testing.assert_allclose(found[name][row], exact, atol=1e-4)


def test_the_basic_run_shows_each_point_with_its_own_latent(drawn):
    found = drawn["basic_run"]
    # The points are given from the outside inwards; the mean is the encoder's of that very x.
    np.testing.assert_allclose(found["mean"], _encode(found["x"])["mean"][:, 0])
    np.testing.assert_allclose(found["reconstruction"], found["mean"][:, None] * A)
    np.testing.assert_allclose(np.linalg.norm(found["x"], axis=1), 2.5 * found["t"])
    # Across the line samples have the noise alone, along it the prior's spread as well. The
    # variance of 500 samples is known to sqrt(2 / 500) = 6 %; here are 4 of those.
    along = A / np.linalg.norm(A)
    spread = found["samples"] @ np.stack([along[::-1] * [1, -1], along], axis=1)
    wanted = [SIGMA**2, SIGMA**2 + A @ A]
    np.testing.assert_allclose(spread.var(axis=0), wanted, rtol=4 * np.sqrt(2 / 500))
    radius, angle = np.linalg.norm(found["curve"], axis=1), np.arctan2(*found["curve"].T[::-1])
    np.testing.assert_allclose(angle, 2.0 * radius / 2.5, atol=1e-6)  # on the spiral


def test_a_linear_decoder_has_no_gaps_and_a_calibrated_encoder(drawn):
    gaps = drawn["gaps"]
    assert np.all(np.diff(gaps["t"]) > 0) and len(gaps["t"]) == 25
    np.testing.assert_allclose(gaps["approximation"], 0, atol=1e-6)
    np.testing.assert_allclose(gaps["amortisation"], 0, atol=1e-6)
    calibration = drawn["calibration"]
    assert stats.kstest(calibration["rank"], "uniform").pvalue > 1e-3
    np.testing.assert_allclose(
        calibration["coverage"], calibration["coverage_nominal"], atol=4 * 0.5 / np.sqrt(2000)
    )


def test_the_gaps_and_the_calibration_are_those_of_the_report():
    """Of an encoder that is wrong in a known way: its means are off by a tenth."""
    t, x = _points()

    def encode(points):
        return _encode(points) | {"mean": _encode(points)["mean"] + 0.1}

    model = _model(encode, t, x)
    report = trained.judge(model, gap_points=30)
    found = figures.of_lane(model, report)
    np.testing.assert_array_equal(found["gaps"]["t"], t)
    np.testing.assert_allclose(found["gaps"]["approximation"], 0, atol=1e-6)
    # KL of two Gaussians of one variance
    np.testing.assert_allclose(found["gaps"]["amortisation"], 0.5 * 0.1**2 / VARIANCE, atol=1e-6)
    calibration = found["calibration"]
    np.testing.assert_array_equal(calibration["rank"], report.calibration.rank)
    nominal = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(calibration["coverage_nominal"], nominal)
    scale = np.sqrt(VARIANCE)
    half = stats.norm.ppf(0.5 + nominal / 2)  # the true z, seen from the wrong mean
    covered = stats.norm.cdf(half, -0.1 / scale) - stats.norm.cdf(-half, -0.1 / scale)
    np.testing.assert_allclose(calibration["coverage"], covered, atol=4 * 0.5 / np.sqrt(2000))
    assert calibration["noise_coverage"].shape == (19,)
    assert np.all(np.diff(calibration["noise_coverage"]) >= 0)


def test_the_worst_point_is_among_the_posteriors():
    t, x = _points()

    def encode(points):
        wrong = np.linalg.norm(points - x[20], axis=1)[:, None] < 1e-9
        heads = _encode(points)
        return heads | {"mean": heads["mean"] + np.where(wrong, 2.0, 0.0)}

    model = _model(encode, t, x)
    found = figures.of_lane(model, trained.judge(model, gap_points=30))["posterior"]
    (row,) = np.flatnonzero(np.linalg.norm(found["points"] - x[20], axis=1) < 1e-9)
    z, encoder, best = found["z"], found["encoder"][row], found["best"][row]
    assert z[np.argmax(encoder)] - z[np.argmax(best)] == pytest.approx(2, abs=0.05)


def test_new_points_are_judged_apart_from_those_of_the_training():
    """The encoder is off by a tenth where it was trained, and by three elsewhere."""
    t, x = _points()

    def encode(points):
        off = np.where(np.isin(points[:, :1], x[:, :1]), 0.1, 0.3)
        return _encode(points) | {"mean": _encode(points)["mean"] + off}

    report = trained.judge(_model(encode, t, x), gap_points=5)
    old, new = (0.5 * off**2 / VARIANCE for off in (0.1, 0.3))  # KL of two Gaussians
    metrics = report.metrics
    for name, expected in (
        ("inference_gap", old),
        ("inference_gap_new", new),
        ("encoder_overfit", new - old),
        ("amortisation_gap", old),
        ("amortisation_gap_new", new),
        ("approximation_gap_new", 0),
        ("family_gap", 0),
        ("family_gap_new", 0),
    ):
        assert metrics[name] == pytest.approx(expected, abs=1e-6), name
    found = figures.of_lane(_model(encode, t, x), report)["gaps"]
    np.testing.assert_allclose(found["new_amortisation"], new, atol=1e-6)
    np.testing.assert_array_equal(found["new_t"], report.new_gaps.t)
    assert len(report.new.t) == 1000 and np.all(np.diff(report.new.t) > 0)


def test_two_latents_are_drawn_without_posterior_gaps_and_calibration(monkeypatch):
    t, x = _points()

    def encode(x):  # the second latent follows t, the first one says nothing
        heads = _encode(x)
        mean, logvar = heads["mean"], heads["logvar"]
        return {
            "mean": np.column_stack([0 * mean, mean]),
            "logvar": np.column_stack([logvar, logvar]),
        }

    # A grid in two dimensions takes a minute; here the call alone counts.
    monkeypatch.setattr(
        figures, "_density", lambda model, truth: model.posteriors(model.x).latent_dim
    )
    found = figures.of_lane(
        _model(encode, t, x), evaluate.Report({}, None, None, None, None, None, None)
    )
    assert set(found) == {"basic_run", "density"} and found["density"] == 2
    np.testing.assert_allclose(found["basic_run"]["mean"], _encode(x)["mean"][:, 0])
    assert found["basic_run"]["samples"].shape == (figures.NUM_SAMPLES, 2)


# Without a truth


def _words(figure):
    """What the legends and the axes of a figure say."""
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    axes = [word for own in figure.axes for word in (own.get_title(), own.get_xlabel())]
    return {*legends, *axes}


@pytest.mark.parametrize("held_out", [True, False])
def test_own_data_are_drawn_beside_the_decoders_curve(held_out):
    _, x = _points()
    new = x[::3] + 0.1 if held_out else None
    model = trained.Model(_encode, OBSERVE, Gaussian(), x, held_out=new)
    drawn = figures.of_lane(model, trained.judge(model, gap_points=5))
    assert set(drawn) == {"basic_run", "density", "gaps", "posterior", "calibration"}
    found = {name: getattr(plotting, name)(**arrays) for name, arrays in drawn.items()}
    z = np.linspace(-3, 3, 601)[:, None]
    np.testing.assert_allclose(drawn["basic_run"]["curve"], _decode(z))
    for name in ("basic_run", "posterior"):
        assert "mean of $p(x|z)$, $|z| < 3$" in _words(found[name])
    assert "truth" not in drawn["density"] and "True density" not in _words(found["density"])
    assert "mean of $q(z|x)$" in _words(found["gaps"])
    assert len(found["gaps"].axes) == (4 if held_out else 2)
    assert "decoder's noise" not in _words(found["calibration"])


def test_a_surface_without_a_truth_has_no_curve_in_the_legend():
    _, x = _points()

    def encode(x):
        return {name: np.repeat(head, 2, axis=1) for name, head in _encode(x).items()}

    model = trained.Model(encode, OBSERVE, Gaussian(), x)
    arrays = figures._basic_run(model) | figures._curve(model, None)
    legend = plotting.basic_run(**arrays).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["data", "model"]

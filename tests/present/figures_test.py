"""What is drawn of a model, on a linear one whose posterior and density are Gaussian."""

import numpy as np
import pytest
from scipy import stats

from spiral_vae.exact import evaluate
from spiral_vae.maths.observation import around
from spiral_vae.present import figures, plotting
from spiral_vae.process.spiral import Spiral
from spiral_vae.runs import load as trained

A, SIGMA = np.asarray([1.5, -0.5]), 0.7
SPEC = Spiral(omega=2.0, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)
VARIANCE = 1 / (1 + A @ A / SIGMA**2)  # of the exact posterior of z ~ N(0, 1), x ~ N(A z, SIGMA^2)


def _decode(z):
    return z[:, :1] * A


OBSERVE = around(_decode, SIGMA)


def _encode(x):
    """The exact posterior."""
    mean = x @ A[:, None] * VARIANCE / SIGMA**2
    return mean, np.full_like(mean, np.log(VARIANCE))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The arguments of each figure, by name."""
    t = np.linspace(0.1, 1, 30)
    x = 2.5 * t[:, None] * np.stack([np.cos(2 * t), np.sin(2 * t)], axis=1)
    model = trained.Model(_encode, OBSERVE, SPEC, t[::-1], x[::-1])
    found = {}

    def keep(name):
        def draw(**arrays):
            found[name] = arrays
            return name

        return draw

    with pytest.MonkeyPatch.context() as patch:
        for name in ("basic_run", "density", "gaps", "posterior", "calibration"):
            patch.setattr(plotting, name, keep(name))
        saved = []
        patch.setattr(plotting, "save", lambda figure, folder, name: saved.append((figure, name)))
        report = trained.judge(model, gap_points=25)
        figures.draw_lane(tmp_path_factory.mktemp("figures"), model, report)
    assert all(figure == name for figure, name in saved)
    assert {name for _, name in saved} == set(found)
    return found


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
    np.testing.assert_allclose(found["mean"], _encode(found["x"])[0][:, 0])
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


def test_the_worst_point_is_among_the_posteriors(tmp_path, monkeypatch):
    t = np.linspace(0.1, 1, 30)
    x = 2.5 * t[:, None] * np.stack([np.cos(2 * t), np.sin(2 * t)], axis=1)

    def encode(points):
        mean, logvar = _encode(points)
        wrong = np.linalg.norm(points - x[20], axis=1)[:, None] < 1e-9
        return mean + np.where(wrong, 2.0, 0.0), logvar

    model = trained.Model(encode, OBSERVE, SPEC, t, x)
    kept = {}
    monkeypatch.setattr(plotting, "save", lambda *args: None)
    monkeypatch.setattr(plotting, "posterior", lambda **arrays: kept.update(arrays))
    figures.draw_lane(tmp_path, model, trained.judge(model, gap_points=30))
    (row,) = np.flatnonzero(np.linalg.norm(kept["points"] - x[20], axis=1) < 1e-9)
    shift = kept["z"][np.argmax(kept["encoder"][row])] - kept["z"][np.argmax(kept["best"][row])]
    assert shift == pytest.approx(2, abs=0.05)


def test_two_latents_are_drawn_without_posterior_gaps_and_calibration(tmp_path, monkeypatch):
    t = np.linspace(0.1, 1, 30)
    x = 2.5 * t[:, None] * np.stack([np.cos(2 * t), np.sin(2 * t)], axis=1)

    def encode(x):  # the second latent follows t, the first one says nothing
        mean, logvar = _encode(x)
        return np.column_stack([0 * mean, mean]), np.column_stack([logvar, logvar])

    saved, shown, latents = [], {}, []
    monkeypatch.setattr(plotting, "save", lambda figure, folder, name: saved.append(name))
    monkeypatch.setattr(plotting, "basic_run", lambda **arrays: shown.update(arrays))
    # A grid in two dimensions takes a minute; here the call alone counts.
    monkeypatch.setattr(figures, "_draw_density", lambda *args: latents.append(args[3]))
    model = trained.Model(encode, OBSERVE, SPEC, t, x)
    figures.draw_lane(tmp_path, model, evaluate.Report({}, None, None, None))
    assert (saved, latents) == (["basic_run"], [2])
    np.testing.assert_allclose(shown["mean"], _encode(x)[0][:, 0])
    assert shown["samples"].shape == (figures.NUM_SAMPLES, 2)

"""Figures show the arrays that they were given, survive failed lanes, and are written whole."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba

from spiral_vae.present import plotting

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _basic_run(rng, n=20):
    t = np.linspace(0.1, 1, n)
    curve = np.stack([np.cos(5 * t), np.sin(5 * t)], axis=1)
    return {
        "t": t,
        "x": curve + rng.normal(size=(n, 2)),
        "mean": t - 0.5,
        "reconstruction": curve + 0.1,
        "samples": rng.normal(size=(30, 2)),
        "curve": curve,
    }


def _training(rng, lanes=5, rows=40):
    metrics = {name: rng.normal(size=(lanes, rows)) for name in ("loss", "reconstruction", "kl")}
    return {"epoch": 100.0 * np.arange(1, rows + 1), **metrics}


def test_save_writes_both_files_whole_and_the_same_twice(tmp_path, rng):
    arrays = _basic_run(rng)
    figure = plotting.basic_run(**arrays)
    contents = []
    for drawn in (figure, figure, plotting.basic_run(**arrays)):
        plotting.save(drawn, tmp_path, "run")
        assert {path.name for path in tmp_path.iterdir()} == {"run.png", "run.svg"}
        contents.append([(tmp_path / name).read_bytes() for name in ("run.png", "run.svg")])
    assert contents[0] == contents[1] == contents[2]
    png, svg = contents[0]
    assert png.startswith(b"\x89PNG") and png.endswith(b"IEND\xaeB`\x82")
    assert svg.rstrip().endswith(b"</svg>")
    plotting.save(figure, tmp_path, "alone", svg=False)
    assert (tmp_path / "alone.png").read_bytes() == png
    assert not (tmp_path / "alone.svg").exists()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, rng, monkeypatch):
    figure = plotting.basic_run(**_basic_run(rng))
    (tmp_path / "run.png").write_bytes(b"old")

    def fail(canvas, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", fail)
    with pytest.raises(OSError, match="disk full"):
        plotting.save(figure, tmp_path, "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.png"]
    assert (tmp_path / "run.png").read_bytes() == b"old"


def test_basic_run_draws_the_arrays_on_equal_scales(rng):
    arrays = _basic_run(rng)
    latent, middle, right = plotting.basic_run(**arrays).axes
    np.testing.assert_array_equal(
        latent.lines[0].get_xydata(), np.stack([arrays["t"], arrays["mean"]], axis=1)
    )
    for axes, names in ((middle, ("x", "reconstruction", "curve")), (right, ("samples", "curve"))):
        for line, name in zip(axes.lines, names, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), arrays[name])
        assert axes.get_aspect() == 1
    assert middle.get_xlim() == right.get_xlim()
    assert middle.get_ylim() == right.get_ylim()


def test_lanes_are_drawn_as_median_and_band_without_the_failed_one(rng):
    arrays = _training(rng)
    expected = np.percentile(arrays["loss"][1:], (10, 50, 90), axis=0)
    for name in ("loss", "reconstruction", "kl"):
        arrays[name][0] = np.nan
    axes = plotting.training(**arrays).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected[1])
    corners = axes.collections[0].get_paths()[0].vertices
    for edge in (expected[0], expected[2]):
        drawn = np.stack([arrays["epoch"], edge], axis=1)
        assert all(np.isclose(corners, point).all(axis=1).any() for point in drawn)


def test_named_lanes_are_lines_of_their_own(rng):
    arrays = _training(rng, lanes=9)  # more than there are colours
    axes = plotting.training(**arrays, names=[f"lane {i}" for i in range(9)]).axes[0]
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], arrays["loss"])
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 9


@pytest.mark.parametrize("slow, scale", [(False, "linear"), (True, "log")])
def test_a_spike_of_the_loss_does_not_hide_the_rest(slow, scale):
    epoch = 100.0 * np.arange(1, 1001)
    loss = 1e8 * (epoch / 100) ** -1.3 if slow else 1 + 1 / epoch
    loss[0] = 1e8
    lanes = np.stack([loss])
    axes = plotting.training(epoch=epoch, loss=lanes, reconstruction=lanes, kl=lanes).axes[0]
    low, high = axes.get_ylim()
    assert axes.get_yscale() == scale
    assert low < loss[-1] < high
    assert (high > 1e8) == slow
    assert ("peak 1.0e+08" in axes.get_title()) == (not slow)


def test_densities_share_a_scale_and_the_difference_is_symmetric(rng):
    truth, model = rng.uniform(size=(2, 7, 5))
    figure = plotting.density(
        grid_x=np.arange(5.0), grid_y=np.arange(7.0), truth=truth, model=model, x=np.zeros((3, 2))
    )
    meshes = [c for axes in figure.axes[:3] for c in axes.collections if isinstance(c, QuadMesh)]
    for mesh, values in zip(meshes, (truth, model, model - truth), strict=True):
        np.testing.assert_array_equal(mesh.get_array(), values)
    assert meshes[0].get_clim() == meshes[1].get_clim() == (0, max(truth.max(), model.max()))
    low, high = meshes[2].get_clim()
    assert -low == high == np.abs(model - truth).max()


def test_the_gaps_add_up_and_are_sorted_along_the_curve():
    t, first, second, *new = np.array(
        [[0.9, 0.1, 0.5], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.3, 0.2, 0.8], [7, 8, 9], [3, 2, 4]]
    )
    figure = plotting.gaps(
        t=t,
        approximation=first,
        amortisation=second,
        new_t=new[0],
        new_approximation=new[1],
        new_amortisation=new[2],
    )
    columns = {"Training points": (t, first, second), "New points": new}
    for column, (title, (t, first, second)) in enumerate(columns.items()):
        stacked, separate = figure.axes[column], figure.axes[2 + column]
        assert stacked.get_title() == f"{title}, mean {np.mean(first + second):.2g} nats"
        for filled, top in zip(stacked.collections, (first, first + second), strict=True):
            corners = filled.get_paths()[0].vertices
            for point in zip(t, top, strict=True):
                assert np.isclose(corners, point).all(axis=1).any()
        for line, filled, part in zip(
            separate.lines, stacked.collections, (first, second), strict=True
        ):
            np.testing.assert_array_equal(line.get_xdata(), np.sort(t))
            np.testing.assert_array_equal(line.get_ydata(), part[np.argsort(t)])
            assert to_rgba(line.get_color()) == tuple(filled.get_facecolor()[0])
        named = [filled.get_label().split(":")[0] for filled in stacked.collections]
        assert named == ["approximation", "amortisation"]


def test_the_band_of_ranks_is_the_central_95_percent_of_a_binomial():
    stats = pytest.importorskip("scipy.stats")
    nominal = np.linspace(0.1, 0.9, 9)
    figure = plotting.calibration(
        rank=np.linspace(0, 1, 200),
        coverage_nominal=nominal,
        coverage=nominal,
        noise_coverage=nominal,
    )
    span = figure.axes[0].patches[0].get_extents().transformed(figure.axes[0].transData.inverted())
    np.testing.assert_allclose(
        (span.y0, span.y1), stats.binom.ppf([0.025, 0.975], 200, 1 / 20), atol=1e-9
    )


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("lanes, rows", [(1, 1), (1, 30), (4, 1), (4, 30)])
def test_lanes_that_are_constant_or_failed_draw_without_a_warning(tmp_path, value, lanes, rows):
    metric = np.full((lanes, rows), value)
    epoch = 100 * np.arange(rows)  # integers, as a run counts them
    figures = (
        plotting.training(epoch=epoch + 100, loss=metric, reconstruction=metric, kl=metric),
        plotting.progress(
            epoch=epoch,
            kl_to_truth=metric,
            order_of_curve=metric,
            kl_to_prior=metric,
            inference_gap=metric,
            inference_gap_new=metric,
        ),
    )
    for figure in figures:
        plotting.save(figure, tmp_path, "lanes")


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("n", [1, 30])
def test_points_that_are_constant_or_failed_draw_without_a_warning(tmp_path, value, n):
    t, points = np.full(n, value), np.full((n, 2), value)
    grid, densities = np.linspace(-1, 1, 9), np.full((4, 9), value)
    plane = np.full((9, 9), value)
    figures = (
        plotting.basic_run(
            t=t, x=points, mean=t, reconstruction=points, samples=points, curve=points
        ),
        plotting.density(grid_x=grid, grid_y=grid, truth=plane, model=plane, x=points),
        plotting.posterior(
            z=grid,
            exact=densities,
            encoder=densities,
            best=densities,
            points=np.full((4, 2), value),
            x=points,
            curve=points,
        ),
        plotting.gaps(
            t=t,
            approximation=t,
            amortisation=t,
            new_t=t,
            new_approximation=t,
            new_amortisation=t,
        ),
        plotting.calibration(rank=t, coverage_nominal=t, coverage=t, noise_coverage=t),
    )
    for figure in figures:
        plotting.save(figure, tmp_path, "points")

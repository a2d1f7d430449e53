"""The face of the package: runs and lanes from Python against what the command writes."""

import dataclasses

import jax
import matplotlib.image
import numpy as np
import pytest

import spiral_vae as sv
from spiral_vae.exact import ground_truth
from tests.conftest import ROOT

SHORT = {
    "train.num_epochs": 30,
    "train.compiled": "quickly",
    "train.log_every": 10,
    "data.num_points": 40,
    "train.batch_size": 20,
    "model.encoder.hidden_dim": 8,
    "model.decoder.hidden_dim": 8,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return sv.run(
        SHORT,
        sweep={"likelihood.sigma": np.array([0.2, 0.5]), "train.batch_size": [10, 20]},
        seeds=2,
        workdir=tmp_path_factory.mktemp("api") / "run",
    )


@pytest.fixture(scope="module")
def lane(run):
    return run.lane(sigma=0.5, batch_size=20, seed=1)


def test_a_run_is_its_workdir(run):
    again = sv.open(run.workdir)
    assert again == run
    assert run.axes == {
        "likelihood.sigma": (0.2, 0.5),
        "train.batch_size": (10, 20),
        "seed": (0, 1),
    }
    assert "8 (likelihood.sigma: 2, train.batch_size: 2, seed: 2)" in repr(run)
    assert run.dataset.kl_to_truth.shape == (2, 2, 2)


def test_a_lane_is_found_by_its_values(run):
    for number, lane in enumerate(run.lanes):
        assert lane.number == number
        short = {path.rpartition(".")[2]: value for path, value in lane.values.items()}
        assert run.lane(**short) is lane
        assert run.lane(**lane.values) is lane
    assert (
        run.lane(sigma=0.5 * (1 + 1e-12), batch_size=10, seed=0).values["likelihood.sigma"] == 0.5
    )


def test_metrics_are_those_of_the_summary(run, lane):
    stored = run.dataset.sel({"likelihood.sigma": 0.5, "train.batch_size": 20, "seed": 1})
    for name in ("elbo", "kl_to_truth", "inference_gap_new", "sigma"):
        assert lane.metrics[name] == float(stored[name])
    verdicts = run.verdicts()
    assert [row["verdict"] for row in verdicts] == run.dataset.verdict.values.ravel().tolist()
    assert verdicts[lane.number] == lane.values | {"verdict": str(stored.verdict.values)}


def test_the_evidence_is_the_bound_and_its_gap(lane):
    seen = lane.posterior(lane.x[:5])
    total = seen.elbo + seen.approximation + seen.amortisation
    np.testing.assert_allclose(total, seen.log_evidence, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.exp(seen.log_evidence), lane.density(lane.x[:5]), rtol=1e-12)
    assert (seen.approximation > -1e-12).all() and (seen.amortisation > -1e-9).all()
    width = np.diff(seen.z)
    for density in (seen.exact, seen.encoder, seen.best):
        mass = (0.5 * (density[:, 1:] + density[:, :-1])) @ width
        np.testing.assert_allclose(mass, 1, atol=1e-3)  # the trapezoid rule on a drawing's grid
    q = lane.encode(lane.x[:5])
    mean = (seen.encoder * seen.z)[:, :-1] @ width
    np.testing.assert_allclose(mean, q.mean[:, 0], atol=1e-2)


def test_one_point_has_no_axis_of_points(lane):
    one, many = lane.posterior(lane.x[3]), lane.posterior(lane.x[3:4])
    np.testing.assert_array_equal(one.z, many.z)
    for name in ("exact", "encoder", "best", "elbo", "x"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name)[0])


def test_shapes_of_points_are_kept(lane):
    grid = np.zeros((3, 4, 2))
    assert lane.density(grid).shape == (3, 4)
    assert lane.density([0.0, 0.0]).shape == ()
    np.testing.assert_array_equal(lane.decode([0.1, 0.2]), lane.decode([[0.1], [0.2]]))


def test_the_density_integrates_to_one(lane):
    axis = np.arange(-9, 9, 0.1)
    density = lane.density(np.stack(np.meshgrid(axis, axis), axis=-1))
    assert abs(density.sum() * 0.01 - 1) < 1e-9  # sigma 0.5: the rule's error is far below


def test_along_the_training(run, lane):
    assert lane.epochs[0] == 0 and lane.epochs[-1] == lane.epoch == 30
    assert lane.at(10_000) == lane
    first = lane.at(0)
    assert first.epoch == 0 and lane.at(0.4).epoch == 0
    assert first.metrics["kl_to_truth"] != lane.metrics["kl_to_truth"]
    # The film ends with the params of the run, in single precision as they are.
    film = sv.runs.load.films(run.workdir)[lane.number]
    final = next(sv.runs.load.load_stored(run.workdir, [lane.number])).params
    jax.tree.map(np.testing.assert_array_equal, film.at(30), final)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Lanes of several groups: other epochs, other shapes."""
    axes = {
        "train.num_epochs": [10, 20],
        "model.encoder.hidden_dim": [4, 5],
        "model.decoder.hidden_dim": [4],
        "data.t_law": ["sqrt"],
    }
    workdir = tmp_path_factory.mktemp("api") / "uneven"
    return sv.run(SHORT, sweep=axes, workdir=workdir, figures="none")


def test_lanes_of_several_groups_have_films_of_their_own(uneven):
    for lane in uneven.lanes:
        assert lane.epochs[-1] == lane.epoch == lane.values["train.num_epochs"]
        assert lane.at(0).decode([0.3]).tolist() != lane.decode([0.3]).tolist()
    starts = [lane.at(0).encode([0.0, 1.0]).heads["mean"].shape for lane in uneven.lanes]
    assert starts == 4 * [(1, 1)]


def test_a_name_of_two_fields_is_told(uneven):
    with pytest.raises(sv.ConfigError, match="hidden_dim: more than one field of this run"):
        uneven.lane(hidden_dim=4)
    where = {"model.encoder.hidden_dim": 5, "num_epochs": 10, "t_law": "sqrt"}
    assert uneven.lane(**where).number == 1


def test_figures_show_themselves(run, lane, tmp_path):
    stored = run.workdir / "figures" / "density.png"
    assert run.figure("density")._repr_png_() == stored.read_bytes()
    assert run.lanes[0].figure("density").png == stored.read_bytes()
    drawn = tmp_path / "drawn.png"
    drawn.write_bytes(lane.figure("posterior").png)
    assert matplotlib.image.imread(drawn).shape[2] == 4
    page = run.explore()
    assert page.path == run.workdir / "explorer.html"
    shown = page._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and "<script" not in shown  # it is escaped


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"sigma": 0.3}, "likelihood.sigma: 0.3 is none of the values 0.2, 0.5"),
        ({"sigma": "0.2"}, "likelihood.sigma: 0.2 is none of the values 0.2, 0.5"),
        ({"beta": 1.0}, "beta: no axis of this run, which has likelihood.sigma, train.batch_size,"),
        ({"sigma": 0.2}, "4 lanes are so; say which train.batch_size and seed"),
        ({}, "8 lanes are so; say which likelihood.sigma and train.batch_size and seed"),
    ],
)
def test_which_lane_is_told(run, where, told):
    with pytest.raises(sv.ConfigError, match=f"^{told}"):
        run.lane(**where)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda lane: lane.posterior([1.0, 2.0, 3.0]), r"x: found an array of shape \(3,\), must"),
        (lambda lane: lane.density(np.zeros((4, 3))), r"x: found an array of shape \(4, 3\), must"),
        (lambda lane: lane.figure("nope"), "figure: found 'nope', a lane has basic_run, density,"),
        (lambda lane: lane.run.figure("nope"), "figure: found 'nope', this run has basic_run,"),
        (lambda lane: sv.run({"likelihood.sig": 1.0}), "likelihood.sig: no such field; did you"),
        (lambda lane: sv.run({"likelihood": 1.0}), "likelihood: a section, not a field"),
        (lambda lane: sv.run({"likelihood.sigma": "a"}), "likelihood.sigma: 'a' is not of type fl"),
        (lambda lane: sv.run("bse"), "config: there is no file 'bse'; of the package there are"),
        (lambda lane: sv.run(seeds=0), "num_seeds: found 0, must be"),
        (lambda lane: sv.run(sweep={"likelihood.sigma": 0.1}), "likelihood.sigma: found 0.1, a sw"),
        (lambda lane: sv.run(sweep={"likelihood.sigma": []}), "likelihood.sigma: the sweep has no"),
        (lambda lane: sv.run(sweep={"likelihood.sigma": "0.1"}), "likelihood.sigma: found '0.1', "),
    ],
)
def test_mistakes_are_sentences(lane, call, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sv.ConfigError, match=f"^{told}"):
        call(lane)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_no_run_is_told(tmp_path):
    with pytest.raises(sv.WorkdirError, match="holds no run"):
        sv.open(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a config of the package, without films."""
    config = sv.base_config(SHORT | {"evaluate.snapshots": 0}, "recommended")
    found = sv.run(config, workdir=tmp_path_factory.mktemp("api") / "whole", figures="basic")
    assert config.sweep == () and config.num_seeds == 1
    return found


def test_a_config_may_be_whole(whole):
    assert whole.config.likelihood.kind == "learned"
    assert whole.lane().values == {"seed": 0}


def test_without_a_film_the_end_is_known(whole):
    assert whole.lane().epochs == (30,) and whole.lane().at(3) == whole.lane()


def test_figures_may_be_few_or_none(whole, uneven):
    drawn = {path.stem for path in (whole.workdir / "figures").iterdir()}
    assert drawn == {"training", "progress", "basic_run"}
    assert whole.figure("basic_run").png == whole.lane().figure("basic_run").png
    with pytest.raises(sv.ConfigError, match="figure: found 'basic_run', this run has no figures"):
        uneven.figure()
    with pytest.raises(
        sv.ConfigError, match="figures: found 'few', must be one of none, basic, all"
    ):
        sv.run(figures="few")


def test_a_finished_run_is_opened_again(whole):
    before = (whole.workdir / "summary.csv").read_bytes()
    assert sv.run(whole.config, workdir=whole.workdir, resume=True) == whole
    assert (whole.workdir / "summary.csv").read_bytes() == before
    with pytest.raises(sv.WorkdirError):
        sv.run(whole.config, workdir=whole.workdir)


def test_two_latents_have_no_posterior_over_one(lane):
    two = dataclasses.replace(lane)
    heads = {"mean": np.zeros((1, 2)), "logvar": np.zeros((1, 2))}
    two.__dict__["model"] = dataclasses.replace(lane.model, encode=lambda x: heads)
    with pytest.raises(sv.ConfigError, match="posterior: of one latent, and this lane has 2"):
        two.posterior([0.0, 0.0])


def test_the_truth_of_a_curve():
    truth = sv.truth(sv.Spiral(num_points=40))
    assert truth.entropy == ground_truth.truth(sv.Spiral()).entropy
    assert abs(truth.mass.value - 1) < 1e-8


def test_a_user_s_file_is_a_config():
    config = sv.base_config(SHORT, str(ROOT / "examples" / "laplace.py"))
    assert config.likelihood.kind == "laplace"

"""Whole runs in this process: refusals, groups, lengths that differ, lanes that fail."""

import csv
import itertools

import jax
import numpy as np
import pytest

from spiral_vae.config import lanes, sources
from spiral_vae.config.values import ConfigError, complete
from spiral_vae.present import figures
from spiral_vae.process import Data
from spiral_vae.runs import load as trained
from spiral_vae.runs import run
from spiral_vae.training import cells
from spiral_vae.workdir import files
from spiral_vae.workdir import life as workdir
from tests.config import made
from tests.lanes import make_config
from tests.workdir.tensorboard_test import events


def _run(config, workdir, *, figures="none", **kwargs):
    return run.train_and_evaluate(config, workdir, figures=figures, **kwargs)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("likelihood.sigma", 0.0),
        ("likelihood.sigma", -1.0),
        ("train.batch_size", 11),
        ("data.u_start", 1.0),
        ("model.encoder.hidden_layers", 0),
        ("optimizer.decoder_learning_rate", -1e-3),
        ("sweep", ("likelihood.sgima=1",)),
        ("sweep", ("likelihood.sigma=0.1,-1",)),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_written(tmp_path, field, value):
    config = make_config(**{field: value})
    name = "sgima" if "sgima" in str(value) else "sigma" if field == "sweep" else field
    with pytest.raises(ConfigError, match=name):
        _run(config, str(tmp_path / "new"))
    assert not any(tmp_path.iterdir())


def test_a_workdir_in_use_is_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "kept").write_text("kept")
    monkeypatch.setattr(run, "_train", None)
    with pytest.raises(workdir.WorkdirError, match="holds files already"):
        _run(make_config(), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """3 sigmas x 2 widths of the decoder x 2 seeds."""
    workdir = tmp_path_factory.mktemp("groups")
    config = make_config(
        num_seeds=2,
        seed=7,
        sweep=("likelihood.sigma=0.1,0.2,0.4", "model.decoder.hidden_dim=4,8"),
    )
    return _run(config, str(workdir))


def test_groups_are_joined_in_the_order_of_the_product(groups):
    with open(groups.workdir / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["seed", "likelihood.sigma", "model.decoder.hidden_dim"]
    assert list(rows[0])[:5] == ["lane", *names, "status"]
    product = itertools.product((0.1, 0.2, 0.4), (4, 8), (7, 8))
    wanted = [(str(seed), str(sigma), str(width)) for sigma, width, seed in product]
    assert [tuple(row[name] for name in names) for row in rows] == wanted
    assert [row["lane"] for row in rows] == [str(n) for n in range(12)]
    assert [float(row["sigma"]) for row in rows] == [float(sigma) for _, sigma, _ in wanted]
    assert len({row["elbo"] for row in rows}) == 12


def test_groups_have_their_own_params(groups):
    with np.load(groups.workdir / "params.npz") as arrays:
        assert {name.split("/")[0] for name in arrays} == {"group_0", "group_1"}
        assert arrays["group_0/lane"].tolist() == [0, 1, 4, 5, 8, 9]
        assert arrays["group_1/lane"].tolist() == [2, 3, 6, 7, 10, 11]
        assert arrays["group_0/decoder/hidden_0/kernel"].shape == (6, 1, 4)
        assert arrays["group_1/decoder/hidden_0/kernel"].shape == (6, 1, 8)
        # Another width of the decoder leaves the encoder's start as it was; both are 12 steps on.
        one, other = (arrays[f"group_{n}/encoder/hidden_0/kernel"] for n in (0, 1))
        np.testing.assert_allclose(one, other, atol=2 * 12 * 1e-3)
        assert np.abs(one[0] - one[1]).max() > 0.1  # and another seed does not


@pytest.mark.parametrize("lane", [1, 6, 11])
def test_rows_belong_to_the_params_and_curves_of_their_lane(groups, lane):
    model = trained.load(groups.workdir, lane)
    row = groups.rows[lane]
    q = model.posteriors(model.x)
    mean, logvar = q.mean, q.logvar
    kl = 0.5 * np.mean(np.sum(mean**2 + np.exp(logvar) - 1 - logvar, axis=1))
    assert kl == pytest.approx(row["kl_to_prior"], rel=1e-5)
    scale = model.observe(np.zeros((1, 1))).scale
    np.testing.assert_array_equal(scale, [row["likelihood.sigma"] * np.eye(2)])
    with np.load(groups.workdir / "metrics" / "training.npz") as arrays:
        assert arrays["epoch"].tolist() == [2, 4]
        # The mean over the last two epochs, with other noise: near the end's value.
        assert arrays["kl"][lane, -1] == pytest.approx(kl, rel=0.1)
        near = np.argsort(np.abs(arrays["loss"][:, -1] + row["elbo"]) / -row["elbo"])[:2]
    assert lane // 4 in near // 4  # of the lanes with its sigma


@pytest.mark.parametrize("swap", [False, True])
def test_a_sweep_of_lengths_labels_its_curves_with_the_right_epochs(tmp_path, swap):
    """Groups of 5 and 8 epochs, logged every 2, probed after half of each: [3, 5] and [4, 8]."""

    def one(ends, probe_ends):
        return cells.Trained(
            params={"w": np.zeros((1, 2))},
            data=Data(t=np.zeros((1, 3)), x=np.zeros((1, 3, 2))),
            epoch=np.asarray(ends),
            metrics={"loss": np.asarray([ends], float)},  # a loss that tells its epoch
            probe_epoch=np.asarray(probe_ends),
            probes={"gap": np.asarray([probe_ends], float)},
            failed_step=np.zeros(1, int),
            failed_term=np.zeros(1, int),
            snapshot_epoch=np.asarray([0, *probe_ends]),
            snapshots={"w": np.asarray([[[0, 0], [1, 1], [2, 2]]], float)},
        )

    found = [one([2, 4, 5], [4, 5]), one([2, 4, 6, 8], [4, 8])]
    order = [1, 0] if swap else [0, 1]
    groups = [lanes.Group(None, np.asarray([number])) for number in order]
    run._write_training(tmp_path, groups, [found[number] for number in order])
    for file, name, wanted in (
        ("training", "loss", [[2, 4, 5], [2, 4, 6, 8]]),
        ("probes", "gap", [[4, 5], [4, 8]]),
    ):
        with np.load(tmp_path / "metrics" / f"{file}.npz") as arrays:
            epoch, values = arrays["epoch"], arrays[name]
        for lane in range(2):
            present = ~np.isnan(values[lane])
            assert values[lane][present].tolist() == wanted[lane]
            assert np.broadcast_to(epoch, values.shape)[lane][present].tolist() == wanted[lane]
    with np.load(tmp_path / "metrics" / "snapshots.npz") as arrays:
        assert arrays["epoch"].tolist() == [0, 4, 5, 8]
        assert arrays["lane"].tolist() == [0, 1]
        np.testing.assert_array_equal(arrays["w"][0, :, 0], [0, 1, 2, np.nan])
        np.testing.assert_array_equal(arrays["w"][1, :, 0], [0, 1, np.nan, 2])


def _summary(outcome):
    with open(outcome.workdir / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def _params(outcome):
    with np.load(outcome.workdir / "params.npz") as arrays:
        return dict(arrays)


def test_a_lane_that_diverges_is_reported_and_spoils_no_other(tmp_path):
    field = "optimizer.decoder_learning_rate"

    def go(values, figures="all"):
        config = make_config(sweep=(f"{field}={values}",))
        return _run(config, str(tmp_path / values), figures=figures)

    # After a step of 1e30 the squares of the next residuals overflow.
    status = "not finite at step 2: reconstruction"
    both, none = go("1e30,1e-3"), go("1e30", figures="svg")
    alone = go("1e-3", figures="none")
    failed, sound = _summary(both)
    assert failed.pop("status") == status
    assert [failed.pop(name) for name in ("lane", "seed", field)] == ["0", "0", "1e+30"]
    assert set(failed.values()) == {""}
    (same,) = _summary(alone)
    assert (sound.pop("lane"), same.pop("lane")) == ("1", "0")
    assert sound == same and sound["status"] == "ok"
    for name, value in _params(alone).items():
        np.testing.assert_array_equal(_params(both)[name][1], value[0])
    drawn = {path.name for path in (both.workdir / "figures").iterdir()}
    assert {"training.png", "basic_run.png", "posterior.png"} <= drawn  # of the sound lane
    assert not {name for name in drawn if name.endswith(".svg")}
    (row,) = _summary(none)
    assert row["status"] == status
    assert {path.name for path in (none.workdir / "figures").iterdir()} == {
        "training.png",
        "training.svg",
    }


def test_two_latents_leave_out_what_needs_one(tmp_path, monkeypatch):
    # A density of 401^2 nodes on 200^2 pixels takes a minute.
    line, plane = np.linspace(-1, 1, 9), np.ones((9, 9))
    density = {
        "grid_x": line,
        "grid_y": line,
        "truth": plane,
        "model": plane,
        "x": np.zeros((1, 2)),
    }
    monkeypatch.setattr(figures, "_density", lambda *args: density)
    wide = {"data.noise_sigma": 1.0, "likelihood.sigma": 1.0}  # few nodes in the plane of x
    config = make_config(**{"model.latent_dim": 2, "evaluate.every": 1.0, **wide})
    (row,) = _run(config, str(tmp_path), figures="all").rows
    assert row["status"] == "ok" and 0 < row["kl_to_truth"] < row["nll"] < np.inf
    assert not {"information", "aggregate_kl", "sbc_ks", "approximation_gap"} & set(row)
    with np.load(tmp_path / "params.npz") as arrays:
        assert arrays["encoder/logvar/kernel"].shape == (1, 3, 2)
        assert arrays["decoder/hidden_0/kernel"].shape == (1, 2, 3)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"basic_run", "density", "training"}


def test_a_lane_that_can_not_be_evaluated_says_why_and_spoils_no_other(tmp_path):
    """At a sigma of 1e-7 the curve is some 1e7 sigma long: it trains, but no integral is exact."""
    both = _run(make_config(sweep=("likelihood.sigma=1e-7,0.2",)), str(tmp_path / "both"))
    alone = _run(make_config(sweep=("likelihood.sigma=0.2",)), str(tmp_path / "alone"))
    failed, sound = _summary(both)
    assert failed.pop("status").startswith("not evaluated: the curve of the means is ")
    assert [failed.pop(name) for name in ("lane", "seed", "likelihood.sigma")] == [
        "0",
        "0",
        "1e-07",
    ]
    assert set(failed.values()) == {""}
    (same,) = _summary(alone)
    assert (sound.pop("lane"), same.pop("lane")) == ("1", "0")
    assert sound == same and sound["status"] == "ok"
    assert np.isfinite(_params(both)["decoder/mean/kernel"]).all()  # it is no less trained


def test_any_error_of_the_evaluation_is_the_status_of_its_lane(tmp_path, monkeypatch):
    judge = run.judge

    def fails(model, **kwargs):
        if model.observe(np.zeros((1, 1))).scale[0, 0, 0] == 0.1:
            raise MemoryError
        return judge(model, **kwargs)

    monkeypatch.setattr(run, "judge", fails)
    rows = _run(make_config(sweep=("likelihood.sigma=0.1,0.2",)), str(tmp_path)).rows
    assert [row["status"] for row in rows] == ["not evaluated: MemoryError", "ok"]


# Runs that are stopped, and those that go on


def _stop_after(number):
    """Returns a `stop` that says so when it has been asked so often."""
    asked = itertools.count(1)
    return lambda: next(asked) >= number


def _bytes(path):
    """Returns what a run wrote, of the files whose bytes depend on its numbers alone."""
    names = ("config.json", "summary.csv", "params.npz", "metrics/training.npz")
    names += ("metrics/probes.npz", "metrics/snapshots.npz")
    found = {}
    for name in names:
        if name.endswith(".npz"):
            with np.load(path / name) as arrays:
                found |= {f"{name}: {key}": arrays[key].tobytes() for key in arrays}
        else:
            found[name] = (path / name).read_bytes()
    return found


def test_lanes_of_several_groups_are_put_into_the_order_of_the_sweep(tmp_path):
    """Groups of the same shapes: params, data and curves are joined, each at its lane's place."""
    sweep = ("likelihood.sigma=0.1,0.2", "train.batch_size=5,10")
    config = make_config(num_seeds=2, sweep=sweep)
    found = _run(config, str(tmp_path / "all"))
    for name in ("params.npz", "data.npz", "metrics/training.npz"):
        with np.load(tmp_path / "all" / name) as arrays:
            every = dict(arrays)
        every.pop("epoch", None)
        for row in found.rows:
            own = {name: row[name] for name in ("seed", "likelihood.sigma", "train.batch_size")}
            one = _alone(tmp_path / f"{row['lane']}", **own)
            with np.load(one / name) as arrays:
                for key, values in every.items():
                    np.testing.assert_array_equal(values[row["lane"]], arrays[key][0], err_msg=key)


def _alone(path, **values):
    if not path.exists():
        _run(make_config(**values), str(path))
    return path


def test_event_files_of_all_groups_survive_and_those_of_a_resumed_run_have_each_step_once(tmp_path):
    pytest.importorskip("tensorboardX")
    config = make_config(**SHORT)
    path = tmp_path / "run"
    with pytest.raises(cells.Stopped):  # in the second group
        _run(config, str(path), stop=_stop_after(3))
    _run(config, str(path), resume=True)
    for lane in range(4):
        (file,) = (path / "metrics" / "tensorboard" / f"lane_000{lane}").iterdir()
        steps = [(step, min(values)) for step, values in events(file)[1:]]
        probe = "probe/inference_gap"
        assert sorted(steps) == [(2, "kl"), (2, probe), (4, "kl"), (4, probe)]


def test_a_run_whose_seeds_make_other_data_now_does_not_go_on(tmp_path, monkeypatch):
    """As another version of JAX may; the sentence says which versions, and what to do."""
    path = tmp_path / "run"
    with pytest.raises(cells.Stopped):
        _run(make_config(), str(path), stop=_stop_after(1))

    def other(cell, data):
        raise cells.OtherData

    monkeypatch.setattr(cells._Cell, "_check", other)
    with pytest.raises(workdir.WorkdirError, match=r"make other data here \(JAX .*begin a new run"):
        _run(make_config(), str(path), resume=True)


def test_a_loaded_lane_has_the_data_that_were_stored(tmp_path):
    """Not those of its seed, which a new version might make otherwise; damaged, it is refused."""
    path = _run(make_config(num_seeds=2), str(tmp_path)).workdir
    with np.load(path / "data.npz") as arrays:
        stored = dict(arrays)
    model = trained.load(path, 1)
    np.testing.assert_array_equal(model.x, stored["x"][1])
    np.testing.assert_array_equal(model.t, stored["t"][1])
    sums = workdir.checksums.read(path)
    files.write_npz(path / "data.npz", {name: 2 * values for name, values in stored.items()})
    with pytest.raises(workdir.WorkdirError, match="data.npz is damaged"):
        trained.load(path, 1)
    del sums["data.npz"]  # as a version before 0.2 left it
    workdir.checksums.write(path, sums)
    np.testing.assert_array_equal(trained.load(path, 1).x, stored["x"][1])


def test_what_the_end_needs_is_tried_at_the_start(tmp_path, monkeypatch):
    """A library that is installed and broken ends the run with its first chunk, not its last."""
    real = run.importlib.import_module

    def broken(name):
        if name == "xarray":
            raise ValueError("numpy.dtype size changed")
        return real(name)

    monkeypatch.setattr(run.importlib, "import_module", broken)
    with pytest.raises(ConfigError, match="xarray can't be imported: numpy.dtype size changed"):
        _run(make_config(**{"train.num_epochs": 4_000}), str(tmp_path))
    assert not (tmp_path / "params.npz").exists()


def test_settings_that_can_not_be_pinned_are_refused_before_anything_is_written(tmp_path):
    jax.config.update("jax_random_seed_offset", 3)
    try:
        with pytest.raises(ConfigError, match="jax_random_seed_offset: found 3, must be 0"):
            _run(make_config(), str(tmp_path / "run"))
    finally:
        jax.config.update("jax_random_seed_offset", 0)
    assert not (tmp_path / "run").exists()


def test_a_sweep_to_no_value_and_back(tmp_path):
    """Both are lanes of their own, in the table of a finished run as in that of a fresh one."""
    path = "data.noise_sigma_x"
    config = make_config(sweep=(f"{path}=none,0.7",))
    first = _run(config, str(tmp_path))
    assert [row[path] for row in first.rows] == [None, 0.7]
    again = _run(config, str(tmp_path), resume=True)
    assert [row.get(path) for row in again.rows] == [None, 0.7]
    scales = [trained.load(tmp_path, lane).curve.noise_sigma_x for lane in (0, 1)]
    assert scales == [None, 0.7]


SHORT = {  # two groups of two lanes, 2 chunks each
    "num_seeds": 2,
    "evaluate.every": 0.5,
    "sweep": ("model.decoder.hidden_dim=3,4",),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return _run(make_config(**SHORT), str(tmp_path_factory.mktemp("undisturbed"))).workdir


@pytest.mark.parametrize("asked", [1, 3, 6])
def test_a_run_that_was_stopped_goes_on_to_the_same_results(tmp_path, capsys, undisturbed, asked):
    """In the first group, in the second, and in the evaluation: asked 2 and 2 times, then 4."""
    path = tmp_path / "run"
    with pytest.raises(cells.Stopped) as stopped:
        _run(make_config(**SHORT), str(path), stop=_stop_after(asked))
    assert stopped.value.args == (path,)
    assert not (path / "summary.csv").exists() and not workdir.is_finished(path)
    for resumed in range(2):
        capsys.readouterr()
        out = _run(make_config(**SHORT), str(path), resume=True)
        assert _bytes(path) == _bytes(undisturbed)
        wanted = "this run is finished already\n" if resumed else "4 lanes ("
        assert capsys.readouterr().out.startswith(wanted)
    assert [row["status"] for row in out.rows] == ["ok"] * 4


def test_the_rows_of_a_finished_run_are_those_that_it_found(tmp_path):
    config = make_config(sweep=("optimizer.decoder_learning_rate=1e30,1e-3",))
    first = _run(config, str(tmp_path))
    again = _run(config, str(tmp_path), resume=True)
    assert again.rows == first.rows
    assert again.rows[1]["recovered"] is False  # not 'False', though lane 0 has none


def test_with_resume_a_run_also_begins(tmp_path, undisturbed):
    _run(make_config(**SHORT), str(tmp_path / "new"), resume=True)
    assert _bytes(tmp_path / "new") == _bytes(undisturbed)


def test_a_run_that_grows_leaves_no_figure_and_no_page_of_the_shorter_one(tmp_path):
    _run(make_config(**SHORT), str(tmp_path), figures="basic")
    (tmp_path / workdir.EXPLORER).write_text("a page")
    longer = make_config(**SHORT | {"train.num_epochs": 9})
    _run(longer, str(tmp_path), figures="none", resume=True)
    assert not {path.name for path in tmp_path.iterdir()} & {workdir.FIGURES, workdir.EXPLORER}
    assert workdir.is_finished(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"evaluate.every": 0.0},
        # Of 4 epochs those after 2 and 4 are looked at, of 6 those after 4 and 6: all is there.
        {"evaluate.every": 0.5, "train.log_every": 2},
        # Of 6 those after 3 and 6: the one after 3 is not there, so all is trained anew, ...
        {"evaluate.every": 0.5, "train.log_every": 1},
        # ... or from a checkpoint before.
        {"evaluate.every": 0.5, "train.log_every": 1, "checkpoint.every": 1, "checkpoint.keep": 9},
    ],
)
def test_a_finished_run_grows_to_the_results_of_a_longer_one(tmp_path, values):
    def go(name, num_epochs, **kwargs):
        config = make_config(**{"num_seeds": 2, "train.num_epochs": num_epochs, **values})
        return _run(config, str(tmp_path / name), **kwargs).workdir

    longer = go("longer", 6)
    go("grown", 4)
    assert _bytes(go("grown", 6, resume=True)) == _bytes(longer)
    with np.load(longer / "metrics" / "probes.npz") as probes:
        assert set(probes) != {"epoch"} or not values["evaluate.every"]
        for name, curve in probes.items():
            assert np.isfinite(curve).all(), name


def test_a_config_that_changes_results_is_refused_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_train", None)
    path = tmp_path / "run"
    with pytest.raises(TypeError):  # the run ends as it would train
        _run(make_config(), str(path))
    before = (path / "config.json").read_bytes(), (path / "environment.json").read_bytes()
    with pytest.raises(ConfigError, match="^seed: found 1, must be 0 as in the run"):
        _run(make_config(seed=1), str(path), resume=True)
    assert before == ((path / "config.json").read_bytes(), (path / "environment.json").read_bytes())


def test_a_run_of_a_user_s_kind_needs_its_file(tmp_path):
    """As it was: to be loaded, to go on, even to tell what it had found."""
    path, file = tmp_path / "run", tmp_path / "mine.py"
    file.write_text(made.MINE)
    with made.forgetting():
        sources.load_file(file)
        config = make_config()
        complete(config)
        config.likelihood.kind = "mine"
        _run(config, str(path))
        assert trained.load(path).x.shape == (10, 2)
        before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != ".lock"}
        file.write_text(made.MINE.replace("1.5", "2.5"))
        for told in ("has changed since the run began", "is not there any more"):
            with pytest.raises(ConfigError, match=f"^{file}: {told}"):
                trained.load(path)
            with pytest.raises(ConfigError, match=f"^{file}: {told}"):
                _run(config, str(path), resume=True)
            file.unlink(missing_ok=True)
        file.write_text(made.MINE)
        assert _run(config, str(path), resume=True).rows[0]["status"] == "ok"
        assert before == {p: p.read_bytes() for p in before}


def test_a_damaged_config_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_train", None)
    with pytest.raises(TypeError):
        _run(make_config(), str(tmp_path))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("0.2", "0.3"))
    with pytest.raises(workdir.WorkdirError, match="config.json is damaged: its SHA-256"):
        _run(make_config(), str(tmp_path), resume=True)


@pytest.mark.parametrize(("name", "told"), [("params.npz", "params.npz"), ("arrays.npz", "cell_")])
def test_a_disk_that_is_full_is_an_error_of_the_workdir(tmp_path, monkeypatch, name, told):
    """Be it full when a result is written or a checkpoint; with space the run goes on."""
    write = files.write_npz

    def full(path, arrays):
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        write(path, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_npz", full)
        with pytest.raises(workdir.WorkdirError, match=f"{told}.* can't be written: No space left"):
            _run(make_config(), str(tmp_path))
    assert _run(make_config(), str(tmp_path), resume=True).rows[0]["status"] == "ok"

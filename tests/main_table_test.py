"""Own data through the command line: from a file to a verdict, on from there, and back."""

import csv
import json

import numpy as np
import pytest
from sklearn import datasets

from spiral_vae.exact.model import judge
from spiral_vae.runs.load import load
from tests.conftest import ROOT

TINY = (
    "--config.data.kind=table",
    "--config.train.num_epochs=20",
    "--config.train.compiled=quickly",
    "--config.train.log_every=10",
    "--config.train.batch_size=20",
    "--config.evaluate.every=0.5",
    "--config.evaluate.gap_points=5",
)


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "moons.csv"
    x, label = datasets.make_moons(60, noise=0.1, random_state=0)
    rows = np.column_stack([x, label + np.arange(60) / 100])
    np.savetxt(path, rows, delimiter=",", header="a,b,place", comments="")
    return path


@pytest.fixture(scope="module")
def run(main, moons, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    args = (*TINY, f"--config.data.path={moons}", "--config.data.t_column=place")
    found = main(*args, "--config.num_seeds=2", workdir=workdir, figures="all")()
    assert (found.code, found.stderr) == (0, "")
    return found


def _rows(run):
    with open(run.workdir / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_is_trained_on_judged_and_drawn(run):
    rows = _rows(run)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert {row["verdict"] for row in rows} <= {"fitted", "collapsed", "overfitted"}
    assert not {"kl_to_truth", "found", "nll"} & rows[0].keys()
    assert {"nll_held_out", "overfit_gap_error", "spearman"} <= rows[0].keys()
    assert rows[0]["nll_held_out"] != rows[1]["nll_held_out"]  # other rows are held out
    drawn = {path.stem for path in (run.workdir / "figures").glob("*.png")}
    names = "basic_run calibration density gaps posterior progress training"
    assert drawn == {*names.split()}
    heading = run.stdout.splitlines()[1]
    assert heading.split("  ")[1].strip() == "nll held out"
    assert all(len(line) <= 80 for line in run.stdout.splitlines()[1:-2])


def test_the_config_says_which_table_it_was(run, moons):
    data = json.loads((run.workdir / "config.json").read_text())["data"]
    assert (data["path"], data["columns"], data["num_points"]) == (str(moons), "a,b", 48)
    assert len(data["sha256"]) == 64


def test_what_was_trained_is_loaded_without_the_file(run, moons):
    moons.rename(hidden := moons.with_suffix(".hidden"))
    try:
        model = load(run.workdir, 1)
    finally:
        hidden.rename(moons)
    assert (model.x.shape, model.held_out.shape, model.t.shape) == ((48, 2), (12, 2), (48,))
    metrics = judge(model).metrics
    assert metrics["nll_held_out"] == pytest.approx(float(_rows(run)[1]["nll_held_out"]), rel=1e-9)


def test_a_run_does_not_go_on_with_another_table(main, moons, tmp_path):
    other = tmp_path / "points.csv"
    other.write_text(moons.read_text())
    args = (*TINY, f"--config.data.path={other}", "--config.data.columns=a,b")
    assert main(*args, workdir=tmp_path / "run")().code == 0
    longer = [arg for arg in args if "num_epochs" not in arg] + ["--config.train.num_epochs=30"]
    assert main("--resume", *longer, workdir=tmp_path / "run")().code == 0
    other.write_text(moons.read_text().replace("0.", "1.", 1))
    again = main("--resume", workdir=tmp_path / "run")()
    assert again.code == 2
    assert again.stderr == f"error: data.path: {other} has changed since the run began\n"


def test_penguins_have_a_verdict(main, tmp_path):
    """The table that is shipped: two columns of it, more of them, and its words."""
    path = f"--config.data.path={ROOT}/examples/penguins.csv"
    names = "bill_length_mm,bill_depth_mm,body_mass_g"
    found = main(*TINY, path, f"--config.data.columns={names}", workdir=tmp_path / "three")()
    assert (found.code, found.stderr) == (0, "")
    refused = main(*TINY, path, workdir=tmp_path / "words")()
    assert refused.code == 2
    assert "column 'species'" in refused.stderr and "bill_length_mm,bill_depth_mm" in refused.stderr
    assert not (tmp_path / "words").exists()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "data.path must name the file of a 'table', found data.kind=table, data.path="),
        (
            ("--config.data.path=none.csv",),
            "data.path: none.csv can't be read: No such file or directory",
        ),
    ],
)
def test_a_table_that_is_not_there_is_refused(main, tmp_path, args, told):
    found = main(*TINY, *args, workdir=tmp_path / "run")()
    assert (found.code, found.stderr) == (2, f"error: {told}\n")


def test_one_column_is_enough(main, moons, tmp_path):
    own = (f"--config.data.path={moons}", "--config.data.columns=a")
    found = main(*TINY, *own, workdir=tmp_path / "run")()
    assert (found.code, found.stderr) == (0, "")


def test_no_lane_of_a_sweep_has_more_points_than_the_table(main, moons, tmp_path):
    own = (f"--config.data.path={moons}", "--config.data.columns=a,b")
    found = main(*TINY, *own, "--sweep=data.num_points=50,500", workdir=tmp_path / "run")()
    told = "data.num_points must be <= data.places, all that the table has"
    assert found.code == 2
    assert found.stderr == (
        f"error: lane data.num_points=500: {told}, found data.kind=table, data.num_points=500, "
        "data.places=60\n"
    )
    assert not (tmp_path / "run").exists()

"""The files of examples/: kinds of a user's own, through the command line like any other."""

import csv
import json
import shutil

import numpy as np
import pytest

from spiral_vae.exact.model import judge
from spiral_vae.runs import load
from spiral_vae.workdir import life
from tests.conftest import ROOT

TINY = (
    "--config.train.num_epochs=40",
    "--config.train.compiled=quickly",
    "--config.train.log_every=20",
    "--config.data.num_points=50",
    "--config.train.batch_size=25",
    "--config.evaluate.every=0.5",
)
SWEEPS = {
    "laplace": "likelihood.sigma=0.2,0.4",
    "logistic": "posterior.kind=gaussian,logistic",
    "annealed": "objective.start=1.0,5.0",
    "rose": "data.petals=3.0,5.0",
}


@pytest.fixture(scope="module", params=SWEEPS)
def example(request, main, tmp_path_factory):
    """A finished sweep of an example over a field of its own."""
    workdir = tmp_path_factory.mktemp(request.param) / "run"
    args = (f"--config=examples/{request.param}.py", *TINY, f"--sweep={SWEEPS[request.param]}")
    run = main(*args, workdir=workdir)()
    assert (run.code, run.stderr) == (0, "")
    return request.param, workdir


def test_an_example_is_short_and_says_how_it_is_run(example):
    name, _ = example
    text = (ROOT / "examples" / f"{name}.py").read_text()
    assert text.count("\n") <= 40
    assert f"--config=examples/{name}.py" in text


def test_an_example_is_swept_and_evaluated(example):
    name, workdir = example
    path = SWEEPS[name].partition("=")[0]
    with open(workdir / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert len({row[path] for row in rows}) == len({row["nll"] for row in rows}) == 2
    for lane, row in enumerate(rows):
        # Laplace noise has a kink, where quadrature is good to fewer digits than elsewhere.
        assert float(row["nll_error"]) < (5e-3 if name == "laplace" else 1e-6)
        assert float(row["inference_gap"]) > 0
        metrics = judge(load.load(workdir, lane)).metrics
        np.testing.assert_allclose(metrics["nll"], float(row["nll"]), rtol=1e-9)


def test_the_workdir_of_an_example_names_its_file(example):
    name, workdir = example
    (path,) = json.loads((workdir / "config.json").read_text())["files"]
    assert path == str(ROOT / "examples" / f"{name}.py")


def test_an_example_goes_on_from_its_checkpoints(example, main, tmp_path):
    _, workdir = example
    copied = shutil.copytree(workdir, tmp_path / "copied")
    (copied / "params.npz").unlink()
    again = main("--resume", workdir=copied)()
    assert (again.code, again.stderr) == (0, "")
    for name in ("params.npz", "summary.csv"):
        assert (copied / name).read_bytes() == (workdir / name).read_bytes()
    assert life.is_finished(copied)

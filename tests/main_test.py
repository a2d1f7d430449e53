"""Whole runs through the command line, on tiny sizes."""

import csv
import hashlib

import numpy as np
import pytest

from configs import base
from spiral_vae import config as config_lib
from spiral_vae import ground_truth, trained

TINY = ("--config.train.num_epochs=40", "--config.train.log_every=10")


def read_rows(workdir):
    with open(workdir / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def hashes(workdir):
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_params(a, b):
    with np.load(a / "params.npz") as one, np.load(b / "params.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def run(whole_run):
    """The sweep of 2 sigmas x 2 seeds: its workdir and what it printed."""
    assert (whole_run.code, whole_run.stderr) == (0, "")
    return whole_run.workdir, whole_run.stdout


def test_prints_the_plan_the_table_and_where_the_results_are(run):
    workdir, stdout = run
    lines = stdout.splitlines()
    assert lines[0].startswith("4 lanes (likelihood.sigma: 2, seeds: 2) in 1 group, 2 devices")
    assert max(map(len, lines[:-2])) <= 80
    assert lines[-2:] == [f"results: {workdir}", f"figures: {workdir / 'figures'}"]


def test_workdir_holds_what_it_should_and_nothing_else(run):
    workdir, _ = run
    figures = "basic_run training progress density posterior gaps calibration".split()
    expected = {"config.json", "environment.json", "summary.csv", "results.nc", "params.npz"}
    expected |= {"metrics/training.npz", "metrics/probes.npz"}
    expected |= {f"figures/{name}.{kind}" for name in figures for kind in ("png", "svg")}
    found = {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("metrics/tensorboard/")}
    assert found - events == expected
    assert sorted(name.split("/")[2] for name in events) == [f"lane_000{i}" for i in range(4)]


def test_event_files_carry_the_curves(run):
    workdir, _ = run
    (events,) = (workdir / "metrics/tensorboard/lane_0003").iterdir()
    content = events.read_bytes()
    assert all(name in content for name in (b"loss", b"reconstruction", b"kl"))


def test_summary_has_the_contract_columns_in_the_order_of_the_product(run):
    rows = read_rows(run[0])
    assert list(rows[0])[:4] == ["lane", "seed", "likelihood.sigma", "status"]
    contract = "sigma elbo nll kl_to_truth inference_gap kl_to_prior spearman recovered collapsed"
    assert set(contract.split()) <= set(rows[0])
    found = [(row["lane"], row["likelihood.sigma"], row["seed"], row["status"]) for row in rows]
    points = [(sigma, seed) for sigma in ("0.1", "0.2") for seed in "01"]
    assert found == [(str(lane), *point, "ok") for lane, point in enumerate(points)]


def test_params_and_curves_have_a_row_for_each_lane(run):
    workdir, _ = run
    with np.load(workdir / "params.npz") as params:
        shapes = {name: params[name].shape for name in params.files}
    assert shapes["encoder/hidden_0/kernel"] == (4, 2, 5)
    assert shapes["encoder/logvar/bias"] == (4, 1)
    assert shapes["decoder/mean/kernel"] == (4, 32, 2)
    with np.load(workdir / "metrics/training.npz") as curves:
        np.testing.assert_array_equal(curves["epoch"], [10, 20, 30, 40])
        assert curves["loss"].shape == (4, 4)
        total = curves["reconstruction"] + curves["kl"]  # beta is 1
        np.testing.assert_allclose(curves["loss"], total, rtol=1e-5)  # float32


def test_stored_lane_is_the_one_that_was_judged(run):
    """Data, parameters and sigma of lane 2 come back from disk: its exact nll is the same."""
    workdir, _ = run
    model = trained.load(workdir, 2)
    rules = ground_truth.model_rules(model.observe, 1, reach=10.0)
    nll = ground_truth.cross_entropy(ground_truth.process(model.spec), rules).value
    row = read_rows(workdir)[2]
    np.testing.assert_array_equal(model.observe(np.zeros((1, 1))).scale, [0.2 * np.eye(2)])
    np.testing.assert_allclose(nll, float(row["nll"]), rtol=1e-9)  # another reach, other nodes
    report = trained.judge(model)
    np.testing.assert_allclose(report.metrics["elbo"], float(row["elbo"]), rtol=1e-12)


def test_stored_config_repeats_the_run_with_its_bits(run, main, tmp_path):
    workdir, _ = run
    stored = config_lib.from_json((workdir / "config.json").read_text(), base.get_config())
    assert stored.sweep == ("likelihood.sigma=0.1,0.2",)
    script = tmp_path / "stored.py"
    script.write_text(
        "from pathlib import Path\n"
        "from configs import base\n"
        "from spiral_vae import config\n"
        "def get_config():\n"
        f"    text = Path({str(workdir / 'config.json')!r}).read_text()\n"
        "    return config.from_json(text, base.get_config())\n"
    )
    again = tmp_path / "again"
    repeated = main(f"--config={script}", workdir=again)()
    assert (repeated.code, repeated.stderr) == (0, "")
    assert_same_params(workdir, again)
    assert (again / "summary.csv").read_bytes() == (workdir / "summary.csv").read_bytes()


def test_workdir_in_use_is_refused_and_left_alone(run, main):
    workdir, _ = run
    before = hashes(workdir)
    refused = main(*TINY, workdir=workdir)()
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: --workdir: ") and refused.stderr.count("\n") == 1
    assert hashes(workdir) == before


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--config.likelihood.sgima=0.1"], "likelihood.sigma"),
        (["--config.train.num_epochs=1.5"], "train.num_epochs"),
        (["--config.likelihood.sigma=-1", "--config.data.u_start=1.0"], "data.u_start"),
        (["--sweep=train.batch_size=100,300"], "train.batch_size"),
        (["--coordinator=127.0.0.1:1"], "--num_processes"),
        (["--process_id=1"], "--coordinator"),
        (["--config=configs/nope.py"], "nope.py"),
    ],
)
def test_mistakes_get_a_sentence_and_write_nothing(args, named, main, tmp_path):
    refused = main(*args, workdir=tmp_path / "workdir")()
    assert (refused.code, refused.stdout) == (2, "")
    assert all(line.startswith("error: ") for line in refused.stderr.splitlines())
    assert named in refused.stderr
    assert not refused.workdir.exists()


def test_workdir_below_a_file_is_refused(main, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused = main(*TINY, workdir=tmp_path / "file" / "workdir")()
    assert refused.code == 2 and refused.stderr.startswith("error: --workdir: ")
    assert (tmp_path / "file").read_text() == "mine"

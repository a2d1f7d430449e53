"""Sequences through the command line: trained, judged, stopped and gone on with, and refused."""

import csv
import signal

import numpy as np
import pytest

ARGS = (
    "--config=dynamics",
    "--config.data.num_points=240",
    "--config.data.length=20",
    "--config.data.missing=0.1",
    "--config.train.batch_size=80",
    "--config.train.num_epochs=40",
    "--config.train.compiled=quickly",
    "--config.train.log_every=5",
    "--config.evaluate.every=0.5",
    "--config.model.encoder.hidden_dim=8",
    "--config.model.decoder.hidden_dim=8",
    "--config.objective.num_samples=64",
    "--config.num_seeds=2",
)
FILES = ("params.npz", "data.npz", "summary.csv", "metrics/training.npz", "metrics/probes.npz")


def _rows(path):
    with open(path / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(main, tmp_path_factory):
    found = main(*ARGS, workdir=tmp_path_factory.mktemp("sequences") / "run", figures="all")()
    assert (found.code, found.stderr) == (0, "")
    return found


def test_sequences_are_judged_as_such(run):
    header = run.stdout.splitlines()[1].split()
    assert header == "seed kl rate path sigma tau gap rate verdict".split()
    for row in _rows(run.workdir):
        assert row["status"] == "ok"
        rate, nll, entropy = (
            float(row[name]) for name in ("kl_rate_to_truth", "nll_rate", "entropy_rate")
        )
        assert rate > 0 and float(row["gap_rate"]) > 0
        np.testing.assert_allclose(rate, nll - entropy, rtol=1e-9)
        assert float(row["kl_rate_doubling"]) < 1e-6
        parts = [float(row[f"{name}_gap_rate"]) for name in ("family", "structure", "amortisation")]
        np.testing.assert_allclose(sum(parts), float(row["gap_rate"]), rtol=1e-9)
        assert parts[0] > -1e-6 and parts[1] == 0 and parts[2] >= 0
        assert float(row["mean_field_gap_rate"]) >= parts[0]
        assert float(row["refined_gap_rate"]) >= parts[0]
        tau = -1 / np.log([float(row["correlation"]), 0.995])
        np.testing.assert_allclose(float(row["tau_ratio"]), tau[0] / tau[1], rtol=1e-9)
    assert (run.workdir / "figures" / "sequences.png").exists()
    with np.load(run.workdir / "data.npz") as data:
        assert data["observed"].shape == (2, 240)
        assert 0 < np.mean(data["observed"] == 0) < 0.3


def test_a_killed_run_goes_on_to_the_same_bytes(run, main, tmp_path):
    args = (*ARGS, "--config.checkpoint.every=1")
    started = main("--resume", *args, workdir=tmp_path / "killed")
    started.wait_for("checkpoints/group_0/cell_00000/epoch_*")
    started.process.kill()
    assert started().code == -signal.SIGKILL
    resumed = main("--resume", workdir=tmp_path / "killed")()
    assert (resumed.code, resumed.stderr) == (0, "")
    for name in FILES:
        assert (run.workdir / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arg", "wanted"),
    [
        ("data.a=1.0", "data.a: found 1.0, must be a number in [0, 1)"),
        ("data.length=1", "data.length: found 1, must be an integer in [2, 100000]"),
        ("data.length=7", "data.num_points must be a multiple of data.length: whole sequences"),
        ("train.batch_size=50", "train.batch_size must be a multiple of data.length"),
        ("start.lag=20", "start.lag must be < data.length"),
        ("objective.kind=iwae", "objective.kind must be one of elbo, evidence under dynamics"),
        (
            "posterior.kind=spline",
            "posterior.kind must be one of gaussian, potential under dynamics",
        ),
        (
            "posterior.refinement=101",
            "posterior.refinement: found 101, must be an integer in [0, 100]",
        ),
        ("objective.spacing=mass", "objective.spacing must be 'even' under dynamics"),
        ("encoder.after=0.2", "encoder.sleep and encoder.after draw single points"),
        ("data.design=grid", "start.kind 'slow_feature' needs data.design 'sequence'"),
    ],
)
def test_bad_values_are_a_sentence(main, tmp_path, arg, wanted):
    found = main(*ARGS, f"--config.{arg}", workdir=tmp_path / "run")()
    assert (found.code, found.stdout) == (2, "")
    assert wanted in found.stderr and "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()

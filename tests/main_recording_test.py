"""Sequences of one's own through the command line: from a file to rates, and on from there."""

import csv

import numpy as np
import pytest

ARGS = (
    "--config=own_sequences",
    "--config.data.sequence_column=walk",
    "--config.data.time_column=time",
    "--config.train.num_epochs=4",
    "--config.train.compiled=quickly",
    "--config.train.log_every=2",
    "--config.train.batch_size=40",
    "--config.evaluate.every=0.5",
    "--config.objective.num_samples=48",
    "--config.model.encoder.hidden_dim=5",
    "--config.model.decoder.hidden_dim=5",
)


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Twelve walks of 20 steps, some of whose points lack."""
    path = tmp_path_factory.mktemp("own") / "walks.csv"
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["walk", "time", "x", "y"])
        for walk in range(12):
            angle = np.cumsum(rng.normal(size=20) * 0.2)
            for step in range(20):
                if step in (0, 19) or rng.random() < 0.8:
                    point = [np.cos(angle[step]), np.sin(angle[step])] + 0.1 * rng.normal(size=2)
                    writer.writerow([f"w{walk}", f"{0.5 * step + walk}", *point])
    return path


@pytest.fixture(scope="module")
def run(main, walks, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("recording") / "run"
    found = main(*ARGS, f"--config.data.path={walks}", workdir=workdir, figures="all")()
    assert (found.code, found.stderr) == (0, "")
    return found


def test_own_sequences_are_trained_on_and_judged(run):
    header = run.stdout.splitlines()[1].split()
    assert header == "seed nll rate error sigma correlation gap rate verdict".split()
    with open(run.workdir / "summary.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "ok" and row["verdict"] == "fitted"
    assert float(row["nll_rate"]) > 0 and float(row["gap_rate"]) > 0
    assert float(row["kl_rate_doubling"]) < 1e-6
    assert "kl_rate_to_truth" not in row and "forecast_excess_1" not in row
    with np.load(run.workdir / "data.npz") as data:
        assert data["x"].shape == (1, 200, 2)  # ten of twelve walks
        assert data["held_out"].shape == (1, 40, 2)
        for x, seen in (("x", "observed"), ("held_out", "held_out_observed")):
            observed = data[seen][0].reshape(-1, 20)
            assert (observed[:, [0, 19]] == 1).all() and 0.7 < observed.mean() < 0.95
            assert not data[x][0][data[seen][0] == 0].any()


def test_killed_it_goes_on_to_the_same_bytes(run, main, walks, tmp_path):
    args = (*ARGS, f"--config.data.path={walks}")
    started = main(*args, "--config.checkpoint.every=1", workdir=tmp_path)
    started.wait_for("checkpoints/*/*")
    started.process.kill()
    started()
    again = main("--resume", workdir=tmp_path)()
    assert (again.code, again.stderr) == (0, "")
    name = "params.npz"
    assert (tmp_path / name).read_bytes() == (run.workdir / name).read_bytes()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("data.sequence_column=",), "data.time_column: times are of sequences, see data.sequence"),
        (("data.sequence_column=run",), "data.sequence_column: "),
        (("data.num_points=50",), "data.num_points must be a multiple of data.steps, the places"),
        (
            ("data.num_points=400",),
            "data.num_points must be <= data.places, all that the table has",
        ),
        (("train.batch_size=50",), "train.batch_size must be a multiple of data.steps"),
        (("start.lag=20",), "start.lag must be < data.steps, the length of the longest sequence"),
        (
            ("data.sequence_column=", "data.time_column=", "data.columns=x,y"),
            "needs sequences, see data.sequence_column",
        ),
    ],
)
def test_bad_values_are_told(args, told, main, walks, tmp_path):
    fields = [f"--config.{arg}" for arg in args]
    found = main(*ARGS, f"--config.data.path={walks}", *fields, workdir=tmp_path / "run")()
    assert found.code == 2 and told in found.stderr, found.stderr
    assert not (tmp_path / "run").exists()

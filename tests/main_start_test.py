"""A start by order through the command line: found once, stored, judged, and gone on from."""

import csv
import hashlib

import numpy as np
import pytest

ARGS = (
    "--config=three_turns",
    "--config.data.num_points=60",
    "--config.train.batch_size=60",
    "--config.train.num_epochs=20",
    "--config.train.compiled=quickly",
    "--config.train.log_every=5",
    "--config.evaluate.every=0.5",
    "--config.evaluate.gap_points=0",
    "--config.model.encoder.hidden_dim=8",
    "--config.model.decoder.hidden_dim=8",
    "--config.objective.num_samples=32",
    "--config.start.num_cuts=3",
    "--config.start.max_attempts=2",
    "--config.num_seeds=2",
)


def _digest(path):
    return hashlib.sha256((path / "params.npz").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run(main, tmp_path_factory):
    found = main(*ARGS, workdir=tmp_path_factory.mktemp("start") / "run")()
    assert (found.code, found.stderr) == (0, "")
    return found


def test_the_order_is_stored_with_the_run_and_told(run):
    with np.load(run.workdir / "data.npz") as data:
        assert data["start_z"].shape == (2, 60)
        assert data["start_log_evidence"].shape == data["start_agreed"].shape == (2,)
    with open(run.workdir / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["start_agreed"] for row in rows} <= {"0.0", "1.0"}
    assert all(-5 < float(row["start_log_evidence"]) < 0 for row in rows)
    assert rows[0]["start_log_evidence"] != rows[1]["start_log_evidence"]


def test_the_same_seeds_make_the_same_bits(run, main, tmp_path):
    args = [arg for arg in ARGS if "cuts" not in arg]
    again = main(*ARGS, workdir=tmp_path / "again")()
    assert _digest(again.workdir) == _digest(run.workdir)
    other = main(*args, "--config.start.num_cuts=1", workdir=tmp_path / "other")()
    assert _digest(other.workdir) != _digest(run.workdir)


def test_two_latents_have_no_order(main, tmp_path):
    found = main(*ARGS, "--config.model.latent_dim=2", workdir=tmp_path / "run")()
    assert found.code == 2
    assert "an order is of one latent: model.latent_dim must be 1" in found.stderr

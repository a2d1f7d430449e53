"""Steps that stopped a lane are found again, with JAX's own error and the line of the code."""

import shutil
import traceback

import pytest

from spiral_vae.runs import replay, run
from spiral_vae.workdir import life as workdir
from tests.lanes import make_config


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Lanes 1 and 3 of 0 .. 3 stop, in two groups; the config, and what came out."""
    config = make_config(
        sweep=(
            "model.decoder.hidden_dim=3,4",
            "optimizer.decoder_learning_rate=1e-3,1e30",
        )
    )
    path = tmp_path_factory.mktemp("broken")
    return config, run.train_and_evaluate(config, str(path), figures="none")


def test_the_failures_are_those_of_the_summary_with_the_line_that_made_them(broken):
    config, outcome = broken
    found = list(replay.failures(outcome.workdir))
    assert [failure.lane for failure in found] == [1, 3]
    for failure in found:
        status = outcome.rows[failure.lane]["status"]
        assert status == f"not finite at step {failure.step}: {failure.term}"
        assert isinstance(failure.error, FloatingPointError)
        frames = traceback.extract_tb(failure.error.__traceback__)
        # (x - m)^2 / sigma^2 is what overflows first
        assert any(frame.filename.endswith("observation.py") for frame in frames)


def test_a_sound_run_has_no_failures(tmp_path):
    run.train_and_evaluate(make_config(), str(tmp_path), figures="none")
    assert list(replay.failures(tmp_path)) == []


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(workdir.WorkdirError, match="holds no run"):
        list(replay.failures(tmp_path))
    workdir.begin(tmp_path, "{}")
    with pytest.raises(workdir.WorkdirError, match="has no summary.csv yet; its run has to be"):
        list(replay.failures(tmp_path))


def test_a_lane_without_its_last_checkpoint_is_not_passed_over(broken, tmp_path):
    config, outcome = broken
    path = shutil.copytree(outcome.workdir, tmp_path / "copy")
    shutil.rmtree(path / "checkpoints" / "group_1")
    with pytest.raises(workdir.WorkdirError, match="no good checkpoint of lane 3"):
        list(replay.failures(path))

"""What a run ran on, and what has changed since it began."""

import datetime
import importlib.metadata
import json
import subprocess

import numpy as np
import pytest

from spiral_vae.workdir import environment


def test_the_environment_holds_what_a_repetition_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", "--config.seed=3"])
    environment.write(tmp_path / "environment.json")
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["command"] == ["main.py", "--config.seed=3"]
    assert found["versions"]["numpy"] == np.__version__
    time = datetime.datetime.fromisoformat(found["time"])
    assert abs((datetime.datetime.now(datetime.UTC) - time).total_seconds()) < 60


def test_the_environment_of_a_run_that_goes_on_is_added_and_compared(tmp_path, monkeypatch):
    path = tmp_path / "environment.json"
    commit = ["abc"]
    monkeypatch.setattr(environment, "_git_commit", lambda: commit[0])
    assert environment.write(path) == []
    first = json.loads(path.read_text())
    assert "resumed" not in first
    assert environment.write(path) == []  # nothing changed
    commit[0] = "abc-dirty"
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "0.0.1" if name == "optax" else version(name),
    )
    assert environment.write(path) == ["optax", "the code"]
    found = json.loads(path.read_text())
    resumed = found.pop("resumed")
    assert found == first
    assert [one["git_commit"] for one in resumed] == ["abc", "abc-dirty"]
    assert resumed[1]["versions"]["optax"] == "0.0.1"


def test_an_environment_that_is_damaged_is_written_again(tmp_path):
    (tmp_path / "environment.json").write_text("{")
    assert environment.write(tmp_path / "environment.json") == []
    assert "versions" in json.loads((tmp_path / "environment.json").read_text())


@pytest.mark.parametrize(("described", "wanted"), [("abc-dirty\n", "abc-dirty"), (None, None)])
def test_the_commit_is_what_git_says_if_there_is_git(monkeypatch, described, wanted):
    def git(command, **kwargs):
        if described is None:
            raise FileNotFoundError("git")
        return subprocess.CompletedProcess(command, 0, stdout=described)

    monkeypatch.setattr(subprocess, "run", git)
    assert environment._git_commit() == wanted


def test_settings_and_devices_that_changed_are_named(tmp_path, monkeypatch):
    path = tmp_path / "environment.json"
    environment.write(path)
    found = json.loads(path.read_text())
    assert found["settings"]["jax_enable_x64"] is False
    assert found["settings"]["jax_default_prng_impl"] == "threefry2x32"
    found["devices"] = [text.replace("cpu", "gpu") for text in found["devices"]]
    path.write_text(json.dumps(found))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert environment.write(path)[:2] == ["XLA_FLAGS", "the devices"]


def test_another_number_of_devices_of_the_same_kind_changes_nothing(tmp_path):
    path = tmp_path / "environment.json"
    environment.write(path)
    found = json.loads(path.read_text())
    found["devices"] = 2 * found["devices"]
    path.write_text(json.dumps(found))
    assert environment.write(path) == []

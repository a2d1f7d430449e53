"""A platform that lacks what Linux has."""

import os

from spiral_vae import machine
from spiral_vae.workdir import life


def test_without_locks_and_affinity_a_workdir_opens_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "fcntl", None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for resume in (False, True):
        with life.opened(str(tmp_path / "run"), resume=resume) as path:
            life.begin(path, "{}")
            assert life.has_begun(path)
    assert machine.num_cores() >= 1


def test_the_number_of_cores_is_known_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.num_cores() == 1


def test_the_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert machine.num_cores() == 3


def test_a_lock_is_held_by_one_file_and_given_back(tmp_path):
    with open(tmp_path / "lock", "w") as one, open(tmp_path / "lock", "a") as other:
        assert machine.lock(one)
        assert machine.lock(other) == (machine.fcntl is None)
        one.close()
        assert machine.lock(other)

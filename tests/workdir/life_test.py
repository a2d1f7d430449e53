"""The life of a workdir: which folders are taken, one writer, and what makes a run finished."""

import concurrent.futures
import datetime
import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spiral_vae import machine
from spiral_vae.workdir import checksums, files
from spiral_vae.workdir import life as workdir
from spiral_vae.workdir.life import WorkdirError

ROOT = Path(__file__).parents[2]
CONFIG = '{"seed": 0}\n'


def _open(path, resume=False):
    """Opens a workdir and lets it go."""
    with workdir.opened(str(path), resume=resume) as opened:
        return opened


def _files(path):
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def begun(tmp_path):
    path = tmp_path / "begun"
    workdir.begin(_open(path), CONFIG)
    return path


@pytest.fixture
def finished(begun):
    """A finished run, with a checkpoint."""
    for name in ("summary.csv", "params.npz", "metrics/training.npz", "checkpoints/cell/tree"):
        files.write_text(begun / name, f"content of {name}")
    workdir.finish(begun)
    return begun


# Which folders are taken


class _Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 2, 3, 4, 5, 6, tzinfo=tz)


def test_the_default_workdir_is_dated_and_numbered_on_collision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datetime, "datetime", _Clock)
    names = []
    for _ in range(3):
        with workdir.opened(None, resume=False) as path:
            names.append(str(path))
    stamp = "runs/2024-02-03_04-05-06"
    assert names == [stamp, f"{stamp}_2", f"{stamp}_3"]


def test_many_that_begin_at_once_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datetime, "datetime", _Clock)
    start = threading.Barrier(16)

    def begin(number):
        start.wait()
        with workdir.opened(None, resume=False) as path:
            return path

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(begin, range(16)))
    assert len(set(found)) == 16


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_with_a_way_out(tmp_path, monkeypatch, number):
    def no_locks(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(machine.fcntl, "flock", no_locks)
    with pytest.raises(WorkdirError, match="can't be locked .*; give a folder on another file"):
        _open(tmp_path / "run", False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["new", "new/deeper", "empty"])
def test_a_new_or_empty_folder_is_taken(tmp_path, name, resume):
    (tmp_path / "empty").mkdir()
    assert _open(tmp_path / name, resume) == tmp_path / name
    assert (tmp_path / name).is_dir()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("full", "workdir: {} holds files already (a); give a new or an empty folder"),
        ("old", "workdir: {} holds files already (config.json); give a new or an empty folder"),
        ("file", "workdir: {} is not a folder; give a new or an empty folder"),
        ("file/inside", "{} can't be written: Not a directory"),
        ("x" * 300, "{} can't be written: File name too long"),
    ],
)
def test_other_workdirs_are_refused_and_left_alone(tmp_path, name, words, resume):
    files.write_text(tmp_path / "full" / "a", "kept")
    files.write_text(tmp_path / "old" / "config.json", CONFIG)  # of a version without sums
    (tmp_path / "file").write_text("kept")
    before = _files(tmp_path)
    with pytest.raises(WorkdirError) as caught:
        _open(tmp_path / name, resume)
    assert str(caught.value) == words.format(tmp_path / name)
    assert _files(tmp_path) == before


def test_a_run_that_has_begun_is_taken_to_resume_it_alone(begun):
    with pytest.raises(WorkdirError, match="holds a run already; .*resume=True"):
        _open(begun)
    assert _open(begun, resume=True) == begun


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_killed_as_it_began_is_no_run_and_begins_again(
    tmp_path, monkeypatch, place, replaced, resume
):
    """Killed as one of its files gets its name, before or after."""
    replace, places = os.replace, itertools.count()

    def killed(partial, path):
        if next(places) == place:
            if replaced:
                replace(partial, path)
            Path(partial).write_text("half")  # as a file would be there that nothing removed
            monkeypatch.setattr(Path, "unlink", lambda *args, **kwargs: None)
            raise KeyboardInterrupt
        replace(partial, path)

    monkeypatch.setattr(os, "replace", killed)
    path = _open(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        workdir.begin(path, CONFIG)
    monkeypatch.undo()
    whole = replaced and place == 2
    assert workdir.has_begun(path) == whole
    if whole and not resume:
        return
    workdir.begin(_open(path, resume), CONFIG)
    assert _files(path) == {".lock", "config.json", "SHA256SUMS"}
    workdir.verify(path, "config.json")


def test_a_run_that_was_killed_as_it_got_another_config_has_one_of_the_two(finished, monkeypatch):
    longer = CONFIG.replace("0", "1")
    replace, places = os.replace, itertools.count()

    def killed(partial, path):
        if next(places) == 2:
            raise KeyboardInterrupt
        replace(partial, path)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        workdir.begin(finished, longer)  # when the sum is there
    monkeypatch.undo()
    path = _open(finished, resume=True)
    workdir.verify(path, "config.json")
    assert (path / "config.json").read_text() == longer


def test_what_a_killed_run_left_half_written_is_removed(begun):
    (begun / ".params.npz.partial").write_text("half")
    (begun / "metrics").mkdir()
    (begun / "metrics" / ".training.npz.partial").write_text("half")
    half = begun / "checkpoints" / "group_0" / "cell_00000" / ".epoch_0000000010.partial"
    files.write_text(half / "tree" / "file", "half")
    (half / ".SHA256SUMS.partial").write_text("half")
    files.write_text(begun / "mine.partial", "whole")
    _open(begun, resume=True)
    assert _files(begun) == {".lock", "config.json", "SHA256SUMS", "mine.partial"}


# One writer


def test_a_workdir_is_held_by_one_writer_at_a_time(tmp_path):
    with workdir.opened(str(tmp_path), resume=False):
        for resume in (False, True):
            with pytest.raises(WorkdirError) as caught:
                _open(tmp_path, resume)
            holder = f"process {os.getpid()} on {os.uname().nodename}"
            assert str(caught.value) == f"workdir: {tmp_path} is in use by {holder}"
    _open(tmp_path)


def test_a_holder_that_is_killed_gives_the_workdir_back(begun):
    script = (
        "import sys, time\n"
        "from spiral_vae.workdir import life as workdir\n"
        "with workdir.opened(sys.argv[1], resume=True):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(begun)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WorkdirError, match=f"is in use by process {process.pid} on "):
            _open(begun, resume=True)
        process.send_signal(signal.SIGKILL)
    _open(begun, resume=True)


# Begun, finished, damaged


def test_a_run_is_finished_when_all_results_have_their_sums(begun):
    assert workdir.has_begun(begun) and not workdir.is_finished(begun)
    for name in ("summary.csv", "params.npz"):
        files.write_text(begun / name, "content")
        assert not workdir.is_finished(begun)
    workdir.finish(begun)
    assert workdir.is_finished(begun)


def test_all_results_have_a_sum_and_checkpoints_their_own(finished):
    results = {"config.json", "summary.csv", "params.npz", "metrics/training.npz"}
    assert set(checksums.read(finished)) == results
    assert _files(finished) == {*results, ".lock", "SHA256SUMS", "checkpoints/cell/tree"}


@pytest.mark.parametrize("name", ["config.json", "summary.csv", "metrics/training.npz"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_result_that_is_not_as_it_was_written_is_found(finished, name, gone):
    path = finished / name
    if gone:
        path.unlink()
    else:
        path.write_text(path.read_text().replace("e", "3", 1))
    assert not workdir.is_finished(finished)
    if (gone, name) == (True, "config.json"):
        words = f"{finished} holds no run"
    else:
        words = f"{path} is damaged: its SHA-256 is not the one in SHA256SUMS"
    with pytest.raises(WorkdirError) as caught:
        workdir.verify(finished, name)
    assert str(caught.value) == words
    if workdir.has_begun(finished):
        workdir.verify(finished, "params.npz")  # which is as it was


def test_verify_tells_a_run_that_is_not_finished_from_none(begun, tmp_path):
    workdir.verify(begun, "config.json")
    with pytest.raises(WorkdirError, match="has no params.npz yet; its run has to be finished"):
        workdir.verify(begun, "config.json", "params.npz")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        with pytest.raises(WorkdirError, match=f"{name} holds no run"):
            workdir.verify(tmp_path / name, "config.json")

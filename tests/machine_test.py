"""A platform that lacks what Linux has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_windows_gets_a_sentence_and_others_none(monkeypatch):
    assert machine.unsupported() == ""
    monkeypatch.setattr(sys, "platform", "win32")
    assert machine.unsupported().startswith("Windows is not supported")


def test_streams_that_are_closed_take_no_file_s_number_and_write_to_nowhere(tmp_path):
    """A file that is opened later is none of the standard streams, and holds what it should."""
    program = (
        "import os, sys\n"
        "from spiral_vae import machine\n"
        "machine.open_streams()\n"
        "file = open(sys.argv[1], 'w')\n"
        "print('nowhere', file=sys.stderr)\n"
        "os.write(2, b'nowhere')\n"
        "file.write(str(file.fileno()))\n"
    )
    for closed in ("2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        path = tmp_path / "file"
        command = f'exec "$0" -c "$1" "$2" {closed}'
        done = subprocess.run(["sh", "-c", command, sys.executable, program, path], check=False)
        assert done.returncode == 0
        assert int(path.read_text()) > 2


def test_what_an_encoding_lacks_is_escaped():
    program = "from spiral_vae import machine\nmachine.open_streams()\nprint('caf\\xe9')\n"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "caf\\xe9\n"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def test_compiled_code_is_kept_where_it_can_be(cache, tmp_path):
    assert machine.cache_folder() == str(tmp_path / ".cache" / "spiral_vae")
    cache.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert machine.cache_folder() == str(tmp_path / "x" / "spiral_vae")
    cache.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "given"))
    assert machine.cache_folder() == str(tmp_path / "given")
    assert (tmp_path / "given").is_dir() and not any((tmp_path / "given").iterdir())
    cache.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    assert machine.cache_folder() == "gs://bucket/cache"
    assert not Path("gs:").exists()


def test_without_a_home_or_a_place_in_it_there_is_none(cache, tmp_path):
    (tmp_path / "file").write_text("")
    cache.setenv("HOME", str(tmp_path / "file"))
    assert machine.cache_folder() is None

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    cache.setattr(Path, "home", no_home)
    assert machine.cache_folder() is None


def test_no_command_waits_for_what_takes_long_to_import():
    slow = ("scipy.stats", "matplotlib", "xarray", "sklearn", "tensorboardX")
    code = f"import sys, spiral_vae.main; print([name for name in {slow} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "[]\n", "")

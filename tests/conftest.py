"""What several tests share: the command line as a process, and one whole run of it."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from spiral_vae import machine
from tests.config import made

ROOT = Path(__file__).parents[1]
_MAX_MAPS = 20_000
TIMEOUT = 300  # seconds; a process that hangs must not hang the tests


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished process and where it should have written."""

    code: int
    stdout: str
    stderr: str
    workdir: Path


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for processes: two CPU devices, and compiled code that all tests share.

    It is kept for the next time, as compiling takes half of the tests' time: what a program
    becomes depends on all of the program, on JAX and on the machine, which make its key.
    """
    folder = machine.cache_folder() or tmp_path_factory.mktemp("compiled")
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/tests",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="session", autouse=True)
def _compiled(environment):
    """Lets the tests' own processes share compiled code, too."""
    jax.config.update("jax_compilation_cache_dir", environment["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="module", autouse=True)
def _memory():
    """Lets compiled code go before it fills a process, which may map 65 530 pieces of memory."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MAX_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _kinds():
    """No test sees the kinds of a user's file that another one has loaded."""
    with made.forgetting():
        yield


@dataclasses.dataclass(frozen=True)
class Started:
    """A process in the background; called, it waits for the end."""

    process: subprocess.Popen
    workdir: Path

    def __call__(self):
        stdout, stderr = self.process.communicate(timeout=TIMEOUT)
        return Run(self.process.returncode, stdout, stderr, self.workdir)

    def wait_for(self, pattern):
        """Returns when the workdir holds a file of this pattern, or else fails."""
        end = time.monotonic() + TIMEOUT
        while not any(self.workdir.glob(pattern)):
            assert self.process.poll() is None, self().stderr
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture(scope="session")
def main(environment):
    """Returns a function that starts `python -m spiral_vae.main` in the background.

    What it returns is `Started`. Figures, which take half of a short run, are drawn where a test
    wants them. All processes have two devices, unless told otherwise, and share
    a compilation cache.
    """
    started = []

    def start(*args, workdir, figures="none", **env):
        command = [sys.executable, "-m", "spiral_vae.main", *args, f"--workdir={workdir}"]
        command += [f"--figures={figures}"] * (figures != "all")
        process = subprocess.Popen(
            command,
            env=environment | env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Started(process, Path(workdir))

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def whole_run_args():
    """2 sigmas x 2 seeds on 2 devices x 3 lanes: the second device has one lane and padding."""
    return (
        "--config.cell_width=3",
        "--config.train.num_epochs=40",
        "--config.train.compiled=quickly",
        "--config.train.log_every=10",
        "--config.evaluate.every=0.5",
        "--config.num_seeds=2",
        "--config.data.num_points=50",
        "--config.train.batch_size=20",
        "--config.model.encoder.hidden_dim=5",
        "--sweep=likelihood.sigma=0.1,0.2",
    )


@pytest.fixture(scope="session")
def whole_run(main, whole_run_args, tmp_path_factory):
    """A small run with everything in it."""
    workdir = tmp_path_factory.mktemp("whole") / "new" / "run"
    run = main(*whole_run_args, workdir=workdir, figures="all")()
    assert (run.code, run.stderr) == (0, "")  # no warning, and no bar where there is no terminal
    return run

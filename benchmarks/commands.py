"""Whole commands, from the shell's prompt to the last figure, beside the post's loop alone."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.race import Contestant, Worker

POST_EPOCHS = 20_000  # of a run of the post's loop
_SAMPLE = 500  # of them are timed at each turn


@dataclasses.dataclass(frozen=True)
class Command:
    """What a command took, in seconds, and its memory in MiB."""

    seeds: int
    cold: bool  # without any code compiled before
    seconds: float
    peak: float
    phases: dict[str, float]


def turn(seeds: tuple[int, ...], post: Worker) -> tuple[float, list[Command]]:
    """Returns the seconds of a run of the post's loop, and each command cold and then warm."""
    took, _ = post.train()
    found = []
    for number in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found += [_run(number, cold, Path(folder)) for cold in (True, False)]
    return took * POST_EPOCHS / post.epochs, found


def post_loop() -> Worker:
    """Returns the post's loop, ready to be timed."""
    worker = Worker(Contestant("post", "torch_loops.make_post"))
    worker.epochs = _SAMPLE
    worker.train()
    return worker


def _run(seeds: int, cold: bool, folder: Path) -> Command:
    file, workdir = folder / "phases.json", folder / f"run_{cold}"
    args = [f"--config.num_seeds={seeds}", f"--workdir={workdir}"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.phases", file, *args],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")
    return Command(seeds, cold, seconds, usage.ru_maxrss / 2**10, json.loads(file.read_text()))

"""Tries many command lines, each in a fork of one process that has imported all there is.

    python -m soak.forks FOLDER SEED FIRST COUNT STEP

Tries those of the numbers FIRST, FIRST + STEP, ... below COUNT; prints each result as a line of
JSON.
"""

import contextlib
import dataclasses
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from absl import app

from soak import cases
from soak.lab import Result
from spiral_vae import main
from spiral_vae.config import command_line

LIMIT = 30  # seconds within which a run must have come to its plan, or to its end
GRACE = 5  # seconds from the first SIGTERM to a second one
MEMORY = 8 * 2**30  # bytes of a run; the largest sizes allowed need more
_GO_ON = 0.2  # of the runs that begin are not stopped at once
_PLAN = re.compile(r"^\d+ lanes? \(", re.MULTILINE)
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|MemoryError|bad_alloc|Cannot allocate memory")


def attempt(folder: Path, rng: random.Random) -> Result:
    """Tries a command line."""
    place, output = folder / "work", folder / "output"
    place.mkdir()
    args = cases.command_line(place, rng)
    before = _contents(place)
    output.touch()
    pid = os.fork()
    if not pid:
        _run(args, place, output)
    code = _watch(pid, output, go_on=rng.random() < _GO_ON)
    text = output.read_text(errors="replace")
    outcome, well = _judge(code, text, changed=_contents(place) != before)
    command = shlex.join(["python", "-m", "spiral_vae.main", *args])
    failure = "" if well else "\n".join([f"status {code}", command, *text.splitlines()[-15:]])
    return Result("fuzzed command line", outcome, failure)


def _run(args: list[str], place: Path, output: Path) -> NoReturn:
    """Is the run, in the child."""
    code: object = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with open(output, "wb") as file, open(os.devnull) as nothing:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os.dup2(nothing.fileno(), 0)
        os.chdir(place)
        sys.argv = [main.__file__, *args]
        app.run(main.main, flags_parser=command_line.parse_flags)
    except SystemExit as stop:
        code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _watch(pid: int, output: Path, *, go_on: bool) -> int:
    """Returns the exit status of a run that is stopped when it has begun, or lasts too long."""
    begin, asked = time.monotonic(), []
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        begun = not go_on and _PLAN.search(output.read_text(errors="replace"))
        if not asked and (begun or now > begin + LIMIT):
            asked.append(now)
            os.kill(pid, signal.SIGTERM)
        elif len(asked) == 1 and now > asked[0] + GRACE:
            asked.append(now)
            os.kill(pid, signal.SIGTERM)
        elif asked and now > asked[0] + LIMIT:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _judge(code: int, text: str, *, changed: bool) -> tuple[str, bool]:
    """Returns what came of a run and whether that is well."""
    begun = bool(_PLAN.search(text))
    if code == -signal.SIGKILL:
        return ("too large to be stopped within half a minute", True) if begun else ("hung", False)
    if begun and code not in (0, 2, 143) and _OUT_OF_MEMORY.search(text):
        return f"out of {MEMORY >> 30} GiB", True
    if "Traceback" in text or code not in (0, 2, 143):
        return f"failed with {code}", False
    if code == 143:
        return "began and was stopped", True
    if code == 0:
        return "ran to its end" if begun else "was answered", True
    if begun:
        return "began and failed", False
    if changed:
        return "refused, but left files", False
    return "refused with a sentence", "error: " in text


def _contents(folder: Path) -> dict[str, bytes | None]:
    """Returns all that is in a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def _main(folder: str, seed: str, first: str, count: str, step: str) -> None:
    for number in range(int(first), int(count), int(step)):
        place = Path(folder) / f"{number:04d}"
        place.mkdir()
        result = attempt(place, random.Random(f"{seed} {number}"))
        if result.failure:
            result = dataclasses.replace(result, failure=f"{place}\n{result.failure}")
        else:
            with contextlib.suppress(OSError):
                shutil.rmtree(place)
        print(json.dumps(dataclasses.asdict(result)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

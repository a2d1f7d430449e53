"""Whether the tests notice plausible mistakes, put into the package one at a time.

    python -m mutants [--num=150] [--seed=0] [--workers=2] [--out=FILE]

First all tests run as they are, and compile what later ones share. Mistakes are drawn at random
from all that `mistakes` can make. Each is put into a copy of the repository, in which the tests
that should notice run until the first one fails: those of the same file, then those of the same
folder, those of what is declared, then whole runs. A mistake that none of them notices is
printed: it changes nothing, or a test is missing. Ends with status 1 if there is one.
"""

import argparse
import concurrent.futures
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mutants.mistakes import Mistake, mistakes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spiral_vae"
# The looks of figures are for the eye, and what configs say is compared with the declarations.
LEFT_OUT = ("present/plotting.py", "configs")
DECLARATIONS = ("tests/fields_test.py", "tests/present/reference_test.py", "tests/config")
WHOLE_RUNS = ("tests/main_test.py", "tests/runs/run_test.py")
TIMEOUT = 600  # seconds of one stage; a test that hangs has noticed


class Tried(NamedTuple):
    """A mistake and what came of it."""

    file: str
    mistake: Mistake
    by: str  # the test that noticed; empty for none


def drawn(num: int, seed: int) -> list[tuple[Path, Mistake]]:
    """Returns mistakes of the package drawn at random, each at most once."""
    every = [
        (path, mistake)
        for path in sorted(PACKAGE.rglob("*.py"))
        if not str(path.relative_to(PACKAGE)).startswith(LEFT_OUT)
        for mistake in mistakes(path.read_text())
    ]
    print(f"{len(every)} mistakes can be made; {num} are tried", flush=True)
    return random.Random(seed).sample(every, num)


def stages(file: Path) -> Iterator[tuple[str, ...]]:
    """Yields the tests that should notice a mistake in a file of the package, nearest first."""
    tests = Path("tests") / file.parent
    own = tests / f"{file.stem}_test.py"
    if (ROOT / own).exists():
        yield (str(own),)
    rooms = [room for room in (tests, *tests.parents) if (ROOT / room).exists()]
    yield from ((str(room),) for room in rooms if room.parent != Path("."))  # tests/exact, say
    yield DECLARATIONS
    yield WHOLE_RUNS


def try_out(path: Path, mistake: Mistake, copies: "queue.Queue[Path]") -> Tried:
    """Returns what the tests say of a mistake."""
    file = path.relative_to(PACKAGE)
    copy = copies.get()
    place = copy / "spiral_vae" / file
    try:
        place.write_text(mistake.text)
        for tests in stages(file):
            if failed := _failing(copy, tests):
                return Tried(str(file), mistake, failed)
        return Tried(str(file), mistake, "")
    finally:
        shutil.copyfile(path, place)
        copies.put(copy)


def _failing(copy: Path, tests: tuple[str, ...], timeout: int = TIMEOUT) -> str:
    """Returns the first test that fails, or what else went wrong; empty if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    # Compiled code is shared with the runs before: most of a program is as it was.
    env = {"JAX_COMPILATION_CACHE_DIR": str(copy.parent / "compiled")} | os.environ
    try:
        found = subprocess.run(
            command, cwd=copy, env=env, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return "a test that does not end"
    if not found.returncode:
        return ""
    lines = found.stdout.splitlines()
    named = [line.split(" ")[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return named[0] if named else "the tests can't be collected"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a table of all of them")
    args = parser.parse_args()
    chosen = drawn(args.num, args.seed)
    copies: queue.Queue[Path] = queue.Queue()
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ThreadPoolExecutor(args.workers) as pool,
    ):
        for number in range(args.workers):
            copy = Path(folder) / f"copy_{number}"
            shutil.copytree(ROOT, copy, ignore=_ignored, symlinks=True)
            copies.put(copy)
        if failed := _failing(copy, ("tests",), 10 * TIMEOUT):
            sys.exit(f"{failed} fails without any mistake")
        tried = []
        started = [pool.submit(try_out, *place, copies) for place in chosen]
        for future in concurrent.futures.as_completed(started):
            one = future.result()
            tried.append(one)
            word = "seen by " + one.by if one.by else "UNSEEN"
            print(f"{len(tried)} {_line(one)}: {word}", flush=True)
    unseen = [one for one in tried if not one.by]
    print(f"noticed: {len(tried) - len(unseen)} of {len(tried)}")
    if args.out:
        args.out.write_text("".join(f"{_line(one)}\t{one.by or 'UNSEEN'}\n" for one in tried))
    sys.exit(bool(unseen))


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Returns what a copy does without: results, what is hidden, and bytecode."""
    results = {"runs"} if Path(folder) == ROOT else set()
    return {name for name in names if name.startswith(".")} | {"__pycache__"} | results


def _line(one: Tried) -> str:
    old, new = (" ".join(text.split())[:60] for text in (one.mistake.old, one.mistake.new))
    return f"{one.file}:{one.mistake.line} {old!r} -> {new!r}"


if __name__ == "__main__":
    main()

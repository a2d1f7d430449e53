"""Whether the tests notice plausible mistakes, put into the package one at a time.

    python -m mutants [--num=150] [--seed=0] [--workers=2] [--workdir=runs/mutants]

First all tests run as they are, while it is noted which lines each of them runs and how long it
takes. Mistakes are then drawn at random from all that `mistakes` can make. Each is put into a copy
of the repository, in which the tests that run its line go on until the first one fails: those of
the same file first, the quickest first. A mistake that none of them notices changes nothing, or a
test is missing.

The workdir keeps the sources as they were at first, and a line for each mistake that was tried:
stopped, the same command goes on. Ends with status 1 if there is a mistake that nothing notices.
"""

import argparse
import concurrent.futures
import csv
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mutants import suite
from mutants.mistakes import Mistake, mistakes

ROOT = Path(__file__).parents[1]
# The looks of figures are for the eye, and what configs say is compared with the declarations.
LEFT_OUT = ("present/plotting.py", "configs")
UNSEEN = "unseen"


class Drawn(NamedTuple):
    """A mistake and the file of the package that it is made in."""

    file: Path
    mistake: Mistake

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:60] for text in (self.mistake.old, self.mistake.new))
        return f"{self.file}:{self.mistake.line} {old!r} -> {new!r}"


def drawn(package: Path, num: int, seed: int) -> list[Drawn]:
    """Returns mistakes of the package drawn at random, each at most once."""
    files = [path.relative_to(package) for path in sorted(package.rglob("*.py"))]
    every = [
        Drawn(file, mistake)
        for file in files
        if not str(file).startswith(LEFT_OUT)
        for mistake in mistakes((package / file).read_text())
    ]
    print(f"{len(every)} mistakes can be made; {num} are tried", flush=True)
    return random.Random(seed).sample(every, num)


def try_out(one: Drawn, asked: list[str], limit: float, copies: "queue.Queue[Path]") -> str:
    """Returns the first test that notices a mistake, or `UNSEEN`."""
    if not asked:
        return UNSEEN
    copy = copies.get()
    place = copy / "spiral_vae" / one.file
    right = place.read_text()
    try:
        place.write_text(one.mistake.text)
        return _failing(copy, asked, limit) or UNSEEN
    finally:
        place.write_text(right)
        copies.put(copy)


def _failing(copy: Path, tests: list[str], limit: float) -> str:
    """Returns the first test that fails, or what else went wrong; empty if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        found = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return "a test that does not end"
    if not found.returncode:
        return ""
    lines = found.stdout.splitlines()
    named = [line.split(" ")[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    nearest = tests[0].partition("::")[0]
    if not named and tests != [nearest]:  # a test may have another name now: those of its file
        return _failing(copy, [nearest], limit)
    return named[0] if named else f"pytest, which ends with status {found.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--num", type=int, default=150, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--workers", type=int, default=2, help="tests at a time")
    parser.add_argument("--workdir", type=Path, default=ROOT / "runs" / "mutants")
    args = parser.parse_args()
    workdir = args.workdir.resolve()
    # Compiled code is shared: most of a program is as it was.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir / "compiled"))
    sources, tests = _measured(workdir, args.workers)
    chosen = drawn(sources / "spiral_vae", args.num, args.seed)
    table = workdir / f"seed_{args.seed}.tsv"  # number in the draw, mistake, what noticed it
    rows = csv.reader(table.open(), delimiter="\t") if table.exists() else ()
    done = {int(number): by for number, _, by in rows}
    copies: queue.Queue[Path] = queue.Queue()
    with (
        tempfile.TemporaryDirectory(dir=workdir) as folder,
        concurrent.futures.ThreadPoolExecutor(args.workers) as pool,
    ):
        for worker in range(args.workers):
            copies.put(shutil.copytree(sources, Path(folder) / f"copy_{worker}", symlinks=True))
        started = {}
        for number, one in enumerate(chosen):
            if number not in done:
                source = (sources / "spiral_vae" / one.file).read_text()
                asked = tests.asked(one.file, one.mistake.line, source)
                limit = 300 + 5 * sum(tests.seconds[test] for test in asked)
                started[pool.submit(try_out, one, asked, limit, copies)] = number
        for future in concurrent.futures.as_completed(started):
            number, by = started[future], future.result()
            done[number] = by
            with table.open("a") as file:
                file.write(f"{number}\t{chosen[number]}\t{by}\n")
            print(f"{len(done)} {chosen[number]}: {by}", flush=True)
    unseen = [number for number in range(args.num) if done[number] == UNSEEN]
    print(f"noticed: {args.num - len(unseen)} of {args.num}")
    sys.exit(bool(unseen))


def _measured(workdir: Path, workers: int) -> tuple[Path, suite.Suite]:
    """Returns the sources that a workdir keeps, and what their tests run; makes them at first."""
    sources = workdir / "sources"
    if not sources.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=workdir) as folder:
            new = shutil.copytree(ROOT, Path(folder) / "new", ignore=_ignored, symlinks=True)
            new.rename(sources)
    if not (workdir / "seconds.json").exists():
        print(f"all tests run as they are; what they say: {workdir / 'tests.txt'}", flush=True)
        suite.measure(sources, workdir, workers)
    tests = suite.load(workdir)
    print(f"{len(tests.seconds)} tests pass; the others are not asked", flush=True)
    return sources, tests


def _ignored(folder: str, names: list[str]) -> set[str]:
    """Returns what a copy does without: results, what is hidden, and bytecode."""
    results = {"runs"} if Path(folder) == ROOT else set()
    return {name for name in names if name.startswith(".")} | {"__pycache__"} | results


if __name__ == "__main__":
    main()

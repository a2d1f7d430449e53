"""What the tests run: each line of the package with its tests, each test with its seconds."""

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import coverage

from mutants import watching

# What is declared is compared with what stands elsewhere, line by line.
DECLARATIONS = ("tests/fields_test.py", "tests/present/reference_test.py", "tests/config/")
LONGEST = 600  # seconds of the tests of other files that are asked about one mistake

_CONFIG = """[run]
source = spiral_vae
relative_files = true
parallel = true
data_file = {data}
core = ctrace
context = ${{PYTEST_CURRENT_TEST-}}
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""


class Suite(NamedTuple):
    """The tests that pass, and the lines that they run."""

    seconds: dict[str, float]  # of each test
    tests: dict[str, dict[int, set[str]]]  # of each line of each file; '' where it is run at import

    def asked(self, file: Path, line: int, source: str) -> list[str]:
        """Returns the tests of a line: those of the file's own, of its folder's, then others.

        The quickest go first. What is run at import has no test of its own: it is asked of all that
        use the file, and of what holds declarations.
        """
        of_file = self.tests.get(str(file), {})
        inside = _inside_functions(source)
        # A statement of several lines may be noted at its first.
        found = of_file.get(max((noted for noted in of_file if noted <= line), default=0), set())
        if line not in inside or "" in found:
            found = set().union(*(of_file.get(other, set()) for other in inside))
            found |= {test for test in self.seconds if test.startswith(DECLARATIONS)}
        quickest = sorted(found & self.seconds.keys(), key=lambda test: (self.seconds[test], test))
        own, near = f"tests/{file.with_suffix('')}_test.py", f"tests/{file.parent}/"
        homes = sorted(
            dict.fromkeys(map(_home, quickest)),
            key=lambda home: (home != own, not home.startswith(near)),
        )
        ranked = sorted(quickest, key=lambda test: homes.index(_home(test)))
        others = itertools.accumulate(self.seconds[test] * (_home(test) != own) for test in ranked)
        return [test for test, taken in zip(ranked, others, strict=True) if taken <= LONGEST]


def measure(copy: Path, folder: Path, workers: int) -> None:
    """Runs all tests of a copy, and writes what `load` reads; those that fail are left out."""
    config = folder / "coverage.ini"
    config.write_text(_CONFIG.format(data=folder / "lines"))
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--dist", "loadfile"]
    command += ["-p", "no:cacheprovider", "-p", "mutants.watching"]
    command += ["--cov=spiral_vae", "--cov-context=test", "--cov-report=", f"--cov-config={config}"]
    times = folder / "seconds.json.part"
    env = os.environ | {watching.TIMES: str(times), watching.CONFIG: str(config)}
    with (folder / "tests.txt").open("w") as out:
        subprocess.run(command, cwd=copy, env=env, stdout=out, stderr=subprocess.STDOUT)
    times.rename(folder / "seconds.json")


def load(folder: Path) -> Suite:
    """Returns what `measure` has written."""
    seconds = json.loads((folder / "seconds.json").read_text())
    data = coverage.CoverageData(str(folder / "lines"))
    data.read()
    tests: dict[str, dict[int, set[str]]] = {}
    for path in data.measured_files():  # absolute where a process began in another folder
        lines = tests.setdefault(path.rpartition("spiral_vae/")[2], {})
        for line, contexts in data.contexts_by_lineno(path).items():
            lines.setdefault(line, set()).update(map(_test, contexts))
    return Suite(seconds, tests)


def _test(context: str) -> str:
    """Returns the test of a context: `test|run` in its process, `test (call)` in one it started."""
    return context.rpartition(" (")[0] if context.endswith(")") else context.rpartition("|")[0]


def _home(test: str) -> str:
    return test.partition("::")[0]


def _inside_functions(source: str) -> set[int]:
    """Returns the lines of the bodies of all functions of a file."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    }

"""Where faults are tried: a copy of the code, a place for workdirs, workers, and a table."""

import concurrent.futures
import dataclasses
import itertools
import os
import random
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from soak.process import Process


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one try."""

    fault: str  # the row of the table that it counts in
    outcome: str
    failure: str = ""  # empty if all is well; else what is needed to see it again


class Lab:
    """A folder of its own, with the code as it was at the start: later edits don't matter."""

    def __init__(self, folder: Path, workers: int, seed: int):
        self.code = folder / "code"
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "2",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        self.workers = workers
        self.seed = seed
        self._folder = folder
        self._numbers = itertools.count()
        root = Path(__file__).resolve().parents[1]
        built = shutil.ignore_patterns("__pycache__")
        for name in ("spiral_vae", "configs", "soak"):  # the first has a link to the second
            shutil.copytree(root / name, self.code / name, symlinks=True, ignore=built)

    def start(self, folder: Path, *args: str, devices: int = 2) -> Process:
        """Starts a run of the code; the folder gets what it prints."""
        environment = self.environment | {"JAX_NUM_CPU_DEVICES": str(devices)}
        return Process(self.code, environment, folder, *args)

    def random(self, *name: object) -> random.Random:
        """Returns the random numbers of one try, whatever else is tried."""
        return random.Random(repr((self.seed, *name)))

    def new_folder(self, name: str) -> Path:
        """Makes a folder that goes when a try ends well."""
        folder = self._folder / f"{name}_{next(self._numbers):04d}"
        folder.mkdir()
        return folder

    def tell(self, result: Result) -> None:
        """Says at once what has gone wrong."""
        if result.failure:
            note = f"\nFAILED: {result.fault}: {result.outcome}\n{result.failure}"
            print(note, file=sys.stderr, flush=True)

    def tries(
        self, name: str, function: Callable[..., Result], count: int, workers: int | None = None
    ) -> list[Result]:
        """Returns the results of function(folder, random numbers, number), `count` times."""

        def one(number: int) -> Result:
            folder = self.new_folder(name)
            try:
                result = function(folder, self.random(name, number), number)
            except Exception:  # one that can't be carried out must not cost the others
                result = Result(name, "not carried out", traceback.format_exc())
            self.tell(result)
            if not result.failure:
                shutil.rmtree(folder)
            return result

        with concurrent.futures.ThreadPoolExecutor(workers or self.workers) as pool:
            found = pool.map(one, range(count))
            return list(tqdm(found, desc=name, total=count, disable=None))


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table."""

    fault: str
    tries: int
    outcome: str


def rows(results: Sequence[Result]) -> Iterator[Row]:
    """Yields a row for each fault, with how often each outcome came."""
    for fault in dict.fromkeys(result.fault for result in results):
        counts = Counter(result.outcome for result in results if result.fault == fault)
        outcome = ", ".join(f"{number} {name}" for name, number in counts.most_common())
        yield Row(fault, counts.total(), outcome)


def table(found: Sequence[Row]) -> str:
    """Returns rows in Markdown."""
    lines = ["| fault | tries | outcome |", "| --- | --- | --- |"]
    lines += [f"| {row.fault} | {row.tries} | {row.outcome} |" for row in found]
    return "\n".join(lines)

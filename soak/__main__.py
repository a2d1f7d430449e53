"""Does faults to whole runs, by the hundred, and counts what came of them.

    python -m soak [--only=kills,flips] [--kills=100 ...] [--folder=docs/results]

Writes the table as soak.md and soak.csv; exit status 1 if anything went wrong. An hour or two.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jax

from soak.configs import configs
from soak.disk import disk
from soak.environments import environments, notebooks
from soak.flips import flips
from soak.lab import Lab, Result, rows, table
from soak.poison import poison
from soak.processes import processes
from soak.reference import Reference, undisturbed
from soak.signals import kills, terms
from spiral_vae import machine
from spiral_vae.workdir import files


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of what is done."""

    function: Callable[..., list[Result]]
    count: int  # by default
    disturbs: bool  # the short run, so that it needs what that comes to undisturbed

    @property
    def name(self) -> str:
        return self.function.__name__


PARTS = (
    Part(kills, 100, disturbs=True),
    Part(terms, 30, disturbs=True),
    Part(processes, 10, disturbs=True),
    Part(flips, 200, disturbs=True),
    Part(environments, 100, disturbs=True),
    Part(notebooks, 100, disturbs=True),
    Part(configs, 500, disturbs=False),
    Part(disk, 10, disturbs=True),
    Part(poison, 4, disturbs=False),
)


def main() -> None:
    flags = _flags()
    jax.config.update("jax_platforms", "cpu")
    place = Path(tempfile.mkdtemp(prefix="soak_"))
    lab = Lab(place, flags.workers, flags.seed)
    begin, found = time.monotonic(), []
    reference: Reference | None = None
    for part in PARTS:
        if part.name in flags.only:
            start = time.monotonic()
            try:
                count = getattr(flags, part.name)
                if part.disturbs:
                    reference = reference or undisturbed(lab)
                    new = part.function(lab, reference, count)
                else:
                    new = part.function(lab, count)
            except Exception:  # one part must not cost the others
                new = [Result(part.name, "not carried out", traceback.format_exc())]
                lab.tell(new[0])
            found += new
            print(f"\n{part.name}, {time.monotonic() - start:.0f} s", flush=True)
            print(table(list(rows(new))), flush=True)
    counted = list(rows(found))
    minutes = (time.monotonic() - begin) / 60
    note = (
        f"`python -m soak`, seed {flags.seed}, {flags.workers} at a time, {minutes:.0f} min on "
        f"{machine.num_cores()} cores, jax {jax.__version__}."
    )
    flags.folder.mkdir(parents=True, exist_ok=True)
    files.write_text(flags.folder / "soak.md", f"{table(counted)}\n\n{note}\n")
    files.write_csv(flags.folder / "soak.csv", [dataclasses.asdict(row) for row in counted])
    print(f"\n{table(counted)}\n\n{note}")
    if failures := sum(bool(result.failure) for result in found):
        sys.exit(f"{failures} went wrong; what they left is in {place}")
    shutil.rmtree(place)


def _flags() -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for part in PARTS:
        about = f"{part.function.__doc__} [{part.count}]"
        parser.add_argument(f"--{part.name}", type=int, default=part.count, help=about)
    parser.add_argument("--only", default=",".join(names), help="parts, all by default")
    parser.add_argument("--folder", type=Path, default=Path("docs/results"), help="of the table")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random [0]")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time [2]")
    flags = parser.parse_args()
    flags.only = flags.only.split(",")
    if unknown := set(flags.only) - set(names):
        parser.error(f"--only: no such part: {', '.join(unknown)}; there are {', '.join(names)}")
    return flags


if __name__ == "__main__":
    main()

"""Does faults to whole runs, by the hundred, and counts what came of them.

    python -m soak [--only=kills,flips] [--kills=100 ...] [--folder=docs/results]

Writes the table as soak.md and soak.csv; exit status 1 if anything went wrong. An hour or two.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import jax

from soak.configs import configs
from soak.disk import disk
from soak.flips import flips
from soak.lab import Lab, Result, rows, table
from soak.poison import poison
from soak.processes import processes
from soak.signals import kills, terms
from spiral_vae.workdir import files

PARTS = {
    kills: 100,
    terms: 30,
    processes: 10,
    flips: 200,
    configs: 500,
    disk: 10,
    poison: 4,
}


def main() -> None:
    flags = _flags()
    jax.config.update("jax_platforms", "cpu")
    place = Path(tempfile.mkdtemp(prefix="soak_"))
    lab = Lab(place, flags.workers, flags.seed)
    begin, found = time.monotonic(), []
    for part in PARTS:
        if part.__name__ in flags.only:
            start = time.monotonic()
            try:
                new = part(lab, getattr(flags, part.__name__))
            except Exception:  # one part must not cost the others
                new = [Result(part.__name__, "not carried out", traceback.format_exc())]
                lab.tell(new[0])
            found += new
            print(f"\n{part.__name__}, {time.monotonic() - start:.0f} s", flush=True)
            print(table(list(rows(new))), flush=True)
    counted = list(rows(found))
    minutes = (time.monotonic() - begin) / 60
    note = (
        f"`python -m soak`, seed {flags.seed}, {flags.workers} at a time, {minutes:.0f} min on "
        f"{len(os.sched_getaffinity(0))} cores, jax {jax.__version__}."
    )
    flags.folder.mkdir(parents=True, exist_ok=True)
    files.write_text(flags.folder / "soak.md", f"{table(counted)}\n\n{note}\n")
    files.write_csv(flags.folder / "soak.csv", [dataclasses.asdict(row) for row in counted])
    print(f"\n{table(counted)}\n\n{note}")
    if failures := sum(bool(result.failure) for result in found):
        sys.exit(f"{failures} went wrong; what they left is in {place}")
    shutil.rmtree(place)


def _flags() -> argparse.Namespace:
    names = [part.__name__ for part in PARTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for part, count in PARTS.items():
        parser.add_argument(
            f"--{part.__name__}", type=int, default=count, help=f"{part.__doc__} [{count}]"
        )
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

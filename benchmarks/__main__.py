"""Speed and memory, each figure as a ratio to another one of the same run.

    python -m benchmarks [--only=basic,seeds,shapes,commands] [--turns=3] [--folder=docs/results]

Needs a C compiler and PyTorch (requirements-benchmarks.txt). Writes the tables as speed.md and
speed.csv. A quarter of an hour on two idle cores.
"""

import argparse
import csv
import importlib.util
import io
import platform
import shutil
import statistics
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks import commands
from benchmarks.race import Contestant, race
from spiral_vae import machine
from spiral_vae.workdir import files

Table = tuple[str, list[dict[str, object]]]  # a title and rows


def basic(turns: int) -> Table:
    """The basic run: 200 points, 32 units, batches of 100."""
    found = race(
        [
            Contestant("C kernel", "kernel.make", seeds=64),
            Contestant("C kernel", "kernel.make", cores=1),
            Contestant("PyTorch, the post's loop", "torch_loops.make_post"),
            Contestant("PyTorch, no DataLoader, fused Adam", "torch_loops.make_lean"),
            Contestant("the same, torch.compile", "torch_loops.make_compiled"),
            Contestant("PyTorch, torch.func", "torch_loops.make_vmap", seeds=64),
            Contestant("JAX, loop over a jitted step", "jax_loops.make_step"),
            Contestant("JAX, scan, points as rows", "jax_loops.make_scan"),
            Contestant("JAX, scan, points as rows", "jax_loops.make_scan", seeds=64),
            Contestant("spiral_vae", "ours.make"),
            Contestant("spiral_vae", "ours.make", seeds=64, cores=1),
            Contestant("spiral_vae", "ours.make", seeds=64),
        ],
        turns,
    )
    limit, post = found[0], found[2]
    rows = [
        {
            "training": time.contestant.name,
            "seeds": time.contestant.seeds,
            "cores": time.contestant.cores,
            "us an epoch and seed": _short(time.median),
            "over the C kernel": f"{time.ratio(limit):.2f}",
            "faster than the post": f"{post.ratio(time):.1f}",
        }
        for time in found
    ]
    return "The basic run", rows


def seeds(turns: int) -> Table:
    """More seeds than one."""
    found = race(
        [Contestant("spiral_vae", "ours.make", seeds=number) for number in (64, 1, 8, 512, 4096)],
        turns,
        epochs=1_000,
    )
    rows = [
        {
            "seeds": time.contestant.seeds,
            "us an epoch and seed": _short(time.median),
            "over that of 64": f"{time.ratio(found[0]):.3f}",
            "peak memory, MiB": f"{time.peak:.0f}",
        }
        for time in sorted(found, key=lambda time: time.contestant.seeds)
    ]
    return "Seeds", rows


def shapes(turns: int) -> Table:
    """More points and wider networks, 16 seeds: beside the C kernel and the plain layout."""
    rows = []
    sizes = [(200, 32), (2_000, 32), (20_000, 32), (200_000, 32), (200, 128), (200, 512)]
    for num_points, hidden in sizes:
        shape = {"seeds": 16, "num_points": num_points, "hidden": hidden}
        ours, plain, limit = race(
            [
                Contestant("spiral_vae", "ours.make", **shape),
                Contestant("JAX, scan, points as rows", "jax_loops.make_scan", **shape),
                Contestant("C kernel", "kernel.make", **shape),
            ],
            turns,
            seconds=4.0 if num_points > 2_000 else 1.0,
        )
        steps = num_points // 100
        rows.append(
            {
                "points": num_points,
                "units": hidden,
                "us a step and seed": _short(ours.median / steps),
                "over the C kernel": f"{ours.ratio(limit):.2f}",
                "over points as rows": f"{ours.ratio(plain):.2f}",
                "peak memory, MiB": f"{ours.peak:.0f}",
            }
        )
    return "Shapes (16 seeds, batches of 100)", rows


def whole(turns: int) -> Table:
    """Whole commands; the post's loop alone stands beside them."""
    post = commands.post_loop()
    found = [commands.turn((1, 64), post) for _ in range(turns)]
    post.close()
    rows = []
    for i, first in enumerate(found[0][1]):
        every = [(post_seconds, ran[i]) for post_seconds, ran in found]
        row = {
            "seeds": first.seeds,
            "code": "compiled first" if first.cold else "from the cache",
            "seconds": f"{statistics.median(ran.seconds for _, ran in every):.1f}",
        }
        for phase in ("imports", "compilation", "training", "evaluation", "figures"):
            row[phase] = f"{statistics.median(ran.phases[phase] for _, ran in every):.1f}"
        ratio = statistics.median(post_seconds / ran.seconds for post_seconds, ran in every)
        row["one run of the post's loop over it"] = f"{ratio:.1f}"
        row["peak memory, MiB"] = f"{statistics.median(ran.peak for _, ran in every):.0f}"
        rows.append(row)
    return "Whole commands, seconds", rows


PARTS: dict[str, Callable[[int], Table]] = {
    "basic": basic,
    "seeds": seeds,
    "shapes": shapes,
    "commands": whole,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, all by default")
    parser.add_argument("--turns", type=int, default=3, help="of each contestant [3]")
    parser.add_argument("--folder", type=Path, default=Path("docs/results"), help="of the tables")
    flags = parser.parse_args()
    names = flags.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not (shutil.which("cc") and importlib.util.find_spec("torch")):
        parser.error("needs a C compiler, cc, and what is in requirements-benchmarks.txt")
    tables = []
    for name in names:
        tables.append(PARTS[name](flags.turns))
        print(_markdown(tables[-1]), flush=True)
    text = "\n".join([_machine(), *map(_markdown, tables)])
    flags.folder.mkdir(parents=True, exist_ok=True)
    files.write_text(flags.folder / "speed.md", text)
    files.write_text(flags.folder / "speed.csv", _csv(tables))


def _machine() -> str:
    """Returns a line on where and with what all was measured."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), cpu)
        cpu = model.split(":")[-1].strip() + (", AVX-512" if "avx512f" in info.read_text() else "")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "flax", "torch"))
    return f"{cpu}, {machine.num_cores()} cores, {versions}. Medians over turns.\n"


def _short(value: float) -> str:
    """Returns three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):g}"


def _markdown(table: Table) -> str:
    title, rows = table
    grid = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in grid]
    return "\n".join([f"**{title}**", "", *lines, ""])


def _csv(tables: Sequence[Table]) -> str:
    """Returns all tables as lines of table, row, column and value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value"])
    for title, rows in tables:
        for i, row in enumerate(rows):
            writer.writerows([title, i, column, value] for column, value in row.items())
    return text.getvalue()


if __name__ == "__main__":
    main()

"""The short run that faults are done to, and what it must come to in spite of them."""

import concurrent.futures
import contextlib
import dataclasses
import io
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soak.lab import Lab
from spiral_vae.workdir import life
from spiral_vae.workdir.checkpoint import Checkpoints

# Six lanes in three cells, two of which train side by side, with a likelihood that carries state.
SHORT = (
    "--config=configs/base.py",
    "--config.num_seeds=2",
    "--sweep=likelihood.sigma=0.1,0.2,0.4",
    "--config.cell_width=2",
    "--config.likelihood.kind=closed_form",
    "--config.likelihood.estimator=moving_average",
    "--config.data.num_points=50",
    "--config.train.batch_size=25",
    "--config.train.num_epochs=600",
    "--config.train.log_every=20",
    "--config.checkpoint.every=2",
)
NUM_CELLS = 3
EPOCHS = range(20, 601, 20)  # at which chunks end
_ARRAYS = ("params.npz", "data.npz") + tuple(
    f"metrics/{name}.npz" for name in ("training", "probes", "snapshots")
)


def short(workdir: Path) -> tuple[str, ...]:
    """Returns the command line that begins the short run in a workdir, or goes on with it."""
    return (*SHORT, "--resume", f"--workdir={workdir}")


@dataclasses.dataclass(frozen=True)
class Reference:
    """The short run, undisturbed."""

    workdir: Path
    seconds: float  # that it took, beside as many others as there are workers
    trees: Mapping[tuple[int, int], dict]  # after each chunk, by cell and epoch

    def differences(self, workdir: Path) -> list[str]:
        """Returns in what a workdir isn't that of the finished, undisturbed run."""
        found = [name for name in _ARRAYS if not _same_arrays(self.workdir / name, workdir / name)]
        if not _same_bytes(self.workdir / "summary.csv", workdir / "summary.csv"):
            found.append("summary.csv")
        if names := _names(workdir) ^ _names(self.workdir):
            found.append(f"files: {', '.join(sorted(names))}")
        check = subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
            cwd=workdir,
            capture_output=True,
            text=True,
        )
        if check.returncode or not life.is_finished(workdir):
            found.append(f"SHA256SUMS: {(check.stdout + check.stderr).strip()}")
        return found

    def wrong_checkpoints(self, workdir: Path) -> list[str]:
        """Returns the cells that would go on from what no undisturbed run has been through."""
        return [
            f"cell {cell}: another tree than that of epoch {found[0]}"
            for cell in range(NUM_CELLS)
            if (found := load(workdir, cell))
            and not same_trees(found[1], self.trees.get((cell, found[0])))
        ]


def undisturbed(lab: Lab) -> Reference:
    """Runs it several times, first to compile its code and then to measure it."""

    def run(*more: str) -> tuple[Path, float]:
        folder = lab.new_folder("reference")
        process = lab.start(folder, *short(folder / "run"), *more)
        if process.wait():
            raise RuntimeError(process.report("the undisturbed run fails"))
        return folder / "run", process.seconds

    workdir, _ = run("--config.checkpoint.every=1", "--config.checkpoint.keep=1000")
    with concurrent.futures.ThreadPoolExecutor(lab.workers) as pool:
        others = list(pool.map(lambda _: run(), range(lab.workers)))
    trees = {
        (cell, epoch): found[1]
        for cell in range(NUM_CELLS)
        for epoch in EPOCHS
        if (found := load(workdir, cell, [epoch]))
    }
    reference = Reference(workdir, max(seconds for _, seconds in others), trees)
    for other, _ in others:
        if found := reference.differences(other):
            raise RuntimeError(f"undisturbed runs differ: {found}")
    return reference


def load(workdir: Path, cell: int, epochs: Sequence[int] = EPOCHS) -> tuple[int, dict] | None:
    """Returns epoch and tree of the checkpoint from which a cell would go on."""
    store = Checkpoints(workdir / "checkpoints" / "group_0", keep=2)
    with contextlib.redirect_stderr(io.StringIO()):  # it says which ones are damaged
        return store.load(cell, epochs)


def same_trees(a: Any, b: Any) -> bool:
    """Returns whether two dicts of arrays, or two arrays, have the same bits."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_trees(a[key], b[key]) for key in a)
    if isinstance(a, Mapping) or isinstance(b, Mapping) or a is None or b is None:
        return False
    a, b = np.asarray(a), np.asarray(b)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file."""
    with np.load(path) as file:
        return dict(file)


def _same_bytes(a: Path, b: Path) -> bool:
    return b.exists() and a.read_bytes() == b.read_bytes()


def _same_arrays(a: Path, b: Path) -> bool:
    return b.exists() and (_same_bytes(a, b) or same_trees(arrays(a), arrays(b)))


def _names(workdir: Path) -> set[str]:
    """Returns the files of a workdir but for checkpoints; event files are named by the second."""
    names = (str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file())
    return {
        re.sub(r"tfevents\..*", "tfevents", name)
        for name in names
        if not re.match(r"checkpoints/.*epoch_\d+/", name)
    }

"""Checkpoints: trees of arrays in folders that Orbax writes, under checksums.

checkpoints/group_0/cell_00002/epoch_0000010000/
    SHA256SUMS    of all that follows
    tree/         Orbax's

Orbax writes a folder as a whole or not at all, but does not notice a bit that has flipped since
then. So a folder gets its name when its sums are written, and is used only if they are right.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from spiral_vae import checksums, results
from spiral_vae.workdir import WorkdirError


class Checkpoints:
    """The checkpoints of a group's cells; a `cells.Store`."""

    def __init__(self, folder: Path, keep: int):
        """Makes a store in a folder, which keeps the newest `keep` checkpoints of each cell."""
        self._folder = folder
        self._keep = keep

    def save(self, cell: int, epoch: int, tree: Mapping[str, Any]) -> None:
        """Writes a tree of dicts of arrays.

        Raises:
          WorkdirError: it can't be written; the ones before are still there.
        """
        path = self._cell(cell) / _name(epoch)
        partial = results.partial(path)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with _orbax() as ocp:
                ocp.save(partial / "tree", dict(tree))
            checksums.write(
                partial, {name: checksums.of(partial / name) for name in _files(partial)}
            )
            shutil.rmtree(path, ignore_errors=True)  # one that can't be used is in the way
            partial.rename(path)
        except (OSError, ValueError) as error:  # a full disk is a ValueError to Orbax
            shutil.rmtree(partial, ignore_errors=True)
            full = "No space left on device" in str(error)
            reason = "No space left on device" if full else str(error).partition("\n")[0]
            raise WorkdirError(f"{path} can't be written: {reason}") from error
        for old in self._epochs(cell)[self._keep :]:
            shutil.rmtree(self._cell(cell) / _name(old), ignore_errors=True)

    def load(self, cell: int, epochs: Sequence[int]) -> tuple[int, dict[str, Any]] | None:
        """Returns the epoch and the tree of a cell's newest checkpoint that is good.

        Says on stderr which ones are damaged.

        Args:
          cell: its number.
          epochs: those at which the run can go on.
        """
        for epoch in self._epochs(cell):
            path = self._cell(cell) / _name(epoch)
            names = {*_files(path), *checksums.read(path)} or {"tree"}
            if damaged := checksums.damaged(path, names):
                print(f"note: {path} is damaged ({damaged[0]}) and not used", file=sys.stderr)
            elif epoch in epochs:
                with _orbax() as ocp:
                    return epoch, ocp.load(path / "tree")
        return None

    def _cell(self, cell: int) -> Path:
        return self._folder / f"cell_{cell:05d}"

    def _epochs(self, cell: int) -> list[int]:
        """Returns the epochs of a cell's checkpoints, newest first."""
        names = [path.name for path in self._cell(cell).glob("epoch_*")]
        numbers = [name.removeprefix("epoch_") for name in names]
        return sorted((int(number) for number in numbers if number.isdigit()), reverse=True)


def _name(epoch: int) -> str:
    return f"epoch_{epoch:010d}"


def _files(folder: Path) -> list[str]:
    """Returns the names of all files that are to have a sum."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [name for path in found if (name := str(path.relative_to(folder))) != checksums.NAME]


@contextlib.contextmanager
def _orbax() -> Iterator[Any]:
    """Yields Orbax, working for this process alone and silent: what fails is raised."""
    from orbax.checkpoint import v1 as ocp  # not earlier: it takes long to import

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )
    try:
        with ocp.Context(multiprocessing_options=alone):
            yield ocp
    finally:
        logging.set_verbosity(verbosity)

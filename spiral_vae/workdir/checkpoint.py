"""Checkpoints: arrays by name, under checksums.

checkpoints/group_0/cell_00002/epoch_0000010000/
    arrays.npz
    SHA256SUMS    of it

A folder gets its name when all of it is written, and is used only if its sums are right. Each
process writes its own cells on its own, whenever they are due.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spiral_vae.workdir import checksums, files
from spiral_vae.workdir.life import WorkdirError

_ARRAYS = "arrays.npz"


class Checkpoints:
    """The checkpoints of a group's cells; a `cells.Store`."""

    def __init__(self, folder: Path, keep: int):
        """Makes a store in a folder, which keeps the newest `keep` checkpoints of each cell."""
        self._folder = folder
        self._keep = keep

    def save(self, cell: int, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes arrays by name.

        Raises:
          WorkdirError: they can't be written; the ones before are still there.
        """
        path = self._cell(cell) / _name(epoch)
        partial = files.partial(path)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            files.write_npz(partial / _ARRAYS, arrays)
            checksums.write(partial, {_ARRAYS: checksums.of(partial / _ARRAYS)})
            shutil.rmtree(path, ignore_errors=True)  # one that can't be used is in the way
            partial.rename(path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise WorkdirError(f"{path} can't be written: {error.strerror or error}") from error
        # Later ones are of no use to a run that is here: they would be its first choice.
        found = self._epochs(cell)
        later = [other for other in found if other > epoch]
        for other in later + found[len(later) + self._keep :]:
            shutil.rmtree(self._cell(cell) / _name(other), ignore_errors=True)

    def load(self, cell: int, epochs: Sequence[int]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Returns the epoch and the arrays of a cell's newest checkpoint that is good.

        Says on stderr which ones are damaged.

        Args:
          cell: its number.
          epochs: those at which the run can go on.
        """
        for epoch in self._epochs(cell):
            path = self._cell(cell) / _name(epoch)
            if checksums.damaged(path, [_ARRAYS]):
                print(f"note: {path} is damaged and not used", file=sys.stderr)
            elif epoch in epochs:
                with np.load(path / _ARRAYS) as arrays:
                    return epoch, dict(arrays)
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

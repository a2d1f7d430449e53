"""Trained lanes from a workdir."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spiral_vae import numerics
from spiral_vae.config import axes, lanes, stored
from spiral_vae.exact.model import Model, of_lane, take
from spiral_vae.model import networks
from spiral_vae.process import Data
from spiral_vae.training import train
from spiral_vae.training.train import Lane
from spiral_vae.workdir import files, life


class Stored(NamedTuple):
    """What a workdir holds of one lane."""

    lane: Lane  # its numbers, float64
    params: networks.Params  # of networks and likelihood
    data: Data


class Film(NamedTuple):
    """The params of a lane along its training, where they are finite."""

    epoch: np.ndarray  # rising, [S]
    params: networks.Params  # leaves [S, ...]

    def at(self, epoch: int) -> networks.Params:
        """Returns the params at one of its epochs."""
        (row,) = np.flatnonzero(self.epoch == epoch)
        return jax.tree.map(lambda leaf: leaf[row], self.params)


def load(workdir: str | Path, lane: int = 0) -> Model:
    """Returns a lane of a workdir with its training data.

    Args:
      workdir: of a finished run.
      lane: its number, as in summary.csv.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
      ConfigError: a file of the user's that the run uses is gone or has changed.
    """
    (found,) = load_stored(workdir, [lane])
    return of_lane(*found)


def load_stored(workdir: str | Path, numbers: Iterable[int] | None = None) -> Iterator[Stored]:
    """Yields what a workdir holds of its lanes, of all of them unless it is told which.

    Raises what `load` does.
    """
    path = Path(workdir)
    has_data = life.holds(path, life.DATA)
    life.verify(path, life.CONFIG, life.PARAMS, *[life.DATA] * has_data)
    config = stored.from_json((path / life.CONFIG).read_text())
    _, rows = axes.expand(config, config.sweep)
    params = _arrays(path / life.PARAMS)
    data = _arrays(path / life.DATA) if has_data else None
    for number in range(len(rows)) if numbers is None else numbers:
        if not 0 <= number < len(rows):
            raise life.WorkdirError(f"{path} has the lanes 0 to {len(rows) - 1}, not {number}")
        (group,) = lanes.groups(config, rows[number : number + 1])
        lane = take(group.lanes, 0)
        if data is not None:
            own = Data(**{"t": None} | of_number(data, number))
        else:  # a run of a version before 0.2
            with numerics.single():
                _, own = jax.jit(train.init)(lane)
        yield Stored(lane, files.nested_params(of_number(params, number)), own)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def of_number(arrays: Mapping[str, np.ndarray], number: int) -> dict[str, Any]:
    """Returns a lane's arrays of those of a workdir, from its group if there are several."""
    for name in arrays:
        if name.endswith("/lane") and number in arrays[name]:
            prefix, row = name.removesuffix("lane"), list(arrays[name]).index(number)
            return {
                key.removeprefix(prefix): arrays[key][row]
                for key in arrays
                if key.startswith(prefix) and key != name
            }
    return {key: arrays[key][number] for key in arrays}


def films(workdir: str | Path) -> dict[int, Film]:
    """Returns the films that a workdir holds, by the number of their lane.

    Raises:
      WorkdirError: there is no such run, or the films are damaged.
    """
    path = Path(workdir)
    if not life.holds(path, life.SNAPSHOTS):
        return {}
    life.verify(path, life.SNAPSHOTS)
    arrays = _arrays(path / life.SNAPSHOTS)
    epoch, numbers = arrays.pop("epoch"), arrays.pop("lane")
    grouped = any(name.endswith("/lane") for name in arrays)
    found = {}
    for row, number in enumerate(numbers.tolist()):
        own = of_number(arrays, number if grouped else row)
        finite = [np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim))) for leaf in own.values()]
        there = np.all(finite, axis=0)
        frames = {name: leaf[there] for name, leaf in own.items()}
        found[number] = Film(epoch[there], files.nested_params(frames))
    return found

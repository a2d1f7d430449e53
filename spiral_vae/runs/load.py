"""Trained lanes from a workdir."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spiral_vae import numerics
from spiral_vae.config import axes, lanes, stored
from spiral_vae.exact.model import Model, of_lane, take
from spiral_vae.process import Data
from spiral_vae.training import train
from spiral_vae.workdir import files, life


def load(workdir: str | Path, lane: int = 0) -> Model:
    """Returns a lane of a workdir with its training data.

    Args:
      workdir: of a finished run.
      lane: its number, as in summary.csv.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
      ConfigError: a file of the user's that the run uses is gone or has changed.
    """
    path = Path(workdir)
    has_data = life.holds(path, life.DATA)
    life.verify(path, life.CONFIG, life.PARAMS, *[life.DATA] * has_data)
    config = stored.from_json((path / life.CONFIG).read_text())
    _, rows = axes.expand(config, config.sweep)
    if not 0 <= lane < len(rows):
        raise life.WorkdirError(f"{path} has the lanes 0 to {len(rows) - 1}, not {lane}")
    (group,) = lanes.groups(config, rows[lane : lane + 1])
    numbers = take(group.lanes, 0)
    params = files.nested_params(_of_lane(path / life.PARAMS, lane))
    if has_data:
        data = Data(**{"t": None} | _of_lane(path / life.DATA, lane))
    else:  # a run of a version before 0.2
        with numerics.single():
            _, data = jax.jit(train.init)(numbers)
    return of_lane(numbers, params, data)


def _of_lane(path: Path, number: int) -> dict[str, Any]:
    """Returns a lane's arrays out of params.npz or data.npz."""
    with np.load(path) as arrays:
        return _chosen(arrays, number)


def _chosen(arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Returns a lane's arrays, from its group if there are several."""
    for name in arrays:
        if name.endswith("/lane") and number in arrays[name]:
            prefix, row = name.removesuffix("lane"), list(arrays[name]).index(number)
            return {
                key.removeprefix(prefix): arrays[key][row]
                for key in arrays
                if key.startswith(prefix) and key != name
            }
    return {key: arrays[key][number] for key in arrays}

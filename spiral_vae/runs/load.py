"""Trained models: one lane as functions and arrays, from memory or from a workdir."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spiral_vae.config import command_line as config_lib
from spiral_vae.exact import evaluate
from spiral_vae.model import networks
from spiral_vae.workdir import files as results
from spiral_vae.config import lanes as sweep
from spiral_vae.training import train
from spiral_vae.workdir import life as workdir_lib
from spiral_vae.exact.inference import Encode
from spiral_vae.maths.observation import Observe
from spiral_vae.process.spiral import Data, Spiral


@dataclasses.dataclass(frozen=True)
class Model:
    """One trained lane, as functions and arrays."""

    encode: Encode  # x [N, 2] -> (mean, logvar) of q(z|x), [N, L] each
    observe: Observe  # z [N, L] -> p(x|z)
    spec: Spiral  # the true process
    t: np.ndarray  # true latent of the training points, [n]
    x: np.ndarray  # training points, [n, 2]

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Returns the mean of p(x|z), [N, 2], for z [N, L]."""
        return self.observe(z).mean


def load(workdir: str | Path, number: int = 0) -> Model:
    """Returns a lane of a workdir with its training data, which its seed makes again.

    Args:
      workdir: of a finished run.
      number: of the lane, as in summary.csv.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
    """
    workdir = Path(workdir)
    workdir_lib.verify(workdir, workdir_lib.CONFIG, workdir_lib.PARAMS)
    config = config_lib.from_json((workdir / workdir_lib.CONFIG).read_text())
    _, rows = config_lib.expand(config, config.sweep)
    (group,) = sweep.groups(config, rows[number : number + 1])
    with np.load(workdir / workdir_lib.PARAMS) as arrays:
        flat = _lane_params(arrays, number)
    numbers = lane(group.lanes, 0)
    _, data = jax.jit(train.init, static_argnames="program")(numbers, program=group.program)
    return of_lane(numbers, group.program, results.nested_params(flat), data)


def of_lane(
    numbers: train.Lane, program: train.Program, params: networks.Params, data: Data
) -> Model:
    """Returns the model of one lane, none of whose leaves has an axis of lanes."""
    params = {"likelihood": {}, **params}  # a fixed sigma has no entry in params.npz
    encode, observe = evaluate.model_of(program.vae, numbers.likelihood, params)
    return Model(
        encode=encode,
        observe=observe,
        spec=jax.tree.map(float, numbers.spiral),
        t=np.asarray(data.t),
        x=np.asarray(data.x),
    )


def _lane_params(arrays: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """Returns a lane's flat params out of params.npz, from its group if there are several."""
    for name in arrays:
        if name.endswith("/lane") and number in arrays[name]:
            prefix, row = name.removesuffix("lane"), list(arrays[name]).index(number)
            return {
                key.removeprefix(prefix): arrays[key][row]
                for key in arrays
                if key.startswith(prefix) and key != name
            }
    return {key: arrays[key][number] for key in arrays}


def judge(model: Model, gap_points: int = 24) -> evaluate.Report:
    """Returns the report on one lane."""
    return evaluate.evaluate(
        model.encode,
        model.observe,
        spec=model.spec,
        t=model.t,
        x=model.x,
        gap_points=gap_points,
    )


def lane(tree: Any, index: int) -> Any:
    """Returns one lane of a tree of [R, ...] leaves."""
    return jax.tree.map(lambda leaf: leaf[index], tree)

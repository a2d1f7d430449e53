"""Trained models: one lane as functions and arrays, from memory or from a workdir."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spiral_vae.config import axes, lanes, stored
from spiral_vae.exact import evaluate
from spiral_vae.exact.inference import Encode, Posteriors
from spiral_vae.maths.observation import Observe
from spiral_vae.model import networks
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import Curve, Data
from spiral_vae.training import train
from spiral_vae.workdir import files, life


@dataclasses.dataclass(frozen=True)
class Model:
    """One trained lane, as functions and arrays."""

    encode: Encode  # x [N, D] -> heads of q(z|x), [N, size] each
    observe: Observe  # z [N, L] -> p(x|z)
    posterior: Posterior  # the family of q(z|x)
    curve: Curve  # the truth
    t: np.ndarray  # true latent of the training points, [n]
    x: np.ndarray  # training points, [n, D]

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Returns the mean of p(x|z), [N, D], for z [N, L]."""
        return self.observe(z).mean

    def posteriors(self, x: np.ndarray) -> Posteriors:
        """Returns q(z|x) for x [N, D]."""
        return Posteriors(self.posterior, self.encode(x))


def load(workdir: str | Path, lane: int = 0) -> Model:
    """Returns a lane of a workdir with its training data, which its seed makes again.

    Args:
      workdir: of a finished run.
      lane: its number, as in summary.csv.

    Raises:
      WorkdirError: there is no such run, or what is read of it is damaged.
      ConfigError: a file of the user's that the run uses is gone or has changed.
    """
    path = Path(workdir)
    life.verify(path, life.CONFIG, life.PARAMS)
    config = stored.from_json((path / life.CONFIG).read_text())
    _, rows = axes.expand(config, config.sweep)
    if not 0 <= lane < len(rows):
        raise life.WorkdirError(f"{path} has the lanes 0 to {len(rows) - 1}, not {lane}")
    (group,) = lanes.groups(config, rows[lane : lane + 1])
    with np.load(path / life.PARAMS) as arrays:
        flat = _lane_params(arrays, lane)
    numbers = take(group.lanes, 0)
    _, data = jax.jit(train.init)(numbers)
    return of_lane(numbers, files.nested_params(flat), data)


def of_lane(lane: train.Lane, params: networks.Params, data: Data) -> Model:
    """Returns the model of one lane, none of whose leaves has an axis of lanes."""
    params = {"likelihood": {}, **params}  # a fixed sigma has no entry in params.npz
    encode, observe = evaluate.model_of(lane.vae, lane.likelihood, params)
    curve = lane.data.truth
    assert curve is not None  # every process so far has one
    return Model(
        encode=encode,
        observe=observe,
        posterior=lane.posterior,
        curve=jax.tree.map(float, curve),
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
        curve=model.curve,
        t=model.t,
        x=model.x,
        posterior=model.posterior,
        gap_points=gap_points,
    )


def take(tree: Any, index: int) -> Any:
    """Returns one lane of a tree of [R, ...] leaves."""
    return jax.tree.map(lambda leaf: leaf[index], tree)

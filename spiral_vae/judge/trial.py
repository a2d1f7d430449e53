"""A trial: one method on one problem, a lane for each seed, trained and judged as any run is."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from spiral_vae import fields as fields_lib
from spiral_vae.config import sources, stored
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, flatten, settled, updated
from spiral_vae.judge.methods import Method
from spiral_vae.judge.problems import Problem
from spiral_vae.runs.run import train_and_evaluate
from spiral_vae.workdir import files, life

SEEDS = 16
# What is kept of a lane, besides its problem, method and seed.
METRICS = (
    *("kl_to_truth", "kl_to_truth_error", "nll", "elbo", "inference_gap", "inference_gap_new"),
    *("sigma_ratio", "order_of_curve", "order_of_decoder", "found", "recovered"),
)
COLUMNS = ("problem", "method", "seed", "status", *METRICS, "seconds", "params_sha256")
_ROWS = "trial.json"


def config(problem: Problem, method: Method, seeds: int = SEEDS) -> ConfigDict:
    """Returns the config of a trial: the problem's fields, the method's over them, the budget.

    Raises:
      ConfigError: the method sets what nothing of this problem uses.
    """
    base = sources.load("base")
    fields = dict(problem.fields)
    if "likelihood.kind" in method.values:
        fields.pop("likelihood.estimator", None)  # it belongs to the problem's own kind
    given = {**fields, **method.values, **problem.budget, "num_seeds": seeds}
    idle = fields_lib.unused(flatten(updated(base, given)), *ROOTS)
    if own := [idle[path] for path in method.values if path in idle]:
        raise ConfigError("\n".join(own))
    return updated(base, {path: value for path, value in given.items() if path not in idle})


def suits(problem: Problem, method: Method) -> bool:
    """Whether a method is one to try on a problem: all that it says is used and its to say."""
    if method.only and problem.name not in method.only:
        return False
    if problem.knows_sigma and "likelihood.kind" in method.values:
        return False
    try:
        config(problem, method)
    except ConfigError:
        return False
    return True


def digest(config: ConfigDict) -> str:
    """Returns the SHA-256 of what a config has off the defaults, by which a trial is known."""
    plain = flatten(sources.load("base"))
    own = {path: repr(v) for path, v in sorted(flatten(config).items()) if v != plain.get(path)}
    return hashlib.sha256(json.dumps(own).encode()).hexdigest()


def run(problem: Problem, method: Method, folder: Path, seeds: int = SEEDS) -> list[dict[str, Any]]:
    """Trains and judges a method on a problem; goes on where it was stopped.

    Args:
      problem: what is learned.
      method: by which.
      folder: of the run.
      seeds: 0, 1, ... up to this number.

    Returns:
      A row of `COLUMNS` for each seed. 'seconds' is the wall time of the whole trial over its
      lanes, with compilation and judgement; 'params_sha256' is of a lane's trained numbers.
    """
    chosen = config(problem, method, seeds)
    if (found := kept(folder, chosen)) is not None:
        return found
    began = time.perf_counter()
    outcome = train_and_evaluate(chosen, str(folder), figures="none", resume=True)
    assert outcome is not None, "a trial runs in one process"
    seconds = (time.perf_counter() - began) / seeds
    sums = _digests(folder / life.PARAMS, seeds)
    rows = [
        {"problem": problem.name, "method": method.name, "seed": row["seed"]}
        | {"status": row["status"]}
        | {name: _plain(row[name]) for name in METRICS if name in row}
        | {"seconds": round(seconds, 3), "params_sha256": sums[i]}
        for i, row in enumerate(outcome.rows)
    ]
    files.write_text(folder / _ROWS, json.dumps(rows))
    return rows


def kept(folder: Path, config: ConfigDict) -> list[dict[str, Any]] | None:
    """Returns the rows of a trial that is finished with this very config; None where none is."""
    path = folder / _ROWS
    if not path.exists() or not life.is_finished(folder):
        return None
    if (folder / life.CONFIG).read_text() != stored.to_json(settled(config)):
        return None
    return json.loads(path.read_text())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _digests(path: Path, num: int) -> list[str]:
    """Returns the SHA-256 of the params of each lane."""
    with np.load(path) as arrays:
        params = {name: arrays[name] for name in sorted(arrays)}
    sums = []
    for lane in range(num):
        found = hashlib.sha256()
        for name, array in params.items():
            found.update(name.encode() + np.ascontiguousarray(array[lane]).tobytes())
        sums.append(found.hexdigest())
    return sums


def distance(row: Mapping[str, Any]) -> float:
    """Returns KL(p* || p) in nats, infinite for a lane that broke down."""
    return float(row["kl_to_truth"]) if row["status"] == "ok" else np.inf


def median(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the median distance of rows."""
    return float(np.median(distances(rows)))


def distances(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns the distance of each row, in the order of the seeds."""
    return np.asarray([distance(row) for row in sorted(rows, key=lambda row: row["seed"])])

"""A lane that breaks down amid sound ones."""

import csv
import functools
import random
from pathlib import Path

import numpy as np

from soak.lab import Lab, Result
from soak.process import Process
from soak.reference import arrays

_SOUND = {
    "likelihood.sigma": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45],
    "optimizer.decoder_learning_rate": [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3],
}
_POISON = {"likelihood.sigma": 1e-25, "optimizer.decoder_learning_rate": 1e38}


def poison(lab: Lab, count: int) -> list[Result]:
    """Gives one of eight lanes a value that it can't bear; the others must not notice."""
    return lab.tries("poison", functools.partial(_poison, lab), count)


def _poison(lab: Lab, folder: Path, rng: random.Random, number: int) -> Result:
    field = list(_POISON)[number % len(_POISON)]
    lane = rng.randrange(8)
    values = _SOUND[field].copy()
    fault = f"one lane of eight with {field} = {_POISON[field]:g}"
    found = []
    for name in ("sound", "poisoned"):
        process = _run(lab, folder / name, field, values)
        if code := process.wait():
            return Result(fault, "failed", process.report(f"the {name} run ends with {code}"))
        found.append(_lanes(folder / name))
        values[lane] = _POISON[field]
    sound, poisoned = found
    if poisoned[lane]["status"] == "ok":
        return Result(fault, "not noticed", process.report(f"lane {lane} should break down"))
    bad = [i for i in range(8) if i != lane and sound[i] != poisoned[i]]
    if bad:
        return Result(fault, "others differ", process.report(f"lane {lane} changes lanes {bad}"))
    return Result(fault, "other seven identical")


def _run(lab: Lab, workdir: Path, field: str, values: list[float]) -> Process:
    return lab.start(
        workdir.parent,
        "--config=configs/base.py",
        f"--sweep={field}={','.join(map(str, values))}",
        "--config.cell_width=4",
        "--config.data.num_points=50",
        "--config.train.batch_size=25",
        "--config.train.num_epochs=200",
        "--config.train.log_every=20",
        f"--workdir={workdir}",
    )


def _lanes(workdir: Path) -> list[dict[str, object]]:
    """Returns all that a run found about each lane, as text and bytes."""
    with open(workdir / "summary.csv", newline="") as file:
        lanes = [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(file)]
    for name in ("params", "metrics/training", "metrics/probes"):
        for key, array in arrays(workdir / f"{name}.npz").items():
            for i, lane in enumerate(lanes):
                lane[f"{name}/{key}"] = np.asarray(array if key == "epoch" else array[i]).tobytes()
    return lanes

"""What the experiments share: a size, a folder of results, sweeps run by the library."""

import argparse
import dataclasses
import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs import base
from spiral_vae import plotting, results, run


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One call of an experiment: where its results go and how large it is."""

    name: str
    folder: Path  # NAME.csv, NAME.png and NAME.svg go here
    runs: Path  # workdirs of the sweeps
    quick: bool  # a small size that shows that everything works, but nothing else

    def sweep(
        self, label: str, overrides: Mapping[str, Any], axes: Sequence[str], **quick: Any
    ) -> run.Outcome:
        """Runs a sweep in a workdir of its own and returns its outcome.

        Args:
          label: of the workdir.
          overrides: fields of configs/base.py that differ, by dotted name.
          axes: of the sweep, as for --sweep.
          **quick: overrides for the quick size, with '__' for the dots.
        """
        config: ConfigDict = base.get_config()
        config.update_from_flattened_dict(dict(overrides))
        if self.quick:
            small = {key.replace("__", "."): value for key, value in quick.items()}
            config.update_from_flattened_dict(_QUICK | small)
        config.sweep = tuple(axes)
        outcome = run.run(config, str(self.runs / self.name / label))
        assert outcome is not None, "experiments run in one process"
        return outcome

    def save(self, figure: Figure, rows: Sequence[Mapping[str, Any]], part: str = "") -> None:
        """Writes the figure and the table behind it."""
        name = f"{self.name}_{part}" if part else self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        results.write_csv(self.folder / f"{name}.csv", rows)
        plotting.save(figure, self.folder, name)


_QUICK = {"train.num_epochs": 40, "train.log_every": 20, "num_seeds": 2, "evaluate.every": 0.0}


def main(function: Callable[[Experiment], None]) -> None:
    """Runs an experiment from the command line, under the name of its module."""
    spec = function.__globals__["__spec__"]
    name = spec.name.rpartition(".")[2] if spec else Path(function.__globals__["__file__"]).stem
    parser = argparse.ArgumentParser(description=function.__globals__["__doc__"].splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny size, to see that it works")
    parser.add_argument("--folder", type=Path, default=Path("docs/results"), help="of the results")
    parser.add_argument("--runs", type=Path, help="of the workdirs; a dated one by default")
    flags = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(2, len(os.sched_getaffinity(0))))
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    runs = flags.runs or Path("runs") / f"experiments_{stamp}"
    function(Experiment(name, flags.folder, runs, flags.quick))

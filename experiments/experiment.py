"""What the experiments share: a size, a folder of results, sweeps run by the library."""

import argparse
import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from spiral_vae import machine
from spiral_vae.config import command_line
from spiral_vae.config.axes import parse_axis
from spiral_vae.config.values import ConfigError, with_values
from spiral_vae.present import plotting
from spiral_vae.runs.run import Outcome, train_and_evaluate
from spiral_vae.workdir import files
from spiral_vae.workdir.life import WorkdirError


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One call of an experiment: where its results go and how large it is."""

    name: str
    folder: Path  # NAME.csv, NAME.png and NAME.svg go here
    runs: Path  # workdirs of the sweeps
    quick: bool  # a small size that shows that everything works, but nothing else

    def sweep(
        self, label: str, config: ConfigDict, overrides: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Runs a config in a workdir of its own and returns its outcome.

        With the --runs of an experiment that was stopped it goes on from where that was. The quick
        size has few epochs, one seed and of each axis the last two values.

        Args:
          label: of the workdir.
          config: with its axes in config.sweep.
          overrides: fields that differ from the config, by dotted name.
        """
        config = with_values(config, overrides or {})
        if self.quick:
            config.num_seeds = 1
            config.data.num_points = min(config.data.num_points, 80)
            config.train.batch_size = min(config.train.batch_size, config.data.num_points)
            config.train.num_epochs = 20
            config.train.log_every = 10
            config.train.compiled = "quickly"
            config.evaluate.every = min(config.evaluate.every, 0.5)
            config.evaluate.gap_points = min(config.evaluate.gap_points, 4)
            config.sweep = tuple(_last_two(axis, config) for axis in config.sweep)
        workdir = str(self.runs / self.name / label)
        outcome = train_and_evaluate(config, workdir, figures="none", resume=True)
        assert outcome is not None, "experiments run in one process"
        return outcome

    def save(self, figure: Figure, rows: Sequence[Mapping[str, Any]], part: str = "") -> None:
        """Writes the figure and the table behind it."""
        name = f"{self.name}_{part}" if part else self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write_csv(self.folder / f"{name}.csv", rows)
        plotting.save(figure, self.folder, name)

    def tell(
        self, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], by: Sequence[str]
    ) -> None:
        """Prints median and 10-90 % of metrics for each group of rows with the same `by`."""
        for group in dict.fromkeys(tuple(row[name] for name in by) for row in rows):
            own = [row for row in rows if tuple(row[name] for name in by) == group]
            cells = []
            for metric in metrics:
                values = np.asarray([row.get(metric, np.nan) for row in own], float)
                low, median, high = quantiles(values)
                cells.append(f"{metric} {median:.4g} ({low:.4g} to {high:.4g})")
            print(f"{', '.join(map(str, group))}: {'; '.join(cells)}; {len(own)} lanes")


def quantiles(values: np.ndarray) -> np.ndarray:
    """Returns the 10, 50 and 90 % quantiles, [3]; a lane without a value counts as the largest."""
    return np.quantile(
        np.where(np.isnan(values), np.inf, values), [0.1, 0.5, 0.9], method="nearest"
    )


def _last_two(axis: str, config: ConfigDict) -> str:
    found = parse_axis(axis, config)
    return f"{found.path}={','.join(map(str, found.values[-2:]))}"


def main(function: Callable[[Experiment], None]) -> None:
    """Runs an experiment from the command line, under the name of its module."""
    spec = function.__globals__["__spec__"]
    name = spec.name.rpartition(".")[2] if spec else Path(function.__globals__["__file__"]).stem
    parser = argparse.ArgumentParser(description=function.__globals__["__doc__"].splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny size, to see that it works")
    parser.add_argument("--folder", type=Path, default=Path("docs/results"), help="of the results")
    parser.add_argument("--runs", type=Path, help="of the workdirs; by default a dated one")
    flags = parser.parse_args()
    machine.prepare_jax()
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    runs = flags.runs or Path("runs") / f"experiments_{stamp}"
    try:
        function(Experiment(name, flags.folder, runs, flags.quick))
    except (ConfigError, WorkdirError) as error:
        command_line.fail(error)

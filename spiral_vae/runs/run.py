"""A whole run: lanes are trained, judged and written to a workdir."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from spiral_vae import machine, numerics
from spiral_vae.config import axes, lanes, stored
from spiral_vae.config.axes import Axis, Row
from spiral_vae.config.lanes import Group
from spiral_vae.config.values import ConfigError, settled
from spiral_vae.exact import evaluate, probe
from spiral_vae.exact.model import Model, judge, of_lane, take
from spiral_vae.runs import check, dataset
from spiral_vae.training import cells
from spiral_vae.training.cells import Stopped
from spiral_vae.workdir import environment, files, life, tensorboard
from spiral_vae.workdir.checkpoint import Checkpoints

Result = TypeVar("Result")

FIGURES = ("none", "basic", "all", "svg")  # what may be drawn
_MAX_PATH = 4096  # bytes, of Linux


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What `train_and_evaluate` found."""

    workdir: Path
    axes: list[str]  # swept fields, the slowest first
    rows: list[dict[str, Any]]  # of summary.csv, one a lane


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | None = None,
    *,
    figures: str = "all",
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Trains, evaluates and writes all lanes of a config; returns what was found.

    With several processes all must call this; the first evaluates, writes and returns the outcome,
    the others return None.

    Args:
      config: the whole config, its axes in config.sweep.
      workdir: a new or empty folder; None for a fresh one under runs/.
      figures: which are drawn, 'none', 'basic' (the training, and what was learned), 'all', or
        'svg', all of them as SVG too.
      resume: whether to go on with the run in the workdir, if one has begun there.
      stop: asked again and again whether to stop; what was trained is stored then.

    Raises:
      ConfigError: the config or its sweep is wrong, or not that of the run to go on with, a user's
        kind does not keep its contract, or JAX is set to other numbers; nothing was written. Or,
        when the first chunk is trained, a library that the end needs can't be imported.
      WorkdirError: the workdir can't be used, what is in it is damaged, or the data of the run to
        go on with can't be made again.
      Stopped: because of `stop`; with the workdir.
    """
    if figures not in FIGURES:
        raise ConfigError(f"figures: found {figures!r}, must be one of {', '.join(FIGURES)}")
    if problems := numerics.problems():
        raise ConfigError("\n".join(problems))
    config = settled(config)
    swept, rows = axes.expand(config, config.sweep)
    groups = lanes.groups(config, rows)
    check.kinds(groups)
    paths = [axis.path for axis in swept]
    with contextlib.ExitStack() as stack:

        def enter() -> Path:
            path = stack.enter_context(life.opened(workdir, resume=resume))
            _begin(path, config)
            return path

        path = _shared(_on_first(enter))
        first = jax.process_index() == 0
        if life.is_finished(path):
            if first:
                print("this run is finished already")
            return Outcome(path, paths, _stored_rows(path)) if first else None
        if first:
            print(_plan(swept, rows, config.num_seeds, len(groups)), flush=True)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        ahead = pool.submit(_import_ahead, first and figures != "none")
        try:
            trained = _train(config, groups, path, ahead.result, stop=stop, quiet=not first)
            num = config.evaluate.gap_points
            found = _on_first(lambda: _finish(path, groups, trained, rows, figures, num, stop))
        except Stopped:
            raise Stopped(path) from None
        except cells.OtherData:
            raise life.WorkdirError(environment.other_data(path)) from None
        return Outcome(path, paths, found) if found is not None else None


def _import_ahead(draw: bool) -> None:
    """Imports what only the end of a run needs, in a thread beside the first chunk of training.

    Raises:
      ConfigError: it is installed and can't be imported.
    """
    optional = ("xarray", "h5netcdf", "tensorboardX")
    for name in optional + ("spiral_vae.present.figures",) * draw:
        try:
            importlib.import_module(name)
        except ImportError:
            if name not in optional:
                raise
        except Exception as error:  # whatever it is, it would end the run when all is trained
            raise ConfigError(f"{name} can't be imported: {error}") from error


def _begin(path: Path, config: ConfigDict) -> None:
    """Writes the config into a new workdir, or sees that it may go on with the one there."""
    text = stored.to_json(config)
    if life.has_begun(path):
        life.verify(path, life.CONFIG)
        before = (path / life.CONFIG).read_text()
        stored.check_resume(stored.from_json(before), config)
        if json.loads(before) != json.loads(text):
            life.begin(path, text)
    else:
        life.begin(path, text)
    if not life.is_finished(path):
        tensorboard.clear(path / life.EVENTS)
        shutil.rmtree(path / life.FIGURES, ignore_errors=True)  # of a shorter training
        (path / life.EXPLORER).unlink(missing_ok=True)
        if changed := environment.write(path / environment.NAME):
            print(
                f"note: {', '.join(changed)} changed since this run began; its numbers may be "
                "those of neither",
                file=sys.stderr,
            )
        for name, flags in numerics.variables().items():
            print(f"note: {name} holds {flags}, which may change numbers", file=sys.stderr)


def _stored_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a finished run's summary.csv, without what is empty."""
    columns = files.read_csv(path / life.SUMMARY)
    return [
        {name: value for name, value in zip(columns, row, strict=True) if not _is_empty(value)}
        for row in zip(*columns.values(), strict=True)
    ]


def _is_empty(value: Any) -> bool:
    """Returns whether a cell of a table had nothing in it."""
    return value == "" or (isinstance(value, float) and np.isnan(value))


def _finish(
    path: Path,
    groups: Sequence[Group],
    trained: Sequence[cells.Trained],
    rows: Sequence[Row],
    figures: str,
    gap_points: int,
    stop: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Judges what was trained, writes it all and returns the rows of summary.csv."""
    _write_training(path, groups, trained)
    found, report = evaluate_lanes(groups, trained, rows, gap_points, stop)
    files.write_csv(path / life.SUMMARY, found)
    dataset.write(path)
    if figures != "none":
        _draw(path / life.FIGURES, groups, trained, found, report, gap_points, which=figures)
    life.finish(path)
    return found


def _shared(path: Path | None) -> Path:
    """Returns the first process's path on all of them."""
    if jax.process_count() == 1 and path is not None:
        return path
    own = np.frombuffer(str(path or "").encode().ljust(_MAX_PATH), np.uint8)
    return Path(multihost_utils.broadcast_one_to_all(own).tobytes().decode().strip())


def _on_first(function: Callable[[], Result]) -> Result | None:
    """Returns function() on the first process and None on the others, once it is done.

    If it raises, all processes stop: the first with its error, the others with status 2.
    """
    result, error = None, None
    if jax.process_index() == 0:
        try:
            result = function()
        except Exception as raised:  # whatever it is, the others must not wait for ever
            error = raised
    if jax.process_count() > 1:
        failed = bool(multihost_utils.broadcast_one_to_all(np.bool_(error is not None)))
        if failed and error is None:
            sys.exit(2)
    if error is not None:
        raise error
    return result


def _plan(swept: Sequence[Axis], rows: Sequence, num_seeds: int, num_groups: int) -> str:
    """Returns a line on what is about to run."""
    sizes = [f"{axis.path}: {len(axis.values)}" for axis in swept] + [f"seeds: {num_seeds}"]
    devices = jax.devices()
    return (
        f"{_count(len(rows), 'lane')} ({', '.join(sizes)}) in {_count(num_groups, 'group')}, "
        f"{_count(len(devices), 'device')} ({devices[0].platform})"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _train(
    config: ConfigDict,
    groups: Sequence[Group],
    path: Path,
    ready: Callable[[], None],
    *,
    stop: Callable[[], bool],
    quiet: bool,
) -> list[cells.Trained]:
    """Trains all groups; `ready` is called when the first chunk is done."""
    total = sum(len(group.index) * group.lanes.train.num_epochs for group in groups)
    events = tensorboard.Events(path / life.EVENTS)
    quiet = quiet or not machine.shows_progress()
    with tqdm(total=total, unit=" epochs", unit_scale=True, disable=quiet) as bar:

        def on_chunk(group: Group, chunk: Sequence[cells.Progress]) -> None:
            ready()
            for one in chunk:
                for prefix, rows in (("", one.metrics), ("probe/", one.probes)):
                    for epoch, row in rows.items():
                        named = {prefix + name: values for name, values in row.items()}
                        events.write(group.index[one.lanes], epoch, named)
            last = [one.metrics[max(one.metrics)] for one in chunk]
            means = {key: f"{np.mean([np.mean(row[key]) for row in last]):.4g}" for key in last[0]}
            bar.set_postfix(means, refresh=False)
            bar.update(sum(one.num_epochs * len(one.lanes) for one in chunk))

        trained = []
        for number, group in enumerate(groups):
            folder = path / life.CHECKPOINTS / f"group_{number}"
            found = cells.train(
                group.lanes,
                cell_width=config.cell_width,
                probe=probe.probe,
                probe_every=int(np.ceil(config.evaluate.every * group.lanes.train.num_epochs)),
                on_chunk=functools.partial(on_chunk, group),
                snapshots_per_tenfold=config.evaluate.snapshots,
                snapshot_share=len(group.index) / sum(len(one.index) for one in groups),
                store=Checkpoints(folder, config.checkpoint.keep),
                store_every=config.checkpoint.every,
                stop=stop,
            )
            trained.append(found)
        return trained


def _write_training(path: Path, groups: Sequence[Group], trained: Sequence[cells.Trained]) -> None:
    lanes = np.concatenate([group.index for group in groups])
    order = np.argsort(lanes)
    for name, epochs, metrics in (
        ("training", [t.epoch for t in trained], [t.metrics for t in trained]),
        ("probes", [t.probe_epoch for t in trained], [t.probes for t in trained]),
    ):
        every = np.unique(np.concatenate(epochs))
        arrays = {
            key: np.concatenate(
                [_placed(m[key], epoch, every) for epoch, m in zip(epochs, metrics, strict=True)]
            )[order]
            for key in metrics[0]
            if all(key in one for one in metrics)  # two latents have fewer probes
        }
        files.write_npz(path / "metrics" / f"{name}.npz", {"epoch": every, **arrays})
    params = [files.flat_params(one.params) for one in trained]
    files.write_npz(path / life.PARAMS, _by_lane(groups, params, order))
    data = [jax.device_get(one.data).arrays() for one in trained]
    files.write_npz(path / life.DATA, _by_lane(groups, data, order))
    if any(one.snapshots for one in trained):
        files.write_npz(path / life.SNAPSHOTS, _snapshots(groups, trained))


def _snapshots(groups: Sequence[Group], trained: Sequence[cells.Trained]) -> dict[str, np.ndarray]:
    """Returns the snapshots of the lanes that have them, and which these are, [F]; says it."""
    every = np.unique(np.concatenate([one.snapshot_epoch for one in trained]))
    own, found = [], []
    for group, one in zip(groups, trained, strict=True):
        arrays = {k: _placed(v, one.snapshot_epoch, every) for k, v in one.snapshots.items()}
        num = len(next(iter(arrays.values()), ()))
        if num:
            own.append(dataclasses.replace(group, index=group.index[:num]))
            found.append(arrays)
    lanes = np.concatenate([group.index for group in own])
    total = sum(len(group.index) for group in groups)
    if len(lanes) < total:
        print(f"snapshots: of {len(lanes)} of {total} lanes, for which there is room", flush=True)
    order = np.argsort(lanes)
    return {"epoch": every, "lane": lanes[order], **_by_lane(own, found, order)}


def _placed(values: np.ndarray, epoch: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Returns [lanes, rows, ...] at `epoch` among all epochs of the sweep, nan at the others."""
    placed = np.full((len(values), len(every), *values.shape[2:]), np.nan, values.dtype)
    placed[:, np.searchsorted(every, epoch)] = values
    return placed


def _by_lane(
    groups: Sequence[Group], found: Sequence[Mapping[str, np.ndarray]], order: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns arrays by name, [lanes, ...]; under group_K/ where shapes differ between groups."""
    shapes = {tuple((key, leaf.shape[1:]) for key, leaf in one.items()) for one in found}
    if len(shapes) == 1:
        return {key: np.concatenate([one[key] for one in found])[order] for key in found[0]}
    arrays = {}
    for number, (group, one) in enumerate(zip(groups, found, strict=True)):
        arrays[f"group_{number}/lane"] = group.index
        arrays |= {f"group_{number}/{key}": leaf for key, leaf in one.items()}
    return arrays


def model_of(group: Group, one: cells.Trained, i: int) -> Model:
    """Returns the i-th lane of a trained group."""
    return of_lane(*(take(tree, i) for tree in (group.lanes, one.params, one.data)))


def evaluate_lanes(
    groups: Sequence[Group],
    trained: Sequence[cells.Trained],
    rows: Sequence[Row],
    gap_points: int = 24,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[list[dict[str, Any]], evaluate.Report | None]:
    """Returns the rows of summary.csv, and the report on the first lane, if it is sound.

    In its row a lane that failed has its status and nothing more.

    Args:
      groups: of the sweep.
      trained: what each group gave.
      rows: the seed and the swept fields of each lane, in the order of the sweep.
      gap_points: see `evaluate`.
      stop: asked before each lane whether to raise `Stopped`.
    """
    places = [
        (group, one, i, int(number))
        for group, one in zip(groups, trained, strict=True)
        for i, number in enumerate(group.index)
    ]

    reports = []  # of the lane that goes ahead

    def row_of(place: tuple[Group, cells.Trained, int, int]) -> tuple[int, dict[str, Any]]:
        if stop():
            raise Stopped
        group, one, i, number = place
        row = {"lane": number, **rows[number], "status": one.status(i)}
        row |= {name: float(values[i]) for name, values in one.data.facts().items()}
        if row["status"] == "ok":
            try:
                report = judge(model_of(group, one, i), gap_points=gap_points)
                row |= {"verdict": evaluate.verdict(report.metrics), **report.metrics}
                if place is places[0]:
                    reports.append(report)
            except Exception as error:  # whatever it is, it must not cost the other lanes
                row["status"] = f"not evaluated: {str(error) or type(error).__name__}"
        return number, row

    # Threads, as nearly all of the time is spent in compiled code that releases the lock. The
    # first lane goes ahead, so that the others find its compiled code and its process at hand.
    with (
        concurrent.futures.ThreadPoolExecutor(machine.num_cores()) as pool,
        tqdm(
            total=len(places),
            unit=" lanes",
            desc="evaluating",
            disable=not machine.shows_progress(),
        ) as bar,
    ):
        found = {}
        for part in (places[:1], places[1:]):
            for number, row in pool.map(row_of, part):
                found[number] = row
                bar.update()
    return [found[number] for number in range(len(rows))], next(iter(reports), None)


def _draw(
    folder: Path,
    groups: Sequence[Group],
    trained: Sequence[cells.Trained],
    rows: Sequence[dict],
    report: evaluate.Report | None,
    gap_points: int,
    *,
    which: str,
) -> None:
    """Draws the training of all lanes of the first group and what is known of its first sound lane.

    The report is on the group's first lane, if that is sound.
    """
    from spiral_vae.present import figures  # not earlier: matplotlib takes long to import

    group, one = groups[0], trained[0]
    arrays: figures.Arrays = {"training": {"epoch": one.epoch, **one.metrics}}
    if "inference_gap" in one.probes:
        shown = {name: values for name, values in one.probes.items() if name != "spearman"}
        arrays["progress"] = {"epoch": one.probe_epoch, **shown}
    sound = [i for i, number in enumerate(group.index) if rows[number]["status"] == "ok"]
    if sound:
        model = model_of(group, one, sound[0])
        if which == "basic":
            arrays |= figures.basic(model)
        else:
            report = figures.detailed(model, report or judge(model, gap_points))
            arrays |= figures.of_lane(model, report)
    figures.draw(folder, arrays, svg=which == "svg")

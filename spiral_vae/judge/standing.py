"""The standing results: all methods on all problems, once a version, stored in the package."""

import functools
import platform
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from spiral_vae.config.values import ConfigError
from spiral_vae.judge import trial
from spiral_vae.judge.methods import METHODS, Method
from spiral_vae.judge.problems import PROBLEMS, Problem
from spiral_vae.runs import dataset
from spiral_vae.version import __version__
from spiral_vae.workdir import files

if TYPE_CHECKING:
    import xarray

FOLDER = Path(__file__).with_name("results")
_KEYS = ("problem", "method", "seed")


def cells() -> Iterator[tuple[Problem, Method]]:
    """Yields the pairs of a named problem and a method that suits it, problem after problem."""
    for problem in PROBLEMS.values():
        for method in METHODS.values():
            if trial.suits(problem, method):
                yield problem, method


def make(folder: Path, part: int = 1, parts: int = 1) -> list[str]:
    """Runs every cell, or each one of a part of them, and stores the problems that are whole.

    It goes on where it was stopped.

    Args:
      folder: of the trials, which several processes may share.
      part: which of the parts, from 1 on.
      parts: how many there are.

    Returns:
      The problems that still lack cells.
    """
    for problem, method in list(cells())[part - 1 :: parts]:
        trial.run(problem, method, _place(folder, problem, method))
    return store(folder)


def store(folder: Path) -> list[str]:
    """Writes the results of all problems whose cells are finished; returns the others."""
    found: dict[str, list] = {}
    missing = []
    for problem, method in cells():
        config = trial.config(problem, method)
        kept = trial.kept(_place(folder, problem, method), config)
        if kept is None:
            missing.append(problem.name)
            continue
        about = {
            "config_sha256": trial.digest(config),
            "version": __version__,
            "jax": jax.__version__,
            "machine": machine(),
        }
        found.setdefault(problem.name, []).extend(row | about for row in kept)
    whole = [row for name, own in found.items() if name not in missing for row in own]
    if whole:
        FOLDER.mkdir(exist_ok=True)
        files.write_csv(FOLDER / f"{__version__}.csv", whole)
    return list(dict.fromkeys(missing))


def _place(folder: Path, problem: Problem, method: Method) -> Path:
    return folder / problem.name / method.name


def machine() -> str:
    """Returns the kind of machine: bits are the same on the same kind."""
    cpu = platform.machine()
    with_name = Path("/proc/cpuinfo")
    if with_name.exists():
        names = [line for line in with_name.read_text().splitlines() if "model name" in line]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return f"{jax.devices()[0].device_kind}, {cpu}"


@functools.cache
def rows() -> list[dict[str, Any]]:
    """Returns the standing results, a row for each problem, method and seed; none is an empty list.

    They are those of the newest version that the package holds.
    """
    found = sorted(FOLDER.glob("*.csv"), key=lambda path: [int(n) for n in path.stem.split(".")])
    if not found:
        return []
    columns = files.read_csv(found[-1])
    return [
        {name: value for name, value in zip(columns, values, strict=True) if value == value}
        for values in zip(*columns.values(), strict=True)
    ]


def of(problem: Problem) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of a named problem by method, the nearest to the truth first."""
    own: dict[str, list[dict[str, Any]]] = {}
    for row in rows():
        if row["problem"] == problem.name:
            own.setdefault(row["method"], []).append(row)
    return dict(sorted(own.items(), key=lambda item: trial.median(item[1])))


def standing() -> "xarray.Dataset":
    """Returns the standing results as a table with the axes problem, method and seed.

    Numbers of pairs that were not tried are nan, words are empty.

    Raises:
      ConfigError: xarray is not installed.
    """
    dataset.need_xarray()
    import xarray

    found = rows()
    coords = {key: list(dict.fromkeys(row[key] for row in found)) for key in _KEYS}
    names = [name for name in dict.fromkeys(n for row in found for n in row) if name not in _KEYS]
    shape = tuple(map(len, coords.values()))
    variables = {}
    for name in names:
        words = any(isinstance(row.get(name), str) for row in found)
        array = np.full(shape, "" if words else np.nan, object if words else float)
        for row in found:
            place = tuple(coords[key].index(row[key]) for key in _KEYS)
            array[place] = row.get(name, array[place])
        variables[name] = (_KEYS, array.astype(str) if words else array)
    return xarray.Dataset(variables, coords)


def repeated(folder: Path, cell: str | None = None) -> tuple[str, int, int]:
    """Trains a cell anew and compares its bits with the standing ones.

    Args:
      folder: of the trial.
      cell: 'PROBLEM/METHOD'; None for one drawn at random.

    Returns:
      The cell, how many of its lanes have the same params and distance to the truth, and of how
      many.

    Raises:
      ConfigError: there is no such cell among the standing results.
    """
    known = {f"{row['problem']}/{row['method']}" for row in rows()}
    if not known:
        raise ConfigError("there are no standing results; make standing makes them")
    cell = cell or random.choice(sorted(known))
    if cell not in known:
        raise ConfigError(f"repeat: found {cell!r}, must be one of {', '.join(sorted(known))}")
    problem, method = cell.split("/")
    before = of(PROBLEMS[problem])[method]
    now = trial.run(PROBLEMS[problem], METHODS[method], folder / cell)
    same = [
        one["params_sha256"] == other["params_sha256"]
        and trial.distance(one) == trial.distance(other)
        for one, other in zip(before, now, strict=True)
    ]
    return cell, sum(same), len(same)

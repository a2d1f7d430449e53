"""The workdir: everything that is written to disk, each file whole or not at all.

config.json       the resolved config with its sweep
environment.json  versions, devices, command line
summary.csv       one row a lane
metrics/          training.npz and probes.npz (arrays [lanes, rows]), tensorboard/
params.npz        final parameters of all lanes, [lanes, ...] each
figures/          PNG and SVG
"""

import contextlib
import csv
import datetime
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("spiral_vae", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib")
TENSORBOARD_LANES = 8  # the first ones; a sweep of hundreds would take longer to write than to run


class WorkdirError(Exception):
    """The workdir can't be used; the message says why and what would work."""


def create(workdir: str | None) -> Path:
    """Returns a new, empty workdir with its subfolders, by default a dated one under runs/.

    Raises:
      WorkdirError: it holds something already, or can't be written.
    """
    if workdir is None:
        stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = next(p for p in _numbered(Path("runs") / stamp) if not p.exists())
    else:
        path = Path(workdir)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            found = "holds files already" if path.is_dir() else "is not a folder"
            raise WorkdirError(f"--workdir: {path} {found}; give a new or an empty folder")
        for folder in ("metrics", "figures"):
            (path / folder).mkdir(parents=True)
    except OSError as error:
        raise WorkdirError(f"--workdir: {path} can't be made: {error.strerror}") from error
    return path


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 1000):
        yield path.with_name(f"{path.name}_{number}")


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    with _whole(path) as file:
        file.write(text.encode())


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, for `numpy.load`."""
    with _whole(path) as file:
        np.savez(file, **arrays)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows under the union of their names, in order of appearance; what is nan is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, str | bool | np.bool_ | int | np.integer):
        return value
    return "" if np.isnan(value) else repr(float(value))


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[io.BufferedWriter]:
    """Opens a file beside `path` that takes its name once all is written and on disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def flat_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Returns params under names such as 'encoder/hidden_0/kernel'."""
    flat = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = np.asarray(value)
    return flat


def nested_params(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the params that `flat_params` named."""
    params: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return params


def write_environment(path: Path) -> None:
    """Writes what a run ran on."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    environment = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": [
            f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()
        ],
        "git_commit": _git_commit(),
    }
    write_text(path, json.dumps(environment, indent=2) + "\n")


def _git_commit() -> str | None:
    """Returns the commit of this code, marked when files differ from it; None outside of git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def write_tensorboard(
    folder: Path, epoch: np.ndarray, metrics: Mapping[str, np.ndarray], lanes: Sequence[int]
) -> None:
    """Writes event files that `tensorboard --logdir` shows, if tensorboardX is installed.

    Args:
      folder: gets a subfolder for each of the first lanes.
      epoch: [rows].
      metrics: [lanes, rows] each.
      lanes: their numbers.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return
    for row, lane in enumerate(lanes[:TENSORBOARD_LANES]):
        with SummaryWriter(str(folder / f"lane_{lane:04d}")) as writer:
            for name, values in metrics.items():
                for step in np.flatnonzero(np.isfinite(values[row])):
                    writer.add_scalar(name, float(values[row, step]), int(epoch[step]))

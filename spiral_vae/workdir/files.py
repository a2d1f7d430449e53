"""What is written into a workdir, each file whole or not at all.

config.json       the resolved config with its sweep
environment.json  versions, devices, command line
summary.csv       one row a lane
metrics/          training.npz and probes.npz (arrays [lanes, rows]), tensorboard/
params.npz        final parameters of all lanes, [lanes, ...] each
figures/          PNG and SVG
checkpoints/      what a resume needs
SHA256SUMS        of all but the checkpoints, which have their own
"""

import contextlib
import csv
import datetime
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("spiral_vae", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib")
TENSORBOARD_LANES = 8  # the first ones; a sweep of hundreds would take longer to write than to run


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a file."""
    with _whole(path) as file:
        file.write(content)


def partial(path: Path) -> Path:
    """Returns where a file or folder is made, to get its own name when it is whole."""
    return path.with_name(f".{path.name}.partial")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, for `numpy.load`."""
    content = io.BytesIO()  # some versions of numpy complain twice when a disk is full
    np.savez(content, **arrays)
    write_bytes(path, content.getbuffer())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows under the union of their names, in order of appearance; what is nan is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> dict[str, list]:
    """Returns the columns of a table that `write_csv` wrote, each of one type; nan is no value."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: _typed([row[name] for row in rows]) for name in rows[0]}


def _typed(cells: list[str]) -> list:
    """Returns a column as booleans, integers, numbers or strings; an empty cell is nan."""
    if set(cells) <= {"True", "False", ""}:
        return [cell == "True" if cell else np.nan for cell in cells]
    for type_ in (int, float):
        try:
            return [type_(cell) if cell or type_ is int else np.nan for cell in cells]
        except ValueError:
            continue
    return cells


def _cell(value: Any) -> Any:
    if isinstance(value, str | bool | np.bool_ | int | np.integer):
        return value
    return "" if np.isnan(value) else repr(float(value))


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[io.BufferedWriter]:
    """Opens a file beside `path` that takes its name once all is written and on disk."""
    beside = partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


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


def write_environment(path: Path) -> list[str]:
    """Writes what a run runs on; adds it to what is there where the run began earlier.

    Returns:
      What differs from where the run began: packages with other versions, 'the code'.
    """
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
    first = environment
    with contextlib.suppress(OSError, ValueError):
        first = json.loads(path.read_text())
        first.setdefault("resumed", []).append(environment)
    write_text(path, json.dumps(first, indent=2) + "\n")
    other_code = first["git_commit"] != environment["git_commit"]
    return [name for name in PACKAGES if versions.get(name) != first["versions"].get(name)] + [
        "the code"
    ] * other_code


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
    try:  # not SummaryWriter: its thread and exit handler would tell of a full disk once more
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
    except ImportError:
        return
    shutil.rmtree(folder, ignore_errors=True)  # it appends, and a resumed run writes all again
    for row, lane in enumerate(lanes[:TENSORBOARD_LANES]):
        place = folder / f"lane_{lane:04d}"
        place.mkdir(parents=True)
        writer = EventsWriter(str(place / "events"))
        for name, values in metrics.items():
            for i in np.flatnonzero(np.isfinite(values[row])):
                value = summary.scalar(name, float(values[row, i]))
                writer.write_event(Event(wall_time=time.time(), step=int(epoch[i]), summary=value))
        writer.close()

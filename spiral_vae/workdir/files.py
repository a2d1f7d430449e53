"""What is written into a workdir, each file whole or not at all.

config.json       the resolved config with its sweep
environment.json  versions, devices, command line
summary.csv       one row a lane
metrics/          training.npz and probes.npz (arrays [lanes, rows]), tensorboard/
params.npz        final parameters of all lanes, [lanes, ...] each
data.npz          what they were trained on, [lanes, ...] each
figures/          PNG, and SVG where asked for
checkpoints/      what a resume needs
SHA256SUMS        of all but the checkpoints, which have their own
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: Path, text: str) -> None:
    """Writes a text file, in UTF-8; what of a path is no text is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a file."""
    with _whole(path) as file:
        file.write(content)


def append(path: Path, content: bytes) -> None:
    """Adds to the end of a file, which need not be there; the only one that may end in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        while content:
            content = content[file.write(content) :]


def partial(path: Path) -> Path:
    """Returns where a file or folder is made, to get its own name when it is whole."""
    return path.with_name(f".{path.name}.partial")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name, for `numpy.load`."""
    content = io.BytesIO()  # some versions of numpy complain twice when a disk is full
    np.savez(content, **arrays)
    with content.getbuffer() as view:  # released before the buffer goes, whatever happens
        write_bytes(path, view)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows under the union of their names, in order of appearance.

    What is nan or None is empty.
    """
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
    return "" if value is None or np.isnan(value) else repr(float(value))


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
    flat: dict[str, np.ndarray] = {}
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

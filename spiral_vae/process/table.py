"""Points of one's own, from a file: nothing is known of what made them.

A table is a file of comma- or tab-separated values, with a line of names or without, or a numpy
array [rows, columns] in an .npy or .npz file. The seed draws which rows are trained on, in which
order; the others are held out, so that what the model is worth elsewhere can be told.
"""

import csv
import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae.fields import BOOLEAN, TEXT, FieldError, Together, field, kind, number
from spiral_vae.process.base import Data, Process
from spiral_vae.process.curve import Curve

_MISSING = ("", "na", "n/a", "nan", "null", "none")
_SHOWN = 3  # lines that a sentence names
_ONE_FILE = "a sweep is of one table"


@kind("data", "table")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(Process):
    """Rows of a file."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("data.kind", "data.path"),
            lambda kind, path: kind != "table" or bool(path),
            "data.path must name the file of a 'table'",
        ),
        Together(
            ("data.kind", "data.path", "data.columns"),
            lambda kind, path, columns: kind != "table" or not path or bool(columns),
            "data.kind 'table' must be that of the whole config, and of no axis of a sweep",
        ),
    )

    path: str = field(
        "", TEXT, "of the file: .csv, .tsv, .npy or .npz", static=True, not_swept=_ONE_FILE
    )
    sha256: str = field(
        "",
        TEXT,
        "of the file's content; set when a run begins, which can't go on with other content",
        static=True,
        not_swept=_ONE_FILE,
    )
    columns: str = field(
        "",
        TEXT,
        "names of the columns that are the data, with commas; empty: all",
        static=True,
        not_swept=_ONE_FILE,
    )
    t_column: str = field(
        "",
        TEXT,
        "name of a column that is the place along a curve, if it is known; never trained on",
        static=True,
        not_swept=_ONE_FILE,
    )
    standardise: bool = field(
        True, BOOLEAN, "columns less their mean, over their standard deviation", static=True
    )
    held_out: float = field(
        0.2,
        number(0, 0.9),
        "share of the rows that are not trained on, where data.num_points does not say it",
        static=True,
        not_swept="sweep data.num_points",
    )

    @classmethod
    def settled(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields that follow from the file; raises FieldError if it can't be used."""
        path = values["data.path"]
        if not path:
            return {}  # told by the rules
        digest = _digest(path)
        if values["data.sha256"] not in ("", digest):
            raise FieldError(f"data.path: {path} has changed since the run began")
        found = read(path, digest, values["data.columns"], values["data.t_column"])
        rows, num_points = len(found.x), values["data.num_points"]
        if rows < 2:
            raise FieldError(f"data.path: {path} has {rows} row, must have at least 2")
        share = values["data.held_out"]
        default = Process.__dataclass_fields__["num_points"].default
        if num_points == default:
            num_points = max(2, rows - round(share * rows))
        if num_points > rows:
            raise FieldError(f"data.num_points: found {num_points}, but {path} has {rows} rows")
        if np.any(constant := np.ptp(found.x, axis=0) == 0):
            name = found.names[int(np.argmax(constant))]
            raise FieldError(f"data.columns: {name!r} of {path} has one value in all rows")
        settled = {
            "path": str(Path(path).resolve()),
            "num_points": num_points,
            "sha256": digest,
            "columns": ",".join(found.names),
        }
        return {f"data.{name}": value for name, value in settled.items()}

    @property
    def dim(self) -> int:  # type: ignore[override]
        return len(_split(self.columns))

    @property
    def truth(self) -> Curve | None:
        return None

    def sample(self, key: jax.Array) -> Data:
        found = read(self.path, self.sha256, self.columns, self.t_column)
        x = found.x
        if self.standardise:
            x = (x - x.mean(axis=0)) / x.std(axis=0)
        order = jax.random.permutation(key, len(x))
        rows = jnp.asarray(x, jnp.float32)[order]
        t = None
        if found.t is not None:
            t = jnp.asarray(found.t, jnp.float32)[order][: self.num_points]
        held_out = rows[self.num_points :]
        return Data(t, rows[: self.num_points], held_out if len(held_out) else None)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds."""

    names: tuple[str, ...]  # of the columns that are the data
    x: np.ndarray  # [rows, D]
    t: np.ndarray | None  # [rows]


@functools.lru_cache(maxsize=4)
def read(path: str, digest: str, columns: str = "", t_column: str = "") -> Contents:
    """Returns the columns of a table.

    Args:
      path: of the file.
      digest: SHA-256 of its content, by which a table that was read before is found again.
      columns: names of those that are the data, with commas; empty: all but t's.
      t_column: name of the one that is t; empty: there is none.

    Raises:
      FieldError: there is no such table or column, or not every cell is a finite number.
    """
    del digest
    known, cells = _cells(Path(path))
    wanted = _split(columns) or [name for name in known if name != t_column]
    for where, names in (("columns", wanted), ("t_column", [t_column] * bool(t_column))):
        for name in names:
            if name not in known:
                raise FieldError(
                    f"data.{where}: {path} has no column {name!r}; it has {', '.join(known)}"
                )
    if twice := {name for name in wanted if [*wanted, t_column].count(name) > 1}:
        raise FieldError(f"data.columns: {min(twice)!r} is named twice")
    numbers = {
        name: cells.column(known.index(name)) for name in [*wanted, *filter(None, [t_column])]
    }
    if bad := [name for name, one in numbers.items() if one.is_text]:
        numeric = [name for name in known if not cells.column(known.index(name)).is_text]
        raise FieldError(
            f"data.columns: column {bad[0]!r} of {path} is text; "
            f"{'those of numbers are ' + ','.join(numeric) if numeric else 'none is of numbers'}"
        )
    lines = sorted({line for one in numbers.values() for line in one.missing})
    if lines:
        shown = ", ".join(map(str, lines[:_SHOWN])) + ", ..." * (len(lines) > _SHOWN)
        raise FieldError(
            f"data.path: {path} lacks a finite number in {len(lines)} of {len(cells.lines)} rows, "
            f"in line {shown}; take these rows out"
        )
    x = np.stack([numbers[name].values for name in wanted], axis=1)
    return Contents(tuple(wanted), x, numbers[t_column].values if t_column else None)


@dataclasses.dataclass(frozen=True)
class _Column:
    """The numbers of a column."""

    values: np.ndarray  # [rows], nan where there is none
    missing: list[int]  # the lines in which there is none
    is_text: bool  # whether some cells are words


@dataclasses.dataclass(frozen=True)
class _Cells:
    """The cells of a table."""

    rows: Sequence[Sequence[str]] | np.ndarray
    lines: Sequence[int]  # of each row, as an editor counts them

    def column(self, place: int) -> _Column:
        cells = [row[place].strip() for row in self.rows] if isinstance(self.rows, list) else None
        if cells is None:
            values = np.asarray(self.rows)[:, place].astype(np.float64)
            text = False
        else:
            values = np.asarray([_number(cell) for cell in cells])
            text = any(
                np.isnan(value) and cell.lower() not in _MISSING
                for cell, value in zip(cells, values, strict=True)
            )
        (bad,) = np.nonzero(~np.isfinite(values))
        return _Column(values, [self.lines[int(i)] for i in bad], text)


def _cells(path: Path) -> tuple[list[str], _Cells]:
    """Returns the names of all columns and the cells."""
    try:
        if path.suffix in (".npy", ".npz"):
            array = _array(path)
            names = [f"x{i + 1}" for i in range(array.shape[1])]
            return names, _Cells(array, range(1, len(array) + 1))
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise FieldError(f"data.path: {path} can't be read: {reason}") from None
    first = text.partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows, lines = [], []
    for row in reader:
        if row and any(cell.strip() for cell in row):
            rows.append(row)
            lines.append(reader.line_num)
    if not rows:
        raise FieldError(f"data.path: {path} is empty")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            raise FieldError(
                f"data.path: line {line} of {path} has {len(row)} cells, line {lines[0]} has "
                f"{len(rows[0])}"
            )
    names = [cell.strip() for cell in rows[0]]
    if any(np.isnan(_number(cell)) and cell.lower() not in _MISSING for cell in names):
        return names, _Cells(rows[1:], lines[1:])
    return [f"x{i + 1}" for i in range(len(names))], _Cells(rows, lines)


def _array(path: Path) -> np.ndarray:
    try:
        found = np.load(path)
        if path.suffix == ".npz":
            with found as arrays:
                if len(arrays.files) != 1:
                    raise FieldError(
                        f"data.path: {path} holds {', '.join(arrays.files)}, must hold one array"
                    )
                found = arrays[arrays.files[0]]
    except ValueError as error:
        raise FieldError(f"data.path: {path} can't be read: {error}") from None
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
        raise FieldError(
            f"data.path: {path} holds {found.dtype} of shape {list(found.shape)}, must hold "
            "numbers [rows, columns]"
        )
    return found


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _split(columns: str) -> list[str]:
    return [name.strip() for name in columns.split(",") if name.strip()]


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FieldError(f"data.path: {path} can't be read: {error.strerror}") from None

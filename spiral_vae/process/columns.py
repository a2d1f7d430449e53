"""The columns of a file: comma- or tab-separated values, or a numpy array [rows, columns]."""

import csv
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from spiral_vae.fields import FieldError

_MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclasses.dataclass(frozen=True)
class Column:
    """The numbers of a column."""

    name: str
    values: np.ndarray  # [rows], nan where there is none
    lines: tuple[int, ...]  # those without a finite number, as an editor counts them
    cells: Any  # as they were read, [rows]
    is_text: bool = False  # whether some cells are words


def digest(path: str) -> str:
    """Returns the SHA-256 of a file; raises FieldError if it can't be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error.strerror) from None


def columns(path: str) -> list[Column]:
    """Returns all columns; without a line of names they are x1, x2, ...

    Raises:
      FieldError: there is no such file, no table in it, or a name stands for two columns.
    """
    if Path(path).suffix in (".npy", ".npz"):
        array = _array(path)
        cells: Any = array.T.astype(np.float64)
        names, lines = _numbered(len(cells)), list(range(1, len(array) + 1))
    else:
        names, rows, lines = _rows(path)
        cells = zip(*rows, strict=True) if rows else [()] * len(names)
    if twice := [name for name in names if names.count(name) > 1]:
        raise FieldError(f"data.path: {path} has more than one column {twice[0]!r}")
    return [_column(name, column, lines) for name, column in zip(names, cells, strict=True)]


def _column(name: str, cells: Any, lines: list[int]) -> Column:
    values = np.asarray([_number(cell) for cell in cells], np.float64)
    (bad,) = np.nonzero(~np.isfinite(values))
    words = (isinstance(cells[i], str) and np.isnan(values[i]) for i in bad)
    is_text = any(word and not _missing(cells[i]) for word, i in zip(words, bad, strict=True))
    return Column(name, values, tuple(lines[i] for i in bad), cells, is_text)


def _rows(path: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Returns names, rows without those that are blank, and the rows' lines."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "is no text") from None
    first = text.partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    found = [(row, reader.line_num) for row in reader if any(cell.strip() for cell in row)]
    if not found:
        raise FieldError(f"data.path: {path} is empty")
    rows, lines = [row for row, _ in found], [line for _, line in found]
    for row, line in found:
        if len(row) != len(rows[0]):
            raise FieldError(
                f"data.path: line {line} of {path} has {len(row)} cells, line {lines[0]} has "
                f"{len(rows[0])}"
            )
    if any(np.isnan(_number(cell)) and not _missing(cell) for cell in rows[0]):
        return [cell.strip() for cell in rows[0]], rows[1:], lines[1:]
    return _numbered(len(rows[0])), rows, lines


def _array(path: str) -> np.ndarray:
    try:
        found = np.load(path)
        if not isinstance(found, np.ndarray):
            with found as arrays:
                if len(arrays.files) != 1:
                    raise FieldError(
                        f"data.path: {path} holds {', '.join(arrays.files)}, must hold one array"
                    )
                found = arrays[arrays.files[0]]
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
        raise FieldError(
            f"data.path: {path} holds {found.dtype} of shape {list(found.shape)}, must hold "
            "numbers [rows, columns]"
        )
    return found


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _missing(cell: str) -> bool:
    return cell.strip().lower() in _MISSING


def _numbered(num: int) -> list[str]:
    return [f"x{i + 1}" for i in range(num)]


def _unreadable(path: str, reason: str | None) -> FieldError:
    return FieldError(f"data.path: {path} can't be read: {reason}")

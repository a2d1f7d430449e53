"""Points of one's own, from a file: nothing is known of what made them.

The seed draws which rows are trained on; the others are held out, so that what the model is worth
elsewhere can be told.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae.fields import BOOLEAN, TEXT, FieldError, Together, field, kind, number
from spiral_vae.process import columns as columns_lib
from spiral_vae.process.base import Data, Process
from spiral_vae.process.curve import Curve

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
        digest = columns_lib.digest(path)
        if values["data.sha256"] not in ("", digest):
            raise FieldError(f"data.path: {path} has changed since the run began")
        found = read(path, digest, values["data.columns"], values["data.t_column"])
        rows, num_points = len(found.x), values["data.num_points"]
        if rows < 2:
            raise FieldError(f"data.path: {path} has {rows} row, must have at least 2")
        share = values["data.held_out"]
        if num_points == cls.num_points:  # the default: it was not said
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
    known = {column.name: column for column in columns_lib.columns(path)}
    wanted = _split(columns) or [name for name in known if name != t_column]
    named = [*wanted, *([t_column] if t_column else [])]
    for name in named:
        where = "columns" if name in wanted else "t_column"
        if name not in known:
            raise FieldError(
                f"data.{where}: {path} has no column {name!r}; it has {', '.join(known)}"
            )
        if named.count(name) > 1:
            raise FieldError(f"data.columns: {name!r} is named twice")
        if known[name].is_text:
            numeric = ",".join(name for name, one in known.items() if not one.is_text)
            rest = f"those of numbers are {numeric}" if numeric else "none is of numbers"
            raise FieldError(f"data.{where}: column {name!r} of {path} is text; {rest}")
    if lines := sorted({line for name in named for line in known[name].lines}):
        shown = ", ".join(map(str, lines[:_SHOWN])) + ", ..." * (len(lines) > _SHOWN)
        rows = len(known[named[0]].values)
        raise FieldError(
            f"data.path: {path} lacks a finite number in {len(lines)} of {rows} rows, in line "
            f"{shown}; take these rows out"
        )
    x = np.stack([known[name].values for name in wanted], axis=1)
    return Contents(tuple(wanted), x, known[t_column].values if t_column else None)


def _split(columns: str) -> list[str]:
    return [name.strip() for name in columns.split(",") if name.strip()]

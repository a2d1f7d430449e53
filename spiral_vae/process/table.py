"""Points of one's own, from a file: nothing is known of what made them.

The seed draws which rows are trained on; the others are held out, so that what the model is worth
elsewhere can be told.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae.fields import BOOLEAN, TEXT, FieldError, Together, field, integer, kind, number
from spiral_vae.process import columns as columns_lib
from spiral_vae.process import recording
from spiral_vae.process.base import Data, Process
from spiral_vae.process.curve import Curve

_SHOWN = 3  # lines that a sentence names
_ONE_FILE = "a sweep is of one table"
_COLUMNS = ("columns", "t_column", "sequence_column", "time_column")


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
        Together(
            ("data.kind", "data.steps", "train.batch_size"),
            lambda kind, steps, size: kind != "table" or size % steps == 0,
            "train.batch_size must be a multiple of data.steps, the length of the longest sequence",
        ),
        Together(
            ("data.kind", "data.num_points", "data.steps"),
            lambda kind, num_points, steps: kind != "table" or num_points % steps == 0,
            "data.num_points must be a multiple of data.steps, the places of a sequence",
        ),
        Together(
            ("data.kind", "data.num_points", "data.places"),
            lambda kind, num_points, places: kind != "table" or num_points <= (places or math.inf),
            "data.num_points must be <= data.places, all that the table has",
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
    sequence_column: str = field(
        "",
        TEXT,
        "name of a column that says to which sequence a row belongs; empty: each stands alone",
        static=True,
        not_swept=_ONE_FILE,
    )
    time_column: str = field(
        "",
        TEXT,
        "name of a column of times, multiples of a step, at which the rows of sequences were seen; "
        "empty: one step each",
        static=True,
        not_swept=_ONE_FILE,
    )
    steps: int = field(
        1,
        integer(1),
        "places of a sequence, those without a row among them; set when a run begins",
        static=True,
        not_swept=_ONE_FILE,
    )
    places: int = field(
        0,
        integer(0),
        "rows of the file, or places of all sequences; set when a run begins",
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
        if values["data.time_column"] and not values["data.sequence_column"]:
            raise FieldError("data.time_column: times are of sequences, see data.sequence_column")
        found = read(path, digest, *(values[f"data.{name}"] for name in _COLUMNS))
        rows, num_points = len(found.x), values["data.num_points"]
        if rows < 2:
            raise FieldError(f"data.path: {path} has {rows} row, must have at least 2")
        num, steps = found.rows.shape
        if num < 2:
            raise FieldError(f"data.sequence_column: {path} has one sequence, must have two")
        share = values["data.held_out"]
        if num_points == cls.num_points:  # the default: it was not said
            num_points = max(2, num - round(share * num)) * steps
        if parts := [name for name in found.names if "," in name]:
            raise FieldError(f"data.columns: a comma is in the name {parts[0]!r} of {path}")
        if np.any(constant := np.ptp(found.x, axis=0) == 0):
            name = found.names[int(np.argmax(constant))]
            raise FieldError(f"data.columns: {name!r} of {path} has one value in all rows")
        settled = {
            "path": str(Path(path).resolve()),
            "num_points": num_points,
            "sha256": digest,
            "columns": ",".join(found.names),
            "steps": steps,
            "places": found.rows.size,
        }
        return {f"data.{name}": value for name, value in settled.items()}

    @property
    def sequence_length(self) -> int:
        return self.steps

    @property
    def dim(self) -> int:  # type: ignore[override]
        return len(_split(self.columns))

    @property
    def truth(self) -> Curve | None:
        return None

    def sample(self, key: jax.Array) -> Data:
        found = read(self.path, self.sha256, *(getattr(self, name) for name in _COLUMNS))
        x = found.x
        if self.standardise:
            x = (x - x.mean(axis=0)) / x.std(axis=0)
        order = jax.random.permutation(key, len(found.rows))
        rows = jnp.asarray(found.rows)[order].reshape(-1)
        points = jnp.asarray(x, jnp.float32)[rows]
        t = observed = held_out = held_out_observed = None
        if found.t is not None:
            t = jnp.asarray(found.t, jnp.float32)[rows][: self.num_points]
        if np.any(found.rows < 0):
            seen = (rows >= 0).astype(jnp.float32)
            points = points * seen[:, None]
            observed, held_out_observed = seen[: self.num_points], seen[self.num_points :]
        if self.num_points < len(points):
            held_out = points[self.num_points :]
        else:
            held_out_observed = None
        return Data(t, points[: self.num_points], held_out, observed, held_out_observed)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds."""

    names: tuple[str, ...]  # of the columns that are the data
    x: np.ndarray  # [rows, D]
    t: np.ndarray | None  # [rows]
    rows: np.ndarray  # of each sequence at each place, [S, T], -1 where there is none


@functools.lru_cache(maxsize=4)
def read(
    path: str,
    digest: str,
    columns: str = "",
    t_column: str = "",
    sequence_column: str = "",
    time_column: str = "",
) -> Contents:
    """Returns the columns of a table.

    Args:
      path: of the file.
      digest: SHA-256 of its content, by which a table that was read before is found again.
      columns: names of those that are the data, with commas; empty: all that are nothing else.
      t_column: name of the one that is t; empty: there is none.
      sequence_column: of the one that names sequences; empty: every row stands alone.
      time_column: of the one that is time; empty: one step from row to row.

    Raises:
      FieldError: there is no such table or column, not every cell is a finite number, or the rows
        are no sequences.
    """
    del digest
    known = {column.name: column for column in columns_lib.columns(path)}
    others = {"t_column": t_column, "time_column": time_column}
    special = {"sequence_column": sequence_column} | others
    wanted = _split(columns) or [name for name in known if name not in special.values()]
    if not wanted:
        raise FieldError(f"data.columns: {path} has no column of data")
    places = [(where, name) for where, name in special.items() if name]
    places += [("columns", name) for name in wanted]
    named = [name for _, name in places]
    for where, name in places:
        if name not in known:
            raise FieldError(
                f"data.{where}: {path} has no column {name!r}; it has {', '.join(known)}"
            )
        if named.count(name) > 1:
            raise FieldError(f"data.columns: {name!r} is named twice")
        if known[name].is_text and where != "sequence_column":
            numeric = ",".join(name for name, one in known.items() if not one.is_text)
            rest = f"those of numbers are {numeric}" if numeric else "none is of numbers"
            raise FieldError(f"data.{where}: column {name!r} of {path} is text; {rest}")
    numbers = [*wanted, *(name for name in others.values() if name)]
    if lines := sorted({line for name in numbers for line in known[name].lines}):
        shown = ", ".join(map(str, lines[:_SHOWN])) + ", ..." * (len(lines) > _SHOWN)
        rows = len(known[named[0]].values)
        raise FieldError(
            f"data.path: {path} lacks a finite number in {len(lines)} of {rows} rows, in line "
            f"{shown}; take these rows out"
        )
    x = np.stack([known[name].values for name in wanted], axis=1)
    grouped = np.arange(len(x))[:, None]
    if sequence_column:
        grouped = recording.places(path, known[sequence_column], known.get(time_column))
    return Contents(tuple(wanted), x, known[t_column].values if t_column else None, grouped)


def _split(columns: str) -> list[str]:
    return [name.strip() for name in columns.split(",") if name.strip()]

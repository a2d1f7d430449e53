"""Sequences in the rows of a table: which belongs to which, and when it was seen."""

import numpy as np

from spiral_vae.fields import FieldError
from spiral_vae.process.columns import Column

_MAX_EMPTY = 20  # times as many places as rows
_ROUNDING = 0.01  # of a step, that a time may lie beside its multiple


def places(path: str, sequence: Column, time: Column | None) -> np.ndarray:
    """Returns the row at each place of each sequence, [S, T]; -1 where there is none.

    Sequences are in the order in which they appear, all as long as the longest. Without times the
    rows of a sequence follow one another; with them they lie at multiples of the smallest step.

    Raises:
      FieldError: a sequence has one row, or its times don't rise or don't fit a step.
    """
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(sequence.cells):
        rows.setdefault(str(cell).strip(), []).append(row)
    for name, own in rows.items():
        if len(own) < 2:
            raise FieldError(
                f"data.sequence_column: sequence {name!r} of {path} has one row, must have two"
            )
    steps = {name: np.arange(len(own)) for name, own in rows.items()}
    if time is not None:
        steps = _steps(path, rows, time)
    length = 1 + max(int(own[-1]) for own in steps.values())
    if len(rows) * length > _MAX_EMPTY * len(sequence.cells):
        raise FieldError(
            f"data.time_column: with a row at multiples of the smallest step sequences of {path} "
            f"have up to {length} places, nearly all of them empty"
        )
    found = np.full((len(rows), length), -1)
    for line, name in zip(found, rows, strict=True):
        line[steps[name]] = rows[name]
    return found


def _steps(path: str, rows: dict[str, list[int]], time: Column) -> dict[str, np.ndarray]:
    """Returns how many steps after its first each row of a sequence is."""
    since = {name: time.values[own] - time.values[own[0]] for name, own in rows.items()}
    for name, own in since.items():
        if np.any(np.diff(own) <= 0):
            raise FieldError(f"data.time_column: times of sequence {name!r} of {path} don't rise")
    step = min(np.min(np.diff(own)) for own in since.values())
    for name, own in since.items():
        off = np.abs(own / step - np.round(own / step))
        if np.max(off) > _ROUNDING:
            value = own[np.argmax(off)]
            raise FieldError(
                f"data.time_column: times must be multiples of the smallest step, {step:.6g}; in "
                f"sequence {name!r} of {path} one is {value:.6g} after the first"
            )
    return {name: np.round(own / step).astype(int) for name, own in since.items()}

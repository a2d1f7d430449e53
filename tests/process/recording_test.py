"""Which row of a table lies at which place of which sequence."""

import numpy as np
import pytest

from spiral_vae.fields import FieldError
from spiral_vae.process import recording
from spiral_vae.process.columns import Column


def _column(*cells):
    numbers = [cell if isinstance(cell, float | int) else np.nan for cell in cells]
    return Column("name", np.asarray(numbers, float), (), cells)


def test_rows_follow_one_another_without_times():
    found = recording.places("f", _column("b", "a", "b", "a", "b"), None)
    np.testing.assert_array_equal(found, [[0, 2, 4], [1, 3, -1]])


def test_times_are_places_and_what_lacks_is_empty():
    names = _column("a", "a", "b", "b", "b")
    times = _column(0.1, 0.4, 5.0, 5.1, 5.3)  # 0.3 and 0.1 as floats are
    found = recording.places("f", names, times)
    np.testing.assert_array_equal(found, [[0, -1, -1, 1], [2, 3, -1, 4]])


@pytest.mark.parametrize(
    ("names", "times", "told"),
    [
        ("aab", None, "sequence_column: sequence 'b' of f has one row, must have two"),
        ("aabb", (0, 1, 1, 1), "time_column: times of sequence 'b' of f don't rise"),
        ("aabb", (0, 1, 2, 1), "time_column: times of sequence 'b' of f don't rise"),
        ("aabb", (0, 1, 0, 1.5), "smallest step, 1; in sequence 'b' of f one is 1.5 after"),
        (
            "aabb",
            (0, 1, 0, 1000),
            "sequences of f have up to 1001 places, nearly all of them",
        ),
    ],
)
def test_what_is_no_sequence_is_told(names, times, told):
    with pytest.raises(FieldError, match=told):
        recording.places("f", _column(*names), None if times is None else _column(*times))

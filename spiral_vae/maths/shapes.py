"""Batches of any size through functions that are compiled for one size alone.

Exact evaluation meets a new number of points or nodes all the time, and to compile a function for
each would take far longer than to run it.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

SIZE = 4096


def mapped(function: Callable, *batches: Any, size: int = SIZE) -> Any:
    """Returns function(*batches), computed for `size` rows at a time; numpy leaves [N, ...].

    Args:
      function: of batches, leaves [size, ...], row by row.
      batches: trees of arrays, leaves [N, ...] with the same N > 0.
      size: the last block is filled up to it with its last row.
    """
    num = len(jax.tree.leaves(batches)[0])
    parts = []
    for start in range(0, num, size):
        block = jax.tree.map(lambda leaf, i=start: pad(leaf[i : i + size], size), batches)
        parts.append(jax.tree.map(np.asarray, function(*block)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num], *parts)


def pad(array: np.ndarray, size: int) -> np.ndarray:
    """Returns the array with its last row repeated up to `size` rows."""
    if len(array) == size:
        return array
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def bucket(size: int) -> int:
    """Returns the next of 1, 2, 3, 4, 6, 8, 12, 16 ...: few sizes where one would be too large."""
    power = 1 << max(size - 1, 0).bit_length()
    return 3 * power // 4 if size <= 3 * power // 4 and power >= 4 else power

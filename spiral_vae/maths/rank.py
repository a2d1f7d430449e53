"""The rank correlation, outside of any program; SciPy's takes a second to import."""

import numpy as np


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the rank correlation of two vectors; 0 where one of them is constant."""
    a, b = (_ranks(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / scale) if scale > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the ranks from 1 on, [N]; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count - 1))[place]

"""Pairs: two methods on the same data and seeds, and how far what they differ by is from noise."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spiral_vae.judge import trial

LEVEL = 0.9  # of the intervals
_RESAMPLES = 4_000
_FEWEST = 6  # pairs from which an interval can be had


@dataclasses.dataclass(frozen=True)
class Paired:
    """One method against another on one problem, over the seeds that both have."""

    problem: str
    method: str
    against: str
    difference: np.ndarray  # KL to the truth of the method less that of the other, nats, [n]
    median: float
    low: float  # of the bootstrap interval of the median
    high: float

    @property
    def wins(self) -> int:
        """Seeds in which the method is nearer to the truth."""
        return int(np.sum(self.difference < 0))

    @property
    def ties(self) -> int:
        """Seeds in which both are as near, to the last bit."""
        return int(np.sum(self.difference == 0))

    @property
    def verdict(self) -> str:
        """'better' or 'worse' where the interval leaves 0 out; 'the same': all are 0."""
        if np.all(self.difference == 0):
            return "the same"
        if len(self.difference) < _FEWEST:
            return "too few seeds"
        return "better" if self.high < 0 else "worse" if self.low > 0 else "unclear"

    @property
    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return {
            "problem": self.problem,
            "method": self.method,
            "against": self.against,
            "seeds": len(self.difference),
            "median_difference": self.median,
            "low": self.low,
            "high": self.high,
            "wins": self.wins,
            "ties": self.ties,
            "verdict": self.verdict,
        }


def paired(own: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Paired:
    """Returns a method against another, from their rows on one problem.

    A lane that broke down is infinitely far from the truth, and two of them are a tie.

    Raises:
      ValueError: they have no seed in common.
    """
    found = [{row["seed"]: trial.distance(row) for row in rows} for rows in (own, other)]
    seeds = sorted(found[0].keys() & found[1].keys())
    if not seeds:
        raise ValueError("no seed in common")
    one, two = (np.asarray([rows[seed] for seed in seeds]) for rows in found)
    difference = np.where(one == two, 0.0, one - np.where(one == two, 0.0, two))
    median, low, high = interval(difference)
    names = own[0]["problem"], own[0]["method"], other[0]["method"]
    return Paired(*names, difference, median, low, high)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the median of values [n] and its bootstrap interval (Efron 1979), by percentiles.

    Quantiles are values that are there, so infinite ones do no harm.
    """
    rows = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    medians = np.quantile(values[rows], 0.5, axis=1, method="nearest")
    low, high = np.quantile(medians, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], method="nearest")
    return float(np.quantile(values, 0.5, method="nearest")), float(low), float(high)

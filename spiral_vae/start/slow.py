"""The start with the slowest feature of sequences: what changes least is the place on the curve.

Of the polynomials of x of some degree the one that changes least over a lag, at variance 1 (slow
feature analysis: Wiskott & Sejnowski 2002, https://doi.org/10.1162/089976602317318938). Its normal
scores are taken for z with noise, whose correlation and noise are those of the largest Kalman
evidence, and smoothed.
"""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
from scipy import linalg, optimize, special

from spiral_vae.fields import Together, field, integer, kind
from spiral_vae.start.base import Order, Pulling

_RIDGE = 1e-4  # variance that is added to each feature's
_MOST_FEATURES = 2_000  # of the lowest degrees: their covariance is a matrix of this size


@kind("start", "slow_feature")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SlowFeature(Pulling):
    """Places of the points of sequences."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("start.kind", "data.design"),
            lambda kind, design: kind != "slow_feature" or design == "sequence",
            "start.kind 'slow_feature' needs data.design 'sequence'",
        ),
        Together(
            ("start.kind", "data.sequence_column"),
            lambda kind, column: kind != "slow_feature" or bool(column),
            "start.kind 'slow_feature' needs sequences, see data.sequence_column",
        ),
        Together(
            ("start.kind", "model.latent_dim"),
            lambda kind, latent_dim: kind != "slow_feature" or latent_dim == 1,
            "a slow feature is of one latent: model.latent_dim must be 1",
        ),
        Together(
            ("start.lag", "data.length"),
            lambda lag, length: lag < length,
            "start.lag must be < data.length",
        ),
        Together(
            ("start.lag", "data.sequence_column", "data.steps"),
            lambda lag, column, steps: not column or lag < steps,
            "start.lag must be < data.steps, the length of the longest sequence",
        ),
    )

    degree: int = field(6, integer(1, 12), "of the polynomials of x", static=True)
    lag: int = field(4, integer(1), "points over which a feature should change little", static=True)

    def order(self, x: np.ndarray, seed: int, sigma: float | None, length: int) -> Order:
        del seed, sigma
        sequences = np.asarray(x, np.float64).reshape(-1, length, x.shape[-1])
        seen = np.isfinite(sequences[..., 0])
        score = slow_feature(sequences, seen, self.degree, self.lag)
        z, a = smoothed(score, seen)
        return Order(z.reshape(-1), correlation=a)


def slow_feature(x: np.ndarray, seen: np.ndarray, degree: int, lag: int) -> np.ndarray:
    """Returns the slowest polynomial of sequences as normal scores, [S, T]; 0 where not seen.

    Args:
      x: [S, T, D].
      seen: whether each point is there, [S, T].
      degree: of the polynomials.
      lag: over which their change is taken.
    """
    x = np.where(seen[..., None], x, 0.0)
    x = x / np.max(np.abs(x))
    dims = range(x.shape[-1])
    powers = [
        chosen
        for total in range(1, degree + 1)
        for chosen in itertools.combinations_with_replacement(dims, total)
    ][:_MOST_FEATURES]
    features = np.stack([np.prod(x[..., list(chosen)], axis=-1) for chosen in powers], axis=-1)
    features -= features[seen].mean(axis=0)
    features /= features[seen].std(axis=0) + 1e-12
    both = seen[:, lag:] & seen[:, :-lag]
    change = (features[:, lag:] - features[:, :-lag])[both]
    own = features[seen]
    variance = own.T @ own / len(own) + _RIDGE * np.eye(len(powers))
    _, directions = linalg.eigh(
        change.T @ change / max(len(change), 1), variance, subset_by_index=[0, 0]
    )
    slowest = features @ directions[:, 0]
    score = np.zeros(seen.shape)
    rank = np.argsort(np.argsort(slowest[seen], kind="stable"), kind="stable")
    score[seen] = special.ndtri((rank + 0.5) / len(rank))
    return score


def smoothed(y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns E[z|y] of y = z + noise, [S, T], and the correlation of z at neighbours.

    Both it and the noise's variance are those of the largest evidence.

    Args:
      y: [S, T].
      seen: whether each is there, [S, T].
    """

    def loss(found: np.ndarray) -> float:
        log_tau, log_variance = found
        log_z, _ = _kalman(y, seen * np.exp(-log_variance), np.exp(-np.exp(-log_tau)))
        own = seen * (y**2 * np.exp(-log_variance) + log_variance)
        return 0.5 * np.sum(own) - np.sum(log_z)

    options = {"maxiter": 120, "xatol": 1e-3, "fatol": 1e-2}
    log_tau, log_variance = optimize.minimize(
        loss, [3.0, -2.0], method="Nelder-Mead", options=options
    ).x
    a = float(np.exp(-np.exp(-log_tau)))
    _, mean = _kalman(y, seen * np.exp(-log_variance), a)
    return mean / np.std(mean), a


def _kalman(y: np.ndarray, precision: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns log Z [S] and the smoothed means [S, T]; numpy's twin of `maths.kalman`."""
    num, length = y.shape
    m, p = np.zeros(num), np.ones(num)
    log_z = np.zeros(num)
    means, variances, ahead_m, ahead_p = (np.empty((length, num)) for _ in range(4))
    for t in range(length):
        if t:
            m, p = a * m, a * a * p + 1 - a * a
        ahead_m[t], ahead_p[t] = m, p
        j = precision[:, t]
        h, s = j * y[:, t], 1 + j * p
        log_z += -0.5 * np.log(s) + (h * m + 0.5 * p * h**2 - 0.5 * j * m**2) / s
        m, p = (m + p * h) / s, p / s
        means[t], variances[t] = m, p
    for t in range(length - 2, -1, -1):
        gain = a * variances[t] / ahead_p[t + 1]
        means[t] += gain * (means[t + 1] - ahead_m[t + 1])
    return log_z, means.T

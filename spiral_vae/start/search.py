"""An order of points along an unknown curve, found without training: for a start near the optimum.

A ridge of the points, a short path along it, and the smooth curve of largest evidence on from
there, mended by cuts. Widths are drawn anew for each attempt; two attempts that end with the same
curve are believed. Neither the truth nor the number of turns is known to any step.
"""

import dataclasses

import numpy as np
from scipy.special import ndtri

from spiral_vae.maths.rank import spearman
from spiral_vae.start import curve, path, ridge
from spiral_vae.start.curve import Fitted

_BENDING = 1e-3  # price of bends, where x has its own unit
_NUM_NODES = 256
_HEATS = (2.0, 1.0, 0.0)  # of three rounds of cuts, nats
_SAME_SCORE, _SAME_ORDER = 3.0, 0.99  # of two attempts that agree: nats, rank correlation


@dataclasses.dataclass(frozen=True)
class Found:
    """What the search found."""

    z: np.ndarray  # normal scores of the points' places, [n]
    log_evidence: float  # of the curve, mean over the points, nats
    sigma: float  # of the curve
    agreed: bool  # whether two attempts ended with the same curve
    attempts: int


def search(
    x: np.ndarray,
    seed: int,
    sigma: float | None,
    *,
    num_cuts: int = 250,
    max_attempts: int = 6,
) -> Found:
    """Returns an order of points along a curve.

    Args:
      x: points, [n, D].
      seed: of all that is random.
      sigma: of the noise; None where it is unknown.
      num_cuts: in each of three rounds of each attempt.
      max_attempts: after which the best one is taken.
    """
    x = np.asarray(x, np.float64)
    # Its own unit and origin, so coarse that common data keep theirs: powers of two round nothing.
    unit = 2.0 ** np.floor(np.log2(np.std(x - x.mean(axis=0))) + 0.35)
    x = x / unit
    x -= 4 * np.round(x.mean(axis=0) / 4)
    sigma = None if sigma is None else sigma / unit
    found: list[Fitted] = []
    agreed = False
    for attempt in range(max_attempts):
        rng = np.random.default_rng((seed, attempt))
        found.append(_attempt(x, sigma, num_cuts, rng))
        found.sort(key=lambda one: -one.score)
        if len(found) > 1:
            first, second = found[:2]
            same = abs(spearman(first.place, second.place)) > _SAME_ORDER
            if agreed := bool(same and first.score - second.score < _SAME_SCORE):
                break
    best = found[0]
    rank = np.argsort(np.argsort(best.place, kind="stable"), kind="stable")
    z = ndtri((rank + 0.5) / len(x))
    log_evidence = best.log_evidence - x.shape[1] * np.log(unit)
    return Found(z, float(log_evidence), float(best.sigma * unit), agreed, len(found))


def _attempt(x: np.ndarray, sigma: float | None, num_cuts: int, rng: np.random.Generator) -> Fitted:
    first = ridge.bandwidth(x) if sigma is None else sigma
    width = first * np.exp(rng.uniform(np.log(0.75), np.log(1.35)))
    y = ridge.ridge(x, max(width, 1.25 * first), width, rng.uniform(3, 7))
    places = _thinned(y, 0.6 * first)
    along = _along(y, places[path.shortest(places, rng)])
    # Sigma stays while the curve is cut: a larger one would be a good excuse for fewer arms.
    price = curve.Price(_BENDING, learn_sigma=False)
    found = curve.fitted(x, curve.even_nodes(y, along, _NUM_NODES), first, price, 40)
    for heat in _HEATS:
        found = curve.mended(x, found, price, rng, num_cuts=num_cuts, heat=heat)
    last = curve.Price(_BENDING, learn_sigma=sigma is None)
    return curve.fitted(x, found.nodes, first, last, 60)


def _thinned(y: np.ndarray, radius: float) -> np.ndarray:
    """Returns means of points [n, D] around centres no nearer to each other than a radius."""
    away = np.linalg.norm(y[:, None] - y, axis=-1)
    left, centres = np.ones(len(y), bool), []
    for i in np.argsort(-np.sum(away < radius, axis=1), kind="stable"):
        if left[i]:
            centres.append(i)
            left[away[i] < radius] = False
    own = np.argmin(away[:, centres], axis=1)
    return np.stack([y[own == k].mean(axis=0) for k in range(len(centres))])


def _along(y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the length along a path with these corners [N, D] at which each y is nearest, [n]."""
    if len(corners) == 1:  # sigma is as wide as all points
        return np.zeros(len(y))
    start, step = corners[:-1], np.diff(corners, axis=0)
    length = np.linalg.norm(step, axis=1) + 1e-300
    part = np.sum((y[:, None] - start) * step, axis=-1) / length**2
    part = np.clip(part, 0, 1)
    nearest = np.sum((y[:, None] - start - part[..., None] * step) ** 2, axis=-1).argmin(axis=1)
    before = np.concatenate([[0.0], np.cumsum(length)])[:-1]
    return before[nearest] + part[np.arange(len(y)), nearest] * length[nearest]

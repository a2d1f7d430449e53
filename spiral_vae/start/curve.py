"""The smooth curve of largest evidence: nodes of equal mass with a price on bends, by EM.

    p(x) = 1/K sum_k N(x; m_k, sigma^2 I)
    price = 1/2 bending K^3 sum_k |m_(k+1) - 2 m_k + m_(k-1)|^2

A generative topographic map (Bishop, Svensen & Williams 1998) whose prior is that of a smoothing
spline, so that the M-step is one pentadiagonal system. EM finds the nearest optimum; `mended` looks
for better ones by cutting the curve where two of its arms are near and joining it another way.
"""

import dataclasses

import numpy as np
from scipy.linalg import solveh_banded

_FAR = 6  # nodes, from which on two places of the curve count as different arms
_REACH = 6.0  # sigmas within which two arms may be joined
_INNER = 6  # steps of EM after a cut, before it is judged
_HOPELESS, _NEAR = 60.0, 15.0  # nats that a cut may lack after them: beyond, it is given up


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A curve and what it is worth."""

    nodes: np.ndarray  # [K, D]
    sigma: float
    score: float  # log evidence of all points less the price, nats
    log_evidence: float  # mean over the points, nats
    place: np.ndarray  # mean of each point's place along the curve, in (0, 1), [n]


@dataclasses.dataclass(frozen=True)
class Price:
    """What a fit looks for."""

    bending: float  # price of bends
    learn_sigma: bool  # whether sigma is fitted too


def fitted(x: np.ndarray, nodes: np.ndarray, sigma: float, price: Price, num_steps: int) -> Fitted:
    """Returns the curve after steps of EM.

    Args:
      x: points, [n, D].
      nodes: to start from, [K, D].
      sigma: standard deviation of the noise.
      price: what is looked for.
      num_steps: of EM.
    """
    num, dim = x.shape
    stiffness = price.bending * len(nodes) ** 3
    points = x.astype(np.float32)
    for step in range(num_steps + 1):
        square = _squares(points, nodes.astype(np.float32))
        nearest = np.min(square, axis=1, keepdims=True)
        share = np.exp((nearest - square) * np.float32(0.5 / sigma**2))
        total = np.sum(share, axis=1, keepdims=True)
        share /= total
        if step == num_steps:
            break
        if price.learn_sigma:
            residual = float(np.einsum("nk,nk->", share, square))
            sigma = float(np.sqrt(max(residual / (num * dim), 1e-6 * np.var(x))))
        mass = np.asarray(np.sum(share, axis=0, dtype=np.float64) / sigma**2)
        nodes = _smooth(mass, (share.T @ points).astype(np.float64) / sigma**2, stiffness)
    log_likelihood = np.log(total.astype(np.float64)) - nearest / (2 * sigma**2)
    log_evidence = float(np.mean(log_likelihood)) - np.log(len(nodes))
    log_evidence -= 0.5 * dim * np.log(2 * np.pi * sigma**2)
    bends = np.sum(np.diff(nodes, n=2, axis=0) ** 2)
    place = share @ ((np.arange(len(nodes)) + 0.5) / len(nodes)).astype(np.float32)
    return Fitted(nodes, sigma, num * log_evidence - 0.5 * stiffness * bends, log_evidence, place)


def _squares(x: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Returns the squared distances of all pairs, [n, K]."""
    square = np.sum(x**2, axis=1)[:, None] + np.sum(nodes**2, axis=1) - 2 * x @ nodes.T
    return np.maximum(square, 0)


def _smooth(mass: np.ndarray, pull: np.ndarray, stiffness: float) -> np.ndarray:
    """Returns nodes m [K, D], (diag(mass) + stiffness D'D) m = pull with D second differences."""
    num = len(mass)
    bands = np.zeros((3, num))  # of a symmetric matrix, the diagonal last
    bands[2] = 6
    bands[2, [0, -1]], bands[2, [1, -2]] = 1, 5
    bands[1, 1:] = -4
    bands[1, [1, -1]] = -2
    bands[0, 2:] = 1
    bands *= stiffness
    bands[2] += mass
    return solveh_banded(bands, pull)


def even_nodes(points: np.ndarray, place: np.ndarray, num: int) -> np.ndarray:
    """Returns nodes of equal mass along points [n, D] in the order of their place, [num, D]."""
    order = np.argsort(place, kind="stable")
    at = (np.arange(len(points)) + 0.5) / len(points)
    wanted = (np.arange(num) + 0.5) / num
    return np.stack([np.interp(wanted, at, column) for column in points[order].T], axis=1)


def mended(
    x: np.ndarray,
    start: Fitted,
    price: Price,
    rng: np.random.Generator,
    *,
    num_cuts: int,
    heat: float,
) -> Fitted:
    """Returns the best curve that random cuts have led to.

    A cut is kept if it raises the score after some steps of EM, or by chance, as in annealing.

    Args:
      x: points, [n, D].
      start: where to begin.
      price: what is looked for.
      rng: consumed.
      num_cuts: how many are tried.
      heat: nats that a cut may lose, at first.
    """

    def after(curve: Fitted, nodes: np.ndarray, num_steps: int) -> Fitted:
        return fitted(x, nodes, curve.sigma, price, num_steps)

    current = best = after(start, start.nodes, 3 * _INNER)
    for trial in range(num_cuts):
        nodes = _cut(current.nodes, _REACH * start.sigma, rng)
        tried = after(current, nodes, _INNER)
        if tried.score < current.score - _HOPELESS:
            continue
        tried = after(tried, tried.nodes, _INNER)
        if current.score - _NEAR < tried.score < current.score:
            tried = after(tried, tried.nodes, 2 * _INNER)
        warmth = heat * (1 - trial / num_cuts)
        lost = current.score - tried.score
        if lost < -1e-3 or (warmth > 0 and rng.uniform() < np.exp(-lost / warmth)):
            current = tried
            if current.score > best.score:
                best = current
    return best


def _cut(nodes: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the nodes in another order: cut between two places and joined another way."""
    num = len(nodes)
    i = int(rng.integers(num))
    near = np.sum((nodes - nodes[i]) ** 2, axis=1) < radius**2
    near &= np.abs(np.arange(num) - i) >= _FAR
    places = np.flatnonzero(near) if near.any() else np.arange(num)
    j = int(rng.choice(places))
    low, high = min(i, j), max(i, j)
    order = np.arange(num)
    way = int(rng.integers(4))
    if way == 0:  # join `low` with `high`
        order[low + 1 : high + 1] = order[low + 1 : high + 1][::-1]
    elif way == 1:  # join an end with a place
        if rng.integers(2):
            order[: i + 1] = order[: i + 1][::-1]
        else:
            order[i:] = order[i:][::-1]
    elif way == 2:  # join the other sides
        order[low:high] = order[low:high][::-1]
    elif high - low > 1:  # move a stretch from behind `low` to behind `high`
        length = int(rng.integers(1, high - low))
        stretch = order[low + 1 : low + 1 + length]
        stretch = stretch[::-1] if rng.integers(2) else stretch
        rest = order[low + 1 + length : high + 1]
        order = np.concatenate([order[: low + 1], rest, stretch, order[high + 1 :]])
    return nodes[order]

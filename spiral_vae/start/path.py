"""A short path through all of some places: a travelling salesman who need not come home.

2-opt and or-opt to a local optimum, then double bridges on random stretches (Lin & Kernighan 1973;
iterated local search).
"""

import numpy as np

_LENGTHS = (1, 2, 3, 5, 8, 13, 21, 34)  # of stretches that or-opt moves
_STRETCH = 50  # places within which a double bridge is built


def shortest(places: np.ndarray, rng: np.random.Generator, rounds: int = 100) -> np.ndarray:
    """Returns an order of places [N, D] whose path is short, [N].

    Args:
      places: [N, D].
      rng: consumed.
      rounds: how many double bridges are tried.
    """
    num = len(places)
    away = np.zeros((num + 1, num + 1))  # the last is nowhere: there the path may end
    away[:num, :num] = np.linalg.norm(places[:, None] - places, axis=-1)
    best = _local(away, np.append(_nearest_first(away[:num, :num]), num))
    length = _length(away, best)
    for _ in range(rounds if num > 8 else 0):
        tried = _local(away, _bridged(best, rng))
        if (found := _length(away, tried)) < length - 1e-9:
            best, length = tried, found
    return np.roll(best, -int(np.argmax(best == num)))[1:]


def _nearest_first(away: np.ndarray) -> np.ndarray:
    """Returns the order of always going to the nearest place that is left."""
    here = int(np.argmax(np.sum(away, axis=1)))
    left, order = set(range(len(away))), []
    while left:
        left.remove(here)
        order.append(here)
        if left:
            rest = np.fromiter(left, int)
            here = int(rest[np.argmin(away[here, rest])])
    return np.asarray(order)


def _bridged(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the order with two neighbouring stretches exchanged."""
    rolled = np.roll(order, -int(rng.integers(len(order))))
    a, b, c = np.sort(rng.choice(min(_STRETCH, len(order) - 1), 3, replace=False))
    return np.concatenate([rolled[:a], rolled[b:c], rolled[a:b], rolled[c:]])


def _length(away: np.ndarray, order: np.ndarray) -> float:
    return float(np.sum(away[order, np.roll(order, -1)]))


def _local(away: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns a local optimum: no reversal and no move of a stretch makes the path shorter."""
    while True:
        order = _two_opt(away, order)
        order, gain = _or_opt(away, order)
        if gain <= 0:
            return order


def _two_opt(away: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns the order after reversals, the best one first, while they help."""
    order = order.copy()
    while True:
        after = np.roll(order, -1)
        own = away[order, after]
        gain = own[:, None] + own - away[np.ix_(order, order)] - away[np.ix_(after, after)]
        np.fill_diagonal(gain, 0)
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[i, j] < 1e-9:
            return order
        i, j = min(i, j), max(i, j)
        order[i + 1 : j + 1] = order[i + 1 : j + 1][::-1]


def _or_opt(away: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the order after the best move of a stretch, either way round, and what it gains."""
    num, place = len(order), np.arange(len(order))
    best, chosen = 1e-9, None
    for length in (length for length in _LENGTHS if length < num - 2):
        before, first = order, order[(place + 1) % num]
        last, behind = order[(place + length) % num], order[(place + length + 1) % num]
        removed = away[before, first] + away[last, behind] - away[before, behind]
        start, stop = order, order[(place + 1) % num]
        forwards = away[np.ix_(first, start)] + away[np.ix_(last, stop)]
        backwards = away[np.ix_(last, start)] + away[np.ix_(first, stop)]
        gain = removed[:, None] + away[start, stop] - np.minimum(forwards, backwards)
        gain[(place - place[:, None]) % num <= length] = -1  # within the stretch or beside it
        i, j = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[i, j] > best:
            best, chosen = gain[i, j], (i, j, length, backwards[i, j] < forwards[i, j])
    if chosen is None:
        return order, 0.0
    i, j, length, turned = chosen
    rolled = np.roll(order, -(i + 1))
    stretch, rest = rolled[:length], rolled[length:]
    stretch = stretch[::-1] if turned else stretch
    place_after = (j - (i + 1)) % num - length + 1
    return np.concatenate([rest[:place_after], stretch, rest[place_after:]]), float(best)

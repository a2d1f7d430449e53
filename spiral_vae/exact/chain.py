"""The best Gaussian posterior of a sequence: what a perfect encoder would put out.

    log p(x_1 .. x_T) - ELBO(q) = family + structure + amortisation

*Family* is what the best Gaussian leaves, *structure* what the best independent Gaussians leave
beyond it, and *amortisation* the rest, of the encoder (Cremer, Li & Duvenaud 2018,
https://arxiv.org/abs/1801.03558, for sequences). The best Gaussian is the prior times potentials
exp(h z - J z^2 / 2), with those of its own expectations,

    J_t = -E_q d^2 log p(x_t|z_t) / dz^2,   h_t = J_t m_t + E_q d log p(x_t|z_t) / dz,

and so is the best independent one with the same m, the mean given all potentials, but the variance
1 / (P_tt + J_t), P the precision of the prior. Steps towards them are uphill for both: along the
natural gradient of the first (Khan & Lin 2017, https://arxiv.org/abs/1703.04265), along Newton's
direction in the mean of the second. By Stein's identity values of log p(x|z) at nodes are enough.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from spiral_vae import numerics
from spiral_vae.exact import forward_backward
from spiral_vae.exact.forward_backward import Grid
from spiral_vae.maths import kalman

_NODES = 32  # of Gauss-Hermite under a marginal
_STEPS = 100
_CLIMBED = 1e-10  # nats of a sequence, below which a step gains nothing
_LEAST = 1.0 / 16  # of a step, before a sequence is left where it is
_EPS, _WEIGHT = np.polynomial.hermite_e.hermegauss(_NODES)
_WEIGHT = _WEIGHT / np.sum(_WEIGHT)


@dataclasses.dataclass(frozen=True)
class Gaussians:
    """Posteriors of S sequences: the marginals of their points, and what they cost."""

    mean: np.ndarray  # [S, T]
    variance: np.ndarray  # [S, T]
    kl: np.ndarray  # KL(q || p(z_1 .. z_T)), [S]

    def better(self, other: "Gaussians", where: np.ndarray) -> "Gaussians":
        """Returns these, and the other ones of some of the sequences, where [S]."""
        own = where[:, None]
        return Gaussians(
            np.where(own, other.mean, self.mean),
            np.where(own, other.variance, self.variance),
            np.where(where, other.kl, self.kl),
        )


def best(model: Grid, x: np.ndarray, observed: np.ndarray) -> tuple[Gaussians, Gaussians]:
    """Returns the best Gaussian posteriors found, and the best independent ones.

    What is reached may be a local optimum; it is looked for from two marginals that the exact
    posterior of each point suggests: its moments, and its highest mode.

    Args:
      model: on its grid.
      x: sequences, [S, T, D].
      observed: whether a point is seen, [S, T].
    """
    parts = []
    for block in forward_backward.blocks(model, x, observed):
        starts = _suggested(model, forward_backward.smooth(model, *block).smoothed)
        log_prob = forward_backward.log_likelihood(model, *block)
        parts.append(
            [
                _Climber(log_prob, model.z, model.a, independent).highest(starts)
                for independent in (False, True)
            ]
        )
    tied, alone = map(_joined, zip(*parts, strict=True))
    return tied, alone


def _joined(parts: Sequence[Gaussians]) -> Gaussians:
    names = [part.name for part in dataclasses.fields(Gaussians)]
    return Gaussians(*(np.concatenate([getattr(own, name) for own in parts]) for name in names))


def _suggested(model: Grid, log_density: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the moments of marginals [S, T, N], and their modes with the width of the peak."""
    density = np.exp(log_density) * model.step
    mean = density @ model.z
    variance = density @ model.z**2 - mean**2
    top = np.clip(np.argmax(log_density, axis=-1), 1, len(model.z) - 2)[..., None]
    low, middle, high = (
        np.take_along_axis(log_density, top + i, axis=-1)[..., 0] for i in (-1, 0, 1)
    )
    with np.errstate(all="ignore"):
        width = model.step**2 / (2 * middle - low - high)
    width = np.where((width > 0) & (width < variance), width, variance)
    return [(mean, variance), (model.z[top[..., 0]], width)]


@dataclasses.dataclass(frozen=True)
class _Climber:
    """A block of sequences on a grid."""

    log_prob: np.ndarray  # log p(x|z) at the nodes, 0 of what is not seen, [S, T, N]
    z: np.ndarray  # nodes, [N]
    a: float
    independent: bool  # whether points have a q each

    def highest(self, starts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Gaussians:
        """Returns the best of what is reached from marginals, [S, T] both."""
        (found, bound), *others = (self.climb(*start) for start in starts)
        for other, reached in others:
            found = found.better(other, reached > bound)
            bound = np.maximum(bound, reached)
        return found

    def climb(self, mean: np.ndarray, variance: np.ndarray) -> tuple[Gaussians, np.ndarray]:
        """Returns what is reached from marginals, [S, T] both, and its bound, [S]."""
        variance = np.maximum(variance, (self.z[1] - self.z[0]) ** 2)  # as the nodes see it
        _, first, second = self.expectations(mean, variance)
        precision = np.maximum(-second, 0.0)
        h = first + precision * mean
        found, bound, (h_next, precision_next) = self.of(h, precision)
        rate = np.ones(len(h))
        for _ in range(_STEPS):
            own = rate[:, None]
            trial = h + own * (h_next - h), precision + own * (precision_next - precision)
            reached, tried, after = self.of(*trial)
            better = tried > bound
            higher = np.where(better, tried, bound)
            done = higher - bound < _CLIMBED
            bound, rows = higher, better[:, None]
            found = found.better(reached, better)
            h, precision = (
                np.where(rows, new, old) for new, old in zip(trial, (h, precision), strict=True)
            )
            h_next, precision_next = (
                np.where(rows, new, old)
                for new, old in zip(after, (h_next, precision_next), strict=True)
            )
            rate = np.where(better, np.minimum(2 * rate, 1.0), 0.25 * rate)
            if np.all(done & (better | (rate < _LEAST))):
                break
        return found, bound

    def of(
        self, h: np.ndarray, precision: np.ndarray
    ) -> tuple[Gaussians, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Returns the posteriors of potentials, their bound [S], and the potentials they ask for.

        Of potentials that make no density the bound is -inf.
        """
        with numerics.double(), np.errstate(all="ignore"):
            law = jax.tree.map(np.asarray, _smooth(h.T, precision.T, self.a, 1 - self.a**2))
            mean, variance = law.mean.T, law.variance.T
            square = mean**2 + variance
            kl = np.sum(h * mean - 0.5 * precision * square, axis=1) - law.log_z
            if self.independent:
                variance = 1 / (_prior_precision(h.shape[1], self.a) + precision)
                kl = _kl_of_independent(mean, variance, self.a)
            value, first, second = self.expectations(mean, variance)
            bound = np.sum(value, axis=1) - kl
        sound = np.isfinite(bound) & np.all(variance > 0, axis=1)
        found = Gaussians(mean, variance, kl)
        return found, np.where(sound, bound, -np.inf), (first - second * mean, -second)

    def expectations(
        self, mean: np.ndarray, variance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns E_q log p(x|z) and of its first and second derivative, [S, T] each."""
        scale = np.sqrt(variance)
        value = self.at(mean[..., None] + scale[..., None] * _EPS)
        hermite = [value @ (_WEIGHT * part) for part in (1.0, _EPS, _EPS**2 - 1)]
        return hermite[0], hermite[1] / scale, hermite[2] / variance

    def at(self, z: np.ndarray) -> np.ndarray:
        """Returns log p(x|z) between the nodes, [S, T, K], by polynomials through six of them."""
        last = len(self.z) - 1
        place = np.nan_to_num((z - self.z[0]) / (self.z[1] - self.z[0]))
        place = np.clip(place, 0, last)
        first = np.clip(place.astype(int) - 2, 0, last - 5)
        place -= first
        value = np.zeros_like(z)
        for i in range(6):
            others = [k for k in range(6) if k != i]
            share = np.prod([(place - k) / (i - k) for k in others], axis=0)
            value += share * np.take_along_axis(self.log_prob, first + i, axis=-1)
        return value


_smooth = jax.jit(kalman.smooth)


def _prior_precision(length: int, a: float) -> np.ndarray:
    """Returns the diagonal of the precision of z_1 .. z_T under the prior, [T]."""
    inner = np.full(length, 1 + a**2)
    inner[[0, -1]] = 1.0
    return inner / (1 - a**2)


def _kl_of_independent(mean: np.ndarray, variance: np.ndarray, a: float) -> np.ndarray:
    """Returns KL(q || p(z_1 .. z_T)) of independent q, [S]."""
    noise = 1 - a**2
    moved = (mean[:, 1:] - a * mean[:, :-1]) ** 2 + variance[:, 1:] + a**2 * variance[:, :-1]
    log_p = -0.5 * (mean[:, 0] ** 2 + variance[:, 0])
    log_p = log_p - 0.5 * np.sum(moved / noise + np.log(noise), axis=1)
    return -0.5 * np.sum(1 + np.log(variance), axis=1) - log_p

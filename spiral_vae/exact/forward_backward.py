"""The exact answers for sequences with a Gauss-Markov latent: the forward-backward algorithm.

    z_1 ~ N(0, 1),  z' = a z + sqrt(1 - a^2) e,  x_t ~ p(x|z_t)

z lies on an even grid over [-8, 8], where the trapezoid rule converges faster than any power of its
step as soon as the step resolves sqrt(1 - a^2) and what a point says of z. Everything is float64;
in nats. (Baum, Petrie, Soules & Weiss 1970, https://doi.org/10.1214/aoms/1177697196.)
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.special import logsumexp

from spiral_vae.exact import mixture
from spiral_vae.exact.mixture import Mixture
from spiral_vae.maths import gaussian
from spiral_vae.maths.gaussian import LOG_2PI
from spiral_vae.maths.observation import Observe

STOP = 8.0  # where the grid ends; N(0, 1) has 1e-15 beyond
_MOST = 1 << 25  # numbers of an array of nodes and points: sequences are taken in blocks


@dataclasses.dataclass(frozen=True)
class Grid:
    """A model of sequences on N even nodes."""

    a: float  # correlation of neighbours
    nodes: Mixture  # with p(x|z)
    transition: np.ndarray  # p(z'|z) dz', from node to node, [N, N]

    @property
    def z(self) -> np.ndarray:
        """The nodes, [N]."""
        return self.nodes.z[:, 0]

    @property
    def step(self) -> float:
        return float(self.z[1] - self.z[0])


def grid(observe: Observe, a: float, num: int) -> Grid:
    """Returns a model on `num` nodes.

    Args:
      observe: z [N, 1] -> p(x|z).
      a: correlation of neighbouring z, in [0, 1).
      num: of nodes.
    """
    z = np.linspace(-STOP, STOP, num)
    noise = 1 - a**2
    log_move = -0.5 * ((z - a * z[:, None]) ** 2 / noise + LOG_2PI + np.log(noise))
    step = z[1] - z[0]
    log_prior = gaussian.log_prior(z[None])
    nodes = Mixture(z[:, None], np.full(num, np.log(step)), log_prior, observe(z[:, None]))
    return Grid(a, nodes, np.exp(log_move) * step)


@dataclasses.dataclass(frozen=True)
class Smoothed:
    """What S sequences of T points say of their latents."""

    log_evidence: np.ndarray  # log p(x_1 .. x_t), [S, T]
    filtered: np.ndarray  # log p(z_t|x_1 .. x_t) at the nodes, [S, T, N]
    smoothed: np.ndarray  # log p(z_t|x_1 .. x_T), [S, T, N]
    message: np.ndarray  # log p(x_t .. x_T|z_t), [S, T, N]


def log_evidence(model: Grid, x: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
    """Returns log p(x_1 .. x_t) of sequences x [S, T, D], [S, T].

    Args:
      model: on its grid.
      x: sequences.
      observed: whether a point is seen, [S, T]; None: all are.
    """
    parts = [_forward(model, *block)[0] for block in blocks(model, x, observed)]
    return np.concatenate(parts)


def smooth(model: Grid, x: np.ndarray, observed: np.ndarray | None = None) -> Smoothed:
    """Returns all marginals of sequences; the arguments are those of `log_evidence`."""
    found = []
    for block in blocks(model, x, observed):
        total, ahead, likely = _forward(model, *block)
        message = np.empty_like(ahead)
        later = np.zeros_like(ahead[:, 0])
        for t in reversed(range(ahead.shape[1])):
            message[:, t] = likely[:, t] + later
            later = _pushed(message[:, t], model.transition.T)
        filtered = ahead + likely
        filtered -= logsumexp(filtered, axis=-1, keepdims=True) + np.log(model.step)
        found.append((total, filtered, ahead + message - total[:, -1:, None], message))
    return Smoothed(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def forecast(
    model: Grid, x: np.ndarray, future: np.ndarray, observed: np.ndarray | None = None
) -> np.ndarray:
    """Returns log p(x_T+k|x_1 .. x_T) of each future point for itself, [S, H].

    Args:
      model: on its grid.
      x: what is known, [S, T, D].
      future: x_T+1 .. x_T+H, [S, H, D].
      observed: whether a known point is seen, [S, T]; None: all are.
    """
    parts = []
    seen = np.ones(x.shape[:2]) if observed is None else observed
    unseen = np.concatenate([seen, np.zeros(future.shape[:2])], axis=1)
    both = np.concatenate([x, future], axis=1)
    for block, ahead_of in zip(
        blocks(model, both, unseen), blocks(model, future, None), strict=True
    ):
        total, ahead, _ = _forward(model, *block)
        likely = log_likelihood(model, *ahead_of)
        joint = ahead[:, x.shape[1] :] + likely
        parts.append(logsumexp(joint, axis=-1) + np.log(model.step) - total[:, -1:])
    return np.concatenate(parts)


def impute(model: Grid, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Returns log p(x_t|all that is seen of the sequence) of each point for itself, [S, T].

    Of a point that is seen it is given the others and itself, which is no prediction.

    Args:
      model: on its grid.
      x: [S, T, D].
      observed: whether a point is seen, [S, T].
    """
    parts = []
    for block, points in zip(blocks(model, x, observed), blocks(model, x, None), strict=True):
        joint = smooth(model, *block).smoothed + log_likelihood(model, *points)
        parts.append(logsumexp(joint, axis=-1) + np.log(model.step))
    return np.concatenate(parts)


def kl_to_posterior(
    model: Grid,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    covariance: np.ndarray,
    observed: np.ndarray | None = None,
) -> np.ndarray:
    """Returns KL(q(z_1 .. z_T) || p(z_1 .. z_T|x_1 .. x_T)) of Gauss-Markov q, [S].

    By integrals over neighbouring pairs, so that it shares nothing with log p - ELBO.

    Args:
      model: on its grid.
      x: [S, T, D].
      mean: of q, [S, T].
      variance: [S, T].
      covariance: of neighbours, [S, T - 1].
      observed: whether a point is seen, [S, T]; None: all are.
    """
    law = smooth(model, x, observed)
    with np.errstate(divide="ignore"):
        log_move = np.log(model.transition / model.step)
    total = np.zeros(len(x))
    for s in range(len(x)):
        for t in range(x.shape[1] - 1):
            slope = covariance[s, t] / variance[s, t]
            rest = variance[s, t + 1] - slope * covariance[s, t]
            log_q = _log_normal(model.z, mean[s, t], variance[s, t])
            ahead = mean[s, t + 1] + slope * (model.z - mean[s, t])
            log_pair = log_q[:, None] + _log_normal(model.z, ahead[:, None], rest)
            # p(z_t, z_t+1|x): the smoothed z_t, then a move by what follows.
            after = law.message[s, t + 1] + log_move
            after -= logsumexp(after, axis=1, keepdims=True) + np.log(model.step)
            pair = np.exp(log_pair)
            seen = pair > 0
            difference = log_pair - law.smoothed[s, t][:, None] - after
            total[s] += np.sum(pair[seen] * difference[seen]) * model.step**2
            if t > 0:
                total[s] -= np.sum(np.exp(log_q) * (log_q - law.smoothed[s, t])) * model.step
    return total


def _log_normal(z: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return -0.5 * ((z - mean) ** 2 / variance + LOG_2PI + np.log(variance))


def blocks(
    model: Grid, x: np.ndarray, observed: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yields sequences, and whether their points are seen, as many as memory should hold."""
    size = max(1, _MOST // (x.shape[1] * len(model.z)))
    for i in range(0, len(x), size):
        yield x[i : i + size], None if observed is None else observed[i : i + size]


def _forward(
    model: Grid, x: np.ndarray, observed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns log p(x_1 .. x_t) [S, T], log p(z_t, x_1 .. x_t-1) and log p(x_t|z_t) [S, T, N]."""
    likely = log_likelihood(model, x, observed)
    ahead = np.empty_like(likely)
    ahead[:, 0] = model.nodes.log_prior
    for t in range(1, ahead.shape[1]):
        ahead[:, t] = _pushed(ahead[:, t - 1] + likely[:, t - 1], model.transition)
    return logsumexp(ahead + likely, axis=-1) + np.log(model.step), ahead, likely


def _pushed(log_values: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Returns the logarithm of exp(values) times the transitions, [S, N]."""
    largest = np.max(log_values, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(log_values - largest) @ transition) + largest


def log_likelihood(model: Grid, x: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
    """Returns log p(x|z) at the nodes, [S, T, N]; 0 of what is not seen."""
    joint = mixture.log_joint(x.reshape(-1, x.shape[-1]), model.nodes)
    found = (joint - model.nodes.log_prior).reshape(*x.shape[:2], -1)
    return found if observed is None else np.where(observed[..., None] > 0, found, 0.0)

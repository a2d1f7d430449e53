"""Does the encoder's signal drown as importance samples are added?

Claim (Rainforth et al. 2018, https://arxiv.org/abs/1802.04537): with K samples the signal-to-noise
ratio of the gradient of the encoder falls as K^-1/2, that of the decoder rises as K^1/2. Doubly
reparameterised (Tucker et al. 2018, https://arxiv.org/abs/1810.04152) the encoder's rises as well.

    python -m experiments.claims.signal_to_noise

Rainforth's model: z ~ N(mu, I), x|z ~ N(z, I), q(z|x) = N(A x + b, 2/3 I), in 20 dimensions and in
one; 1 024 points; all parameters at their optimum A = I/2, b = mu/2 but for Gaussian steps of 0.01.
The signal is exact in any dimension: log w = -S/6 up to a constant, with S = |(z - c)/s|^2 of a
noncentral chi-square law under q, so that L_K is an integral of one dimension (`exact.bound`) that
depends on the noncentrality alone. The noise is that of draws. The prediction is the first order in
1/K, of Gaussian integrals in closed form. Medians over single parameters; 8 draws of mu, of the
points and of the steps.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ive

from experiments.claims import drawing
from experiments.experiment import Experiment, main, quantiles
from spiral_vae import numerics
from spiral_vae.exact import bound

DIMENSIONS = (1, 20)
SAMPLES = (1, 4, 16, 64, 256, 1024)
NUM_POINTS = 1024
REPEATS = 16  # gradients of each point
PROBLEMS = 8  # draws of mu, of the points and of the steps
STEP = 0.01  # of each parameter away from its optimum
VARIANCE = 2 / 3  # of q
GROUPS = ("A", "b", "mu")  # the first two are of the encoder
_NODES = 201  # of the quadrature over sqrt(S)
_DEGREE = 16  # of the polynomial through the derivative of L_K


class Problem(NamedTuple):
    """Points and the parameters at which gradients are taken; dimensions D."""

    x: np.ndarray  # [N, D]
    mu: np.ndarray  # [D]
    A: np.ndarray  # [D, D]
    b: np.ndarray  # [D]

    @property
    def mean(self) -> np.ndarray:
        """Mean of q, [N, D]."""
        return self.x @ self.A.T + self.b

    @property
    def far(self) -> np.ndarray:
        """The mean of q from where log w has its top, [N, D]: log w = -|z - c|^2 / 4 + const."""
        return 4 * self.mean - 2 * (self.x + self.mu)


def problem(seed: int, dim: int, num_points: int) -> Problem:
    """Returns points of a true mu ~ N(0, I) and parameters near their optimum for it."""
    rng = np.random.default_rng([seed, dim])
    mu = rng.normal(size=dim)
    x = mu + np.sqrt(2) * rng.normal(size=(num_points, dim))
    A, b, near = (STEP * rng.normal(size=shape) for shape in ((dim, dim), dim, dim))
    return Problem(x, mu + near, np.eye(dim) / 2 + A, mu / 2 + b)


def slope_of_bound(dim: int, num_samples: int, noncentrality: np.ndarray) -> np.ndarray:
    """Returns d(L_K - log p) / d(noncentrality of S) at each of some values, [P]."""
    # Over sqrt(S), whose density is smooth up to 0 in any dimension.
    r, weight = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * (np.sqrt(noncentrality.max()) + np.sqrt(dim) + 9)
    r, weight = half * (1 + r), half * weight
    log_w = jnp.asarray(-(r**2) / 6)

    def slope(value: float) -> float:
        density, more = (weight * _density(r, value, num) for num in (dim, dim + 2))
        # The law of S as its noncentrality grows; and E w = p(x) fixes what belongs to log w.
        change = 0.5 * (more - density)
        with np.errstate(divide="ignore"):
            log_weight = jnp.asarray(np.log(density))
        by_weight = np.asarray(_by_weight(log_w, log_weight, num_samples))
        seen = density > 0
        return 1 / 8 + float(np.sum(by_weight[seen] * change[seen] / density[seen]))

    return np.array([slope(value) for value in noncentrality])


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _by_weight(log_w: jax.Array, log_weight: jax.Array, num_samples: int) -> jax.Array:
    return jax.grad(bound.log_mean, 1)(log_w, log_weight, num_samples)


def _density(r: np.ndarray, noncentrality: float, dim: int) -> np.ndarray:
    """Returns that of the length of N(m, I) in so many dimensions, |m|^2 = noncentrality."""
    order, root = dim / 2 - 1, np.sqrt(noncentrality)
    return r * (r / root) ** order * np.exp(-((r - root) ** 2) / 2) * ive(order, root * r)


def exact(p: Problem, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradients of L_K by b and by mu at each point, [N, D] both."""
    noncentrality = np.sum(p.far**2, axis=1) / VARIANCE
    low, high = noncentrality.min(), noncentrality.max()
    nodes = 0.5 * (low + high) + 0.51 * (high - low) * np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    nodes = np.maximum(nodes, 1e-6)
    found = slope_of_bound(p.x.shape[1], num_samples, nodes)
    slope = np.polynomial.Chebyshev.fit(nodes, found, _DEGREE)(noncentrality)
    by_far = slope[:, None] * 2 * p.far / VARIANCE
    return 4 * by_far, (p.x - p.mu) / 2 - 2 * by_far


@functools.partial(jax.jit, static_argnames=("num_samples", "repeats"))
def drawn(
    p: Problem, key: jax.Array, num_samples: int, repeats: int
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Returns mean and variance of each point's gradients, [N, D] each.

    Args:
      p: the problem.
      key: of the draws.
      num_samples: K.
      repeats: gradients of each point.

    Returns:
      By b, plain and doubly reparameterised, and by mu.
    """

    def of_point(x: jax.Array, mean: jax.Array, key: jax.Array) -> Any:
        eps = jax.random.normal(key, (repeats, len(x), num_samples))
        z = mean[:, None] + np.sqrt(VARIANCE) * eps
        from_x, from_mu = x[:, None] - z, z - p.mu[:, None]
        log_w = 0.5 * jnp.sum(eps**2 - from_x**2 - from_mu**2, axis=1)
        share = jax.nn.softmax(log_w, axis=1)[:, None]
        path = from_x - from_mu
        found = {
            "plain": jnp.sum(share * path, axis=2),
            "DReG": jnp.sum(share**2 * (path + eps / np.sqrt(VARIANCE)), axis=2),
            "mu": jnp.sum(share * from_mu, axis=2),
        }
        return {name: (v.mean(axis=0), v.var(axis=0, ddof=1)) for name, v in found.items()}

    keys = jax.random.split(key, len(p.x))
    return jax.lax.map(lambda point: of_point(*point), (p.x, p.mean, keys), batch_size=16)


def predicted(p: Problem, num_samples: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the same of `drawn` to first order in 1/K, in closed form."""
    x, mu, far, m = p.x, p.mu, p.far, p.mean
    dim, top = x.shape[1], m - far

    def tilted(power: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns E_q (w / p(x))^power [N, 1], and mean [N, D] and variance of q w^power."""
        precision = 1 / VARIANCE + power / 2
        square = np.sum(far**2, axis=1, keepdims=True)

        def log_norm(power: int) -> np.ndarray:
            total = 1 / VARIANCE + power / 2
            return -0.5 * dim * np.log(total * VARIANCE) - 0.25 * power * square / VARIANCE / total

        moment = np.exp(log_norm(power) - power * log_norm(1))
        return moment, (m / VARIANCE + top * power / 2) / precision, 1 / precision

    second, mean2, variance2 = tilted(2)
    fourth, mean4, variance4 = tilted(4)
    signal = -0.5 * second * (mean2 - top) / num_samples
    return {
        "plain": (
            signal,
            second * (4 * variance2 + (x + mu - 2 * mean2) ** 2) / num_samples,
        ),
        "DReG": (
            signal,
            (0.25 * fourth * (variance4 + (mean4 - top) ** 2) - (num_samples * signal) ** 2)
            / num_samples**3,
        ),
        "mu": (
            (x - mu) / 2,
            second * (variance2 + (mean2 - (x + mu) / 2) ** 2) / num_samples,
        ),
    }


def ratio(p: Problem, mean: np.ndarray, variance: np.ndarray, group: str) -> np.ndarray:
    """Returns |mean| / sd of each parameter's gradient, of the mean over the points."""
    if group == "A":
        mean, variance = mean.T @ p.x, variance.T @ p.x**2
    else:
        mean, variance = mean.sum(axis=0), variance.sum(axis=0)
    return np.abs(mean) / np.sqrt(variance)


def measured(
    seed: int, dim: int, samples: tuple[int, ...], num_points: int, repeats: int
) -> list[dict[str, Any]]:
    """Returns a row for each number of samples, estimator and group of parameters."""
    p = problem(seed, dim, num_points)
    rows = []
    for num in samples:
        found = drawn(p, jax.random.key(seed), num, repeats)
        found = jax.tree.map(np.asarray, found)
        theory = predicted(p, num)
        by_b, by_mu = exact(p, num)
        for name, truth in (("plain", by_b), ("DReG", by_b), ("mu", by_mu)):
            mean, variance = found[name]
            error = (mean.mean(axis=0) - truth.mean(axis=0)) / np.sqrt(
                variance.sum(axis=0) / repeats
            )
            for group in ("mu",) if name == "mu" else ("A", "b"):
                rows.append(
                    {
                        "dim": dim,
                        "seed": seed,
                        "samples": num,
                        "estimator": "plain" if name == "mu" else name,
                        "group": group,
                        "snr": float(np.median(ratio(p, truth, variance, group))),
                        "predicted": float(np.median(ratio(p, *theory[name], group))),
                        "bias_in_errors": float(np.sqrt(np.mean((error * len(p.x)) ** 2))),
                    }
                )
    return rows


def slope(rows: list[dict[str, Any]], smallest: int = 16) -> float:
    """Returns the slope of log snr against log K of one problem, from `smallest` samples on."""
    some = [row for row in rows if row["samples"] >= smallest]
    if len(some) < 2:
        return np.nan
    return float(np.polyfit(*(np.log([row[k] for row in some]) for k in ("samples", "snr")), 1)[0])


def signal_to_noise(experiment: Experiment) -> None:
    size = ((16, 64), 8, 4) if experiment.quick else (SAMPLES, NUM_POINTS, REPEATS)
    seeds = range(2 if experiment.quick else PROBLEMS)
    with numerics.double():
        rows = [row for dim in DIMENSIONS for seed in seeds for row in measured(seed, dim, *size)]
    experiment.save(drawing.signal_to_noise(rows), rows)
    for key in dict.fromkeys((row["dim"], row["group"], row["estimator"]) for row in rows):
        own = [row for row in rows if (row["dim"], row["group"], row["estimator"]) == key]
        slopes = [slope([row for row in own if row["seed"] == seed]) for seed in seeds]
        low, median, high = quantiles(np.asarray(slopes))
        bias = np.sqrt(np.mean([row["bias_in_errors"] ** 2 for row in own]))
        print(
            f"{key[0]} dimensions, {key[1]}, {key[2]}: slope {median:+.3f} ({low:+.3f} to "
            f"{high:+.3f}); draws are {bias:.2f} standard errors from the exact mean"
        )


if __name__ == "__main__":
    main(signal_to_noise)

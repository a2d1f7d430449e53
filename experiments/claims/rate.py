"""How fast does the importance-weighted bound close?

Claim (Domke & Sheldon 2018, https://arxiv.org/abs/1808.09034, theorem 3): with K samples
K (log p - L_K) goes to half of the variance of w / p(x), which is chi^2 of p(z|x) from q, if a
little more than the variance exists.

    python -m experiments.claims.rate

Networks of the post's size, trained by the ELBO; L_K of training points is exact for every K
(`exact.bound`). The condition is looked at first. The weights of a tanh decoder fall as slowly as
the prior, so the integral of p(z|x)^2 / q diverges where the variance of q is below 1/2: there the
variance does not exist. Where q is wide enough for its posterior the divergence begins behind a
valley, ten standard deviations away, where no draw gets; the prediction is of the part before it.
Where there is no valley there is no prediction. The same q with 1 % of the prior mixed in has
bounded weights and fulfils the condition everywhere.
"""

import functools
from typing import Any

import jax
import numpy as np
from scipy.special import logsumexp

import spiral_vae
from experiments.claims import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics
from spiral_vae.configs import claims as config
from spiral_vae.exact import bound, ground_truth, inference
from spiral_vae.exact.inference import Posteriors
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observe
from spiral_vae.model.posterior import Mixture

SAMPLES = tuple(8**power for power in range(7))
NUM_POINTS = 25  # of each lane
WITH_PRIOR = "with 1 % of the prior"
PRIOR = 0.01  # share of the prior in the mixed q
_REACH, _PER_SCALE = 30.0, 40  # standard deviations of q, and nodes in each
NEAR = 0.1  # relative distance within which a prediction holds
DEEP = 5.0  # nats of a valley that parts what counts from a divergent tail
_GRID = np.linspace(-8, 8, 4001)  # of z, under a q that has the prior in it


def chi_square(
    x: np.ndarray, q: Posteriors, observe: Observe, log_evidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns chi^2 of p(z|x) from a Gaussian q up to the valley, and how deep that is, [N] each.

    The depth is the logarithm of the integrand's top over its lowest value between the top and the
    ends of its nodes.
    """
    eps = np.linspace(-_REACH, _REACH, int(2 * _REACH * _PER_SCALE) + 1)

    def block(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        own = q[rows]
        z = own.mean + own.scale * eps
        log_prob, _ = inference.log_likelihood(observe, x, z[..., None])
        log_q = -0.5 * eps**2 - np.log(np.sqrt(2 * np.pi) * own.scale)
        log_posterior = log_prob + log_prior(z[:, None], axis=1) - log_evidence[rows][:, None]
        integrand = 2 * log_posterior - log_q + np.log(own.scale / _PER_SCALE)
        return valley(integrand)

    total, depth = inference.in_blocks(block, len(eps), x, np.arange(len(x)))
    return np.exp(total) - 1, depth


def valley(integrand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logarithm of a sum up to the lowest places on both sides, and their depth.

    Args:
      integrand: logarithms, [N, M]; the hill that counts is the highest near the middle of the
        nodes, and beyond it there may be higher ones.
    """
    num = integrand.shape[1]
    middle = np.abs(np.arange(num) - num // 2) <= num // 6
    totals, depths = [], []
    for row in integrand:
        top = int(np.argmax(np.where(middle, row, -np.inf)))
        left = int(np.argmin(row[: top + 1]))
        right = top + int(np.argmin(row[top:]))
        totals.append(logsumexp(row[left : right + 1]))
        depths.append(row[top] - max(row[left], row[right]))
    return np.array(totals), np.array(depths)


def with_prior(q: Posteriors, share: float = PRIOR) -> Posteriors:
    """Returns Gaussians with a share of the prior mixed in."""
    zero = np.zeros_like(q.mean)
    # A mixture of two has its places at heads of -1 and 1 from the middle.
    heads = {
        "mean": np.concatenate([q.mean + 1, zero - 1], axis=1),
        "logvar": np.concatenate([q.logvar, zero], axis=1),
        "logit": np.log(np.concatenate([1 - share + zero, share + zero], axis=1)),
    }
    return Posteriors(Mixture(num_components=2), heads)


def mixed(
    x: np.ndarray, q: Posteriors, observe: Observe, samples: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns chi^2 [N] and log p - L_K [N, K] of Gaussians q with the prior mixed in.

    On nodes in z: those of q have parts that are too far from one another for a narrow p(x|z).
    """
    log_prob, _ = inference.log_likelihood(observe, x, np.tile(_GRID[:, None], (len(x), 1, 1)))
    log_q = with_prior(q).log_prob(_GRID[:, None])
    log_weight = log_q + np.log(_GRID[1] - _GRID[0])
    log_w = log_prob + log_prior(_GRID[None]) - log_q
    log_p = logsumexp(log_weight + log_w, axis=1)
    chi = np.sum(np.exp(log_weight + 2 * (log_w - log_p[:, None])), axis=1) - 1
    gaps = [log_p - np.asarray(_log_mean(log_w, log_weight, num)) for num in samples]
    return chi, np.transpose(gaps)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _log_mean(log_w: jax.Array, log_weight: jax.Array, num_samples: int) -> jax.Array:
    """Returns L_K, [N]."""

    def of_point(both: tuple[jax.Array, jax.Array]) -> jax.Array:
        return bound.log_mean(*both, num_samples)

    return jax.lax.map(of_point, (log_w, log_weight))


def measured(lane: spiral_vae.Lane, seed: int, samples: tuple[int, ...]) -> list[dict[str, Any]]:
    """Returns a row for each q, point and K."""
    x, observe = lane.x[:: len(lane.x) // NUM_POINTS], lane.model.observe
    with numerics.double():
        q = lane.encode(x)
        log_evidence, _ = ground_truth.density_around(x, observe, 1).log_density(x)
        own, depth = chi_square(x, q, observe, log_evidence)
        gaps = np.transpose([log_evidence - bound.iwae(x, q, observe, num) for num in samples])
        found = {"encoder": (own, gaps, depth)}
        found[WITH_PRIOR] = *mixed(x, q, observe, samples), np.full(len(x), np.inf)
    return [
        {
            "seed": seed,
            "point": i,
            "q": name,
            "samples": num,
            "scaled_gap": num * gaps[i, k],
            "predicted": chi[i] / 2,
            "variance_of_q": q.scale[i, 0] ** 2,
            "depth": depth[i],
        }
        for name, (chi, gaps, depth) in found.items()
        for i in range(len(x))
        for k, num in enumerate(samples)
    ]


def rate(experiment: Experiment) -> None:
    outcome = experiment.sweep("sweep", config.get_config("rate"))
    samples = SAMPLES[:4:3] if experiment.quick else SAMPLES
    lanes = spiral_vae.open(outcome.workdir).lanes
    rows = [
        row
        for result, lane in zip(outcome.rows, lanes, strict=True)
        for row in measured(lane, result["seed"], samples)
    ]
    experiment.save(drawing.rate(rows, DEEP), rows)
    first = [r for r in rows if r["q"] == "encoder" and r["samples"] == samples[0]]
    wide = np.mean([row["variance_of_q"] > 0.5 for row in first])
    deep = np.mean([row["depth"] > DEEP for row in first])
    print(f"{len(first)} points: variance of w exists at {wide:.0%}, a valley at {deep:.0%}")
    last = [
        [r["scaled_gap"] for r in rows if r["depth"] <= DEEP and r["samples"] == num]
        for num in samples[-2:]
    ]
    if last[0]:
        slopes = np.log(np.divide(last[1], last[0])) / np.log(samples[-1] / samples[-2]) - 1
        print(f"without a valley the gap falls as K^{np.median(slopes):.2f} at the last K")
    for name in ("encoder", WITH_PRIOR):
        for num in samples:
            own = [row for row in rows if row["q"] == name and row["samples"] == num]
            ratio = np.array([r["scaled_gap"] / r["predicted"] for r in own if r["depth"] > DEEP])
            if not len(ratio):
                continue
            low, median, high = np.quantile(ratio, [0.1, 0.5, 0.9])
            near = np.mean(np.abs(ratio - 1) < NEAR)
            print(
                f"{name}, K = {num}: K (log p - L_K) over chi^2 / 2 {median:.4f} ({low:.4f} to "
                f"{high:.4f}), within {NEAR:.0%} at {near:.0%} of {len(ratio)} points"
            )


if __name__ == "__main__":
    main(rate)

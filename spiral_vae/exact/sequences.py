"""How near a model of sequences is to the truth: rates in nats per point, on fresh sequences.

The truth is a curve along which z moves as a Gauss-Markov sequence; the distance of a model is
E[log p*(x_1 .. x_T) - log p(x_1 .. x_T)] / T over fresh draws, so it has a standard error. Each
log p is exact (see `forward_backward`), to an error that doubling the nodes shows.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from spiral_vae.exact import chain, forward_backward, ground_truth, inference, mixture
from spiral_vae.exact.forward_backward import Grid, Smoothed
from spiral_vae.exact.inference import Posteriors
from spiral_vae.exact.recovery import FOUND_ORDER
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.observation import Observe
from spiral_vae.maths.rank import spearman
from spiral_vae.process import Curve
from spiral_vae.process.design import time_constant

NUM_FRESH = 40  # sequences
HORIZONS = tuple(range(1, 11))  # points ahead that are forecast
HOLE = 10  # points in a row that are imputed, in the middle of a sequence
_NODES = (512, 1024, 2048, 4096)  # of a grid, doubled until nothing changes
_SETTLED = 1e-7  # nats per point
_SHORT = max(*HORIZONS, HOLE)  # points of sequences of which nothing can be left out
_MOST_HELD_OUT = 200  # sequences
_TRIED = 4  # sequences on which it is seen whether a grid is fine enough


class Tied(NamedTuple):
    """What a model's q says of sequences, whose points lie one after the other, [S T]."""

    q: Posteriors  # of each point given all of its sequence
    kl: np.ndarray  # KL(q || p) of the sequence in equal shares of the points that are seen, [S T]
    independent: bool = True  # whether points have a q each


Tie = Callable[[np.ndarray, np.ndarray], Tied]  # of x [S T, D] and whether each is seen, [S T]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What a model and its data are as sequences of T points, besides single ones."""

    length: int  # T
    a: float  # correlation of neighbouring z under the model; 0 where it knows of none
    true_a: float  # under the truth
    tied: Tie
    refined: Tie | None = None  # the same after passes of refinement, where points are tied
    # [S, T, D] that were not trained on, and whether each point is seen, [S, T]; of own data
    held_out: tuple[np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Fresh:
    """Draws of the truth and what it says of them."""

    z: np.ndarray  # [S, T]
    x: np.ndarray  # [S, T, D]
    truth: Grid
    error: float  # of log p under the truth, nats per point
    log_p: np.ndarray  # under the truth, [S]
    filled: "_Filled"  # by the truth


class _Filled(NamedTuple):
    """log p of points that are not seen, given those that are; none where sequences are short."""

    ahead: np.ndarray  # of the last ones given those before, [S, H]
    hole: np.ndarray  # of those in the middle, [S, HOLE]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `judge` found."""

    metrics: dict[str, float]
    fresh: Fresh
    model: Grid
    mean: np.ndarray  # E[z_t|x_1 .. x_T] under the model, [S, T]
    law: Smoothed  # of the fresh sequences under the model


def judge(observe: Observe, sequences: Sequences, curve: Curve) -> Report:
    """Returns how a model does on sequences.

    Args:
      observe: z [N, 1] -> p(x|z).
      sequences: what else the model is.
      curve: the truth.
    """
    fresh = draws_of(jax.tree.map(float, curve), sequences.true_a, sequences.length, NUM_FRESH)
    z, x = fresh.z, fresh.x
    learned, error = settled(observe, sequences.a, x[:_TRIED])
    law = forward_backward.smooth(learned, x)
    length = z.shape[1]
    ratio = (fresh.log_p - law.log_evidence[:, -1]) / length
    mean = np.sum(np.exp(law.smoothed) * learned.z, axis=-1) * learned.step
    order = abs(spearman(mean.ravel(), z.ravel()))
    gaps = _gaps(observe, sequences, learned, x, np.ones(z.shape), law.log_evidence[:, -1])
    metrics = {
        "nll_rate": -np.mean(law.log_evidence[:, -1]) / length,
        "entropy_rate": -np.mean(fresh.log_p) / length,
        "kl_rate_to_truth": np.mean(ratio),
        "kl_rate_error": np.std(ratio) / np.sqrt(len(ratio)),
        "kl_rate_doubling": fresh.error + error,
        "order_of_path": order,
        "path_found": order > FOUND_ORDER,
        **{name: np.mean(gap) / length for name, gap in gaps.items()},
        "correlation": sequences.a,
    }
    if sequences.a > 0 and sequences.true_a > 0:
        metrics["tau_ratio"] = time_constant(sequences.a) / time_constant(sequences.true_a)
        metrics["innovation_ratio"] = (1 - sequences.a**2) / (1 - sequences.true_a**2)
    alone = mixture.log_posterior(x.reshape(-1, x.shape[-1]), learned.nodes)
    for name, log_density in (
        ("alone", alone),
        ("filtered", law.filtered),
        ("smoothed", law.smoothed),
    ):
        metrics[f"bimodal_{name}"] = share_of_bimodal(log_density, learned)
    excess = [
        np.mean(of_truth - of_model, axis=0)
        for of_truth, of_model in zip(fresh.filled, filled(learned, x), strict=True)
    ]
    if length > _SHORT:
        metrics |= {f"forecast_excess_{h}": excess[0][h - 1] for h in HORIZONS}
        metrics["imputation_excess"] = np.mean(excess[1])
    return Report(metrics, fresh, learned, mean, law)


@functools.lru_cache(maxsize=2)
def draws_of(curve: Curve, a: float, length: int, num: int) -> Fresh:
    """Returns draws of the truth (kept, as many lanes share one)."""
    observe = ground_truth.true_decoder(curve)
    z = draw(np.random.default_rng(2), a, num, length)
    x = observation_lib.draw(np.random.default_rng(3), observe(z.reshape(-1, 1)))
    x = x.reshape(*z.shape, -1)
    truth, error = settled(observe, a, x[:_TRIED])
    log_p = forward_backward.log_evidence(truth, x)[:, -1]
    return Fresh(z, x, truth, error, log_p, filled(truth, x))


def judge_held_out(observe: Observe, sequences: Sequences) -> dict[str, float]:
    """Returns what sequences that were not trained on say of a model, where no truth is known.

    Rates are per point that is seen. Of the sequences at most 200 are taken.

    Args:
      observe: z [N, 1] -> p(x|z).
      sequences: what else the model is, with those sequences.
    """
    assert sequences.held_out is not None
    x, observed = (part[:_MOST_HELD_OUT] for part in sequences.held_out)
    model, error = settled(observe, sequences.a, x[:_TRIED], observed[:_TRIED])
    log_evidence = forward_backward.log_evidence(model, x, observed)[:, -1]
    gaps = _gaps(observe, sequences, model, x, observed, log_evidence)
    seen = np.sum(observed, axis=1)
    rate = np.sum(log_evidence) / np.sum(seen)
    errors = {}
    if len(x) > 1:  # one tells nothing of its spread
        spread = np.std(log_evidence - rate * seen, ddof=1) / np.mean(seen)
        errors["nll_rate_error"] = spread / np.sqrt(len(x))
    return {
        "nll_rate": -rate,
        **errors,
        "kl_rate_doubling": error,
        **{name: np.sum(gap) / np.sum(seen) for name, gap in gaps.items()},
        "correlation": sequences.a,
    }


def share_of_bimodal(log_density: np.ndarray, model: Grid) -> float:
    """Returns of how many densities over a grid's nodes, [..., N], the second mode has weight."""
    second = mixture.second_mode(np.exp(log_density), np.full(len(model.z), model.step))
    return float(np.mean(second > mixture.SECOND_MODE))


def filled(model: Grid, x: np.ndarray) -> _Filled:
    """Returns what a model says of points of sequences x [S, T, D] that it is not shown."""
    length = x.shape[1]
    if length <= _SHORT:
        return _Filled(np.zeros((len(x), 0)), np.zeros((len(x), 0)))
    known = length - max(HORIZONS)
    ahead = forward_backward.forecast(model, x[:, :known], x[:, known:])
    start = (length - HOLE) // 2
    hole = slice(start, start + HOLE)
    observed = np.ones(x.shape[:2])
    observed[:, hole] = 0.0
    return _Filled(ahead, forward_backward.impute(model, x, observed)[:, hole])


def draw(rng: np.random.Generator, a: float, num: int, length: int) -> np.ndarray:
    """Returns z of stationary sequences, [num, length]."""
    z = rng.standard_normal((num, length))
    for t in range(1, length):
        z[:, t] = a * z[:, t - 1] + np.sqrt(1 - a**2) * z[:, t]
    return z


def settled(
    observe: Observe, a: float, x: np.ndarray, observed: np.ndarray | None = None
) -> tuple[Grid, float]:
    """Returns a model on a grid that is fine enough for x [S, T, D], and its error, nats per point.

    The error is what the doubling before it changed in the evidence of these sequences, so that of
    the grid itself is far smaller.
    """
    before = None
    for num in _NODES:
        model = forward_backward.grid(observe, a, num)
        found = forward_backward.log_evidence(model, x, observed)[:, -1] / x.shape[1]
        if before is not None:
            error = float(np.max(np.abs(found - before)))
            if error < _SETTLED:
                break
        before = found
    return model, error


def _gaps(
    observe: Observe,
    sequences: Sequences,
    model: Grid,
    x: np.ndarray,
    observed: np.ndarray,
    log_evidence: np.ndarray,
) -> dict[str, np.ndarray]:
    """Returns log p - ELBO of sequences x [S, T, D], its parts and others, by metric, [S] each.

    The best q are found on the grid and judged as the encoder's is; where that, or what refinement
    makes of it, or an independent one is better, it is the best. So no part is negative.
    """
    flat, seen = x.reshape(-1, x.shape[-1]), observed.reshape(-1)
    density = ground_truth.density_around(flat, observe, 1)

    def bound(q: Posteriors, kl: np.ndarray) -> np.ndarray:
        """Returns the ELBO of sequences, [S], by the KL of each point, [S T]."""
        found = inference.elbo(flat, q, observe, density)
        return -np.sum(((found.reconstruction + kl) * seen).reshape(observed.shape), axis=1)

    def bound_of(found: chain.Gaussians) -> np.ndarray:
        q = inference.gaussians(found.mean.reshape(-1, 1), np.log(found.variance).reshape(-1, 1))
        return bound(q, np.zeros(len(flat))) - found.kl

    own = sequences.tied(flat, seen)
    encoder = bound(own.q, own.kl)
    gaps, reachable = {"gap_rate": log_evidence - encoder}, encoder
    if sequences.refined is not None and not own.independent:
        refined = bound(*sequences.refined(flat, seen)[:2])
        gaps["refined_gap_rate"] = log_evidence - refined
        reachable = np.fmax(encoder, refined)
    if not own.q.family.gaussian:
        return gaps
    tied, alone = chain.best(model, x, observed)
    independent = bound_of(alone)
    if own.independent:
        independent = np.fmax(independent, encoder)
    structured = np.fmax(np.fmax(bound_of(tied), independent), reachable)
    reached = independent if own.independent else structured
    return gaps | {
        "family_gap_rate": log_evidence - structured,
        "structure_gap_rate": structured - reached,
        "amortisation_gap_rate": reached - encoder,
        "mean_field_gap_rate": log_evidence - independent,
    }

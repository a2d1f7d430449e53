"""Did the model recover the truth? All metrics of one trained model, exact where that is possible.

`evaluate` judges any encoder and decoder, whatever they were trained with.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from spiral_vae import numerics
from spiral_vae.exact import ground_truth, inference, mixture
from spiral_vae.exact import sequences as sequences_lib
from spiral_vae.exact.best import best_gaussian, best_member
from spiral_vae.exact.inference import Encode, PerPoint, Posteriors
from spiral_vae.exact.metrics import axes_of, in_order
from spiral_vae.exact.mixture import Mixture
from spiral_vae.exact.recovery import RECOVERED_KL, recovery
from spiral_vae.exact.sequences import Sequences
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.observation import Observe
from spiral_vae.maths.rank import spearman
from spiral_vae.model.posterior import Gaussian, Posterior
from spiral_vae.process import Curve

COLLAPSED_KL = 0.01  # nats; q(z|x) is the prior
OVERFITTED_GAP = 0.5  # nats by which the training points are likelier than new ones
OVERCONFIDENT_EXCESS = 0.5  # nats of I_q(x; z) above I*(x; t)
MAX_POINTS = 2_000  # of the training set that pairwise and per-point metrics look at
NUM_DRAWS = 2_000  # of the simulation-based calibration
NUM_NEW = 1_000  # points of the truth on which the encoder is judged


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Ranks of true latents under q and the coverage of nominal intervals."""

    rank: np.ndarray  # Q(z|x) of draws (z, x) of the model, [NUM_DRAWS]; uniform if q is right
    nominal: np.ndarray  # [C]
    coverage: np.ndarray  # share of draws in q's central intervals, [C]
    # share of new points in the decoder's noise ellipses, [C]; None without a truth
    noise_coverage: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Gaps(PerPoint):
    """The inference gap of single points taken apart, nats."""

    t: np.ndarray  # place along the curve, [P], rising; the mean of q where it is unknown
    x: np.ndarray  # [P, D]
    approximation: np.ndarray  # log p - ELBO(best Gaussian), [P]
    amortisation: np.ndarray  # ELBO(best Gaussian) - ELBO(encoder), [P]
    family: np.ndarray  # log p - ELBO(best member of q's family), [P]
    q: Posteriors  # of the encoder
    best: Posteriors  # the best Gaussians
    member: Posteriors  # the best members of q's family


@dataclasses.dataclass(frozen=True)
class Points(PerPoint):
    """What is known of points, in their order along the curve; nats."""

    t: np.ndarray  # place, [N]; the mean of q where it is unknown
    x: np.ndarray  # [N, D]
    q: Posteriors
    log_evidence: np.ndarray  # [N]
    bound: inference.Elbo

    @property
    def gap(self) -> np.ndarray:
        """The inference gap, [N]."""
        return self.log_evidence - self.bound.elbo

    def evenly(self, most: int) -> "Points":
        """Returns what is known of all, or of as many as `most`, evenly along t."""
        return self[_evenly(len(self.t), most)]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `evaluate` found."""

    metrics: dict[str, float]  # by the names in `metrics.METRICS`
    gaps: Gaps | None  # None unless there is one latent dimension and they were asked for
    new_gaps: Gaps | None  # of points that the encoder has not seen, where there are any
    calibration: Calibration | None
    density: ground_truth.Density  # the model's
    points: Points  # of the training
    new: Points | None  # of the truth, or held out
    sequences: sequences_lib.Report | None = None


def evaluate(
    encode: Encode,
    observe: Observe,
    *,
    x: np.ndarray,
    curve: Curve | None = None,
    t: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    posterior: Posterior | None = None,
    gap_points: int = 24,
    sequences: Sequences | None = None,
) -> Report:
    """Returns everything that can be said exactly about a VAE with a standard normal prior.

    What needs a truth, its t or new points is left out where they are not given.

    Args:
      encode: x [N, D] -> heads of q(z|x), such as {'mean': [N, L], 'logvar': [N, L]}.
      observe: z [N, L] -> p(x|z); `observation.around` makes it from a mean and a sigma.
      x: the training points, [n, D].
      curve: the truth; new points are drawn of it.
      t: the true latent of the training points, [n].
      held_out: points of the same source that were not trained on, [m, D]; without a curve they
        are the new points.
      posterior: the family of q(z|x), by default the Gaussian.
      sequences: what the model is of sequences, where the curve is known or some are held out.
      gap_points: over how many training points, evenly along the curve, and new ones the gap is
        taken apart; 0: it isn't.

    Raises:
      ValueError: more than two latent dimensions, or a curve without t.
    """
    if curve is not None and t is None:
        raise ValueError("where the curve is known, t is too: the place of each point on it")
    family = posterior or Gaussian()
    x = np.asarray(x, np.float64)
    latent_dim = Posteriors(family, encode(x[:1])).latent_dim
    along = t if t is not None else Posteriors(family, encode(x)).mean[:, 0]
    thin = np.argsort(along, kind="stable")[_evenly(len(x), MAX_POINTS)]
    along, x = np.asarray(along, np.float64)[thin], x[thin]
    new_t, new_x = along[:0], x[:0]
    if curve is not None:
        held_out = None
        new_t, new_x = new_points(curve)
    elif held_out is not None:
        held_out = np.asarray(held_out, np.float64)
        some = held_out[_evenly(len(held_out), MAX_POINTS)]
        place = Posteriors(family, encode(some)).mean[:, 0]
        rising = np.argsort(place)
        new_t, new_x = place[rising], some[rising]
    outer = new_x if held_out is None else held_out
    density = ground_truth.density_around(np.concatenate([x, outer]), observe, latent_dim)
    # All at once, as a few points take as long as many.
    both = np.concatenate([x, new_x])
    q = Posteriors(family, encode(both))
    log_evidence = mixture.log_density(both, density.fine)
    bound = inference.elbo(both, q, observe, density)
    every = Points(np.concatenate([along, new_t]), both, q, log_evidence, bound)
    points, new = every[: len(x)], every[len(x) :] if len(new_x) else None
    q = points.q
    metrics = _bound_metrics(points) | _noise_metrics(density.fine)
    if t is not None:
        metrics["spearman"] = max((spearman(column, along) for column in q.mean.T), key=abs)
    if curve is not None:
        metrics |= recovery(encode, observe, density, q, curve)
        metrics["overfit_gap"] = metrics["train_log_evidence"] + metrics["nll"]
    elif held_out is not None:
        metrics |= _held_out_metrics(points, -mixture.log_density(held_out, density.fine))
    if new is not None:
        metrics["inference_gap_new"] = np.mean(new.gap)
        metrics["encoder_overfit"] = np.mean(new.gap) - np.mean(points.gap)
    gaps = new_gaps = calibration = None
    if latent_dim == 1:
        if gap_points:
            rows, new_rows = (_evenly(len(part), gap_points) for part in (x, new_x))
            some = every[np.concatenate([rows, len(x) + new_rows])]
            apart = take_apart(some, observe, density)
            gaps = apart[: len(rows)]
            metrics |= _gap_metrics(gaps, "")
            if new is not None:
                new_gaps = apart[len(rows) :]
                metrics |= _gap_metrics(new_gaps, "_new")
        calibration = _calibration(encode, observe, family, curve, metrics.get("spearman", 1.0))
        information, aggregate_kl = inference.aggregate(q)
        metrics |= {
            "information": information,
            "aggregate_kl": aggregate_kl,
            "sbc_ks": _distance_to_uniform(calibration.rank),
            "coverage_50": float(np.mean(np.abs(calibration.rank - 0.5) < 0.25)),
            "coverage_90": float(np.mean(np.abs(calibration.rank - 0.5) < 0.45)),
        }
        if curve is not None:
            excess = information - ground_truth.truth(curve).information.value
            metrics["overconfident"] = excess > OVERCONFIDENT_EXCESS
            mean = np.copysign(1.0, metrics["spearman"]) * q.mean[:, 0]
            metrics["map_error"] = _map_error(mean, along, curve)
    of_sequences = None
    if sequences is not None and curve is not None:
        of_sequences = sequences_lib.judge(observe, sequences, curve)
        metrics |= of_sequences.metrics
    elif sequences is not None and sequences.held_out is not None:
        metrics |= sequences_lib.judge_held_out(observe, sequences)
    metrics = in_order(metrics)
    return Report(metrics, gaps, new_gaps, calibration, density, points, new, of_sequences)


def take_apart(points: Points, observe: Observe, density: ground_truth.Density) -> Gaps:
    """Returns the gaps of points of one latent dimension."""
    best = best_gaussian(points.x, points.q, observe, density)
    member = best_member(points.x, points.q, observe, density, best)
    return Gaps(
        t=points.t,
        x=points.x,
        approximation=points.log_evidence - best.elbo,
        amortisation=best.elbo - points.bound.elbo,
        family=points.log_evidence - member.elbo,
        q=points.q,
        best=best.q,
        member=member.q,
    )


def _evenly(num: int, most: int) -> np.ndarray:
    """Returns places evenly among `num`, all of them or as many as `most`."""
    return np.linspace(0, num - 1, min(num, most)).round().astype(int)


def new_points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Returns t [NUM_NEW], even in the mass, and x [NUM_NEW, D] of the truth; always the same."""
    with numerics.double():
        mass = (np.arange(NUM_NEW) + 0.5) / NUM_NEW
        t = np.asarray(jax.tree.map(float, curve).quantile(jnp.asarray(mass)))
    z = special.ndtri(mass)[:, None]
    x = observation_lib.draw(np.random.default_rng(1), ground_truth.true_decoder(curve)(z))
    return t, x


def verdict(metrics: dict[str, float]) -> str:
    """Returns in a word or two what happened to a run.

    'inaccurate' is a model that has the points in their order, but a density too far from p*.
    Without a truth a model that has neither collapsed nor overfitted is 'fitted'. Of sequences
    their own distance to the truth counts, and the order of their paths.
    """
    if metrics["collapsed"]:
        return "collapsed"
    if "path_found" in metrics:
        if not metrics["path_found"]:
            return "partly folded"
        return "recovered" if metrics["kl_rate_to_truth"] < RECOVERED_KL else "inaccurate"
    if metrics.get("overfit_gap", 0.0) > OVERFITTED_GAP:
        return "overfitted"
    if "found" not in metrics:
        return "fitted"
    if not metrics["found"]:
        return "partly folded"
    return "recovered" if metrics["recovered"] else "inaccurate"


def _bound_metrics(points: Points) -> dict[str, float]:
    """Returns what is known of the bound and of q at the training points."""
    q, bound = points.q, points.bound
    covariance = np.atleast_2d(np.cov(points.x.T, ddof=0))
    kl = np.mean(bound.kl)
    return {
        "collapse_sigma": np.sqrt(np.linalg.eigvalsh(covariance)[-1]),
        "elbo": np.mean(bound.elbo),
        "reconstruction": np.mean(bound.reconstruction),
        "kl_to_prior": kl,
        "train_log_evidence": np.mean(points.log_evidence),
        "inference_gap": np.mean(points.gap),
        "residual_ratio": np.mean(bound.residual) / points.x.shape[1],
        "active_units": int(np.sum(np.var(q.mean, axis=0) > 0.01)),
        "max_scale_deviation": np.max(np.abs(q.scale - 1)),
        "collapsed": kl < COLLAPSED_KL,
    }


def _held_out_metrics(points: Points, nll: np.ndarray) -> dict[str, float]:
    """Returns what held-out points say of a model, by their -log p [m]."""
    train = points.log_evidence
    found = {"nll_held_out": np.mean(nll), "overfit_gap": np.mean(train) + np.mean(nll)}
    if len(nll) > 1:  # one tells nothing of its spread
        found["nll_held_out_error"] = _standard_error(nll)
        found["overfit_gap_error"] = np.hypot(_standard_error(train), _standard_error(nll))
    return found


def _map_error(mean: np.ndarray, t: np.ndarray, curve: Curve) -> float:
    """Returns the RMS distance of Phi(mean) [N], whose sign is the curve's, from F(t)."""
    with numerics.double():
        true_rank = np.asarray(jax.tree.map(float, curve).cdf(t))
    return np.sqrt(np.mean((special.ndtr(mean) - true_rank) ** 2))


def _standard_error(values: np.ndarray) -> float:
    """Returns the standard error of the mean of values [N]."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _gap_metrics(gaps: Gaps, of: str) -> dict[str, float]:
    """Returns the means of the parts of the gap, of training points or `_new` ones."""
    return {
        f"approximation_gap{of}": np.mean(gaps.approximation),
        f"amortisation_gap{of}": np.mean(gaps.amortisation),
        f"family_gap{of}": np.mean(gaps.family),
    }


def _noise_metrics(nodes: Mixture) -> dict[str, float]:
    """Returns the decoder's noise, its root mean square over p(z)."""
    sigmas = nodes.noise_sigmas
    metrics = {"sigma": np.sqrt(np.mean(sigmas**2))}
    metrics |= {f"sigma_{axis}": sigmas[i] for i, axis in enumerate(axes_of(len(sigmas)))}
    if len(sigmas) == 2:
        total = np.tensordot(nodes.mass, observation_lib.covariance(nodes.observation), axes=1)
        metrics["noise_correlation"] = total[0, 1] / np.sqrt(total[0, 0] * total[1, 1])
    return metrics


def _calibration(
    encode: Encode,
    observe: Observe,
    family: Posterior,
    curve: Curve | None,
    correlation: float,
) -> Calibration:
    """Returns simulation-based calibration (Talts et al. 2018, https://arxiv.org/abs/1804.06788).

    Draws are of the model for q's ranks, and of the truth for the decoder's noise ellipses, where
    a point's latent is Phi^-1(F(t)) up to the sign that the model chose.
    """
    rng = np.random.default_rng(0)
    z = rng.standard_normal((NUM_DRAWS, 1))
    rank = Posteriors(family, encode(observation_lib.draw(rng, observe(z)))).cdf(z)
    nominal = np.linspace(0.05, 0.95, 19)
    noise_coverage = None
    if curve is not None:
        z = np.sort(z, axis=0)
        x = observation_lib.draw(rng, ground_truth.true_decoder(curve)(z))
        found = observe(np.copysign(1.0, correlation) * z)
        y = np.linalg.solve(found.scale, (x - found.mean)[..., None])[..., 0]
        dim = y.shape[1]
        if found.noise.gaussian:
            inside = special.gammainc(0.5 * dim, 0.5 * np.sum(y**2, axis=1))  # chi-square
        else:  # in a cube, as each dimension has a noise of its own
            inside = np.max(np.abs(2 * found.noise.cdf(y) - 1), axis=1) ** dim
        noise_coverage = np.mean(inside[:, None] < nominal, axis=0)
    return Calibration(
        rank=rank,
        nominal=nominal,
        coverage=np.mean(np.abs(rank - 0.5)[:, None] < nominal / 2, axis=0),
        noise_coverage=noise_coverage,
    )


def _distance_to_uniform(rank: np.ndarray) -> float:
    """Returns the Kolmogorov-Smirnov distance of values [N] in [0, 1] from the uniform law."""
    step = np.arange(len(rank) + 1) / len(rank)
    rank = np.sort(rank)
    return float(max(np.max(step[1:] - rank), np.max(rank - step[:-1])))

"""Did the model recover the truth? All metrics of one trained model, exact where that is possible.

`evaluate` judges any encoder and decoder, whatever they were trained with.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from scipy.spatial import cKDTree

from spiral_vae import numerics
from spiral_vae.exact import ground_truth, inference
from spiral_vae.exact.best import best_gaussian, best_member
from spiral_vae.exact.ground_truth import Truth
from spiral_vae.exact.inference import Encode, Posteriors
from spiral_vae.exact.metrics import axes_of, in_order
from spiral_vae.exact.mixture import Mixture
from spiral_vae.exact.order import order
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.observation import Observe
from spiral_vae.model.posterior import Gaussian, Posterior
from spiral_vae.process import Curve

RECOVERED_KL = 0.06  # nats; a recovered model is nearer to the truth than this
FOUND_ORDER = 0.98  # and passes along the whole curve once
COLLAPSED_KL = 0.01  # nats; q(z|x) is the prior
OVERFITTED_GAP = 0.5  # nats by which the training points are likelier than new ones
OVERCONFIDENT_EXCESS = 0.5  # nats of I_q(x; z) above I*(x; t)
MAX_POINTS = 2_000  # of the training set that pairwise and per-point metrics look at
_FAR = 20.0  # nats of log p(z), z about 6
NUM_DRAWS = 2_000  # of the simulation-based calibration
_NUM_PLACES = 1_000  # on the curve, whose order is looked at
NUM_NEW = 1_000  # points of the truth on which the encoder is judged


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Ranks of true latents under q and the coverage of nominal intervals."""

    rank: np.ndarray  # Q(z|x) of draws (z, x) of the model, [NUM_DRAWS]; uniform if q is right
    nominal: np.ndarray  # [C]
    coverage: np.ndarray  # share of draws in q's central intervals, [C]
    noise_coverage: np.ndarray  # share of new points in the decoder's noise ellipses, [C]


@dataclasses.dataclass(frozen=True)
class Gaps:
    """The inference gap of single points taken apart, nats."""

    t: np.ndarray  # [P], rising
    x: np.ndarray  # [P, D]
    approximation: np.ndarray  # log p - ELBO(best Gaussian), [P]
    amortisation: np.ndarray  # ELBO(best Gaussian) - ELBO(encoder), [P]
    family: np.ndarray  # log p - ELBO(best member of q's family), [P]
    q: Posteriors  # of the encoder
    best: Posteriors  # the best Gaussians
    member: Posteriors  # the best members of q's family


@dataclasses.dataclass(frozen=True)
class Points:
    """What is known of points, in the order of t; nats."""

    t: np.ndarray  # [N]
    x: np.ndarray  # [N, D]
    q: Posteriors
    log_evidence: np.ndarray  # [N]
    bound: inference.Elbo

    @property
    def gap(self) -> np.ndarray:
        """The inference gap, [N]."""
        return self.log_evidence - self.bound.elbo


@dataclasses.dataclass(frozen=True)
class Report:
    """What `evaluate` found."""

    metrics: dict[str, float]  # by the names in `metrics.METRICS`
    gaps: Gaps | None  # None unless there is one latent dimension
    new_gaps: Gaps | None  # of points of the truth that the encoder has not seen
    calibration: Calibration | None
    density: ground_truth.Density  # the model's
    points: Points  # of the training
    new: Points  # of the truth


def evaluate(
    encode: Encode,
    observe: Observe,
    *,
    curve: Curve,
    t: np.ndarray,
    x: np.ndarray,
    posterior: Posterior | None = None,
    gap_points: int = 24,
) -> Report:
    """Returns everything that can be said exactly about a VAE with a standard normal prior.

    Args:
      encode: x [N, D] -> heads of q(z|x), such as {'mean': [N, L], 'logvar': [N, L]}.
      observe: z [N, L] -> p(x|z); `observation.around` makes it from a mean and a sigma.
      curve: the truth.
      t: the true latent of the training points, [n].
      x: the training points, [n, D].
      posterior: the family of q(z|x), by default the Gaussian.
      gap_points: over how many training points, evenly along t, the gap is taken apart.

    Raises:
      ValueError: more than two latent dimensions.
    """
    order = np.argsort(t, kind="stable")
    thin = order[np.linspace(0, len(t) - 1, min(len(t), MAX_POINTS)).round().astype(int)]
    t, x = np.asarray(t, np.float64)[thin], np.asarray(x, np.float64)[thin]
    family = posterior or Gaussian()
    latent_dim = Posteriors(family, encode(x[:1])).latent_dim
    truth = ground_truth.truth(curve)
    centre = observe(np.zeros((1, latent_dim))).mean
    reach = float(np.max(np.linalg.norm(x - centre, axis=1)))
    density = ground_truth.model_density(observe, latent_dim, reach)

    nll = ground_truth.cross_entropy(truth, density)

    def known(t: np.ndarray, x: np.ndarray) -> Points:
        q = Posteriors(family, encode(x))
        return Points(t, x, q, density.log_density(x)[0], inference.elbo(x, q, observe))

    points, new = known(t, x), known(*new_points(curve))
    q, log_evidence, bound = points.q, points.log_evidence, points.bound
    metrics = {
        **_sigma_metrics(density.fine, truth),
        "elbo": np.mean(bound.elbo),
        "reconstruction": np.mean(bound.reconstruction),
        "kl_to_prior": np.mean(bound.kl),
        "nll": nll.value,
        "nll_error": nll.error,
        "kl_to_truth": nll.value - truth.entropy.value,
        "kl_to_truth_error": nll.kl_error,
        "kl_from_truth": ground_truth.kl_from_truth(truth, density).value,
        "recovered_fraction": 1
        - (nll.value - truth.entropy.value) / (truth.isotropic_nll - truth.entropy.value),
        "train_log_evidence": np.mean(log_evidence),
        "overfit_gap": np.mean(log_evidence) + nll.value,
        "inference_gap": np.mean(points.gap),
        "inference_gap_new": np.mean(new.gap),
        "encoder_overfit": np.mean(new.gap) - np.mean(points.gap),
        "residual_ratio": np.mean(bound.residual) / x.shape[1],
        **_latent_metrics(t, q, curve),
        "reconstruction_to_truth": _distance_to_truth(observe(q.mean).mean, truth),
        **_curve_metrics(observe, q.latent_dim, truth),
        **_order_metrics(encode, observe, family, curve, truth),
    }
    gaps = new_gaps = calibration = None
    if latent_dim == 1:
        gaps, new_gaps = (take_apart(own, observe, density, gap_points) for own in (points, new))
        calibration = _calibration(encode, observe, curve, q.family, metrics["spearman"])
        information, aggregate_kl = inference.aggregate(q)
        metrics |= {
            "approximation_gap": np.mean(gaps.approximation),
            "amortisation_gap": np.mean(gaps.amortisation),
            "family_gap": np.mean(gaps.family),
            "approximation_gap_new": np.mean(new_gaps.approximation),
            "amortisation_gap_new": np.mean(new_gaps.amortisation),
            "family_gap_new": np.mean(new_gaps.family),
            "information": information,
            "aggregate_kl": aggregate_kl,
            "sbc_ks": _distance_to_uniform(calibration.rank),
            "coverage_50": np.mean(np.abs(calibration.rank - 0.5) < 0.25),
            "coverage_90": np.mean(np.abs(calibration.rank - 0.5) < 0.45),
            "overconfident": information > truth.information.value + OVERCONFIDENT_EXCESS,
        }
    metrics["recovered"] = metrics["kl_to_truth"] < RECOVERED_KL and metrics["found"]
    metrics["collapsed"] = metrics["kl_to_prior"] < COLLAPSED_KL
    return Report(in_order(metrics), gaps, new_gaps, calibration, density, points, new)


def take_apart(points: Points, observe: Observe, density: ground_truth.Density, num: int) -> Gaps:
    """Returns the gaps of `num` of the points, evenly along t; of one latent dimension."""
    some = np.linspace(0, len(points.t) - 1, min(len(points.t), num)).round().astype(int)
    x, q = points.x[some], points.q[some]
    best = best_gaussian(x, q, observe, density.fine)
    member = best_member(x, q, observe, density.coarse, best)  # fine enough to search on
    return Gaps(
        t=points.t[some],
        x=x,
        approximation=points.log_evidence[some] - best.elbo,
        amortisation=best.elbo - points.bound.elbo[some],
        family=points.log_evidence[some] - member.elbo,
        q=q,
        best=best.q,
        member=member.q,
    )


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
    """
    if metrics["collapsed"]:
        return "collapsed"
    if metrics["overfit_gap"] > OVERFITTED_GAP:
        return "overfitted"
    if not metrics["found"]:
        return "partly folded"
    return "recovered" if metrics["recovered"] else "inaccurate"


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the rank correlation of two vectors; 0 where one of them is constant."""
    a, b = (_ranks(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / scale) if scale > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the ranks from 1 on, [N]; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count - 1))[place]


def _latent_metrics(t: np.ndarray, q: Posteriors, curve: Curve) -> dict[str, float]:
    """Returns how the means of q relate to the true latent."""
    mean, scale = q.mean, q.scale
    correlation = max((spearman(column, t) for column in mean.T), key=abs)
    metrics = {
        "spearman": correlation,
        "active_units": int(np.sum(np.var(mean, axis=0) > 0.01)),
        "max_scale_deviation": np.max(np.abs(scale - 1)),
    }
    if q.latent_dim == 1:
        with numerics.double():
            true_rank = np.asarray(jax.tree.map(float, curve).cdf(t))
        rank = special.ndtr(np.copysign(1.0, correlation) * mean[:, 0])
        metrics["map_error"] = np.sqrt(np.mean((rank - true_rank) ** 2))
    return metrics


def _distance_to_truth(points: np.ndarray, truth: Truth) -> float:
    """Returns the RMS distance of points [N, D] to the true curve, in noise_sigma."""
    distance, _ = cKDTree(truth.density.fine.mean).query(points)
    return np.sqrt(np.mean(distance**2)) / truth.noise_sigma


def sigmas_along_truth(nodes: Mixture, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Returns the noise of a model and of the truth at the truth's nodes in t, [T, D] each.

    Standard deviations of each dimension; each true place is compared with the model's nearest one.
    """
    inside = nodes.log_prior > -_FAR  # of all |z| up to 400 those that p(z) sees
    _, place = cKDTree(nodes.mean[inside]).query(truth.density.fine.mean)
    model = jax.tree.map(lambda leaf: leaf[inside][place], nodes.observation)
    covariances = map(observation_lib.covariance, (model, truth.density.fine.observation))
    found, expected = (np.sqrt(np.diagonal(c, axis1=1, axis2=2)) for c in covariances)
    return found, expected


def _sigma_metrics(nodes: Mixture, truth: Truth) -> dict[str, float]:
    """Returns the decoder's noise, its root mean square over p(z), and its errors."""
    weight = np.exp(nodes.log_weight + nodes.log_prior)
    sigmas = observation_lib.mean_sigmas(nodes.observation, weight)
    total = np.tensordot(weight, observation_lib.covariance(nodes.observation), axes=1)
    sigma = np.sqrt(np.mean(sigmas**2))
    log_ratio = np.abs(np.log(np.divide(*sigmas_along_truth(nodes, truth))))
    along = np.exp(truth.density.fine.log_weight + truth.density.fine.log_prior)
    metrics = {
        "sigma": sigma,
        "sigma_ratio": sigma / truth.noise_sigma,
        "sigma_log_ratio_rms": np.sqrt(along @ np.mean(log_ratio**2, axis=1) / along.sum()),
        "sigma_log_ratio_max": np.max(log_ratio),
    }
    for i, axis in enumerate(axes_of(len(sigmas))):
        metrics[f"sigma_{axis}"] = sigmas[i]
        metrics[f"sigma_{axis}_ratio"] = sigmas[i] / truth.noise_sigmas[i]
    if len(sigmas) == 2:
        metrics["noise_correlation"] = total[0, 1] / np.sqrt(total[0, 0] * total[1, 1])
    return metrics


def _curve_metrics(observe: Observe, latent_dim: int, truth: Truth) -> dict[str, float]:
    """Returns how far the decoder's curve and the true one are apart, in noise_sigma.

    Each is weighted by its own prior; a decoder's surface (two latents) is looked at as well.
    """
    rng = np.random.default_rng(0)
    if latent_dim == 1:
        z = special.ndtri((np.arange(4096) + 0.5) / 4096)[:, None]
    else:
        z = rng.standard_normal((16_384, latent_dim))
    model = observe(z).mean
    nodes = truth.density.fine
    weight = np.exp(nodes.log_weight + nodes.log_prior)
    to_model, _ = cKDTree(model).query(nodes.mean)
    to_truth, _ = cKDTree(nodes.mean).query(model)
    spread = np.max(np.sum((model - truth.mean) ** 2, axis=1)) / np.trace(truth.covariance)
    return {
        "truth_to_curve": np.sqrt(np.sum(weight * to_model**2) / weight.sum()) / truth.noise_sigma,
        "curve_to_truth": np.sqrt(np.mean(to_truth**2)) / truth.noise_sigma,
        "hausdorff_99": max(np.quantile(to_model, 0.99), np.quantile(to_truth, 0.99))
        / truth.noise_sigma,
        "order_parameter": spread,
    }


def _order_metrics(
    encode: Encode, observe: Observe, family: Posterior, curve: Curve, truth: Truth
) -> dict[str, float]:
    """Returns whether encoder and decoder pass along the whole curve once.

    With two latents there is no decoder's curve, and the better one of the encoder's counts.
    """
    z = special.ndtri((np.arange(_NUM_PLACES) + 0.5) / _NUM_PLACES)[:, None]
    on_curve = Posteriors(family, encode(ground_truth.true_decoder(curve)(z).mean)).mean
    nearest = cKDTree(truth.density.fine.mean)
    with numerics.double():
        exact = jax.tree.map(float, curve)
        t, pieces = exact.quantile(special.ndtr(z[:, 0])), exact.pieces()

        def along(column: np.ndarray, t: np.ndarray) -> float:
            return float(order(jnp.asarray(column), jnp.asarray(t), pieces, curve.closed))

        metrics = {"order_of_curve": max(along(column, t) for column in on_curve.T)}
        if on_curve.shape[1] == 1:
            _, place = nearest.query(observe(z).mean)
            metrics["order_of_decoder"] = along(z[:, 0], truth.density.fine.z[place, 0])
    return metrics | {"found": min(metrics.values()) > FOUND_ORDER}


def _calibration(
    encode: Encode, observe: Observe, curve: Curve, family: Posterior, correlation: float
) -> Calibration:
    """Returns simulation-based calibration (Talts et al. 2018, https://arxiv.org/abs/1804.06788).

    Draws are of the model for q's ranks, and of the truth for the decoder's noise ellipses, where
    a point's latent is Phi^-1(F(t)) up to the sign that the model chose.
    """
    rng = np.random.default_rng(0)
    z = rng.standard_normal((NUM_DRAWS, 1))
    rank = Posteriors(family, encode(observation_lib.draw(rng, observe(z)))).cdf(z)
    z = np.sort(z, axis=0)
    x = observation_lib.draw(rng, ground_truth.true_decoder(curve)(z))
    found = observe(np.copysign(1.0, correlation) * z)
    y = np.linalg.solve(found.scale, (x - found.mean)[..., None])[..., 0]
    dim = y.shape[1]
    if found.noise.gaussian:
        inside = special.gammainc(0.5 * dim, 0.5 * np.sum(y**2, axis=1))  # chi-square
    else:  # in a cube, as each dimension has a noise of its own
        inside = np.max(np.abs(2 * found.noise.cdf(y) - 1), axis=1) ** dim
    nominal = np.linspace(0.05, 0.95, 19)
    return Calibration(
        rank=rank,
        nominal=nominal,
        coverage=np.mean(np.abs(rank - 0.5)[:, None] < nominal / 2, axis=0),
        noise_coverage=np.mean(inside[:, None] < nominal, axis=0),
    )


def _distance_to_uniform(rank: np.ndarray) -> float:
    """Returns the Kolmogorov-Smirnov distance of values [N] in [0, 1] from the uniform law."""
    step = np.arange(len(rank) + 1) / len(rank)
    rank = np.sort(rank)
    return float(max(np.max(step[1:] - rank), np.max(rank - step[:-1])))

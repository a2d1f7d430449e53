"""How near a model is to a known truth: density, noise, curve and order."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from scipy.spatial import cKDTree

from spiral_vae import numerics
from spiral_vae.exact import ground_truth
from spiral_vae.exact.ground_truth import Density, Truth
from spiral_vae.exact.inference import Encode, Posteriors
from spiral_vae.exact.metrics import axes_of
from spiral_vae.exact.mixture import Mixture
from spiral_vae.exact.order import order
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.observation import Observe
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import Curve

RECOVERED_KL = 0.06  # nats; a recovered model is nearer to the truth than this
FOUND_ORDER = 0.98  # and passes along the whole curve once
_NUM_PLACES = 1_000  # on the curve, whose order is looked at
_FAR = 20.0  # nats of log p(z), z about 6
_order = jax.jit(order, static_argnames="closed")


def recovery(
    encode: Encode, observe: Observe, density: Density, q: Posteriors, curve: Curve
) -> dict[str, float]:
    """Returns the metrics that compare a model with the truth.

    Args:
      encode: x [N, D] -> heads of q(z|x).
      observe: z [N, L] -> p(x|z).
      density: the model's.
      q: of the training points.
      curve: the truth.
    """
    truth = ground_truth.truth(curve)
    nll = ground_truth.cross_entropy(truth, density)
    metrics = {
        "nll": nll.value,
        "nll_error": nll.error,
        "kl_to_truth": nll.value - truth.entropy.value,
        "kl_to_truth_error": nll.kl_error,
        "kl_from_truth": ground_truth.kl_from_truth(truth, density, nll.log_density).value,
        "recovered_fraction": 1
        - (nll.value - truth.entropy.value) / (truth.isotropic_nll - truth.entropy.value),
        **_sigma_metrics(density.fine, truth),
        "reconstruction_to_truth": _distance_to_truth(observe(q.mean).mean, truth),
        **_curve_metrics(observe, q.latent_dim, truth),
        **_order_metrics(encode, observe, q.family, curve, truth),
    }
    metrics["recovered"] = metrics["kl_to_truth"] < RECOVERED_KL and metrics["found"]
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
    """Returns how the decoder's noise differs from the true one."""
    sigmas, along = nodes.noise_sigmas, truth.density.fine.mass
    log_ratio = np.abs(np.log(np.divide(*sigmas_along_truth(nodes, truth))))
    metrics = {
        "sigma_ratio": np.sqrt(np.mean(sigmas**2)) / truth.noise_sigma,
        "sigma_log_ratio_rms": np.sqrt(along @ np.mean(log_ratio**2, axis=1) / along.sum()),
        "sigma_log_ratio_max": np.max(log_ratio),
    }
    for i, axis in enumerate(axes_of(len(sigmas))):
        metrics[f"sigma_{axis}_ratio"] = sigmas[i] / truth.noise_sigmas[i]
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
    weight = nodes.mass
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
            return float(_order(jnp.asarray(column), jnp.asarray(t), pieces, curve.closed))

        metrics = {"order_of_curve": max(along(column, t) for column in on_curve.T)}
        if on_curve.shape[1] == 1:
            _, place = nearest.query(observe(z).mean)
            metrics["order_of_decoder"] = along(z[:, 0], truth.density.fine.z[place, 0])
    return metrics | {"found": min(metrics.values()) > FOUND_ORDER}

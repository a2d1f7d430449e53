"""The exact metrics in a cheap version, for looks along the training.

In float32, on few fixed nodes and traceable, so that they run on the lanes where they are. Good to
about 2e-3 nats while the decoder's sigma is of the order of the noise; far below it the nodes,
0.04 apart in z, no longer resolve the likelihood and only the order of magnitude is right.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from spiral_vae.exact.order import correlation, order, rank
from spiral_vae.maths.arrays import Array
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observation, whiten
from spiral_vae.model import networks
from spiral_vae.process import Curve, Data
from spiral_vae.training.train import Lane

_T_NODES, _NOISE_NODES, _Z_NODES, _Q_NODES = 48, 4, 257, 16
_MANY = 6  # dimensions of noise, beyond which as many nodes in each would fill the memory
_NUM_PLACES = 256  # whose order is looked at
_Z_STOP = 5.0
_MAX_POINTS = 2_000
_OfPoint = Callable[[jax.Array], jax.Array]


def probe(params: networks.Params, data: Data, lane: Lane) -> dict[str, jax.Array]:
    """Returns named metrics of one run, scalars; with two latents `kl_to_prior` and `spearman`.

    Without a known curve the likelihoods of the points take the place of what needs the truth.

    `kl_to_truth` and `inference_gap_new` are expectations over the true density, `order_of_curve`
    is of 256 places on the curve; the others are
    taken on the training points (`spearman` is the largest over latent dimensions, the gap looks
    at 2000 points at most).

    Args:
      params: of networks and likelihood, with what the latter carries.
      data: the training points.
      lane: the run.
    """
    data = data.seen()
    posterior, vae = lane.posterior, lane.vae
    heads = jax.vmap(vae.encode, in_axes=(None, 0))(params, data.x)
    mean, _ = jax.vmap(posterior.moments)(heads)
    metrics = {"kl_to_prior": jnp.mean(jax.vmap(posterior.kl)(heads))}
    if data.t is not None:
        rank_t = rank(data.t)
        ranked = jax.vmap(lambda column: correlation(rank(column), rank_t))(mean.T)
        metrics["spearman"] = ranked[jnp.argmax(jnp.abs(ranked))]
    if lane.model.latent_dim > 1:
        return metrics
    points = data.x[:_MAX_POINTS]
    if lane.data.truth is not None:
        return metrics | _against_truth(params, points, lane, lane.data.truth)
    held_out = data.held_out
    if data.held_out_observed is not None and held_out is not None:
        held_out = Data(None, held_out, observed=data.held_out_observed).seen().x
    return metrics | _of_data(params, points, held_out, lane)


def _against_truth(
    params: networks.Params, points: jax.Array, lane: Lane, curve: Curve
) -> dict[str, jax.Array]:
    posterior, vae = lane.posterior, lane.vae
    t, log_prior_t = _t_nodes(curve)
    truth = jax.vmap(curve.observation)(t)
    even = curve.quantile((jnp.arange(_NUM_PLACES) + 0.5) / _NUM_PLACES)
    on_curve = jax.vmap(vae.encode, (None, 0))(params, jax.vmap(curve.observation)(even).mean)
    along, _ = jax.vmap(posterior.moments)(on_curve)
    x, weight = _x_nodes(truth, jnp.exp(log_prior_t))
    log_model, gap = _judges(params, lane)

    def log_truth(x: jax.Array) -> jax.Array:
        return logsumexp(log_prior_t + _log_probs(truth, x))

    log_ratio = jax.vmap(lambda x: log_truth(x) - log_model(x))(x)
    return {
        "order_of_curve": order(along[:, 0], even, curve.pieces(), curve.closed),
        "kl_to_truth": jnp.sum(weight * log_ratio),
        "inference_gap": jnp.mean(jax.vmap(gap)(points)),
        "inference_gap_new": jnp.sum(weight * jax.vmap(gap)(x)),
    }


def _of_data(
    params: networks.Params, points: jax.Array, held_out: jax.Array | None, lane: Lane
) -> dict[str, jax.Array]:
    log_model, gap = _judges(params, lane)
    metrics = {
        "train_log_evidence": jnp.mean(jax.vmap(log_model)(points)),
        "inference_gap": jnp.mean(jax.vmap(gap)(points)),
    }
    if held_out is not None:
        held_out = held_out[:_MAX_POINTS]
        metrics["nll_held_out"] = -jnp.mean(jax.vmap(log_model)(held_out))
        metrics["inference_gap_new"] = jnp.mean(jax.vmap(gap)(held_out))
    return metrics


def _judges(params: networks.Params, lane: Lane) -> tuple[_OfPoint, _OfPoint]:
    """Returns log p(x) and the inference gap as functions of one x [D]."""
    posterior, vae = lane.posterior, lane.vae
    z = jnp.linspace(-_Z_STOP, _Z_STOP, _Z_NODES)
    log_weight_z = log_prior(z[None]) + jnp.log(z[1] - z[0])

    def observe(z: jax.Array) -> Observation:
        return lane.likelihood.observation(params["likelihood"], vae.decode(params, z)).full()

    model = jax.vmap(observe)(z[:, None])
    eps, eps_weight = _hermite(_Q_NODES)
    log_eps_weight = np.log(eps_weight)

    def log_model(x: jax.Array) -> jax.Array:
        return logsumexp(log_weight_z + _log_probs(model, x))

    def gap(x: jax.Array) -> jax.Array:
        heads = vae.encode(params, x)
        nodes = posterior.pushed(heads, eps[None], log_eps_weight)
        under_q = jax.vmap(observe)(nodes.z.T)
        reconstruction = jnp.exp(nodes.log_weight) @ _log_probs(under_q, x)
        return log_model(x) - (reconstruction - posterior.kl(heads))

    return log_model, gap


def _log_probs(observation: Observation, x: jax.Array) -> jax.Array:
    """Returns log p(x|z) of K full observations, [K], for one x [D].

    As `Observation.log_prob` for each, with the K along the last axis: several times faster on CPU.
    """
    last = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), observation)
    y = whiten(x[:, None] - last.mean, last.scale)
    log_scale = jnp.log(jnp.stack([last.scale[i, i] for i in range(len(x))]))
    return jnp.sum(last.noise.log_prob(y) - log_scale, axis=0)


def _t_nodes(curve: Curve) -> tuple[jax.Array, jax.Array]:
    """Returns Gauss-Legendre nodes in t and the log of weight times p(t), [_T_NODES] a piece."""
    node, weight = (a.astype(np.float32) for a in np.polynomial.legendre.leggauss(_T_NODES))

    def of_piece(ends: jax.Array) -> tuple[jax.Array, jax.Array]:
        start, stop = ends
        t = start + (stop - start) * 0.5 * (node + 1)
        return t, 0.5 * (stop - start) * weight * curve.density(t)

    t, mass = jax.vmap(of_piece)(curve.pieces())
    t, mass = t.reshape(-1), mass.reshape(-1)
    return t, jnp.log(mass / jnp.sum(mass))


def _x_nodes(truth: Observation, mass: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns nodes of p*(x), [N, D], and their weights, [N]: the noise by Gauss-Hermite."""
    dim = truth.mean.shape[1]
    eps, eps_weight = _hermite(_NOISE_NODES if dim <= _MANY else 2)
    noise = np.stack(np.meshgrid(*[eps] * dim), axis=-1).reshape(-1, dim)
    noise_weight = functools.reduce(np.multiply.outer, [eps_weight] * dim).reshape(-1)
    x = truth.mean[:, None] + jnp.einsum("kij,nj->kni", truth.scale, noise)
    return x.reshape(-1, dim), (mass[:, None] * noise_weight).reshape(-1)


def _hermite(num: int) -> tuple[Array, Array]:
    """Returns nodes and weights of the expectation over N(0, 1), float32."""
    node, weight = np.polynomial.hermite_e.hermegauss(num)
    return node.astype(np.float32), (weight / weight.sum()).astype(np.float32)

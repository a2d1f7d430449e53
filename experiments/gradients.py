"""The gradient laboratory: bias, variance and signal of every estimator against the exact gradient.

Claim (Rainforth et al. 2018, https://arxiv.org/abs/1802.04537): with K importance samples the
signal-to-noise ratio of the plain gradient of the encoder falls as K^-1/2 and that of the decoder
rises as K^1/2; doubly reparameterised (Tucker et al. 2018, https://arxiv.org/abs/1810.04152) that
of the encoder rises as well. Both speak of the limit of many samples: where K times the gap
log p - L_K has come to its limit, chi^2 / 2. On points whose q is too narrow that takes more than
256 samples, and the slopes of a mean over all points show nothing of it.

    python -m experiments.gradients

One model, half-way and at its end. The exact gradients of L_K, for every K, are quadrature under q
(`exact.bound`) through which JAX differentiates. Estimates are of the code that trains, in float64,
one point at a time: bias and noise are of the mean over points, in units of the exact gradient's
length; the signal-to-noise ratio is that of single parameters, |mean| / sd, its median over
parameters and points. 'converged' are the points where K times the gap changes by less than a tenth
from K = 64 to 256.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics
from spiral_vae.config import axes, lanes
from spiral_vae.configs import gradients as config
from spiral_vae.exact import bound
from spiral_vae.maths import gaussian
from spiral_vae.maths.ramp import Time
from spiral_vae.model.objective import Elbo, Iwae, Objective
from spiral_vae.process import Data
from spiral_vae.training import train
from spiral_vae.training.train import Batch, Lane, State

SAMPLES = (1, 4, 16, 64, 256)
REPEATS = 400  # estimates of each gradient
NUM_POINTS = 40
GROUPS = ("encoder hidden", "encoder heads", "decoder")
ESTIMATORS: dict[str, Any] = {
    "ELBO": lambda num: Elbo(num_samples=num),
    "ELBO, STL": lambda num: Elbo(num_samples=num, estimator="stl"),
    "IWAE": lambda num: Iwae(num_samples=num),
    "IWAE, DReG": lambda num: Iwae(num_samples=num, estimator="dreg"),
}


def trained(quick: bool) -> tuple[Lane, Data, dict[str, State]]:
    """Returns a lane, its data, and its states half-way and at the end."""
    own = config.get_config()
    if quick:
        own.train.num_epochs = 40
    _, rows = axes.expand(own, ())
    with numerics.single():
        (group,) = lanes.groups(own, rows)
        lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), group.lanes)
        state, data = jax.jit(train.init)(lane)
        chunk, half = jax.jit(train.train_chunk), own.train.num_epochs // 2
        middle, _ = chunk(state, data, lane, half)
        end, _ = chunk(middle, data, lane, half)
    return lane, data, {"half-way": middle, "at the end": end}


def _groups(grads: Any) -> dict[str, jax.Array]:
    """Returns gradients as vectors [..., P] by group."""

    def flat(tree: Any) -> jax.Array:
        leaves = jax.tree.leaves(tree)
        return jnp.concatenate([leaf.reshape(-1) for leaf in leaves])

    encoder = grads["encoder"]
    return {
        "encoder hidden": flat(encoder["hidden_0"]),
        "encoder heads": flat({k: v for k, v in encoder.items() if k != "hidden_0"}),
        "decoder": flat(grads["decoder"]),
    }


def exact(params: Any, x: jax.Array, lane: Lane, num_samples: int) -> tuple[Any, jax.Array]:
    """Returns the exact gradient of -L_K by group at one point x [D], and log p - L_K."""
    # Fixed under the gradient: the nodes in eps and their weights.
    eps = np.linspace(-9, 9, 257)[None]
    log_weight = -0.5 * eps[0] ** 2
    log_weight = jnp.asarray(log_weight - np.log(np.sum(np.exp(log_weight))))

    def log_w(params: Any) -> jax.Array:
        heads = lane.vae.encode(params, x)
        z = lane.posterior.sample(heads, jnp.asarray(eps))
        decoded = lane.vae.decode(params, z)
        log_prob = jax.vmap(lane.likelihood.log_prob, (None, None, -1))({}, x, decoded)
        return log_prob + lane.posterior.log_ratio(heads, z, jnp.asarray(eps))

    def loss(params: Any) -> jax.Array:
        return -bound.log_mean(log_w(params), log_weight, num_samples)

    value, grads = jax.value_and_grad(loss)(params)
    z = jnp.linspace(-8, 8, 4001)[None]
    decoded = lane.vae.decode(params, z)
    log_prob = jax.vmap(lane.likelihood.log_prob, (None, None, -1))({}, x, decoded)
    log_p = jax.scipy.special.logsumexp(log_prob + gaussian.log_prior(z)) + jnp.log(
        z[0, 1] - z[0, 0]
    )
    return _groups(grads), log_p + value


def estimate(
    params: Any, x: jax.Array, key: jax.Array, lane: Lane, objective: Objective
) -> dict[str, jax.Array]:
    """Returns one estimate of the gradient at one point x [D], as training has it."""
    lane = dataclasses.replace(lane, objective=objective)
    one = jnp.ones(())
    batch = Batch(
        x=x[:, None],
        eps=jax.random.normal(
            key, lane.objective.noise_shape(1, lane.posterior.strata, 1), x.dtype
        ),
        weight=jnp.ones(1),
        share=one,
        time=Time(one, one),
        kl_weight=one,
    )
    grads = jax.grad(lambda p: train.loss_fn(p, {}, batch, lane)[0])(params)
    return _groups(grads)


@jax.jit
def _moments(
    params: Any, x: jax.Array, keys: jax.Array, lane: Lane, objective: Objective
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns means of estimates and of their squares, [N, P] by group, at x [N, D]."""

    def of_point(x: jax.Array, keys: jax.Array) -> Any:
        def add(total: Any, key: jax.Array) -> tuple[Any, None]:
            drawn = estimate(params, x, key, lane, objective)
            both = (drawn, jax.tree.map(jnp.square, drawn))
            return jax.tree.map(jnp.add, total, both), None

        shape = jax.eval_shape(lambda key: estimate(params, x, key, lane, objective), keys[0])
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (shape, shape))
        total, _ = jax.lax.scan(add, zeros, keys)
        return jax.tree.map(lambda leaf: leaf / len(keys), total)

    return jax.vmap(of_point)(x, keys)


def measured(
    state: State, data: Data, lane: Lane, samples: tuple[int, ...], num_points: int, repeats: int
) -> list[dict[str, Any]]:
    """Returns a row an estimator, number of samples, group, and set of points."""
    with numerics.double():
        params, lane = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (state.params, lane))
        x = jnp.asarray(data.x[:num_points], float)
        truth, gaps = {}, {}
        for num in samples:
            both = jax.jit(functools.partial(exact, lane=lane, num_samples=num))
            found = [both(params, point) for point in x]
            truth[num] = jax.tree.map(lambda *leaves: np.stack(leaves), *(f[0] for f in found))
            gaps[num] = np.array([float(f[1]) for f in found])
        scaled = [num * gaps[num] for num in samples[-2:]]
        sets = {
            "all": np.ones(len(x), bool),
            "converged": np.abs(scaled[0] / scaled[1] - 1) < 0.1,
        }
        rows = []
        for name, make in ESTIMATORS.items():
            for num in samples:
                keys = jax.random.split(jax.random.key(num), (len(x), repeats))
                first, second = _moments(params, x, keys, lane, make(num))
                exact_of = truth[1] if name.startswith("ELBO") else truth[num]
                for group in GROUPS:
                    mean, square = np.asarray(first[group]), np.asarray(second[group])
                    variance = np.maximum(square - mean**2, 0) * repeats / (repeats - 1)
                    for which, chosen in sets.items():
                        if not chosen.any():
                            continue
                        row = {"estimator": name, "samples": num, "group": group, "points": which}
                        rows.append(
                            row
                            | _row(*(v[chosen] for v in (mean, variance, exact_of[group])), repeats)
                        )
    return rows


def _row(mean: np.ndarray, variance: np.ndarray, truth: np.ndarray, repeats: int) -> dict[str, Any]:
    """Returns what is said of one group at some points, [N, P] each."""
    length = np.linalg.norm(truth.mean(axis=0))
    error = np.sqrt(np.sum(variance) / repeats) / len(mean)
    seen = variance > 1e-24
    return {
        "num_points": len(mean),
        "bias": np.linalg.norm((mean - truth).mean(axis=0)) / length,
        "bias_error": error / length,
        "variance": np.mean(np.sum(variance, axis=1)),
        "snr": np.median(np.abs(truth[seen]) / np.sqrt(variance[seen])) if seen.any() else np.inf,
    }


def slope(rows: list[dict[str, Any]], smallest: int = 16) -> float:
    """Returns the slope of log snr against log K, from `smallest` samples on."""
    some = [row for row in rows if row["samples"] >= smallest]
    if len(some) < 2:
        return np.nan
    return float(np.polyfit(*(np.log([row[k] for row in some]) for k in ("samples", "snr")), 1)[0])


def gradients(experiment: Experiment) -> None:
    lane, data, states = trained(experiment.quick)
    size = ((1, 2), 3, 4) if experiment.quick else (SAMPLES, NUM_POINTS, REPEATS)
    rows = []
    for when, state in states.items():
        rows += [{"when": when, **row} for row in measured(state, data, lane, *size)]
    experiment.save(drawing.gradients(rows), rows)
    for key in dict.fromkeys((r["when"], r["points"], r["estimator"], r["group"]) for r in rows):
        own = [r for r in rows if (r["when"], r["points"], r["estimator"], r["group"]) == key]
        print(
            f"{', '.join(key)} ({own[0]['num_points']} points): variance at K = "
            f"{own[0]['samples']} {own[0]['variance']:.3g}, bias {own[-1]['bias']:.3f} +- "
            f"{own[-1]['bias_error']:.3f} at K = {own[-1]['samples']}, slope of the "
            f"signal-to-noise ratio {slope(own):+.2f}"
        )


if __name__ == "__main__":
    main(gradients)

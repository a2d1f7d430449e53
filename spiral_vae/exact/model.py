"""A trained lane as functions and arrays in float64, and the report on it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae import numerics
from spiral_vae.exact import evaluate
from spiral_vae.exact.inference import Encode, Posteriors, gaussians
from spiral_vae.exact.sequences import Sequences, Tied
from spiral_vae.maths import shapes
from spiral_vae.maths.observation import Observe
from spiral_vae.model import networks
from spiral_vae.model.dynamics import Seen
from spiral_vae.model.likelihood import Likelihood
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import Curve, Data
from spiral_vae.training.train import Lane

REFINEMENT = 8  # passes after which the gap of a sequence is shown besides


@dataclasses.dataclass(frozen=True)
class Model:
    """One trained lane, as functions and arrays."""

    encode: Encode  # x [N, D] -> heads of q(z|x), [N, size] each
    observe: Observe  # z [N, L] -> p(x|z)
    posterior: Posterior  # the family of q(z|x)
    x: np.ndarray  # training points, [n, D]
    curve: Curve | None = None  # the truth, where it is known
    t: np.ndarray | None = None  # true latent of the training points, [n], where it is known
    held_out: np.ndarray | None = None  # points of the same data that were not trained on, [m, D]
    sequences: Sequences | None = None  # of data in sequences

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Returns the mean of p(x|z), [N, D], for z [N, L]."""
        return self.observe(z).mean

    def posteriors(self, x: np.ndarray) -> Posteriors:
        """Returns q(z|x) for x [N, D]."""
        return Posteriors(self.posterior, self.encode(x))


def seen_points(data: Data) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns x [n, D] and, where it is known, t [n] of the training points that are seen."""
    seen = slice(None) if data.observed is None else np.asarray(data.observed) > 0
    return np.asarray(data.x)[seen], None if data.t is None else np.asarray(data.t)[seen]


def of_lane(lane: Lane, params: networks.Params, data: Data) -> Model:
    """Returns the model of one lane, none of whose leaves has an axis of lanes."""
    params = {"likelihood": {}, **params}  # a fixed sigma has no entry in params.npz
    encode, observe = functions_of(lane.vae, lane.likelihood, params)
    x, t = seen_points(data)
    held_out = None if data.held_out is None else np.asarray(data.held_out)
    held_out_seen = np.ones(0 if held_out is None else len(held_out), bool)
    if data.held_out_observed is not None:
        held_out_seen = np.asarray(data.held_out_observed) > 0
    return Model(
        encode=encode,
        observe=observe,
        posterior=lane.posterior,
        curve=jax.tree.map(float, lane.data.truth),
        x=x,
        t=t,
        held_out=None if held_out is None else held_out[held_out_seen],
        sequences=_sequences(lane, params, encode, held_out, held_out_seen),
    )


def _sequences(
    lane: Lane,
    params: networks.Params,
    encode: Encode,
    held_out: np.ndarray | None,
    held_out_seen: np.ndarray,
) -> Sequences | None:
    length = lane.data.sequence_length
    if length == 1 or lane.model.latent_dim > 1:
        return None
    with numerics.double():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        a = float(lane.dynamics.correlation(params))

    def tied(x: np.ndarray, observed: np.ndarray, passes: int | None = None) -> Tied:
        heads = encode(x)
        with numerics.double():
            given = jax.tree.map(lambda part: jnp.asarray(part, float), (heads, x, observed))
            found = _tied(lane, params, *given, passes)
            independent = lane.posterior.potential(given[0]) is None
        if found is None:
            q = Posteriors(lane.posterior, heads)
            return Tied(q, q.kl)
        mean, logvar, kl = map(np.asarray, found)
        return Tied(gaussians(mean, logvar), kl, independent)

    true_a = float(lane.data.sequence_correlation)
    whole = None
    if held_out is not None:
        x = held_out.reshape(-1, length, held_out.shape[1]).astype(np.float64)
        whole = x, held_out_seen.reshape(-1, length).astype(np.float64)
    return Sequences(
        length=length,
        a=a,
        true_a=true_a,
        tied=tied,
        refined=functools.partial(tied, passes=REFINEMENT),
        held_out=whole,
    )


@functools.partial(jax.jit, static_argnames="passes")
def _tied(
    lane: Lane,
    params: networks.Params,
    heads: dict[str, jax.Array],
    x: jax.Array,
    seen: jax.Array,
    passes: int | None,
) -> tuple[jax.Array, jax.Array, jax.Array] | None:
    """Returns mean and logvar, [S T, 1], and the KL, [S T]; None where nothing is tied."""
    points = Seen(x.T, params, params["likelihood"], lane.vae, lane.likelihood)
    law = lane.dynamics.tied(params, lane.posterior, lane.data.sequence_length, seen, points)
    if law is lane.posterior:
        return None
    if passes is not None:
        law = law.refined(passes)
    last = {name: head.T for name, head in heads.items()}
    mean, logvar = law.moments(last)
    return mean.T, logvar.T, law.kl(last)


def functions_of(
    vae: networks.VAE, likelihood: Likelihood, params: networks.Params
) -> tuple[Encode, Observe]:
    """Returns a VAE's encoder and p(x|z) as float64 functions of batches.

    Args:
      vae: the networks.
      likelihood: of one lane.
      params: of encoder, decoder and likelihood, with what the latter carried.
    """
    with numerics.double():
        fixed = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, likelihood))

    def on_batch(function: Callable) -> Callable:
        def call(batch: np.ndarray):
            with numerics.double():
                return shapes.mapped(
                    functools.partial(function, *fixed), np.asarray(batch, np.float64)
                )

        return call

    return on_batch(_jit_encode(vae)), on_batch(_jit_observe(vae))


@functools.cache
def _jit_encode(vae: networks.VAE) -> Callable:
    def encode(params, likelihood, x):
        del likelihood
        return vae.encode(params, x)

    return jax.jit(jax.vmap(encode, in_axes=(None, None, 0)))


@functools.cache
def _jit_observe(vae: networks.VAE) -> Callable:
    def observe(params, likelihood, z):
        return likelihood.observation(params["likelihood"], vae.decode(params, z)).full()

    return jax.jit(jax.vmap(observe, in_axes=(None, None, 0)))


@numerics.double()  # once for all that is inside
def judge(model: Model, gap_points: int = 24) -> evaluate.Report:
    """Returns the report on one lane."""
    return evaluate.evaluate(
        model.encode,
        model.observe,
        x=model.x,
        curve=model.curve,
        t=model.t,
        held_out=model.held_out,
        posterior=model.posterior,
        gap_points=gap_points,
        sequences=model.sequences,
    )


def take(tree: Any, index: int) -> Any:
    """Returns one lane of a tree of [R, ...] leaves."""
    return jax.tree.map(lambda leaf: leaf[index], tree)

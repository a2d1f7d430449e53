"""Training as a pure function of arrays: state in, state and named metrics out.

A run is a lane, and everything here is written for one lane; `cells` puts lanes side by side.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spiral_vae.model import networks, objectives
from spiral_vae.model.likelihood import Heads, Likelihood, Values
from spiral_vae.process import spiral
from spiral_vae.process.spiral import Data, Spiral

SCHEDULES = ("constant", "step", "cosine")
METRICS = ("loss", "reconstruction", "kl")  # of the training, means over the points
# What can stop being finite in a step, in the order of the computation.
TERMS = ("sigma", "reconstruction", "kl", "loss", "gradient", "params")
_ADAM = optax.scale_by_adam()  # the learning rates are numbers of a lane, applied in `train_step`
_MAX_AFFINE = 2**20  # points up to which an epoch's order is computed within 32 bits
_DRAWN_AT_ONCE = 2_000  # numbers of noise: few calls, and a cell's inputs in a core's cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What fixes the shapes and the compiled code; lanes of one program run together."""

    vae: networks.VAE
    num_points: int
    design: str
    batch_size: int
    shuffle: bool
    objective: str
    num_samples: int
    num_epochs: int
    schedule: str

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.num_points / self.batch_size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lane:
    """The numbers of one run, scalars; of many runs when every leaf has a leading axis."""

    seed: jax.typing.ArrayLike
    spiral: Spiral
    likelihood: Likelihood
    beta: jax.typing.ArrayLike
    kl_warmup: jax.typing.ArrayLike  # fraction of the training
    encoder_learning_rate: jax.typing.ArrayLike
    decoder_learning_rate: jax.typing.ArrayLike
    likelihood_learning_rate: jax.typing.ArrayLike
    decoder_weight_decay: jax.typing.ArrayLike
    variance_weight_decay: jax.typing.ArrayLike  # of the decoder's other heads than the mean
    decay_every: jax.typing.ArrayLike  # epochs
    decay_factor: jax.typing.ArrayLike
    warmup: jax.typing.ArrayLike  # fraction of the training


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All that changes in a run and all that a resume needs: arrays only."""

    epoch: jax.Array  # epochs done
    key: jax.Array  # of shuffling and sampling noise; a step's key is folded from it
    params: networks.Params  # of encoder, decoder and likelihood
    opt_state: optax.OptState
    carried: Values  # what the likelihood keeps besides parameters

    @property
    def all_params(self) -> networks.Params:
        """The params with the carried values among those of the likelihood: all a model is."""
        return self.params | {"likelihood": self.params["likelihood"] | self.carried}


def init(lane: Lane, program: Program) -> tuple[State, Data]:
    """Returns the fresh state and the data of a run, in an order drawn once; from the lane's seed.

    Data, initialisation and noise come from separate streams of the seed, so that runs that
    differ in sigma alone share all three and can be compared in pairs.
    """
    key_data, key_order, key_init, key_noise = jax.random.split(jax.random.key(lane.seed), 4)
    data = spiral.sample(key_data, lane.spiral, program.num_points, program.design)
    order = jax.random.permutation(key_order, program.num_points)
    likelihood_params, carried = lane.likelihood.init()
    params = program.vae.init(key_init) | {"likelihood": likelihood_params}
    state = State(
        epoch=jnp.zeros((), jnp.int32),
        key=key_noise,
        params=params,
        opt_state=_ADAM.init(params),
        carried=carried,
    )
    return state, jax.tree.map(lambda leaf: leaf[order], data)


def schedule(progress: jax.Array, epoch: jax.Array, lane: Lane, kind: str) -> jax.Array:
    """Returns the factor on both learning rates.

    Args:
      progress: share of the training that is done, in [0, 1).
      epoch: epochs done.
      lane: for its decay_every, decay_factor and warmup.
      kind: 'constant'; 'step': decay_factor^floor(epoch / decay_every); 'cosine': a linear rise
        over the first `warmup` of the training, then half a cosine down to zero.
    """
    if kind == "constant":
        return jnp.ones(())
    if kind == "step":
        return lane.decay_factor ** jnp.floor(epoch / lane.decay_every)
    rise = progress / jnp.maximum(lane.warmup, 1e-9)
    fall = 0.5 * (1 + jnp.cos(jnp.pi * (progress - lane.warmup) / (1 - lane.warmup)))
    return jnp.where(progress < lane.warmup, rise, fall)


def kl_weight(progress: jax.Array, lane: Lane) -> jax.Array:
    """Returns the weight of the KL: beta, after a linear rise over the first `kl_warmup`."""
    rise = progress / jnp.maximum(lane.kl_warmup, 1e-9)
    return lane.beta * jnp.where(progress < lane.kl_warmup, rise, 1.0)


def epoch_order(key: jax.Array, num_points: int) -> jax.Array:
    """Returns an order of the points for one epoch, [num_points], every index once.

    The order is (a i + b) mod n with a uniform among the numbers coprime to n and b uniform: every
    point is equally likely at every place. A fresh permutation would cost as much as the gradients
    of a small network; on points that `init` has put in random order this one serves as well.
    """
    if num_points > _MAX_AFFINE:
        return jax.random.permutation(key, num_points)
    coprime = np.flatnonzero(np.gcd(np.arange(num_points + 1), num_points) == 1)
    # The remainder favours some numbers by one part in 2^12 at most.
    place, b = jax.random.bits(key, (2,)) % np.asarray([len(coprime), num_points], np.uint32)
    a = jnp.asarray(coprime, jnp.uint32)[place]
    i, n = jnp.arange(num_points, dtype=jnp.uint32), np.uint32(num_points)
    high, low = a >> 11, a & 0x7FF  # in two parts, so that no product needs more than 32 bits
    return (((high * i % n << 11) + low * i % n + b) % n).astype(jnp.int32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """The input of a step; of all steps of an epoch when every leaf has a leading axis."""

    x: jax.Array  # [2, B]
    eps: jax.Array  # standard normal noise, [L, K, B]
    weight: jax.Array  # 1 for a point and 0 for padding, [B]
    share: jax.Array  # of the data that these points are
    epoch: jax.Array  # epochs done, as a real number
    progress: jax.Array  # share of the training that is done
    beta: jax.Array  # weight of the KL


def batches(epoch: jax.Array, key: jax.Array, data: Data, lane: Lane, program: Program) -> Batch:
    """Returns the steps of an epoch; every point is used once.

    Where batch_size does not divide num_points the last batch is smaller.

    Args:
      epoch: epochs done before.
      key: of the run; not consumed, the epoch's key is folded from it.
      data: of the run.
      lane: its numbers.
      program: its shapes.
    """
    key_order, key_eps = jax.random.split(jax.random.fold_in(key, epoch))
    n, size, steps = program.num_points, program.batch_size, program.steps_per_epoch
    x = data.x[epoch_order(key_order, n)] if program.shuffle else data.x
    weight = (jnp.arange(steps * size) < n).astype(x.dtype).reshape(steps, size)
    shape = (steps, program.vae.encoder.latent_dim, program.num_samples, size)
    epoch = epoch + jnp.arange(steps) / steps
    progress = epoch / program.num_epochs
    return Batch(
        x=jnp.swapaxes(jnp.pad(x, ((0, steps * size - n), (0, 0))).reshape(steps, size, 2), 1, 2),
        eps=jax.random.normal(key_eps, shape),
        weight=weight,
        share=jnp.sum(weight, axis=1) / n,
        epoch=epoch,
        progress=progress,
        beta=jax.vmap(kl_weight, in_axes=(0, None))(progress, lane),
    )


def loss_fn(
    params: networks.Params,
    carried: Values,
    batch: Batch,
    lane: Lane,
    program: Program,
) -> tuple[jax.Array, tuple[objectives.Terms, Values]]:
    """Returns the loss of a batch, a mean over its points; its mean terms, the carried values.

    Args:
      params: of encoder, decoder and likelihood.
      carried: by the likelihood.
      batch: points and noise.
      lane: for its likelihood.
      program: for its networks and its objective.
    """
    likelihood, kind = lane.likelihood, program.objective

    def mean(values: jax.Array) -> jax.Array:
        return values @ (batch.weight / jnp.sum(batch.weight))

    def log_probs(function: Callable, carried: Values, heads: Heads) -> jax.Array:
        """Returns function, a log p(x|z), of all samples, [K, B]."""
        of_point = jax.vmap(function, in_axes=(None, None, -1))
        of_points = jax.vmap(of_point, in_axes=(None, -1, -1), out_axes=-1)
        return of_points(params["likelihood"] | carried, batch.x, heads)

    def weights(carried: Values) -> jax.Array:
        log_prob = log_probs(likelihood.log_prob, carried, draws.heads)
        return jax.lax.stop_gradient(objectives.weights(draws, log_prob, batch.beta, kind))

    separate = likelihood.decoder_log_prob is not None  # the decoder has a loss of its own
    bound_params = params
    if separate:
        bound_params = params | {"decoder": jax.lax.stop_gradient(params["decoder"])}
    draws = objectives.draw(bound_params, batch.x, batch.eps, program.vae)
    residual = jax.lax.stop_gradient(batch.x[:, None] - draws.heads["mean"])
    moment = jnp.einsum("kb,ikb,jkb->ijb", weights(carried), residual, residual)
    carried = likelihood.update(carried, mean(moment), batch.share, batch.progress)

    log_prob = log_probs(likelihood.log_prob, carried, draws.heads)
    terms = jax.tree.map(mean, objectives.terms(draws, log_prob, batch.beta, kind))
    loss = terms.loss
    if separate:
        heads = program.vae.decode(params, jax.lax.stop_gradient(draws.z))
        own = log_probs(likelihood.decoder_log_prob, carried, heads)
        loss = loss - mean(jnp.sum(weights(carried) * own, axis=0))
    return loss, (terms, carried)


def train_step(
    carry: tuple[networks.Params, optax.OptState, Values],
    batch: Batch,
    lane: Lane,
    program: Program,
) -> tuple[tuple[networks.Params, optax.OptState, Values], dict[str, jax.Array]]:
    """Returns params, opt_state and carried values after a step of Adam, and its metrics."""
    params, opt_state, carried = carry
    (_, (terms, carried)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        params, carried, batch, lane, program
    )
    updates, opt_state = _ADAM.update(grads, opt_state, params)
    # Decoupled from Adam's scaling (Loshchilov & Hutter 2019): a pull towards 0 at the same rate.
    updates["decoder"] = jax.tree.map(
        lambda u, p: u + lane.decoder_weight_decay * p, updates["decoder"], params["decoder"]
    )
    for head in program.vae.decoder.heads[1:]:
        updates["decoder"][head] = jax.tree.map(
            lambda u, p: u + lane.variance_weight_decay * p,
            updates["decoder"][head],
            params["decoder"][head],
        )
    factor = schedule(batch.progress, batch.epoch, lane, program.schedule)
    rates = {
        "encoder": lane.encoder_learning_rate,
        "decoder": lane.decoder_learning_rate,
        "likelihood": lane.likelihood_learning_rate,
    }
    updates = {
        name: jax.tree.map(lambda u, rate=rates[name]: -factor * rate * u, updates[name])
        for name in updates
    }
    metrics = {name: batch.share * getattr(terms, name) for name in METRICS}
    return (optax.apply_updates(params, updates), opt_state, carried), metrics


def train_epoch(
    state: State, inputs: Batch, lane: Lane, program: Program
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after one pass over the points, and the epoch's mean loss and terms."""
    step = functools.partial(train_step, lane=lane, program=program)
    carry = (state.params, state.opt_state, state.carried)
    (params, opt_state, carried), metrics = jax.lax.scan(step, carry, inputs, unroll=2)
    state = dataclasses.replace(
        state,
        epoch=state.epoch + 1,
        params=params,
        opt_state=opt_state,
        carried=lane.likelihood.end_epoch(carried),
    )
    return state, jax.tree.map(jnp.sum, metrics)


def train_chunk(
    state: State, data: Data, lane: Lane, num_epochs: jax.Array, program: Program
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after `num_epochs` epochs and the mean of their metrics.

    The number of epochs is an argument of the compiled program: the last, shorter chunk of a run
    does not compile again. Where a number on the way is not finite the state comes back as it was,
    and so it will from every further call.
    """
    drawn = program.num_points * program.num_samples * program.vae.encoder.latent_dim
    size = max(1, _DRAWN_AT_ONCE // drawn)

    def block(i, carry):
        """Trains for up to `size` epochs, whose inputs are drawn at once: many calls cost more."""
        epochs = carry[0].epoch + jnp.arange(size)
        inputs = jax.vmap(functools.partial(batches, program=program), (0, None, None, None))(
            epochs, state.key, data, lane
        )

        def body(j, carry):
            state, total = carry
            own = jax.tree.map(lambda leaf: leaf[j], inputs)
            state, metrics = train_epoch(state, own, lane, program)
            return state, jax.tree.map(jnp.add, total, metrics)

        return jax.lax.fori_loop(0, jnp.minimum(size, num_epochs - i * size), body, carry)

    zeros = {name: jnp.zeros(()) for name in METRICS}
    new, total = jax.lax.fori_loop(0, -(-num_epochs // size), block, (state, zeros))
    sound = _finite((total, new))
    state = jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, state)
    return state, jax.tree.map(lambda value: value / num_epochs, total)


def _finite(tree: Any) -> jax.Array:
    """Returns whether all real numbers of a tree are finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def first_failure(
    state: State, data: Data, lane: Lane, program: Program
) -> tuple[jax.Array, jax.Array]:
    """Returns the first step with a number not finite, and the place in TERMS of what it was.

    The step is counted from the start of the training, from 1 on; the state must be the one from
    which no further epoch can be finished.
    """

    def step(carry, batch):
        carry, metrics = train_step(carry, batch, lane, program)
        params, opt_state, carried = carry
        parts = {"sigma": carried, "gradient": opt_state, "params": params} | metrics
        return carry, jnp.stack([~_finite(parts[term]) for term in TERMS])

    carry = (state.params, state.opt_state, state.carried)
    _, broken = jax.lax.scan(
        step, carry, batches(state.epoch, state.key, data, lane, program)
    )  # [steps, terms]
    first = jnp.argmax(broken)  # of the flattened array: steps before terms
    before = state.epoch * program.steps_per_epoch
    return before + first // len(TERMS) + 1, first % len(TERMS)

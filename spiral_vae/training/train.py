"""Training as a pure function of arrays: state in, state and named metrics out.

A run is a lane, and everything here is written for one lane; `cells` puts lanes side by side.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spiral_vae.fields import BOOLEAN, Together, field, integer, one_of, section
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.ramp import Time
from spiral_vae.model import networks, objective
from spiral_vae.model.dynamics import Dynamics, Seen
from spiral_vae.model.likelihood import Likelihood, Values
from spiral_vae.model.networks import Heads, Networks
from spiral_vae.model.objective import Objective
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import Data, Process
from spiral_vae.start import Start
from spiral_vae.training import dreams
from spiral_vae.training.dreams import Dreams
from spiral_vae.training.optimizer import Optimizer

METRICS = ("loss", "reconstruction", "kl")  # of the training, means over the points
# What can stop being finite in a step, in the order of the computation.
TERMS = ("sigma", "reconstruction", "kl", "loss", "gradient", "params")
_ADAM = optax.scale_by_adam()  # the learning rates are numbers of a lane, applied in `train_step`
_MAX_AFFINE = 2**20  # points up to which an epoch's order is computed within 32 bits
_DREAM = 1  # folded into an epoch's key for the draws of the model
_DRAWN_AT_ONCE = 2_000  # numbers of noise: few calls, and a cell's inputs in a core's cache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """The section of the config on the passes over the data."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("train.batch_size", "data.num_points"),
            lambda batch_size, num_points: batch_size <= num_points,
            "train.batch_size must be <= data.num_points",
        ),
    )

    num_epochs: int = field(20_000, integer(1), "passes over the data", static=True)
    batch_size: int = field(100, integer(1), "points a step, <= data.num_points", static=True)
    shuffle: bool = field(True, BOOLEAN, "a new order of the points each epoch", static=True)
    log_every: int = field(
        100,
        integer(1),
        "epochs that one row of the training metrics averages over; also the length of a chunk",
        static=True,
        not_swept="all lanes are logged at the same epochs",
    )
    compiled: str = field(
        "fully",
        one_of("fully", "quickly"),
        "quickly: in less than half the time, to code that is ten times as slow and rounds "
        "otherwise, for runs of a few hundred epochs; on CPU",
        static=True,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lane:
    """One run: its numbers are leaves, scalars; of many runs when they have a leading axis.

    What fixes shapes or the compiled code is in the structure of this pytree: lanes of the same
    structure run together.
    """

    seed: Number
    data: Process = section("data")
    model: Networks = section(Networks)
    posterior: Posterior = section("posterior")
    likelihood: Likelihood = section("likelihood")
    objective: Objective = section("objective")
    encoder: Dreams = section(Dreams)
    optimizer: Optimizer = section(Optimizer)
    train: Train = section(Train)
    start: Start = section("start")
    dynamics: Dynamics = section("dynamics")

    @property
    def vae(self) -> networks.VAE:
        """The networks, whose heads posterior and likelihood say."""
        dim, latent_dim = self.data.dim, self.model.latent_dim
        encoder, decoder = self.model.encoder, self.model.decoder
        return networks.VAE(
            data_dim=dim,
            latent_dim=latent_dim,
            encoder=networks.Network(
                hidden=encoder,
                heads=tuple(self.posterior.heads(latent_dim).items()),
                fourier_features=encoder.fourier_features,
                fourier_scale=encoder.fourier_scale,
            ),
            decoder=networks.Network(
                hidden=decoder,
                heads=tuple(self.likelihood.heads(dim).items()),
                detached=self.likelihood.detached,
                first_layer=decoder.first_layer,
            ),
        )

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """The shape of a step's noise, [L, K, B]."""
        latent_dim, strata = self.model.latent_dim, self.posterior.strata
        return self.objective.noise_shape(latent_dim, strata, self.train.batch_size)

    @property
    def plain_sums(self) -> bool:
        """Whether a step adds up with XLA's own code alone, and not with a library of its.

        That one is slow at sums over many nodes. How it rounds those over several samples, and
        those within the functions of other posteriors than a Gaussian, depends on how many lanes
        stand side by side.
        """
        several = self.noise_shape[1] > 1 or not self.posterior.gaussian
        return several or self.objective.shares_z

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.data.num_points / self.train.batch_size)


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


def init(lane: Lane) -> tuple[State, Data]:
    """Returns the fresh state and the data of a run, in an order drawn once; from the lane's seed.

    Data, initialisation and noise come from separate streams of the seed, so that runs that
    differ in sigma alone share all three and can be compared in pairs.
    """
    key_data, key_order, key_init, key_noise = jax.random.split(jax.random.key(lane.seed), 4)
    data = lane.data.sample(key_data)
    length = lane.data.sequence_length
    order = _of_points(jax.random.permutation(key_order, lane.data.num_points // length), length)
    likelihood_params, carried = lane.likelihood.init(lane.data.dim)
    carried = lane.likelihood.begin(carried, data.seen().x, data.num_seen)
    params = lane.vae.init(key_init) | {"likelihood": likelihood_params} | lane.dynamics.init()
    state = State(
        epoch=jnp.zeros((), jnp.int32),
        key=key_noise,
        params=params,
        opt_state=_ADAM.init(params),
        carried=carried,
    )
    return state, data.reordered(order)


def begun(state: State, data: Data, lane: Lane) -> State:
    """Returns a fresh state with what is known of the data before the training."""
    if data.start_correlation is None:
        return state
    params = state.params | lane.dynamics.begin(data.start_correlation)
    return dataclasses.replace(state, params=params)


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


def _of_points(order: jax.Array, length: int) -> jax.Array:
    """Returns an order of sequences [S] as one of their points, [S length]."""
    if length == 1:
        return order
    return (length * order[:, None] + jnp.arange(length)).reshape(-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """The input of a step; of all steps of an epoch when every leaf has a leading axis."""

    x: jax.Array  # [D, B]
    eps: jax.Array  # what the objective makes of standard normal noise, [L, K, B]
    weight: jax.Array  # 1 for a point and 0 for padding and what is not seen, [B]
    share: jax.Array  # of the data that these points are
    time: Time
    kl_weight: jax.Array  # by the objective
    start_z: jax.Array | None = None  # places that the training starts with, [B]
    dream_key: jax.Array | None = None  # where the encoder learns from draws of the model
    frozen: jax.Array | None = None  # whether it alone does


def batches(epoch: jax.Array, key: jax.Array, data: Data, lane: Lane) -> Batch:
    """Returns the steps of an epoch; every point is used once.

    Where batch_size does not divide num_points the last batch is smaller.

    Args:
      epoch: epochs done before.
      key: of the run; not consumed, the epoch's key is folded from it.
      data: of the run.
      lane: its numbers and shapes.
    """
    key_epoch = jax.random.fold_in(key, epoch)
    key_order, key_eps = jax.random.split(key_epoch)
    dream_key = None
    if lane.encoder.any:
        dream_key = jax.random.split(jax.random.fold_in(key_epoch, _DREAM), lane.steps_per_epoch)
    n, size, steps = lane.data.num_points, lane.train.batch_size, lane.steps_per_epoch
    length = lane.data.sequence_length
    order: jax.Array | slice = slice(None)
    if lane.train.shuffle:
        order = _of_points(epoch_order(key_order, n // length), length)
    x = data.x[order]
    x = jnp.pad(x, ((0, steps * size - n), (0, 0))).reshape(steps, size, -1)
    start_z = None
    if data.start_z is not None:
        start_z = jnp.pad(data.start_z[order], (0, steps * size - n)).reshape(steps, size)
    weight = (jnp.arange(steps * size) < n).astype(x.dtype).reshape(steps, size)
    total: jax.Array | int = n
    if data.observed is not None:
        seen = jnp.pad(data.observed[order], (0, steps * size - n)).reshape(steps, size)
        weight, total = weight * seen, jnp.maximum(jnp.sum(seen), 1)
    epoch = epoch + jnp.arange(steps) / steps
    time = Time(epoch, epoch / lane.train.num_epochs)
    return Batch(
        x=jnp.swapaxes(x, 1, 2),
        eps=lane.objective.noise(jax.random.normal(key_eps, (steps, *lane.noise_shape))),
        weight=weight,
        share=jnp.sum(weight, axis=1) / total,
        time=time,
        kl_weight=jax.vmap(lane.objective.weight)(time),
        start_z=start_z,
        dream_key=dream_key,
    )


def loss_fn(
    params: networks.Params, carried: Values, batch: Batch, lane: Lane
) -> tuple[jax.Array, tuple[objective.Terms, Values]]:
    """Returns the loss of a batch, a mean over its points; its mean terms, the carried values.

    Args:
      params: of encoder, decoder and likelihood.
      carried: by the likelihood.
      batch: points and noise.
      lane: for its networks, posterior, likelihood and objective.
    """
    likelihood, vae = lane.likelihood, lane.vae

    def mean(values: jax.Array) -> jax.Array:
        return values @ (batch.weight / jnp.maximum(jnp.sum(batch.weight), 1))  # none may be seen

    own = params["likelihood"]

    def log_probs(function: Callable, values: Values, heads: Heads) -> jax.Array:
        """Returns function, a log p(x|z), of all samples, [K, B]."""
        num_points = batch.x.shape[-1]  # of shared z the heads have no axis of points
        shared = next(iter(heads.values())).shape[-1] < num_points
        if lane.objective.shares_z and shared and not lane.dynamics.ties:
            of_points = jax.vmap(function, in_axes=(None, -1, None))
            of_nodes = jax.vmap(of_points, in_axes=(None, None, -1))  # points inside: a quarter
            return of_nodes(values, batch.x, {name: head[..., 0] for name, head in heads.items()})
        of_point = jax.vmap(function, in_axes=(None, None, -1))
        of_points = jax.vmap(of_point, in_axes=(None, -1, -1), out_axes=-1)
        heads = {
            name: jnp.broadcast_to(head, (*head.shape[:-1], num_points))
            for name, head in heads.items()
        }
        return of_points(values, batch.x, heads)

    def shares(carried: Values) -> jax.Array:
        log_prob = log_probs(likelihood.log_prob, own | carried, draws.heads)
        return jax.lax.stop_gradient(lane.objective.shares(draws, log_prob, batch.kl_weight))

    bound_params = params
    if likelihood.separate:  # the decoder has a loss of its own
        bound_params = params | {"decoder": jax.lax.stop_gradient(params["decoder"])}
    posterior = lane.dynamics.tied(
        params,
        lane.posterior,
        lane.data.sequence_length,
        batch.weight,
        Seen(batch.x, params, own | carried, vae, likelihood),
    )
    draws = lane.objective.draw(bound_params, batch.x, batch.eps, vae, posterior)
    residual = jax.lax.stop_gradient(batch.x[:, None] - draws.heads["mean"])
    moment = jnp.einsum("kb,ikb,jkb->ijb", shares(carried), residual, residual)
    updated = likelihood.update(carried, mean(moment), batch.share, batch.time)
    carried = updated if batch.frozen is None else _where(batch.frozen, carried, updated)

    log_prob = log_probs(likelihood.log_prob, own | carried, draws.heads)
    terms = jax.tree.map(mean, lane.objective.terms(draws, log_prob, batch.kl_weight))
    loss = terms.loss
    if draws.tag is not None:
        factors = lane.objective.path_factors(draws, log_prob, batch.kl_weight)
        loss = loss + jnp.sum(draws.tag * jax.lax.stop_gradient(factors))
    if likelihood.separate:
        heads = vae.decode(params, jax.lax.stop_gradient(draws.z))
        found = log_probs(likelihood.decoder_log_prob, own | carried, heads)
        loss = loss - mean(jnp.sum(shares(carried) * found, axis=0))
    if batch.start_z is not None:
        places = batch.start_z[None, None]
        fixed = jax.lax.stop_gradient(own)
        log_q = lane.posterior.log_prob(vae.encode(params, batch.x), places)
        log_p = log_probs(likelihood.log_prob, fixed | carried, vae.decode(params, places))
        pull = lane.start.pull(batch.time.progress)
        loss = loss - pull * mean(log_q[0] + log_p[0])
    return loss, (terms, carried)


def train_step(
    carry: tuple[networks.Params, optax.OptState, Values],
    batch: Batch,
    lane: Lane,
) -> tuple[tuple[networks.Params, optax.OptState, Values], dict[str, jax.Array]]:
    """Returns params, opt_state and carried values after a step of Adam, and its metrics."""
    params, opt_state, carried = carry
    frozen = jnp.zeros((), bool)
    if batch.dream_key is not None:
        z, x = dreams.dream(
            batch.dream_key,
            params,
            params["likelihood"] | carried,
            lane.vae,
            lane.likelihood,
            batch.x.shape[1],
        )
        frozen = lane.encoder.decoder_frozen(batch.time.epoch, lane.train.num_epochs)
        batch = dataclasses.replace(batch, x=jnp.where(frozen, x, batch.x), frozen=frozen)
    (_, (terms, carried)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        params, carried, batch, lane
    )
    if batch.dream_key is not None:
        own = jax.grad(dreams.sleep_loss)(params, z, x, lane.vae, lane.posterior)["encoder"]
        asleep = lane.encoder.asleep(batch.time.progress)
        grads["encoder"] = _where(asleep, own, grads["encoder"])
    updates, opt_state = _ADAM.update(grads, opt_state, params)
    # Decoupled from Adam's scaling: a pull towards 0 at the same rate.
    updates["decoder"] = _decayed(
        updates["decoder"], params["decoder"], lane.optimizer.decoder_weight_decay
    )
    for head, decay in lane.likelihood.weight_decay_of_heads.items():
        updates["decoder"][head] = _decayed(
            updates["decoder"][head], params["decoder"][head], decay
        )
    factor = lane.optimizer.schedule(batch.time)
    rest = factor if batch.dream_key is None else jnp.where(frozen, 0.0, factor)
    factors = {"encoder": factor, "decoder": rest, "likelihood": rest, "dynamics": rest}
    rates = {
        "encoder": lane.optimizer.encoder_learning_rate,
        "decoder": lane.optimizer.decoder_learning_rate,
        "likelihood": lane.likelihood.rate,
        "dynamics": lane.dynamics.rate,
    }
    updates = {
        name: jax.tree.map(
            lambda u, f=factors[name], rate=rates[name]: -f * rate * u, updates[name]
        )
        for name in updates
    }
    metrics = {name: batch.share * getattr(terms, name) for name in METRICS}
    return (optax.apply_updates(params, updates), opt_state, carried), metrics


def _where(condition: jax.Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _decayed(updates: Any, params: Any, decay: Number) -> Any:
    return jax.tree.map(lambda u, p: u + decay * p, updates, params)


def train_epoch(state: State, inputs: Batch, lane: Lane) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after one pass over the points, and the epoch's mean loss and terms."""
    step = functools.partial(train_step, lane=lane)
    carry = (state.params, state.opt_state, state.carried)
    (params, opt_state, carried), metrics = jax.lax.scan(step, carry, inputs, unroll=2)
    ended = lane.likelihood.end_epoch(carried)
    if lane.encoder.any:
        frozen = lane.encoder.decoder_frozen(state.epoch, lane.train.num_epochs)
        ended = _where(frozen, carried, ended)
    state = dataclasses.replace(
        state, epoch=state.epoch + 1, params=params, opt_state=opt_state, carried=ended
    )
    return state, jax.tree.map(jnp.sum, metrics)


def train_chunk(
    state: State, data: Data, lane: Lane, num_epochs: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after `num_epochs` epochs and the mean of their metrics.

    The number of epochs is an argument of the compiled program: the last, shorter chunk of a run
    does not compile again. Where a number on the way is not finite the state comes back as it was,
    and so it will from every further call.
    """
    drawn = lane.steps_per_epoch * max(lane.train.batch_size, math.prod(lane.noise_shape))
    size = max(1, _DRAWN_AT_ONCE // drawn)

    def block(i, carry):
        """Trains for up to `size` epochs, whose inputs are drawn at once: many calls cost more."""
        epochs = carry[0].epoch + jnp.arange(size)
        inputs = jax.vmap(batches, (0, None, None, None))(epochs, state.key, data, lane)

        def body(j, carry):
            state, total = carry
            own = jax.tree.map(lambda leaf: leaf[j], inputs)
            state, metrics = train_epoch(state, own, lane)
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


def first_failure(state: State, data: Data, lane: Lane) -> tuple[jax.Array, jax.Array]:
    """Returns the first step with a number not finite, and the place in TERMS of what it was.

    The step is counted from the start of the training, from 1 on; the state must be the one from
    which no further epoch can be finished.
    """

    def step(carry, batch):
        carry, metrics = train_step(carry, batch, lane)
        params, opt_state, carried = carry
        parts = {"sigma": carried, "gradient": opt_state, "params": params} | metrics
        return carry, jnp.stack([~_finite(parts[term]) for term in TERMS])

    carry = (state.params, state.opt_state, state.carried)
    _, broken = jax.lax.scan(
        step, carry, batches(state.epoch, state.key, data, lane)
    )  # [steps, terms]
    first = jnp.argmax(broken)  # of the flattened array: steps before terms
    before = state.epoch * lane.steps_per_epoch
    return before + first // len(TERMS) + 1, first % len(TERMS)

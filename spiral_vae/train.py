"""Training as a pure function of arrays: state in, state and named metrics out.

A run is a lane. Everything up to `train_chunk` is written for one lane; `train` puts lanes side by
side: `cell_width` of them are vmapped together (a cell), one cell sits on every device of the
mesh by `shard_map` (a round), and the host goes through the rounds. So the compiled program of a
cell is the same wherever it runs, and with it the bits of a result, on two devices or more.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from spiral_vae import networks, objectives, spiral
from spiral_vae.likelihood import Fixed
from spiral_vae.spiral import Data, Spiral

SCHEDULES = ("constant", "step", "cosine")
_LANES = PartitionSpec("lane")  # the leading axis of lanes is split over the mesh
_ADAM = optax.scale_by_adam()  # the learning rates are numbers of a lane, applied in `train_epoch`
_MAX_AFFINE = 46_000  # its square is below 2^31


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """What fixes the shapes and the compiled code; lanes of one program run together."""

    vae: networks.VAE
    num_points: int
    design: str
    batch_size: int
    shuffle: bool
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
    likelihood: Fixed
    beta: jax.typing.ArrayLike
    kl_warmup: jax.typing.ArrayLike  # fraction of the training
    encoder_learning_rate: jax.typing.ArrayLike
    decoder_learning_rate: jax.typing.ArrayLike
    decay_every: jax.typing.ArrayLike  # epochs
    decay_factor: jax.typing.ArrayLike
    warmup: jax.typing.ArrayLike  # fraction of the training


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All that changes in a run and all that a resume needs: arrays only."""

    epoch: jax.Array  # epochs done
    key: jax.Array  # of shuffling and sampling noise; a step's key is folded from it
    params: networks.Params
    opt_state: optax.OptState


def init(lane: Lane, program: Program) -> tuple[State, Data]:
    """Returns the fresh state and the data of a run, in an order drawn once; from the lane's seed.

    Data, initialisation and noise come from separate streams of the seed, so that runs that
    differ in sigma alone share all three and can be compared in pairs.
    """
    key_data, key_order, key_init, key_noise = jax.random.split(jax.random.key(lane.seed), 4)
    data = spiral.sample(key_data, lane.spiral, program.num_points, program.design)
    order = jax.random.permutation(key_order, program.num_points)
    params = program.vae.init(key_init)
    state = State(
        epoch=jnp.zeros((), jnp.int32),
        key=key_noise,
        params=params,
        opt_state=_ADAM.init(params),
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
    if num_points > _MAX_AFFINE:  # a * i would overflow 32 bits; and here the sort is a small part
        return jax.random.permutation(key, num_points)
    coprime = np.flatnonzero(np.gcd(np.arange(num_points + 1), num_points) == 1)
    key_a, key_b = jax.random.split(key)
    a = jax.random.choice(key_a, jnp.asarray(coprime, jnp.int32))
    b = jax.random.randint(key_b, (), 0, num_points)
    return (a * jnp.arange(num_points) + b) % num_points


def loss_fn(
    params: networks.Params,
    x: jax.Array,
    eps: jax.Array,
    weight: jax.Array,
    beta: jax.Array,
    lane: Lane,
    program: Program,
) -> tuple[jax.Array, objectives.Terms]:
    """Returns the loss of a batch, a mean over its points, and its mean terms.

    Args:
      params: of the networks.
      x: [B, 2].
      eps: standard normal noise, [B, num_samples, L].
      weight: [B], 1 for a point and 0 for padding.
      beta: weight of the KL.
      lane: for its likelihood.
      program: for its networks.
    """
    point = functools.partial(objectives.elbo, vae=program.vae, likelihood=lane.likelihood)
    terms = jax.vmap(point, in_axes=(None, 0, 0))(params, x, eps)
    terms = jax.tree.map(lambda term: jnp.sum(weight * term) / jnp.sum(weight), terms)
    return terms.loss(beta), terms


def train_epoch(
    state: State, data: Data, lane: Lane, program: Program
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after one pass over the points, and the epoch's mean loss and terms.

    Every point is used once; where batch_size does not divide num_points the last batch is smaller.
    """
    key_order, key_eps = jax.random.split(jax.random.fold_in(state.key, state.epoch))
    n, batch, steps = program.num_points, program.batch_size, program.steps_per_epoch
    x = data.x[epoch_order(key_order, n)] if program.shuffle else data.x
    x = jnp.pad(x, ((0, steps * batch - n), (0, 0))).reshape(steps, batch, 2)
    weight = (jnp.arange(steps * batch) < n).astype(x.dtype).reshape(steps, batch)

    shape = (steps, batch, program.num_samples, program.vae.encoder.latent_dim)
    eps = jax.random.normal(key_eps, shape)

    def step(carry, inputs):
        params, opt_state = carry
        x, eps, weight, index = inputs
        epoch = state.epoch + index / steps
        progress = epoch / program.num_epochs
        (loss, terms), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, x, eps, weight, kl_weight(progress, lane), lane, program
        )
        updates, opt_state = _ADAM.update(grads, opt_state, params)
        factor = schedule(progress, epoch, lane, program.schedule)
        rates = {"encoder": lane.encoder_learning_rate, "decoder": lane.decoder_learning_rate}
        updates = {
            name: jax.tree.map(lambda u, rate=rates[name]: -factor * rate * u, updates[name])
            for name in updates
        }
        share = jnp.sum(weight) / n
        metrics = {"loss": loss, "reconstruction": terms.reconstruction, "kl": terms.kl}
        metrics = jax.tree.map(lambda value: share * value, metrics)
        return (optax.apply_updates(params, updates), opt_state), metrics

    carry, inputs = (state.params, state.opt_state), (x, eps, weight, jnp.arange(steps))
    (params, opt_state), metrics = jax.lax.scan(step, carry, inputs, unroll=2)
    state = dataclasses.replace(state, epoch=state.epoch + 1, params=params, opt_state=opt_state)
    return state, jax.tree.map(jnp.sum, metrics)


def train_chunk(
    state: State, data: Data, lane: Lane, num_epochs: jax.Array, program: Program
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after `num_epochs` epochs and the mean of their metrics.

    The number of epochs is an argument of the compiled program: the last, shorter chunk of a run
    does not compile again.
    """

    def body(_, carry):
        state, total = carry
        state, metrics = train_epoch(state, data, lane, program)
        return state, jax.tree.map(jnp.add, total, metrics)

    zeros = {name: jnp.zeros(()) for name in ("loss", "reconstruction", "kl")}
    state, total = jax.lax.fori_loop(0, num_epochs, body, (state, zeros))
    return state, jax.tree.map(lambda value: value / jnp.maximum(num_epochs, 1), total)


Probe = Callable[[networks.Params, Data, Lane], dict[str, jax.Array]]
OnChunk = Callable[[int, dict[str, np.ndarray]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out of training R lanes; numpy arrays."""

    params: networks.Params  # leaves [R, ...]
    data: Data  # t [R, n], x [R, n, 2]
    epoch: np.ndarray  # [rows], the epoch at which each row of `metrics` ends
    metrics: dict[str, np.ndarray]  # [R, rows] each, means over the epochs of a row
    probe_epoch: np.ndarray  # [probes]
    probes: dict[str, np.ndarray]  # [R, probes] each, taken at the end of those epochs


def train(
    lanes: Lane,
    program: Program,
    *,
    cell_width: int,
    log_every: int,
    probe: Probe,
    probe_every: int,
    on_chunk: OnChunk,
    devices: Sequence[jax.Device] | None = None,
    params: networks.Params | None = None,
) -> Trained:
    """Trains all lanes and returns what came out, in the order given.

    Args:
      lanes: the numbers of R runs, leaves [R].
      program: what they share.
      cell_width: lanes that are vmapped together. At least two even for a lone run, since XLA
        gives a width of one other roundings than all others.
      log_every: epochs of a chunk, which gives one row of metrics.
      probe: more metrics of one lane, taken every so often.
      probe_every: epochs between two probes, rounded up to whole chunks; 0 for none.
      on_chunk: told after each chunk the epochs that this added (summed over lanes) and the
        chunk's metrics, [lanes of the round] each.
      devices: those to use, by default all of all processes.
      params: where to start from instead of fresh ones, leaves [R, ...].
    """
    num_lanes = len(jax.tree.leaves(lanes)[0])
    width = min(cell_width, max(2, num_lanes))
    devices = list(devices or jax.devices())
    if jax.process_count() == 1:  # with several processes each needs a part in every round
        # Two at least, if there are: for a mesh of one, XLA fuses in another way and rounds so.
        devices = devices[: max(2, math.ceil(num_lanes / width))]
    mesh = jax.make_mesh(
        (len(devices),), ("lane",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
    init_fn, chunk_fn, probe_fn = _compile(program, probe, mesh)
    ends = [min(e + log_every, program.num_epochs) for e in range(0, program.num_epochs, log_every)]
    probe_ends = _probe_ends(ends, probe_every)

    def train_round(lanes: Lane, params: networks.Params | None, num_lanes: int) -> tuple:
        busy = np.arange(len(devices)) * width < num_lanes  # the others have padding alone
        state, data = init_fn(lanes)
        if params is not None:
            state = dataclasses.replace(state, params=params)
        rows, probes, epoch = [], [], 0
        for end in ends:
            num_epochs = _place(np.int32(end - epoch) * busy, sharding)
            state, metrics = chunk_fn(state, data, lanes, num_epochs)
            rows.append(jax.tree.map(lambda leaf: leaf[:num_lanes], _fetch(metrics)))
            on_chunk((end - epoch) * num_lanes, rows[-1])
            if end in probe_ends:
                probes.append(_fetch(probe_fn(state.params, data, lanes)))
            epoch = end
        columns = [_columns(part) for part in (rows, probes) if part]
        parts = (_fetch(state.params), _fetch(data), *columns)
        return jax.tree.map(lambda leaf: leaf[:num_lanes], parts)

    size = width * len(devices)
    sharding = NamedSharding(mesh, _LANES)
    parts = []
    for first in range(0, num_lanes, size):
        # Padding repeats the last lane; it is cut off again before anything is kept.
        index = np.minimum(np.arange(first, first + size), num_lanes - 1)
        part = jax.tree.map(
            lambda leaf, index=index: _place(leaf[index], sharding), (lanes, params)
        )
        parts.append(train_round(*part, min(size, num_lanes - first)))
    params, data, metrics, *probes = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Trained(
        params=params,
        data=data,
        epoch=np.asarray(ends),
        metrics=metrics,
        probe_epoch=np.asarray(sorted(probe_ends)),
        probes=probes[0] if probes else {},
    )


@functools.cache
def _compile(program: Program, probe: Probe, mesh: jax.sharding.Mesh) -> tuple[Callable, ...]:
    """Returns init, train_chunk and probe for lanes that lie on the mesh, each jitted once."""

    def on_mesh(cell: Callable, num_args: int, **jit_args: Any) -> Callable:
        # check_vma: the loops start from constants, which the check would want marked as varying.
        sharded = jax.shard_map(
            cell, mesh=mesh, in_specs=(_LANES,) * num_args, out_specs=_LANES, check_vma=False
        )
        return jax.jit(sharded, **jit_args)

    def train_cell(state: State, data: Data, lanes: Lane, num_epochs: jax.Array) -> tuple:
        one = functools.partial(train_chunk, num_epochs=num_epochs[0], program=program)
        return jax.vmap(one)(state, data, lanes)

    return (
        on_mesh(jax.vmap(functools.partial(init, program=program)), 1),
        on_mesh(train_cell, 4, donate_argnums=0),
        on_mesh(jax.vmap(probe), 3),
    )


def _columns(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns rows of [lanes] as [lanes, rows]."""
    return jax.tree.map(lambda *row: np.stack(row, axis=1), *rows)


def _probe_ends(ends: Sequence[int], every: int) -> set[int]:
    """Returns the first chunk end at or after each multiple of `every`, and the last one."""
    if not every:
        return set()
    due = range(every, ends[-1] + 1, every)
    return {ends[int(np.searchsorted(ends, epoch))] for epoch in due} | {ends[-1]}


def _place(leaf: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Returns a global array; every process holds the whole of `leaf` and gives its part."""
    leaf = leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])


def _fetch(tree: Any) -> Any:
    """Returns the whole of a tree of global arrays as numpy arrays, on every process."""
    return multihost_utils.process_allgather(tree, tiled=True)

"""Training as a pure function of arrays: state in, state and named metrics out.

A run is a lane. Everything up to `train_chunk` is written for one lane; `train` puts lanes side by
side: `cell_width` of them are vmapped together (a cell), every device trains one cell at a time (a
round), and the host goes through the rounds. Each device runs the same program on its own, so the
bits of a result don't depend on how many devices or processes there are.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from spiral_vae import networks, objectives, spiral
from spiral_vae.likelihood import Heads, Likelihood, Values
from spiral_vae.spiral import Data, Spiral

SCHEDULES = ("constant", "step", "cosine")
METRICS = ("loss", "reconstruction", "kl")  # of the training, means over the points
_ADAM = optax.scale_by_adam()  # the learning rates are numbers of a lane, applied in `train_step`
_MAX_AFFINE = 46_000  # its square is below 2^31


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
    if num_points > _MAX_AFFINE:  # a * i would overflow 32 bits; and here the sort is a small part
        return jax.random.permutation(key, num_points)
    coprime = np.flatnonzero(np.gcd(np.arange(num_points + 1), num_points) == 1)
    key_a, key_b = jax.random.split(key)
    a = jax.random.choice(key_a, jnp.asarray(coprime, jnp.int32))
    b = jax.random.randint(key_b, (), 0, num_points)
    return (a * jnp.arange(num_points) + b) % num_points


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """The input of a step; of all steps of an epoch when every leaf has a leading axis."""

    x: jax.Array  # [B, 2]
    eps: jax.Array  # standard normal noise, [B, K, L]
    weight: jax.Array  # 1 for a point and 0 for padding, [B]
    share: jax.Array  # of the data that these points are
    epoch: jax.Array  # epochs done, as a real number
    progress: jax.Array  # share of the training that is done
    beta: jax.Array  # weight of the KL


def batches(state: State, data: Data, lane: Lane, program: Program) -> Batch:
    """Returns the steps of an epoch; every point is used once.

    Where batch_size does not divide num_points the last batch is smaller.
    """
    key_order, key_eps = jax.random.split(jax.random.fold_in(state.key, state.epoch))
    n, size, steps = program.num_points, program.batch_size, program.steps_per_epoch
    x = data.x[epoch_order(key_order, n)] if program.shuffle else data.x
    weight = (jnp.arange(steps * size) < n).astype(x.dtype).reshape(steps, size)
    shape = (steps, size, program.num_samples, program.vae.encoder.latent_dim)
    epoch = state.epoch + jnp.arange(steps) / steps
    progress = epoch / program.num_epochs
    return Batch(
        x=jnp.pad(x, ((0, steps * size - n), (0, 0))).reshape(steps, size, 2),
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
        return jnp.tensordot(batch.weight / jnp.sum(batch.weight), values, axes=1)

    def log_probs(function: Callable, carried: Values, heads: Heads) -> jax.Array:
        """Returns function, a log p(x|z), of all samples, [B, K]."""
        of_point = jax.vmap(function, in_axes=(None, None, 0))
        return jax.vmap(of_point, in_axes=(None, 0, 0))(
            params["likelihood"] | carried, batch.x, heads
        )

    def weights(carried: Values) -> jax.Array:
        log_prob = log_probs(likelihood.log_prob, carried, draws.heads)
        found = jax.vmap(objectives.weights, in_axes=(0, 0, None, None))(
            draws, log_prob, batch.beta, kind
        )
        return jax.lax.stop_gradient(found)

    separate = likelihood.decoder_log_prob is not None  # the decoder has a loss of its own
    bound_params = params
    if separate:
        bound_params = params | {"decoder": jax.lax.stop_gradient(params["decoder"])}
    draws = jax.vmap(objectives.draw, in_axes=(None, 0, 0, None))(
        bound_params, batch.x, batch.eps, program.vae
    )
    residual = jax.lax.stop_gradient(batch.x[:, None] - draws.heads["mean"])
    moment = jnp.einsum("bk,bki,bkj->bij", weights(carried), residual, residual)
    carried = likelihood.update(carried, mean(moment), batch.share, batch.progress)

    log_prob = log_probs(likelihood.log_prob, carried, draws.heads)
    terms = jax.vmap(objectives.terms, in_axes=(0, 0, None, None))(
        draws, log_prob, batch.beta, kind
    )
    terms = jax.tree.map(mean, terms)
    loss = terms.loss
    if separate:
        decode = jax.vmap(jax.vmap(program.vae.decode, in_axes=(None, 0)), in_axes=(None, 0))
        heads = decode(params, jax.lax.stop_gradient(draws.z))
        own = log_probs(likelihood.decoder_log_prob, carried, heads)
        loss = loss - mean(jnp.sum(weights(carried) * own, axis=1))
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
    state: State, data: Data, lane: Lane, program: Program
) -> tuple[State, dict[str, jax.Array]]:
    """Returns the state after one pass over the points, and the epoch's mean loss and terms."""
    step = functools.partial(train_step, lane=lane, program=program)
    carry = (state.params, state.opt_state, state.carried)
    (params, opt_state, carried), metrics = jax.lax.scan(
        step, carry, batches(state, data, lane, program), unroll=2
    )
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
    does not compile again.
    """

    def body(_, carry):
        state, total = carry
        state, metrics = train_epoch(state, data, lane, program)
        return state, jax.tree.map(jnp.add, total, metrics)

    zeros = {name: jnp.zeros(()) for name in METRICS}
    state, total = jax.lax.fori_loop(0, num_epochs, body, (state, zeros))
    return state, jax.tree.map(lambda value: value / num_epochs, total)


Probe = Callable[[networks.Params, Data, Lane], dict[str, jax.Array]]
OnChunk = Callable[[int, dict[str, np.ndarray]], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out of training R lanes; numpy arrays."""

    params: networks.Params  # leaves [R, ...]; the likelihood's with what it carried
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
    """Trains all lanes and returns what came out, in the order given, on every process.

    Args:
      lanes: the numbers of R runs, leaves [R].
      program: what they share.
      cell_width: lanes that are vmapped together. At least two even for a lone run, since XLA
        gives a width of one other roundings than all others.
      log_every: epochs of a chunk, which gives one row of metrics.
      probe: more metrics of one lane, taken every so often.
      probe_every: epochs between two probes, rounded up to whole chunks; 0 for none.
      on_chunk: told after each chunk the epochs that this added (summed over lanes of this
        process) and the chunk's metrics, [lanes of the round] each.
      devices: those of this process to use, by default all.
      params: of encoder and decoder, where to start from instead of fresh ones, leaves [R, ...].
    """
    num_lanes = len(jax.tree.leaves(lanes)[0])
    width = min(cell_width, max(2, num_lanes))
    # Every process takes as many cells. Padding repeats the last lane; it is cut off at the end.
    size = width * jax.process_count()
    index = np.minimum(np.arange(math.ceil(num_lanes / size) * size), num_lanes - 1)
    cells = index.reshape(-1, width)[jax.process_index() :: jax.process_count()]
    devices = list(devices or jax.local_devices())[: len(cells)]
    ends = [min(e + log_every, program.num_epochs) for e in range(0, program.num_epochs, log_every)]
    probe_ends = _probe_ends(ends, probe_every)
    init_fn, chunk_fn, probe_fn = _compiled(program, probe)

    def start(cell: np.ndarray, device: jax.Device) -> _Run:
        own, given = jax.tree.map(lambda leaf: _canonical(leaf[cell]), (lanes, params))
        state, data = init_fn(own)
        if given is not None:
            given = {name: given[name] for name in ("encoder", "decoder")}
            state = dataclasses.replace(state, params=state.params | given)
        return _Run(*jax.device_put((state, data, own), device), len(np.unique(cell)), [], [])

    def advance(run: _Run, start: int, end: int) -> None:
        run.state, metrics = chunk_fn(run.state, run.data, run.lanes, np.int32(end - start))
        run.rows.append(jax.device_get(metrics))
        if end in probe_ends:
            found = probe_fn(run.state.all_params, run.data, run.lanes)
            run.probes.append(jax.device_get(found))

    finished = []
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:  # they compile side by side
        for first in range(0, len(cells), len(devices)):
            runs = [start(*pair) for pair in zip(cells[first:], devices, strict=False)]
            for span in itertools.pairwise([0, *ends]):
                list(pool.map(functools.partial(advance, start=span[0], end=span[1]), runs))
                metrics = [jax.tree.map(lambda v, r=r: v[: r.num_lanes], r.rows[-1]) for r in runs]
                total = sum(run.num_lanes for run in runs)
                on_chunk((span[1] - span[0]) * total, _concatenated(metrics))
            finished += [run.result() for run in runs]
    params, data, metrics, probes = _gathered(finished, num_lanes)
    return Trained(
        params=params,
        data=data,
        epoch=np.asarray(ends),
        metrics=metrics,
        probe_epoch=np.asarray(sorted(probe_ends)),
        probes=probes,
    )


@dataclasses.dataclass
class _Run:
    """A cell in training on its device; leaves have an axis of lanes."""

    state: State
    data: Data
    lanes: Lane
    num_lanes: int  # that are no padding
    rows: list[dict[str, np.ndarray]]  # the metrics of each chunk
    probes: list[dict[str, np.ndarray]]

    def result(self) -> tuple[networks.Params, Data, dict, dict]:
        """Returns params, data, metrics and probes as numpy arrays."""
        return (
            *jax.device_get((self.state.all_params, self.data)),
            _columns(self.rows),
            _columns(self.probes),
        )


@functools.cache
def _compiled(program: Program, probe: Probe) -> tuple[Callable, Callable, Callable]:
    """Returns init, train_chunk and probe for the lanes of a cell, each jitted once."""

    def train_cell(state: State, data: Data, lanes: Lane, num_epochs: jax.Array) -> tuple:
        one = functools.partial(train_chunk, num_epochs=num_epochs, program=program)
        return jax.vmap(one)(state, data, lanes)

    return (
        jax.jit(jax.vmap(functools.partial(init, program=program))),
        jax.jit(train_cell, donate_argnums=0),
        jax.jit(jax.vmap(probe)),
    )


def _columns(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns rows of [lanes] as [lanes, rows]."""
    return jax.tree.map(lambda *row: np.stack(row, axis=1), *rows) if rows else {}


def _concatenated(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def _gathered(cells: Sequence[Any], num_lanes: int) -> Any:
    """Returns the trees of all cells of all processes as one, without the padding at the end."""
    tree = jax.tree.map(lambda *leaves: np.stack(leaves)[:, None], *cells)  # [C, 1, W, ...]
    if jax.process_count() > 1:
        # Processes take turns: after the cells' axis comes that of the processes.
        tree = jax.tree.map(
            lambda leaf: np.moveaxis(leaf[:, :, 0], 0, 1), multihost_utils.process_allgather(tree)
        )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:])[:num_lanes], tree)


def _probe_ends(ends: Sequence[int], every: int) -> set[int]:
    """Returns the first chunk end at or after each multiple of `every`, and the last one."""
    if not every:
        return set()
    due = range(every, ends[-1] + 1, every)
    return {ends[int(np.searchsorted(ends, epoch))] for epoch in due} | {ends[-1]}


def _canonical(leaf: np.ndarray) -> np.ndarray:
    """Returns numbers in the precision that training has."""
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))

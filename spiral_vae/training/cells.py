"""Many lanes on many devices.

`cell_width` lanes are vmapped together: a cell. Every device or core trains one cell at a time (a
round), and the host goes through the rounds. Each runs the same program on its own, so the bits of
a result don't depend on how many devices or processes there are, and a cell that was stored goes
on wherever it is loaded.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from spiral_vae import machine, numerics
from spiral_vae.model import networks
from spiral_vae.process import Data
from spiral_vae.start import Order
from spiral_vae.training import snapshots
from spiral_vae.training.train import (
    TERMS,
    Lane,
    State,
    begun,
    first_failure,
    init,
    train_chunk,
)

Probe = Callable[[networks.Params, Data, Lane], dict[str, jax.Array]]
# How programs are compiled for CPU. Every core is a device, so that of the training has one thread
# and does one thing after the other (1). What runs once in a while takes longer to compile than to
# run. Vectors are as wide as the core's, but not of 256 bits: with these XLA adds up eight rows of
# a product at a time, in another order than those that remain, and as lanes share such products, a
# lane's bits would depend on its company.
_CHUNK_OPTIONS = {
    "xla_cpu_multi_thread_eigen": False,
    "xla_cpu_scheduler_type": 1,
    "xla_cpu_prefer_vector_width": 512 if machine.has_wide_vectors() else 128,
}
# XLA hands sums to a library, YNN, that is quick at those of a few numbers, up to twenty times as
# slow as XLA itself at those over many nodes of z, and whose order in sums over several samples
# depends on how many lanes stand side by side.
_PLAIN_SUMS = {"xla_cpu_experimental_ynn_fusion_type": ""}
_PROBE_OPTIONS = {"xla_cpu_use_fusion_emitters": False}
_INIT_OPTIONS = _PROBE_OPTIONS | {"xla_backend_optimization_level": 1}
# Without the optimisations of LLVM; fusion as it is, or a lane's bits would depend on its company.
_QUICK_OPTIONS = {"xla_backend_optimization_level": 0}
NOT_FINITE = "not finite"  # how the status of a lane that broke down begins
# Structures of lanes for which compiled code is kept. Each maps a thousand pieces of memory, of
# which a process may have 65 530.
_MAX_COMPILED = 8
_THREADS = 16  # that share a device of the kind of cores, which takes 32 programs at a time
_SAME = 1e-4  # within which data are the same but for rounding


class Stopped(Exception):
    """Training was asked to stop and did."""


class OtherData(Exception):
    """A seed does not make the data again with which a stored cell was trained."""


class Progress(NamedTuple):
    """What the lanes of a cell have newly come to; nan in what a lane did not get to."""

    lanes: np.ndarray  # their places among all, [N]
    num_epochs: int  # that each was trained
    metrics: dict[int, dict[str, np.ndarray]]  # by the epoch at which they end, [N] each
    probes: dict[int, dict[str, np.ndarray]]


OnChunk = Callable[[Sequence[Progress]], None]


class Store(Protocol):
    """Where cells are kept, by number and epoch, as arrays by name."""

    def load(self, cell: int, epochs: Sequence[int]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Returns the last of these epochs at which a cell was saved, and what was."""

    def save(self, cell: int, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps arrays."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out of training R lanes; numpy arrays.

    A lane in which a number was not finite has the params of the last epoch that it could finish,
    and nan in the curves from there on.
    """

    params: networks.Params  # leaves [R, ...]; the likelihood's with what it carried
    data: Data  # t [R, n], x [R, n, D], held_out [R, m, D]
    epoch: np.ndarray  # [rows], the epoch at which each row of `metrics` ends
    metrics: dict[str, np.ndarray]  # [R, rows] each, means over the epochs of a row
    probe_epoch: np.ndarray  # [probes]
    probes: dict[str, np.ndarray]  # [R, probes] each, taken at the end of those epochs
    failed_step: np.ndarray  # [R], the first step with a number not finite, from 1 on; 0 for none
    failed_term: np.ndarray  # [R], which one, its place in `train.TERMS`
    snapshot_epoch: np.ndarray  # [S]
    snapshots: dict[str, np.ndarray]  # params then, [F, S, ...] of the first F lanes

    def status(self, i: int) -> str:
        """Returns 'ok', or at which step which term of a lane was the first not to be finite."""
        if not self.failed_step[i]:
            return "ok"
        return f"{NOT_FINITE} at step {self.failed_step[i]}: {TERMS[self.failed_term[i]]}"


@numerics.single()
def train(
    lanes: Lane,
    *,
    cell_width: int,
    probe: Probe | None,
    probe_every: int,
    on_chunk: OnChunk,
    snapshots_per_tenfold: int = 0,
    snapshot_share: float = 1.0,
    devices: Sequence[jax.Device] | None = None,
    params: networks.Params | None = None,
    store: Store | None = None,
    store_every: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains all lanes and returns what came out, in the order given, on every process.

    Args:
      lanes: the numbers of R runs, leaves [R].
      cell_width: lanes that are vmapped together. At least two even for a lone run, since XLA
        gives a width of one other roundings than all others.
      probe: more metrics of one lane, taken every so often.
      probe_every: epochs between two probes, rounded up to whole chunks; 0 for none.
      on_chunk: told after each chunk what this added to each cell that this process trains, and
        before the first one all that a stored cell has.
      snapshots_per_tenfold: see `snapshots.epochs`.
      snapshot_share: of the room for snapshots, see `snapshots.num_lanes`.
      devices: those of this process to use, by default all.
      params: of encoder and decoder, where to start from instead of fresh ones, leaves [R, ...].
      store: where cells go on from and are kept.
      store_every: chunks after which a cell is stored, and so it is at its end; 0: only by `stop`.
      stop: asked after each chunk whether to store what there is and to stop.

    Raises:
      Stopped: because of `stop`.
      OtherData: a stored cell was trained with other data than its seeds make here.
    """
    num_lanes = len(lanes.seed)
    num_epochs, log_every = lanes.train.num_epochs, lanes.train.log_every
    ends = [min(e + log_every, num_epochs) for e in range(0, num_epochs, log_every)]
    probe_ends = _probe_ends(ends, probe_every)
    snapshot_epochs = snapshots.epochs(ends, snapshots_per_tenfold)
    num_kept = snapshots.num_lanes(lanes, len(snapshot_epochs), snapshot_share)
    cells = _cells(lanes, params, cell_width, probe)
    together = _width(lanes, cell_width) * jax.process_count()
    with_snapshots = cells[: math.ceil(num_kept / together)]  # as many in each process
    for cell in with_snapshots:
        cell.snapshot_epochs = snapshot_epochs
    for cell in cells:
        due = {"probes": probe_ends, "snapshots": cell.snapshot_epochs}
        if stored := store and _usable(store, cell.number, ends, due):
            cell.restore(*stored)
            on_chunk([cell.progress(0)])
    devices = _shared(devices or jax.local_devices())[: len(cells)]
    unfinished = [cell for cell in cells if cell.epoch < num_epochs]
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:  # they compile side by side
        for group in _rounds(unfinished, len(devices)):
            for cell, device in zip(group, devices, strict=False):
                cell.place(device)
            begin = group[0].epoch
            for chunk, end in enumerate(ends, start=1):
                if end <= begin:
                    continue
                advance = functools.partial(_Cell.advance, epoch=end, probed=end in probe_ends)
                list(pool.map(numerics.single()(advance), group))
                last, stopped = end == ends[-1], stop()
                if last:
                    settle = functools.partial(_Cell.settle, log_every=log_every)
                    list(pool.map(numerics.single()(settle), group))
                if store and (stopped or (store_every and (last or chunk % store_every == 0))):
                    for cell in group:
                        store.save(cell.number, end, cell.stored())
                on_chunk([cell.progress(begin) for cell in group])
                if stopped:
                    raise Stopped
                begin = end
            for cell in group:
                cell.release()

    results = [cell.result(ends, sorted(probe_ends)) for cell in cells]
    taken = [cell.curves_of_snapshots() for cell in with_snapshots]
    return Trained(
        epoch=np.asarray(ends),
        probe_epoch=np.asarray(sorted(probe_ends)),
        snapshot_epoch=np.asarray(snapshot_epochs, np.int64),
        snapshots=_gathered(taken, num_kept) if taken else {},
        **_gathered(results, num_lanes),
    )


def _usable(
    store: Store, cell: int, ends: Sequence[int], due: Mapping[str, Collection[int]]
) -> tuple[int, dict[str, np.ndarray]] | None:
    """Returns the last stored state of a cell that has all that was due up to there.

    A run that has grown looks at other epochs than it did. Without any snapshots, as a version
    before 0.3 stored it, it goes on without the first of them.
    """
    while stored := store.load(cell, ends):
        epoch, arrays = stored
        missing = [
            end
            for name, epochs in due.items()
            if name == "probes" or f"{name}/epoch" in arrays
            for end in epochs
            if end <= epoch and end not in arrays.get(f"{name}/epoch", ())
        ]
        if not missing:
            break
        ends = [end for end in ends if end < min(missing)]
    return stored


@numerics.single()
def failed(lanes: Lane, *, cell_width: int, store: Store) -> list[tuple[int, State, Data, Lane]]:
    """Returns the place of each trained lane that broke down, its last state, data and numbers.

    Args:
      lanes: the numbers of R runs, leaves [R].
      cell_width: that with which they were trained.
      store: where their cells are.
    """
    found = []
    for cell in _cells(lanes, None, cell_width, None):
        if stored := store.load(cell.number, [lanes.train.num_epochs]):
            cell.restore(*stored)
            cell.place(jax.local_devices()[0])
            for i in np.flatnonzero(np.asarray(cell.state.epoch)[: cell.num_lanes] < cell.epoch):
                one = jax.tree.map(lambda leaf, i=i: leaf[i], (cell.state, cell.data, cell.lanes))
                found.append((int(cell.places[i]), *one))
    return found


class _Functions(NamedTuple):
    """What is compiled for all lanes of a cell, for each structure that lanes have."""

    init: Callable
    chunk: Callable
    probe: Callable | None
    failure: Callable


@functools.lru_cache(_MAX_COMPILED)
def _compiled(
    probe: Probe | None, structure: Any, width: int, plain_sums: bool, quickly: bool
) -> _Functions:
    """Returns the functions for cells of lanes of a structure, so many side by side."""
    del structure, width  # each has functions of its own, that go when it is long not used
    probe_options = _known(_PROBE_OPTIONS | (_QUICK_OPTIONS if quickly else {}))
    return _Functions(
        init=jax.jit(jax.vmap(init), compiler_options=init_options()),
        chunk=jax.jit(
            jax.vmap(train_chunk, in_axes=(0, 0, 0, None)),
            donate_argnums=0,
            compiler_options=chunk_options(plain_sums, quickly),
        ),
        probe=probe and jax.jit(jax.vmap(probe), compiler_options=probe_options),
        failure=jax.jit(jax.vmap(first_failure)),
    )


def init_options() -> dict[str, Any]:
    """Returns the options with which what runs once is compiled on this device."""
    return _known(_INIT_OPTIONS)


def chunk_options(plain_sums: bool, quickly: bool = False) -> dict[str, Any]:
    """Returns the options with which the training of lanes is compiled on this device."""
    options = _CHUNK_OPTIONS | (_PLAIN_SUMS if plain_sums else {})
    return _known(options | (_QUICK_OPTIONS if quickly else {}))


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of the options for CPU that this device and this version of XLA know."""
    if jax.default_backend() != "cpu":
        return {}
    return {name: value for name, value in options.items() if _is_known(name, value)}


@functools.cache
def _is_known(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value})()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _shared(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Returns the device on which each of so many cells is trained at a time.

    What is compiled is compiled for one device. One of the kind of cores runs programs of several
    threads side by side, so these need no devices, and no compiled code, of their own.
    """
    share = _THREADS if devices[0].platform == "cpu" else 1
    return [devices[i - i % share] for i in range(len(devices))]


def _width(lanes: Lane, cell_width: int) -> int:
    """Returns how many lanes a cell has."""
    return min(cell_width, max(2, len(lanes.seed)))


def _cells(
    lanes: Lane, params: networks.Params | None, cell_width: int, probe: Probe | None
) -> list["_Cell"]:
    """Returns the cells of this process. Every process takes as many."""
    num_lanes, width = len(lanes.seed), _width(lanes, cell_width)
    quickly = lanes.train.compiled == "quickly"
    structure = jax.tree.structure(lanes)
    functions = _compiled(probe, structure, width, lanes.plain_sums, quickly)
    # Padding repeats the last lane; it is cut off at the end.
    size = width * jax.process_count()
    places = np.minimum(np.arange(math.ceil(num_lanes / size) * size), num_lanes - 1)
    places = places.reshape(-1, width)
    cells = []
    for number in range(jax.process_index(), len(places), jax.process_count()):
        own = jax.tree.map(functools.partial(_canonical, places[number]), (lanes, params))
        cells.append(_Cell(number, places[number], own[0], own[1], functions))
    return cells


@dataclasses.dataclass
class _Cell:
    """A cell and what it has come to; leaves have an axis of lanes, [W, ...]."""

    number: int
    places: np.ndarray  # of its lanes among all, [W]; the last one again where there is padding
    lanes: Lane
    params: networks.Params | None  # to start from
    functions: _Functions
    epoch: int = 0
    state: Any = None  # a `State`, once it is placed or restored
    data: Data | None = None
    training: dict[int, dict] = dataclasses.field(default_factory=dict)  # by epoch, [W] each
    probes: dict[int, dict] = dataclasses.field(default_factory=dict)
    snapshot_epochs: Sequence[int] = ()
    snapshots: dict[int, dict] = dataclasses.field(default_factory=dict)

    @property
    def _rows(self) -> dict[str, dict[int, dict]]:
        """What there is by epoch."""
        return {"training": self.training, "probes": self.probes, "snapshots": self.snapshots}

    @property
    def num_lanes(self) -> int:
        """How many lanes are no padding."""
        return len(np.unique(self.places))

    def place(self, device: jax.Device) -> None:
        """Puts the cell on a device, to train there from where it was."""
        state, data = self.functions.init(self.lanes)
        self._check(data)
        if self.data is None:
            self.data = self._started(data)
        if self.params is not None:
            given = {name: self.params[name] for name in ("encoder", "decoder")}
            state = dataclasses.replace(state, params=state.params | given)
        if self.state is None:
            self.state = jax.vmap(begun)(state, self.data, self.lanes)
        self.lanes, self.state, self.data = jax.device_put(
            (self.lanes, self.state, self.data), device
        )

    def _started(self, data: Data) -> Data:
        """Returns the data with the places of their points, where training starts with them."""
        x, lanes = np.array(data.x), jax.tree.map(np.asarray, self.lanes)
        if data.observed is not None:
            x[np.asarray(data.observed) == 0] = np.nan

        def of_lane(i: int) -> Order | None:
            lane: Lane = jax.tree.map(lambda leaf: leaf[i], lanes)
            sigma = lane.likelihood.known_sigma
            sigma = None if sigma is None else float(sigma)
            return lane.start.order(x[i], int(lane.seed), sigma, lane.data.sequence_length)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            orders = list(pool.map(of_lane, range(self.num_lanes)))
        found = [order for order in orders if order is not None]
        if not found:
            return data
        found += found[-1:] * (len(self.places) - self.num_lanes)  # padding
        return dataclasses.replace(
            data,
            start_z=jnp.asarray([one.z for one in found], jnp.float32),
            **{
                name: jnp.asarray([one.facts()[name] for one in found], jnp.float32)
                for name in found[0].facts()
            },
        )

    def _check(self, data: Data) -> None:
        """Raises OtherData if these are not the data with which the cell was trained so far.

        On another kind of device they may be rounded otherwise; what was stored is kept.
        """
        for old, new in zip(jax.tree.leaves(self.data), jax.tree.leaves(data), strict=False):
            if not np.allclose(old, new, rtol=_SAME, atol=_SAME, equal_nan=True):
                raise OtherData

    def progress(self, since: int) -> Progress:
        """Returns what the lanes have come to since an epoch, without the padding."""
        reached = np.asarray(self.state.epoch)[: self.num_lanes]

        def after(rows: Mapping[int, dict[str, np.ndarray]]) -> dict[int, dict[str, np.ndarray]]:
            return {
                epoch: {
                    name: np.where(reached >= epoch, values[: self.num_lanes], np.nan)
                    for name, values in row.items()
                }
                for epoch, row in rows.items()
                if epoch > since
            }

        lanes = self.places[: self.num_lanes]
        return Progress(lanes, self.epoch - since, after(self.training), after(self.probes))

    def advance(self, epoch: int, probed: bool) -> None:
        """Trains up to an epoch."""
        self._look_ahead(epoch)
        self.state, metrics = self._chunk(self.state, epoch - self.epoch)
        self.epoch = epoch
        self.training[epoch] = jax.device_get(metrics)
        if probed and self.functions.probe is not None:
            found = self.functions.probe(self.state.all_params, self.data, self.lanes)
            self.probes[epoch] = jax.device_get(found)
        if epoch in self.snapshot_epochs:
            self.snapshots[epoch] = _by_name(self.state.all_params)

    def _look_ahead(self, end: int) -> None:
        """Takes the snapshots within the chunk up to `end`, on a copy that goes no further.

        So the chunk itself is the same program on the same numbers as without them.
        """
        inside = [epoch for epoch in self.snapshot_epochs if self.epoch <= epoch < end]
        inside = [epoch for epoch in inside if epoch not in self.snapshots]
        if not inside:
            return
        state, reached = jax.tree.map(jnp.copy, self.state), self.epoch
        for epoch in inside:
            if epoch > reached:
                state, _ = self._chunk(state, epoch - reached)
            self.snapshots[epoch], reached = _by_name(state.all_params), epoch

    def _chunk(self, state: State, num_epochs: int) -> tuple[State, dict[str, jax.Array]]:
        return self.functions.chunk(state, self.data, self.lanes, np.int32(num_epochs))

    def settle(self, log_every: int) -> None:
        """Brings lanes that broke down within a chunk to the last epoch that they can finish.

        They stand at the start of that chunk. The program that got them there goes on by ever
        smaller powers of two, so that where they end doesn't depend on the length of the chunks.
        """
        behind = np.asarray(self.state.epoch) < self.epoch
        for power in reversed(range(log_every.bit_length() if behind.any() else 0)):
            state, _ = self._chunk(jax.tree.map(jnp.copy, self.state), 2**power)
            moved = behind & np.asarray(state.epoch > self.state.epoch)
            self.state = _where(moved, state, self.state)

    def release(self) -> None:
        """Takes the finished cell from its device."""
        self.lanes, self.state, self.data = jax.device_get((self.lanes, self.state, self.data))

    def stored(self) -> dict[str, np.ndarray]:
        """Returns what `restore` needs, as arrays by name."""
        state = dataclasses.replace(self.state, key=jax.random.key_data(self.state.key))
        arrays = {f"state/{name}": leaf for name, leaf in _by_name(state).items()}
        arrays |= {
            f"data/{name}": leaf for name, leaf in jax.device_get(self.data).arrays().items()
        }
        for name, rows in self._rows.items():
            if rows:
                columns = {"epoch": np.asarray(list(rows)), **_columns(list(rows.values()))}
                arrays |= {f"{name}/{key}": values for key, values in columns.items()}
        return arrays

    def restore(self, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes back to what `stored` gave after an epoch."""

        def part(name: str) -> dict[str, Any]:
            prefix = f"{name}/"
            return {
                key.removeprefix(prefix): values
                for key, values in arrays.items()
                if key.startswith(prefix)
            }

        self.epoch = epoch
        template, _ = jax.eval_shape(self.functions.init, self.lanes)
        self.state = _from_names(part("state"), template)
        if data := part("data"):  # a version before 0.2 stored none
            self.data = Data(**{"t": None} | data)
        for name, rows in self._rows.items():
            columns = part(name)
            for i, row_epoch in enumerate(columns.pop("epoch", ())):
                rows[int(row_epoch)] = {key: values[:, i] for key, values in columns.items()}

    def result(self, ends: Sequence[int], probe_ends: Sequence[int]) -> dict[str, Any]:
        """Returns the cell's part of `Trained`, by field."""
        if self.data is None:  # restored without; the data come from the seeds again
            self.data = jax.device_get(self.functions.init(self.lanes)[1])
        done = np.asarray(self.state.epoch)
        step, term = np.zeros((2, len(done)), np.int32)
        if np.any(failed := done < self.epoch):
            found = jax.device_get(self.functions.failure(self.state, self.data, self.lanes))
            step, term = (np.where(failed, value, 0) for value in found)
        return {
            "params": jax.device_get(self.state.all_params),
            "data": self.data,
            "metrics": _curves(self.training, ends, done),
            "probes": _curves(self.probes, probe_ends, done),
            "failed_step": step,
            "failed_term": term,
        }

    def curves_of_snapshots(self) -> dict[str, np.ndarray]:
        """Returns the params at the epochs of snapshots, [W, S, ...]."""
        last = {self.epoch: _by_name(self.state.all_params)}  # where it was restored without any
        done = np.asarray(self.state.epoch)
        return _curves(last | self.snapshots, self.snapshot_epochs, done)


def _rounds(cells: Sequence[_Cell], size: int) -> Iterator[list[_Cell]]:
    """Yields up to `size` cells at a time that stand at the same epoch."""
    for _, found in itertools.groupby(cells, key=lambda cell: cell.epoch):
        same = list(found)
        for first in range(0, len(same), size):
            yield same[first : first + size]


def _curves(
    rows: Mapping[int, dict[str, np.ndarray]], epochs: Sequence[int], done: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the rows of these epochs, [W, rows, ...]; nan for what a lane did not get to."""
    if not epochs:
        return {}
    missing = jax.tree.map(lambda row: np.full_like(row, np.nan), next(iter(rows.values())))
    columns = _columns([rows.get(epoch, missing) for epoch in epochs])
    reached = np.asarray(epochs) <= done[:, None]

    def seen(values: np.ndarray) -> np.ndarray:
        return np.where(reached.reshape(*reached.shape, *[1] * (values.ndim - 2)), values, np.nan)

    return {name: seen(values) for name, values in columns.items()}


def _columns(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns rows of [W, ...] as [W, rows, ...]."""
    return jax.tree.map(lambda *row: np.stack(row, axis=1), *rows)


def _where(chosen: np.ndarray, a: State, b: State) -> State:
    """Returns the chosen lanes [W] of a, the others of b."""

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, a, b)


def _by_name(tree: Any) -> dict[str, np.ndarray]:
    """Returns the leaves of a tree under names such as 'params/encoder/mean/bias'."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _from_names(arrays: Mapping[str, np.ndarray], template: State) -> State:
    """Returns the state that `stored` named; the template has its structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    state = jax.tree.unflatten(structure, [arrays[name] for name in names])
    return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))


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


def _canonical(places: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    """Returns the lanes at these places, in the precision that training has."""
    return leaf[places].astype(jax.dtypes.canonicalize_dtype(leaf.dtype))

"""Cells: bits that nothing but a lane's numbers changes, and that a run stopped half-way keeps."""

import copy
import dataclasses
import functools
import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from spiral_vae.model.likelihood import FullCovariance, Geco
from spiral_vae.model.likelihood.covariance import OneSigmaFirst
from spiral_vae.model.likelihood.estimator import ByGradient
from spiral_vae.model.posterior import Mixture, Spline
from spiral_vae.training import cells, snapshots
from tests.lanes import CLOSED_FORM, POISONS, assert_same, heteroscedastic, make_lane, take

NAMES = ("loss", "reconstruction", "kl")


def _stack(*lanes):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


def _probe(params, data, lane):
    return {"bias": params["decoder"]["mean"]["bias"][0], "beta": lane.objective.beta}


def _of(lanes, **train):
    """Returns the lanes in one tree, with other fields of the section train."""
    stacked = _stack(*lanes)
    return dataclasses.replace(stacked, train=dataclasses.replace(stacked.train, **train))


def _train(lanes, *, log_every=4, num_epochs=8, cell_width=2, compiled="quickly", **kwargs):
    """`cells.train` on one device, wherever the tests run."""
    defaults = {"probe": _probe, "probe_every": 4, "on_chunk": lambda *_: None}
    defaults["snapshots_per_tenfold"] = 3  # at 0, 1, 2, 5 and 8, if chunks end or begin there
    defaults["devices"] = jax.devices()[:1]
    return cells.train(
        _of(lanes, log_every=log_every, num_epochs=num_epochs, compiled=compiled),
        cell_width=cell_width,
        **(defaults | kwargs),
    )


class Memory:
    """A store that forgets nothing."""

    def __init__(self):
        self.trees = {}

    def load(self, cell, epochs):
        found = [epoch for number, epoch in self.trees if number == cell and epoch in epochs]
        return (max(found), copy.deepcopy(self.trees[cell, max(found)])) if found else None

    def save(self, cell, epoch, tree):
        self.trees[cell, epoch] = copy.deepcopy(tree)


def _stopped(train_it, asked, **kwargs):
    """Returns the store of a training that is told to stop when it has asked so often."""
    store, answers = Memory(), iter([False] * (asked - 1) + [True])
    with pytest.raises(cells.Stopped):
        train_it(store=store, stop=lambda: next(answers), **kwargs)
    return store


def _all(out):
    return dataclasses.asdict(out)


def test_training_starts_from_networks_that_are_given():
    still = {"encoder_learning_rate": 0, "decoder_learning_rate": 0}
    lanes = [make_lane(seed=0, **still), make_lane(seed=1, **still), make_lane(seed=2, **still)]
    given = jax.tree.map(lambda leaf: leaf + np.float32(1), _train(lanes).params)
    assert_same(_train(lanes, params=given).params, given)


# Chunks, rows, probes and snapshots


def test_snapshots_are_even_in_the_logarithm_of_the_epoch():
    """At ends of chunks, and within the first one."""
    ends = list(range(100, 20_001, 100))
    found = np.asarray(snapshots.epochs(ends, 9))
    assert (found[0], found[-1], len(found)) == (0, 20_000, 37)
    late = found[found >= 1000]
    np.testing.assert_allclose(np.log10(late[1:-1] / late[:-2]), 1 / 9, atol=0.03)
    assert set(found[found >= 100]) <= set(ends)
    assert snapshots.epochs([*ends[:50], 5050], 9)[:-1] == found[found <= 5000].tolist()
    assert snapshots.epochs([7], 9) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert snapshots.epochs(ends, 0) == []


@pytest.mark.parametrize(
    ("log_every", "epochs"), [(1, [0, 1, 2, 5, 8]), (3, [0, 1, 2, 6, 8]), (8, [0, 1, 2, 5, 8])]
)
def test_a_snapshot_holds_the_params_of_its_epoch(log_every, epochs):
    """Those of a run that ends there, whether it lies within a chunk or not."""
    lanes = [make_lane(seed=seed) for seed in range(3)]
    found = _train(lanes, log_every=log_every)
    assert found.snapshot_epoch.tolist() == epochs
    for i, epoch in enumerate(found.snapshot_epoch[1:], start=1):
        wanted = cells._by_name(_train(lanes, num_epochs=int(epoch)).params)
        assert_same({name: leaf[:, i] for name, leaf in found.snapshots.items()}, wanted)
    plain = _train(lanes, log_every=log_every, snapshots_per_tenfold=0)
    assert plain.snapshots == {}
    assert_same((found.params, found.metrics), (plain.params, plain.metrics))


def test_a_lane_that_broke_down_has_no_snapshots_from_there_on():
    found = _train(BROKEN[2:4])
    broken = np.isnan(found.snapshots["decoder/mean/bias"]).any(axis=-1)
    assert found.snapshot_epoch.tolist() == [0, 1, 2, 8]
    assert broken.tolist() == [[False] * 4, [False, False, False, True]]


def test_there_is_room_for_snapshots_of_the_first_lanes_alone(monkeypatch):
    lanes = [make_lane(seed=seed) for seed in range(5)]
    every = _train(lanes).snapshots
    size = sum(leaf[0].nbytes for leaf in every.values())
    monkeypatch.setattr(snapshots, "MAX_BYTES", 6 * size)
    few = _train(lanes, snapshot_share=0.5).snapshots
    assert_same(few, {name: leaf[:3] for name, leaf in every.items()})


def test_what_a_version_stored_without_snapshots_goes_on_without_the_first_ones():
    store = _stopped(functools.partial(_train, SOUND[:2], snapshots_per_tenfold=0), 1)
    found, wanted = _train(SOUND[:2], store=store), _train(SOUND[:2])
    assert_same(found.params, wanted.params)
    for name, leaf in found.snapshots.items():
        assert np.isnan(leaf[:, :-1]).all()
        assert_same(leaf[:, -1], wanted.snapshots[name][:, -1])


@pytest.mark.parametrize("log_every", [1, 3, 7, 100])
def test_the_length_of_chunks_changes_no_bit_and_no_mean(log_every):
    lanes = [make_lane(seed=0), make_lane(seed=1)]
    whole, parts = _train(lanes, log_every=8), _train(lanes, log_every=log_every)
    assert_same(whole.params, parts.params)
    assert_same(whole.data, parts.data)
    ends = [*range(log_every, 8, log_every), 8]
    np.testing.assert_array_equal(parts.epoch, ends)
    lengths = np.diff([0, *ends])
    for name in NAMES:
        mean = parts.metrics[name] @ lengths / 8
        # the same float32 numbers, summed in another order
        np.testing.assert_allclose(mean, whole.metrics[name][:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("log_every", "probe_every", "expected"),
    [
        (1, 1, [1, 2, 3, 4, 5, 6, 7, 8]),
        (1, 3, [3, 6, 8]),
        (3, 3, [3, 6, 8]),
        (3, 4, [6, 8]),  # rounded up to chunks that end at 3, 6, 8
        (3, 1, [3, 6, 8]),  # not more often than chunks end
        (8, 1, [8]),
        (1, 100, [8]),  # always at the end
        (1, 0, []),
    ],
)
def test_probes_are_taken_at_the_first_chunk_end_that_is_due(log_every, probe_every, expected):
    lanes = [make_lane(beta=0.5), make_lane(beta=0.25)]
    out = _train(lanes, log_every=log_every, probe_every=probe_every)
    np.testing.assert_array_equal(out.probe_epoch, expected)
    if not expected:
        assert out.probes == {}
        return
    assert out.probes["bias"].shape == (2, len(expected))
    assert np.all(out.probes["beta"] == np.array([[0.5], [0.25]]))
    assert_same(out.probes["bias"][:, -1], out.params["decoder"]["mean"]["bias"][:, 0])


def _epochs(chunk):
    """Epochs that a chunk added, over all lanes."""
    return [one.num_epochs * len(one.lanes) for one in chunk]


def test_on_chunk_hears_every_epoch_of_every_lane_and_never_of_padding():
    heard = []
    out = _train(
        [make_lane(seed=s) for s in range(5)],
        cell_width=2,
        log_every=3,
        on_chunk=lambda chunk: heard.extend(chunk),
    )
    assert [one.num_epochs for one in heard] == [3, 3, 2] * 3  # rounds of 2, 2 and 1 lanes
    assert [list(one.lanes) for one in heard] == [[0, 1]] * 3 + [[2, 3]] * 3 + [[4]] * 3
    assert [list(one.metrics) for one in heard] == [[3], [6], [8]] * 3
    assert [list(one.probes) for one in heard] == [[], [6], [8]] * 3
    for one in heard:
        for name, rows, epochs in (
            ("metrics", out.metrics, [3, 6, 8]),
            ("probes", out.probes, [6, 8]),
        ):
            for epoch, found in getattr(one, name).items():
                wanted = {key: row[one.lanes, epochs.index(epoch)] for key, row in rows.items()}
                assert_same(found, wanted)


def test_shapes_of_what_comes_out():
    out = _train([make_lane(seed=s) for s in range(3)], cell_width=2)
    assert out.data.t.shape == (3, 10)
    assert out.data.x.shape == (3, 10, 2)
    assert {name: rows.shape for name, rows in out.metrics.items()} == dict.fromkeys(NAMES, (3, 2))
    assert out.params["encoder"]["hidden_0"]["kernel"].shape == (3, 2, 4)
    assert out.params["likelihood"] == {}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(out.params))


def test_nothing_compiles_twice():
    """Not for a second call, a shorter last chunk or other numbers."""
    compiled = []

    def listener(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs.get("fun_name", event))

    lanes = [make_lane(seed=0), make_lane(seed=1)]
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        _train(lanes, num_epochs=7)  # no other test's
        assert len(compiled) > 0  # or the test would be blind
        compiled.clear()
        _train(lanes, num_epochs=7)
        _train([make_lane(seed=7, sigma=0.1, beta=2.0), make_lane(seed=3)], num_epochs=7)
        _train(copy.deepcopy(lanes), num_epochs=7)
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


# Lanes: nothing but its own numbers changes a lane's bits


# The size of the default model, at which other code may be chosen than for tiny ones.
DEFAULT_SIZE = {"hidden_dim": 32, "num_points": 50, "batch_size": 20}
SIGMAS = (0.5, 0.1, 0.2, 1.0, 0.3)
FIVE = [make_lane(seed=s, sigma=sigma, **DEFAULT_SIZE) for s, sigma in enumerate(SIGMAS)]
CARRYING = [  # the same with a state besides the parameters
    make_lane(seed=s, likelihood=dataclasses.replace(CLOSED_FORM, sigma=sigma), **DEFAULT_SIZE)
    for s, sigma in enumerate(SIGMAS)
]


def train_five(lanes, devices, **kwargs):
    """Trains in cells of two; also called on other numbers of devices, in other processes."""
    return _train(lanes, cell_width=2, devices=devices, **kwargs)


@pytest.fixture(scope="module")
def five():
    return train_five(FIVE, jax.devices()[:1])


@pytest.mark.parametrize("cell_width", [4, 8])
def test_the_width_of_a_cell_changes_no_bit(five, cell_width):
    """Widths 2 (five lanes, one of padding), 4 (three of padding) and 5 (8 is cut to the lanes)."""
    wide = _train(FIVE, cell_width=cell_width)
    assert_same(
        (five.params, five.data, five.metrics, five.probes),
        (wide.params, wide.data, wide.metrics, wide.probes),
    )


@pytest.mark.parametrize(
    ("own", "sample"),
    [
        ({}, {"objective": "iwae", "num_samples": 8}),
        ({"posterior": Mixture()}, {}),
        ({"posterior": Spline()}, {}),
    ],
    ids=["iwae", "mixture", "spline"],
)
def test_nor_does_it_where_a_step_adds_up_several_samples(own, sample):
    """A library of XLA's would take other orders of the sums with more lanes beside one.

    With the points of the default config, as fewer don't show it.
    """
    size = {"hidden_dim": 32, "num_points": 200, "batch_size": 100}
    lanes = [
        dataclasses.replace(make_lane(seed=seed, **size, **sample), **own) for seed in range(8)
    ]
    options = {"num_epochs": 2, "log_every": 2, "compiled": "fully", "probe_every": 0}
    narrow, wide = (_train(lanes, cell_width=width, **options) for width in (2, 8))
    assert_same(narrow.params, wide.params)


@pytest.mark.parametrize(
    ("platform", "wanted"),
    [("cpu", [0] * 16 + [16] * 2), ("gpu", list(range(18)))],
)
def test_cores_share_a_device_and_its_compiled_code(platform, wanted):
    devices = [SimpleNamespace(platform=platform, id=number) for number in range(18)]
    assert [device.id for device in cells._shared(devices)] == wanted


@pytest.mark.parametrize("index", range(5))
def test_a_lane_alone_is_the_lane_among_others(five, index):
    alone = _train([FIVE[index]])
    assert_same(take(alone.params, 0), take(five.params, index))
    assert_same(take(alone.metrics, 0), take(five.metrics, index))


def test_more_lanes_and_another_order_keep_the_old_ones(five):
    """As when seeds are added to a sweep: a lane's neighbours, round and place are no matter."""
    order = [4, 0, 2]
    some = _train([FIVE[i] for i in order])
    assert_same(some.params, take(five.params, np.array(order)))


def digest(out):
    """Returns a hash of every bit of a `Trained`."""
    leaves = jax.tree.leaves(_all(out))
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()


def print_digests():
    """Prints digests from several numbers of devices; called in a process that has four."""
    assert jax.device_count() == 4
    one, two, four = (jax.devices()[:num] for num in (1, 2, 4))
    for lanes in (FIVE, CARRYING):

        def train_it(devices, lanes=lanes, **kwargs):
            return train_five(lanes, devices, **kwargs)

        # Stopped after a chunk, with two of three cells or with all of them under way.
        half = _stopped(train_it, 1, devices=two)
        whole = _stopped(train_it, 1, devices=four)
        assert (sorted(half.trees), sorted(whole.trees)) == (
            [(0, 4), (1, 4)],
            [(0, 4), (1, 4), (2, 4)],
        )
        # As after a crash between two cells' checkpoints: they stand at three epochs.
        uneven = _stopped(train_it, 2, devices=two, store_every=1)
        del uneven.trees[0, 8]
        print(
            digest(train_it(two)),
            digest(train_it(four)),
            digest(train_it(four, store=half)),
            digest(train_it(one, store=whole)),
            digest(train_it(two, store=uneven)),
        )


def test_the_number_of_devices_changes_no_bit(five, environment):
    """Three rounds on one device, two on two, one on three of four; one is this process.

    Nor does it when a run goes on with another number than it was stopped with.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.training import cells_test; cells_test.print_digests()"],
        env=environment | {"JAX_NUM_CPU_DEVICES": "4"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    carrying = train_five(CARRYING, jax.devices()[:1])
    assert {name: leaf.shape for name, leaf in carrying.params["likelihood"].items()} == {
        "scale": (5,),
        "sum": (5, 2, 2),
    }
    one = [digest(five), digest(carrying)]
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert len(set(one)) == 2
    for wanted, line in zip(one, stdout.splitlines(), strict=True):
        assert line.split() == [wanted] * 5


# Lanes that stop being finite

# A learning rate of 1e28 after 5 epochs of 3 steps: the sixth epoch can't be finished.
STEP = {"schedule": "step"}
BREAKS = STEP | {"decay_every": 5, "decay_factor": 1e30}
SOUND = [make_lane(seed=seed, **STEP) for seed in range(8)]
BROKEN = [*SOUND[:3], make_lane(seed=3, **BREAKS), *SOUND[4:]]
OTHERS = np.delete(np.arange(8), 3)


@pytest.mark.parametrize(("log_every", "good"), [(1, 5), (3, 5), (3, 6), (4, 7), (10, 5), (10, 7)])
def test_a_lane_that_breaks_keeps_its_last_good_epoch_and_no_other_lane_notices(log_every, good):
    """It is the lane of a training that ends there, whatever the chunks: [.., 3, 6, 8] or [8]."""
    late = make_lane(seed=3, **BREAKS | {"decay_every": good})
    sound, broken = (
        _train(lanes, cell_width=4, log_every=log_every, probe_every=1)
        for lanes in (SOUND, [*SOUND[:3], late, *SOUND[4:]])
    )
    ended = _train([late], num_epochs=good, log_every=1, probe_every=1)
    assert_same(take(broken.params, 3), take(ended.params, 0))
    for name in ("params", "data", "metrics", "probes", "failed_step", "failed_term"):
        assert_same(take(getattr(broken, name), OTHERS), take(getattr(sound, name), OTHERS))
    reached = broken.epoch <= good
    for curves, whole in ((broken.metrics, sound.metrics), (broken.probes, sound.probes)):
        for name, rows in curves.items():
            np.testing.assert_array_equal(rows[3][reached], whole[name][3][reached])
            assert np.isnan(rows[3][~reached]).all()
    ok = ["ok"] * 8
    assert [sound.status(i) for i in range(8)] == ok
    ok[3] = f"not finite at step {3 * good + 2}: reconstruction"
    assert [broken.status(i) for i in range(8)] == ok


def test_every_lane_has_its_own_first_failure():
    """The last one is repeated as padding, which must not count."""
    names = [name for name in POISONS if name != "sigma"]  # of another program
    lanes = [make_lane(), *(make_lane(**POISONS[name][1]) for name in names)]
    out = _train(lanes, cell_width=4)
    assert [out.status(i) for i in range(6)] == [
        "ok",
        *(f"not finite at step {POISONS[name][0]}: {name}" for name in names),
    ]
    still = {"encoder_learning_rate": 0, "decoder_learning_rate": 0}
    start = take(_train([make_lane(**still)]).params, 0)
    for i in range(1, 6):  # none of them could finish an epoch
        assert_same(take(out.params, i), start)
        assert all(np.isnan(rows[i]).all() for rows in out.metrics.values())


@pytest.mark.parametrize(
    "poison",
    [{"sigma": 1e-30}, {"encoder_learning_rate": np.inf}, {"noise_sigma": np.nan}],
    ids=str,
)
def test_a_lane_that_breaks_leaves_the_others_alone(five, poison):
    lanes = [*FIVE[:3], make_lane(seed=3, **(DEFAULT_SIZE | poison)), FIVE[4]]
    broken = _train(lanes, cell_width=4)
    assert broken.status(3).startswith("not finite at step ")
    others = np.array([0, 1, 2, 4])
    assert_same(take(broken.params, others), take(five.params, others))
    assert_same(take(broken.metrics, others), take(five.metrics, others))


def test_failed_lanes_are_found_in_the_store_at_their_last_good_epoch():
    store = Memory()
    out = _train(BROKEN, cell_width=4, log_every=3, store=store, store_every=1)
    lanes = _of(BROKEN, log_every=3)
    ((place, state, data, lane),) = cells.failed(lanes, cell_width=4, store=store)
    assert (place, int(state.epoch)) == (3, 5)
    assert_same((state.all_params, data), (take(out.params, 3), take(out.data, 3)))
    assert_same(lane, take(lanes, 3))


# Stores

KINDS = {
    "geco": Geco(sigma=0.7, geco_rate=0.03, geco_averaging=0.9),
    "closed_form": CLOSED_FORM,
    "heteroscedastic": heteroscedastic("warmup"),
    "learned": FullCovariance(
        sigma=0.5,
        estimator=ByGradient(learning_rate=0.01),
        stabiliser=OneSigmaFirst(warmup=0.5),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_anywhere_goes_on_with_the_bits_of_one_that_was_not(kind):
    """Three lanes in two rounds of three chunks; what the likelihood carries must come along."""
    lanes = [make_lane(seed=seed, likelihood=KINDS[kind]) for seed in range(3)]

    def train_it(**kwargs):
        return _train(lanes, log_every=3, **kwargs)

    wanted = _all(train_it())
    ends = [(0, 3), (0, 6), (0, 8), (1, 3), (1, 6), (1, 8)]
    for asked, (cell, epoch) in enumerate(ends, start=1):
        store = _stopped(train_it, asked)
        assert store.trees.keys() == {(cell, epoch)}  # nothing is stored but by the stop
        assert_same(_all(train_it(store=store)), wanted)


def test_a_run_with_a_broken_lane_goes_on_with_the_bits_of_one_that_was_not_stopped():
    """It stands behind its cell in what is stored, at epoch 3 and not at 6; or is settled at 5."""

    def train_it(**kwargs):
        return _train(BROKEN[2:4], log_every=3, **kwargs)

    wanted = _all(train_it())
    for asked, stands in enumerate([(3, 3), (6, 3), (8, 5)], start=1):
        store = _stopped(train_it, asked)
        ((_, tree),) = store.trees.items()
        assert tuple(tree["state/epoch"]) == stands
        assert_same(_all(train_it(store=store)), wanted)


@pytest.mark.parametrize(
    ("log_every", "store_every", "wanted"),
    [(1, 0, []), (1, 3, [3, 6, 8]), (3, 1, [3, 6, 8]), (3, 2, [6, 8]), (8, 100, [8])],
)
def test_cells_are_stored_so_often_and_at_their_end(log_every, store_every, wanted):
    store = Memory()
    lanes = [make_lane(seed=seed) for seed in range(3)]
    _train(lanes, log_every=log_every, store=store, store_every=store_every)
    assert list(store.trees) == [(cell, epoch) for cell in (0, 1) for epoch in wanted]


@pytest.mark.parametrize(("log_every", "begin"), [(1, 5), (3, 3)])
def test_more_epochs_are_those_of_a_fresh_longer_run(log_every, begin):
    """With chunks of 3 the end at epoch 5 is none of the longer run's: it goes on from 3."""
    store, heard = Memory(), []
    own = {"log_every": log_every, "probe_every": 0}
    _train(BROKEN[2:5], num_epochs=5, store=store, store_every=1, **own)
    found = _train(
        BROKEN[2:5],
        store=store,
        **own,
        on_chunk=lambda chunk: heard.extend(_epochs(chunk)),
    )
    assert sum(heard) == 3 * 8  # epochs of lanes, those that were stored at once
    assert heard[:2] == [2 * begin, begin]
    wanted = _train(BROKEN[2:5], **own)
    for name in ("params", "data", "metrics", "failed_step", "failed_term"):
        assert_same(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("lanes", [SOUND[:3], BROKEN[2:5]], ids=["sound", "broken"])
def test_a_finished_run_is_loaded_and_trains_nothing(lanes):
    """A lane that broke down is stored where it ended, at epoch 5, not where its chunk began."""
    store = Memory()
    wanted = _train(lanes, store=store, store_every=1)
    heard = []
    found = _train(lanes, store=store, on_chunk=lambda chunk: heard.extend(_epochs(chunk)))
    assert_same(_all(found), _all(wanted))
    assert heard == [2 * 8, 8]  # told as done at once


@pytest.mark.parametrize(
    ("short", "long", "store_every", "begin"),
    [
        (2, 4, 4, 4),  # looks at 2 and 4, then at 4 and 8: all that is wanted is there
        (4, 2, 4, 0),  # at 4 alone, then at 2, 4, 6, 8: the first is missing
        (1, 3, 4, 4),  # at 1 to 4, then at 3, 6, 8
        (2, 3, 1, 2),  # at 2 and 4, then at 3, 6, 8: kept at 1 to 4, and 3 is missing
    ],
)
def test_a_run_that_grows_has_the_looks_of_a_fresh_one(short, long, store_every, begin):
    """It goes on from the last checkpoint with all looks up to there, or anew if there is none."""
    lanes, store, heard = SOUND[:2], Memory(), []
    own = {"store": store, "store_every": store_every}
    _train(lanes, log_every=1, num_epochs=4, probe_every=short, **own)
    found = _train(
        lanes,
        log_every=1,
        probe_every=long,
        store=store,
        on_chunk=lambda chunk: heard.extend(_epochs(chunk)),
    )
    assert heard[0] == (2 * begin or 2)
    assert_same(_all(found), _all(_train(lanes, log_every=1, probe_every=long)))
    assert all(np.isfinite(values).all() for values in found.probes.values())


@pytest.mark.parametrize(("factor", "refused"), [(1 + 1e-6, False), (1.1, True)])
def test_a_cell_goes_on_with_the_data_that_it_was_trained_with(factor, refused):
    """Which other devices round otherwise; other random numbers are other data."""
    store = Memory()
    with pytest.raises(cells.Stopped):
        _train(SOUND[:2], store=store, store_every=1, stop=lambda: True)
    ((_, arrays),) = store.trees.items()
    arrays["data/x"] = arrays["data/x"] * np.float32(factor)
    if refused:
        with pytest.raises(cells.OtherData):
            _train(SOUND[:2], store=store)
    else:
        np.testing.assert_array_equal(_train(SOUND[:2], store=store).data.x, arrays["data/x"])


def test_what_a_version_stored_without_its_data_goes_on():
    store, wanted = Memory(), _train(SOUND[:2])
    with pytest.raises(cells.Stopped):
        _train(SOUND[:2], store=store, store_every=1, stop=lambda: True)
    ((_, arrays),) = store.trees.items()
    for name in ("data/t", "data/x"):
        del arrays[name]
    assert_same(_all(_train(SOUND[:2], store=store)), _all(wanted))


def test_history_that_is_told_again_is_that_of_the_results():
    """All rows and probes of a stored cell; nan where a lane did not get to."""
    store, heard = Memory(), []
    out = _train(BROKEN[2:4], store=store, store_every=1, log_every=4, probe_every=4)
    _train(BROKEN[2:4], store=store, on_chunk=lambda chunk: heard.extend(chunk))
    (one,) = heard
    for rows, wanted in ((one.metrics, out.metrics), (one.probes, out.probes)):
        assert list(rows) == [4, 8]
        for name, values in wanted.items():
            found = np.stack([row[name] for row in rows.values()], axis=1)
            np.testing.assert_array_equal(found, values)


def test_a_second_run_of_the_same_program_compiles_nothing():
    """And leaves what the caller has compiled."""
    count, own = [], jax.jit(lambda x: x + 1)
    own(1)
    _train(SOUND[:2])

    def heard(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            count.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        _train([make_lane(seed=seed, **STEP) for seed in (11, 12)])
        own(2)
        assert not count
        _train(SOUND[:2], log_every=5)  # another program
        assert count
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)

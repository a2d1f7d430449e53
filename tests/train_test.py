"""Training: its parts against closed forms, and bits that nothing but a lane's numbers changes."""

import copy
import dataclasses
import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae import gaussian, networks, train
from spiral_vae.likelihood import ClosedForm, Fixed, Heteroscedastic
from spiral_vae.spiral import Spiral

VAE = networks.VAE(
    networks.Encoder(hidden_dim=4, hidden_layers=1), networks.Decoder(hidden_dim=4, hidden_layers=1)
)
# 10 points in batches of 4, 4 and 2, so that all tests with it have a last batch with padding.
PROGRAM = train.Program(
    vae=VAE,
    num_points=10,
    design="grid",
    batch_size=4,
    shuffle=True,
    objective="elbo",
    num_samples=1,
    num_epochs=8,
    schedule="constant",
)
# One step an epoch, and so many samples that its gradient is nearly the expectation.
ONE_STEP = dataclasses.replace(
    PROGRAM, num_points=8, batch_size=8, num_samples=200, num_epochs=4, shuffle=False
)
NAMES = ("loss", "reconstruction", "kl")


def _lane(**overrides):
    """One lane; overrides by field, 'sigma' (of the kind fixed) and 'noise_sigma' among them."""
    spiral = Spiral(
        omega=8.8,
        rdot=2.5,
        noise_sigma=overrides.pop("noise_sigma", 0.2),
        u_start=0.01,
        u_stop=1.0,
    )
    lane = train.Lane(
        seed=0,
        spiral=spiral,
        likelihood=Fixed(sigma=overrides.pop("sigma", 0.5)),
        beta=1.0,
        kl_warmup=0.0,
        encoder_learning_rate=0.01,
        decoder_learning_rate=0.01,
        likelihood_learning_rate=0.01,
        decoder_weight_decay=0.0,
        variance_weight_decay=0.0,
        decay_every=5_000,
        decay_factor=0.5,
        warmup=0.0,
    )
    lane = dataclasses.replace(lane, **overrides)
    lane = jax.tree.map(np.float32, lane)
    return dataclasses.replace(lane, seed=np.uint32(lane.seed))


def _stack(*lanes):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


def _probe(params, data, lane):
    return {"bias": params["decoder"]["mean"]["bias"][0], "sigma": lane.likelihood.sigma}


def _train(lanes, program=PROGRAM, *, log_every=4, cell_width=2, **kwargs):
    """`train.train` on one device, wherever the tests run."""
    defaults = {"probe": _probe, "probe_every": 4, "on_chunk": lambda *_: None}
    defaults["devices"] = jax.devices()[:1]
    return train.train(
        _stack(*lanes),
        program,
        cell_width=cell_width,
        log_every=log_every,
        **(defaults | kwargs),
    )


@functools.cache
def _single(program):
    """Returns init and train_chunk for one lane, jitted."""
    return (
        jax.jit(functools.partial(train.init, program=program)),
        jax.jit(functools.partial(train.train_chunk, program=program)),
    )


def _run(lane, num_epochs, program):
    """Returns the first state, the data, the last state and the metrics of one lane."""
    init, chunk = _single(program)
    start, data = init(lane)
    state, metrics = chunk(start, data, lane, num_epochs)
    return start, data, state, metrics


def _assert_same(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def _take(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


_CLOSED_FORM = ClosedForm(sigma=0.5, rate=1.0, covariance="isotropic", estimator="full_data")
UNEVEN_VAE = networks.VAE(VAE.encoder, networks.Decoder(4, 1, heads=("mean", "logvar")))


def _heteroscedastic(stabiliser, exponent):
    return Heteroscedastic(
        sigma=0.5, floor=0.0, exponent=exponent, warmup=0.5, rate=0.1, stabiliser=stabiliser
    )


# The order of an epoch


@pytest.mark.parametrize("num_points", [1, 2, 9, 12, 97, 200, 46_000, 46_001, 60_000])
def test_epoch_order_is_a_permutation(num_points):
    """Up to 46 000 all products fit 32 bits; above that the order is a sort's."""
    keys = jax.random.split(jax.random.key(0), 20)
    orders = jax.jit(jax.vmap(functools.partial(train.epoch_order, num_points=num_points)))(keys)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(num_points), (20, 1)))


@pytest.fixture(scope="module", params=[7, 12])
def many_orders(request):
    """20 000 orders of a prime number of points and of one with many divisors."""
    order = functools.partial(train.epoch_order, num_points=request.param)
    keys = jax.random.split(jax.random.key(1), 20_000)
    return np.asarray(jax.jit(jax.vmap(order))(keys))


def test_every_point_is_equally_likely_at_every_place(many_orders):
    num_points = many_orders.shape[1]
    for place in many_orders.T:
        assert stats.chisquare(np.bincount(place, minlength=num_points)).pvalue > 1e-4


def test_all_strides_are_equally_likely(many_orders):
    num_points = many_orders.shape[1]
    stride = (many_orders[:, 1] - many_orders[:, 0]) % num_points
    counts = np.bincount(stride, minlength=num_points)
    coprime = np.gcd(np.arange(num_points), num_points) == 1
    assert np.all(counts[~coprime] == 0)
    assert stats.chisquare(counts[coprime]).pvalue > 1e-4


@pytest.mark.parametrize("distance", [1, 2, 5, 10])
def test_pairs_of_points_share_a_batch_as_often_as_under_a_random_permutation(distance):
    """The epoch's order alone never puts i and i + n/2 into one half; the data's order mends it.

    Over seeds, for points of the grid, so both the draw in `init` and that of the epoch count.
    """
    program = dataclasses.replace(PROGRAM, num_points=20, batch_size=10)
    num = 5_000

    def shared(seed):
        _, data = train.init(dataclasses.replace(_lane(), seed=seed), program)
        order = train.epoch_order(jax.random.fold_in(jax.random.key(2), seed), 20)
        rank = jnp.argsort(jnp.argsort(data.t))[order]  # along the spiral, place by place
        batch = jnp.zeros(20, int).at[rank].set(jnp.arange(20) // 10)
        return batch[3] == batch[3 + distance]

    count = int(jnp.sum(jax.jit(jax.vmap(shared))(jnp.arange(num, dtype=jnp.uint32))))
    expected = 9 / 19
    assert abs(count - num * expected) < 5 * np.sqrt(num * expected * (1 - expected))


# Schedules


@pytest.mark.parametrize(
    ("kind", "progress", "epoch", "expected"),
    [
        ("constant", 0.0, 0, 1),
        ("constant", 0.99, 99, 1),
        ("step", 0.0, 0, 1),
        ("step", 0.0, 9.99, 1),
        ("step", 0.0, 10, 0.3),
        ("step", 0.0, 25, 0.09),
        ("cosine", 0.0, 0, 0),
        ("cosine", 0.1, 0, 0.5),
        ("cosine", 0.2, 0, 1),
        ("cosine", 0.6, 0, 0.5),
        ("cosine", 0.4, 0, 0.5 + 0.5 * np.cos(np.pi / 4)),
        ("cosine", 1.0, 0, 0),
    ],
)
def test_schedule_at_points_known_in_closed_form(kind, progress, epoch, expected):
    lane = _lane(warmup=0.2, decay_every=10, decay_factor=0.3)
    found = train.schedule(jnp.float32(progress), jnp.float32(epoch), lane, kind)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1), (0.5, 0.5), (1.0, 0)])
def test_cosine_without_warmup_starts_at_its_top(progress, expected):
    found = train.schedule(jnp.float32(progress), jnp.float32(0), _lane(warmup=0), "cosine")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kl_warmup", "progress", "share"),
    [(0, 0, 1), (0, 0.7, 1), (0.5, 0, 0), (0.5, 0.125, 0.25), (0.5, 0.5, 1), (0.5, 0.99, 1)],
)
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_kl_weight_rises_linearly_to_beta(kl_warmup, progress, share, beta):
    found = train.kl_weight(jnp.float32(progress), _lane(kl_warmup=kl_warmup, beta=beta))
    np.testing.assert_allclose(found, beta * share, rtol=1e-6)


def test_training_follows_the_kl_weight():
    """With a learning rate of 0 the metrics show the weight, epoch by epoch."""
    lane = _lane(encoder_learning_rate=0, decoder_learning_rate=0, beta=2.0, kl_warmup=0.5)
    chunk = _single(ONE_STEP)[1]
    state, data, _, _ = _run(lane, 0, ONE_STEP)
    weights = []
    for _ in range(4):
        state, metrics = chunk(state, data, lane, 1)
        weights.append((metrics["loss"] - metrics["reconstruction"]) / metrics["kl"])
    # The loss is some tens of nats in float32, the KL some tenths.
    np.testing.assert_allclose(weights, [0, 1, 2, 2], atol=1e-3)


def test_a_decay_to_nearly_nothing_stops_the_training_at_its_epoch():
    lane = _lane(decay_every=2, decay_factor=1e-12)
    program = dataclasses.replace(PROGRAM, schedule="step")
    after = [_run(lane, num, program)[2].params for num in (1, 2, 5)]
    assert not np.array_equal(*(p["encoder"]["mean"]["bias"] for p in after[:2]))
    _assert_same(after[1], after[2])


# One epoch


@pytest.mark.parametrize(
    ("num_points", "batch_size", "shuffle"),
    [(10, 4, True), (7, 7, True), (11, 2, False)],
)
def test_an_epoch_uses_every_point_once(num_points, batch_size, shuffle):
    """At a learning rate of 0 the epoch's KL, which has no noise, is the mean over the points."""
    program = dataclasses.replace(
        PROGRAM, num_points=num_points, batch_size=batch_size, shuffle=shuffle
    )
    lane = _lane(encoder_learning_rate=0, decoder_learning_rate=0, beta=3.0)
    start, data, state, metrics = _run(lane, 2, program)
    _assert_same(start.params, state.params)
    mean, logvar = jax.vmap(VAE.encode, in_axes=(None, 0))(start.params, data.x)
    kl = np.asarray(jax.vmap(gaussian.kl_to_standard)(mean, logvar), np.float64)
    assert kl.std() > 0.01  # so a lost point would show
    np.testing.assert_allclose(metrics["kl"], kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], metrics["reconstruction"] + 3 * metrics["kl"], rtol=1e-5
    )


def test_noise_and_order_change_from_epoch_to_epoch():
    frozen = _lane(encoder_learning_rate=0, decoder_learning_rate=0)
    rows = _train([frozen], log_every=1).metrics["reconstruction"][0]
    assert len(set(rows)) == PROGRAM.num_epochs


def _batch(x, eps, weight=None):
    """One step on these points, at full weight of the KL."""
    weight = np.ones(len(x), "f") if weight is None else weight
    zero, one = np.float32(0), np.float32(1)
    return train.Batch(x, eps, weight, share=one, epoch=zero, progress=zero, beta=one)


_GRAD = jax.jit(jax.grad(train.loss_fn, has_aux=True), static_argnums=4)


@pytest.mark.parametrize("kind", ["elbo", "iwae"])
def test_a_padded_batch_has_the_gradient_of_its_points_alone(kind):
    """And its part in what the likelihood carries."""
    likelihood = jax.tree.map(np.float32, _CLOSED_FORM)
    lane = dataclasses.replace(_lane(), likelihood=likelihood)
    own, carried = likelihood.init()
    params = VAE.init(jax.random.key(0)) | {"likelihood": own}
    program = dataclasses.replace(PROGRAM, objective=kind)
    rng = np.random.default_rng(0)
    x, eps = rng.normal(size=(4, 2)).astype("f"), rng.normal(size=(4, 3, 1)).astype("f")
    whole = _batch(x, eps, np.array([1.0, 1, 0, 0], "f"))
    padded, aux = _GRAD(params, carried, whole, lane, program)
    alone, own = _GRAD(params, carried, _batch(x[:2], eps[:2]), lane, program)
    # the same sums in float32, gradients of some tens at this sigma
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, padded, alone)
    jax.tree.map(close, aux, own)


@pytest.mark.parametrize("kind", ["elbo", "iwae"])
def test_a_decoder_with_its_own_loss_leaves_the_encoder_on_the_bound(kind):
    """beta_nll: nothing changes at an exponent of 0, at 1 the decoder's gradients alone do."""
    program = dataclasses.replace(PROGRAM, vae=UNEVEN_VAE, objective=kind)
    rng = np.random.default_rng(1)
    x, eps = rng.normal(size=(4, 2)).astype("f"), rng.normal(size=(4, 3, 1)).astype("f")
    params = UNEVEN_VAE.init(jax.random.key(0)) | {"likelihood": {}}

    def gradients(stabiliser, exponent):
        lane = _lane(likelihood=_heteroscedastic(stabiliser, exponent))
        return _GRAD(params, {}, _batch(x, eps), lane, program)[0]

    plain, same, weighed = (
        gradients(*pair) for pair in (("none", 0.0), ("beta_nll", 0.0), ("beta_nll", 1.0))
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)  # float32
    jax.tree.map(close, plain, same)
    jax.tree.map(close, plain["encoder"], weighed["encoder"])
    mean, own = (tree["decoder"]["mean"]["kernel"] for tree in (plain, weighed))
    assert np.all(np.abs(own) < 0.5 * np.abs(mean))  # weighed by variances of about 0.25


def test_closed_form_is_the_mean_residual_of_an_epoch_with_a_padded_batch():
    """Networks held still: sigma^2 is E_q (x - m)^2 over the points and dimensions, epoch by epoch.

    A wrong weight of the last batch, of 2 points and 2 of padding, would show.
    """
    lane = _lane(likelihood=_CLOSED_FORM, encoder_learning_rate=0, decoder_learning_rate=0)
    start, data, state, _ = _run(lane, 1, PROGRAM)
    expected = []
    for epoch in range(2):
        state_then = dataclasses.replace(start, epoch=jnp.int32(epoch))
        batch = train.batches(state_then, data, lane, PROGRAM)
        keep = np.asarray(batch.weight).ravel() > 0
        x, eps = (np.asarray(v).reshape(12, -1)[keep] for v in (batch.x, batch.eps))
        mean, logvar = jax.vmap(VAE.encode, in_axes=(None, 0))(start.params, x)
        z = np.asarray(mean) + np.exp(0.5 * np.asarray(logvar)) * eps
        decoded = jax.vmap(VAE.decode, in_axes=(None, 0))(start.params, z)["mean"]
        expected.append(np.sqrt(np.mean((x - np.asarray(decoded)) ** 2)))
    assert float(state.carried["scale"]) == pytest.approx(expected[0], rel=1e-5)
    # The second epoch by a chunk of its own, from the state of the first, and in one chunk of two.
    later, metrics = _single(PROGRAM)[1](state, data, lane, 1)
    assert float(later.carried["scale"]) == pytest.approx(expected[1], rel=1e-5)
    together = _run(lane, 2, PROGRAM)[2]
    _assert_same((later.all_params, later.opt_state), (together.all_params, together.opt_state))
    # It was trained with the first epoch's sigma: that is what the bound knows.
    reconstruction = (expected[1] / expected[0]) ** 2 + np.log(2 * np.pi * expected[0] ** 2)
    np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=1e-4)
    assert set(state.all_params["likelihood"]) == {"scale", "sum"}


def test_weight_decay_pulls_the_decoder_towards_zero_at_its_learning_rate():
    """Beside Adam's step, which stays as it was; a decay of the variance's head is added to it."""
    program = dataclasses.replace(ONE_STEP, vae=UNEVEN_VAE, num_samples=1)
    likelihood = _heteroscedastic("none", 0.0)
    start, _, plain, _ = _run(_lane(likelihood=likelihood), 1, program)
    decays = {"decoder_weight_decay": 0.5, "variance_weight_decay": 2.0}
    _, _, decayed, _ = _run(_lane(likelihood=likelihood, **decays), 1, program)
    _assert_same(plain.params["encoder"], decayed.params["encoder"])
    for layer, before in start.params["decoder"].items():
        rate = 0.01 * (2.5 if layer == "logvar" else 0.5)
        for name in before:
            found = decayed.params["decoder"][layer][name] - plain.params["decoder"][layer][name]
            np.testing.assert_allclose(found, -rate * before[name], atol=2e-7)  # rounding


def test_the_first_step_is_the_learning_rate_against_the_gradient():
    """Adam's first step is lr g / (|g| + 1e-8): its size doesn't depend on the gradient's."""
    rates = {"encoder": 0.01, "decoder": 0.003}
    lane = _lane(**{f"{name}_learning_rate": rate for name, rate in rates.items()})
    start, data, state, _ = _run(lane, 1, ONE_STEP)

    # The test's own estimate of the gradient, from other noise.
    @jax.jit
    @functools.partial(jax.vmap, in_axes=0)
    def gradients(eps):
        batch = _batch(data.x, eps)
        return jax.grad(train.loss_fn, has_aux=True)(start.params, {}, batch, lane, ONE_STEP)[0]

    grads = gradients(jax.random.normal(jax.random.key(9), (1_000, 8, 1, 1)))
    certain = 0
    for name, rate in rates.items():

        def check(grad, before, after, rate=rate):
            grad = np.asarray(grad, np.float64)
            step = np.asarray(after, np.float64) - np.asarray(before, np.float64)
            # Rounding of a parameter of order 1; lr / 1000 for gradients as small as 1e-5.
            np.testing.assert_allclose(np.abs(step), rate, atol=1e-7 + rate / 1000)
            # Training saw 200 samples, so its gradient is less certain than this estimate.
            sure = np.abs(grad.mean(axis=0)) > 6 * grad.std(axis=0) / np.sqrt(200)
            np.testing.assert_array_equal(np.sign(step)[sure], -np.sign(grad.mean(axis=0))[sure])
            return int(sure.sum())

        parts = [tree[name] for tree in (grads, start.params, state.params)]
        certain += sum(jax.tree.leaves(jax.tree.map(check, *parts)))
    assert certain > 20  # of 36 parameters


def test_a_learning_rate_of_zero_freezes_exactly_that_network():
    rates = [(0, 0), (0, 0.01), (0.01, 0), (0.01, 0.01)]
    lanes = [_lane(encoder_learning_rate=a, decoder_learning_rate=b) for a, b in rates]
    params = _train(lanes).params
    for place, name in enumerate(("encoder", "decoder")):
        for leaf in jax.tree.leaves(params[name]):
            for lane, rate in enumerate(rates):
                # Adam moves every single parameter, if it moves.
                assert np.all((leaf[lane] != leaf[0]) == (rate[place] > 0))


def test_lanes_that_differ_in_numbers_share_data_and_initialisation():
    """Paired comparisons: sigma and noise_sigma leave the seed's streams alone."""
    frozen = {"encoder_learning_rate": 0, "decoder_learning_rate": 0}
    out = _train(
        [
            _lane(sigma=0.5, **frozen),
            _lane(sigma=0.1, **frozen),
            _lane(noise_sigma=0.8, **frozen),
            _lane(seed=1, **frozen),
        ]
    )
    t, x, params = out.data.t, out.data.x, [_take(out.params, i) for i in range(4)]
    _assert_same((t[0], x[0], params[0]), (t[1], x[1], params[1]))
    _assert_same((t[0], params[0]), (t[2], params[2]))
    assert np.all(x[0] != x[2])
    assert not np.array_equal(t[0], t[3])  # the same grid in another order
    _assert_same(np.sort(t[0]), np.sort(t[3]))
    kernels = [p["encoder"]["mean"]["kernel"] for p in params]
    assert np.all(kernels[0] != kernels[3])


def test_training_starts_from_networks_that_are_given():
    still = {"encoder_learning_rate": 0, "decoder_learning_rate": 0}
    lanes = [_lane(seed=0, **still), _lane(seed=1, **still), _lane(seed=2, **still)]
    given = jax.tree.map(lambda leaf: leaf + np.float32(1), _train(lanes).params)
    _assert_same(_train(lanes, params=given).params, given)


def test_training_improves_the_bound():
    """All parts together: sign, rates, data. In 300 steps of 0.01 the loss falls by a quarter."""
    for seed in range(4):
        lane = _lane(seed=seed)
        _, data, state, early = _run(lane, 5, PROGRAM)
        state, _ = _single(PROGRAM)[1](state, data, lane, 90)
        _, late = _single(PROGRAM)[1](state, data, lane, 5)
        assert late["loss"] < 0.75 * early["loss"]


# Chunks, rows and probes


@pytest.mark.parametrize("log_every", [1, 3, 7, 100])
def test_the_length_of_chunks_changes_no_bit_and_no_mean(log_every):
    lanes = [_lane(seed=0), _lane(seed=1)]
    whole, parts = _train(lanes, log_every=8), _train(lanes, log_every=log_every)
    _assert_same(whole.params, parts.params)
    _assert_same(whole.data, parts.data)
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
    lanes = [_lane(sigma=0.5), _lane(sigma=0.25)]
    out = _train(lanes, log_every=log_every, probe_every=probe_every)
    np.testing.assert_array_equal(out.probe_epoch, expected)
    if not expected:
        assert out.probes == {}
        return
    assert out.probes["bias"].shape == (2, len(expected))
    assert np.all(out.probes["sigma"] == np.array([[0.5], [0.25]]))
    _assert_same(out.probes["bias"][:, -1], out.params["decoder"]["mean"]["bias"][:, 0])


def test_on_chunk_hears_every_epoch_of_every_lane_and_never_of_padding():
    heard = []
    out = _train(
        [_lane(seed=s) for s in range(5)],
        cell_width=2,
        log_every=3,
        on_chunk=lambda num, metrics: heard.append((num, metrics)),
    )
    assert [num for num, _ in heard] == [6, 6, 4, 6, 6, 4, 3, 3, 2]  # rounds of 2, 2 and 1 lanes
    assert [len(metrics["loss"]) for _, metrics in heard] == [2] * 6 + [1] * 3
    rounds = [np.stack([m["loss"] for _, m in heard[i : i + 3]], axis=1) for i in (0, 3, 6)]
    _assert_same(np.concatenate(rounds), out.metrics["loss"])


def test_shapes_of_what_comes_out():
    out = _train([_lane(seed=s) for s in range(3)], cell_width=2)
    assert out.data.t.shape == (3, 10)
    assert out.data.x.shape == (3, 10, 2)
    assert {name: rows.shape for name, rows in out.metrics.items()} == dict.fromkeys(NAMES, (3, 2))
    assert out.params["encoder"]["hidden_0"]["kernel"].shape == (3, 2, 4)
    assert out.params["likelihood"] == {}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(out.params))


def test_nothing_compiles_twice():
    """Not for a second call, a shorter last chunk, other numbers or other log_every."""
    compiled = []

    def listener(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs.get("fun_name", event))

    program = dataclasses.replace(PROGRAM, num_epochs=5)  # no other test's
    lanes = [_lane(seed=0), _lane(seed=1)]
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        _train(lanes, program, log_every=3)
        assert len(compiled) > 0  # or the test would be blind
        compiled.clear()
        _train(lanes, program, log_every=3)
        _train([_lane(seed=7, sigma=0.1, beta=2.0), _lane(seed=3)], program, log_every=2)
        equal = dataclasses.replace(program, vae=copy.deepcopy(VAE))
        _train(lanes, equal, log_every=5)
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


# Lanes: nothing but its own numbers changes a lane's bits


# The size of the default model, at which other code may be chosen than for tiny ones.
DEFAULT_SIZE = train.Program(
    vae=networks.VAE(
        networks.Encoder(hidden_dim=32, hidden_layers=1),
        networks.Decoder(hidden_dim=32, hidden_layers=1),
    ),
    num_points=50,
    design="grid",
    batch_size=20,
    shuffle=True,
    objective="elbo",
    num_samples=1,
    num_epochs=8,
    schedule="constant",
)
SIGMAS = (0.5, 0.1, 0.2, 1.0, 0.3)
FIVE = [_lane(seed=s, sigma=sigma) for s, sigma in enumerate(SIGMAS)]
CARRYING = [  # the same with a state besides the parameters
    _lane(seed=s, likelihood=dataclasses.replace(_CLOSED_FORM, sigma=sigma))
    for s, sigma in enumerate(SIGMAS)
]


def train_five(lanes, devices):
    """Trains in cells of two; also called on other numbers of devices, in other processes."""
    return _train(lanes, DEFAULT_SIZE, cell_width=2, devices=devices)


@pytest.fixture(scope="module")
def five():
    return train_five(FIVE, jax.devices()[:1])


@pytest.mark.parametrize("cell_width", [4, 8])
def test_the_width_of_a_cell_changes_no_bit(five, cell_width):
    """Widths 2 (five lanes, one of padding), 4 (three of padding) and 5 (8 is cut to the lanes)."""
    wide = _train(FIVE, DEFAULT_SIZE, cell_width=cell_width)
    _assert_same(
        (five.params, five.data, five.metrics, five.probes),
        (wide.params, wide.data, wide.metrics, wide.probes),
    )


@pytest.mark.parametrize("index", range(5))
def test_a_lane_alone_is_the_lane_among_others(five, index):
    alone = _train([FIVE[index]], DEFAULT_SIZE)
    _assert_same(_take(alone.params, 0), _take(five.params, index))
    _assert_same(_take(alone.metrics, 0), _take(five.metrics, index))


def test_more_lanes_and_another_order_keep_the_old_ones(five):
    """As when seeds are added to a sweep: a lane's neighbours, round and place are no matter."""
    order = [4, 0, 2]
    some = _train([FIVE[i] for i in order], DEFAULT_SIZE)
    _assert_same(some.params, _take(five.params, np.array(order)))


@pytest.mark.parametrize(
    "poison",
    [{"sigma": 1e-30}, {"encoder_learning_rate": np.inf}, {"noise_sigma": np.nan}],
    ids=str,
)
def test_a_lane_that_breaks_leaves_the_others_alone(five, poison):
    lanes = [*FIVE[:3], _lane(seed=3, **poison), FIVE[4]]
    broken = _train(lanes, DEFAULT_SIZE, cell_width=4)
    assert not np.isfinite(broken.metrics["loss"][3]).all()
    others = np.array([0, 1, 2, 4])
    _assert_same(_take(broken.params, others), _take(five.params, others))
    _assert_same(_take(broken.metrics, others), _take(five.metrics, others))


def digest(out):
    """Returns a hash of every bit of a `Trained`."""
    leaves = jax.tree.leaves((out.params, out.data, out.metrics, out.probes))
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()


def print_digests():
    """Prints the digests on two and on four devices; called in a process that has four."""
    assert jax.device_count() == 4
    for num in (2, 4):
        print(*(digest(train_five(lanes, jax.devices()[:num])) for lanes in (FIVE, CARRYING)))


def test_the_number_of_devices_changes_no_bit(five):
    """Three rounds on one device, two on two, one on three of four; one is this process."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests import train_test; train_test.print_digests()"],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[1],
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
    two, four = (line.split() for line in stdout.splitlines())
    assert len(set(one)) == 2 and one == two == four

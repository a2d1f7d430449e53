"""Training: its parts against closed forms, and what a lane does that stops being finite."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.maths import gaussian
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood import Learned
from spiral_vae.model.objective import Elbo
from spiral_vae.process.design import Sequence
from spiral_vae.start import ByOrder
from spiral_vae.training import train
from spiral_vae.training.optimizer import Constant, Cosine, Step
from tests.lanes import CLOSED_FORM, POISONS, QUICKLY, VAE, assert_same, heteroscedastic, make_lane

# One step an epoch, and so many samples that its gradient is nearly the expectation.
ONE_STEP = {
    "num_points": 8,
    "batch_size": 8,
    "num_samples": 200,
    "num_epochs": 4,
    "shuffle": False,
}
_INIT = jax.jit(train.init)
_CHUNK = jax.jit(train.train_chunk, compiler_options=QUICKLY)
_FIRST_FAILURE = jax.jit(train.first_failure)


def _run(lane, num_epochs):
    """Returns the first state, the data, the last state and the metrics of one lane."""
    start, data = _INIT(lane)
    state, metrics = _CHUNK(start, data, lane, num_epochs)
    return start, data, state, metrics


# The order of an epoch


@pytest.mark.parametrize("num_points", [1, 2, 9, 12, 97, 200, 99_991, 2**20, 2**20 + 1])
def test_epoch_order_is_a_permutation(num_points):
    """Up to 2^20 all products fit 32 bits; above that the order is a sort's."""
    keys = jax.random.split(jax.random.key(0), 20 if num_points < 10_000 else 3)
    orders = jax.jit(jax.vmap(functools.partial(train.epoch_order, num_points=num_points)))(keys)
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.tile(np.arange(num_points), (len(keys), 1))
    )


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
    lane, num = make_lane(num_points=20, batch_size=10), 5_000

    def shared(seed):
        _, data = train.init(dataclasses.replace(lane, seed=seed))
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
    schedules = {
        "constant": Constant(),
        "step": Step(decay_every=10, decay_factor=0.3),
        "cosine": Cosine(warmup=0.2),
    }
    found = schedules[kind](Time(jnp.float32(epoch), jnp.float32(progress)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1), (0.5, 0.5), (1.0, 0)])
def test_cosine_without_warmup_starts_at_its_top(progress, expected):
    found = Cosine(warmup=0.0)(Time(jnp.float32(0), jnp.float32(progress)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kl_warmup", "progress", "share"),
    [(0, 0, 1), (0, 0.7, 1), (0.5, 0, 0), (0.5, 0.125, 0.25), (0.5, 0.5, 1), (0.5, 0.99, 1)],
)
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_kl_weight_rises_linearly_to_beta(kl_warmup, progress, share, beta):
    found = Elbo(beta=beta, kl_warmup=kl_warmup).weight(Time(jnp.float32(0), jnp.float32(progress)))
    np.testing.assert_allclose(found, beta * share, rtol=1e-6)


@pytest.mark.parametrize("epoch", [0, 3])
def test_progress_goes_on_within_an_epoch(epoch):
    """3 steps an epoch, 8 epochs."""
    lane = make_lane()
    state, data = _INIT(lane)
    time = train.batches(jnp.int32(epoch), state.key, data, lane).time
    np.testing.assert_allclose(time.epoch, epoch + np.arange(3) / 3, rtol=1e-6)
    np.testing.assert_allclose(time.progress, (epoch + np.arange(3) / 3) / 8, rtol=1e-6)


def test_training_follows_the_kl_weight():
    """With a learning rate of 0 the metrics show the weight, epoch by epoch."""
    still = {"encoder_learning_rate": 0, "decoder_learning_rate": 0}
    lane = make_lane(**ONE_STEP, **still, beta=2.0, kl_warmup=0.5)
    state, data, _, _ = _run(lane, 0)
    weights = []
    for _ in range(4):
        state, metrics = _CHUNK(state, data, lane, 1)
        weights.append((metrics["loss"] - metrics["reconstruction"]) / metrics["kl"])
    # The loss is some tens of nats in float32, the KL some tenths.
    np.testing.assert_allclose(weights, [0, 1, 2, 2], atol=1e-3)


def test_a_decay_to_nearly_nothing_stops_the_training_at_its_epoch():
    lane = make_lane(schedule="step", decay_every=2, decay_factor=1e-12)
    after = [_run(lane, num)[2].params for num in (1, 2, 5)]
    assert not np.array_equal(*(p["encoder"]["mean"]["bias"] for p in after[:2]))
    assert_same(after[1], after[2])


# One epoch


@pytest.mark.parametrize(
    ("num_points", "batch_size", "shuffle"),
    [(10, 4, True), (7, 7, True), (11, 2, False)],
)
def test_an_epoch_uses_every_point_once(num_points, batch_size, shuffle):
    """At a learning rate of 0 the epoch's KL, which has no noise, is the mean over the points."""
    lane = make_lane(
        num_points=num_points,
        batch_size=batch_size,
        shuffle=shuffle,
        encoder_learning_rate=0,
        decoder_learning_rate=0,
        beta=3.0,
    )
    start, data, state, metrics = _run(lane, 2)
    assert_same(start.params, state.params)
    heads = VAE.encode(start.params, data.x.T)
    kl = np.asarray(gaussian.kl_to_standard(heads["mean"], heads["logvar"]), np.float64)
    assert kl.std() > 0.01  # so a lost point would show
    np.testing.assert_allclose(metrics["kl"], kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], metrics["reconstruction"] + 3 * metrics["kl"], rtol=1e-5
    )


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_inputs_are_the_same_however_many_epochs_are_drawn_at_once(monkeypatch, epochs):
    lane = make_lane()
    _, _, expected, metrics = _run(lane, 7)  # all at once
    monkeypatch.setattr(train, "_DRAWN_AT_ONCE", epochs * 10)  # points of one sample each
    # not the one compiled before
    again = jax.jit(lambda *args: train.train_chunk(*args), compiler_options=QUICKLY)
    state, found = again(*_INIT(lane), lane, 7)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)  # another program
    jax.tree.map(close, (state.all_params, found), (expected.all_params, metrics))


def test_noise_and_order_change_from_epoch_to_epoch():
    frozen = make_lane(encoder_learning_rate=0, decoder_learning_rate=0)
    state, data, _, _ = _run(frozen, 0)
    rows = []
    for _ in range(8):
        state, metrics = _CHUNK(state, data, frozen, 1)
        rows.append(float(metrics["reconstruction"]))
    assert len(set(rows)) == 8


def test_noise_of_a_step_is_what_the_objective_makes_of_it():
    """The ELBO's is standard normal; the evidence shifts its nodes by a uniform part of a step."""
    noise = []
    for own in ({"objective": "elbo"}, {"objective": "evidence", "num_samples": 16}):
        lane = make_lane(**own)
        state, data = _INIT(lane)
        drawn = [train.batches(jnp.int32(e), state.key, data, lane).eps for e in range(300)]
        noise.append(np.ravel(drawn))
    normal, uniform = noise
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def _batch(x, eps, weight=None):
    """One step on these points, at full weight of the KL."""
    weight = np.ones(x.shape[1], "f") if weight is None else weight
    zero, one = np.float32(0), np.float32(1)
    return train.Batch(x, eps, weight, share=one, time=Time(zero, zero), kl_weight=one)


_GRAD = jax.jit(jax.grad(train.loss_fn, has_aux=True))


@pytest.mark.parametrize("kind", ["elbo", "iwae"])
def test_a_padded_batch_has_the_gradient_of_its_points_alone(kind):
    """And its part in what the likelihood carries."""
    lane = make_lane(likelihood=CLOSED_FORM, objective=kind)
    own, carried = lane.likelihood.init(2)
    params = VAE.init(jax.random.key(0)) | {"likelihood": own}
    rng = np.random.default_rng(0)
    x, eps = rng.normal(size=(2, 4)).astype("f"), rng.normal(size=(1, 3, 4)).astype("f")
    whole = _batch(x, eps, np.array([1.0, 1, 0, 0], "f"))
    padded, aux = _GRAD(params, carried, whole, lane)
    alone, own = _GRAD(params, carried, _batch(x[:, :2], eps[..., :2]), lane)
    # the same sums in float32, gradients of some tens at this sigma
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, padded, alone)
    jax.tree.map(close, aux, own)


def test_freedom_is_shared_by_the_points_that_are_seen():
    lane = make_lane(likelihood=Learned(sigma=0.5, freedom=4.0), num_points=40)
    half = dataclasses.replace(lane.data, design=Sequence(length=10, a=0.9, missing=0.5))
    for data in (lane.data, half):
        state, found = train.init(dataclasses.replace(lane, data=data))
        seen = 40 if found.observed is None else float(found.observed.sum())
        assert float(state.carried["freedom"]) == pytest.approx(4 / seen, rel=1e-6)
    assert seen < 30


def test_a_batch_of_which_nothing_is_seen_teaches_nothing():
    lane = make_lane(likelihood=CLOSED_FORM)
    own, carried = lane.likelihood.init(2)
    params = VAE.init(jax.random.key(0)) | {"likelihood": own}
    nothing = _batch(np.zeros((2, 4), "f"), np.zeros((1, 1, 4), "f"), np.zeros(4, "f"))
    grads, (terms, _) = _GRAD(params, carried, nothing, lane)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))
    assert float(terms.loss) == 0


@pytest.mark.parametrize("kind", ["elbo", "iwae"])
def test_a_decoder_with_its_own_loss_leaves_the_encoder_on_the_bound(kind):
    """beta_nll: nothing changes at an exponent of 0, at 1 the decoder's gradients alone do."""
    rng = np.random.default_rng(1)
    x, eps = rng.normal(size=(2, 4)).astype("f"), rng.normal(size=(1, 3, 4)).astype("f")
    vae = make_lane(likelihood=heteroscedastic()).vae
    params = vae.init(jax.random.key(0)) | {"likelihood": {}}

    def gradients(stabiliser, exponent):
        lane = make_lane(likelihood=heteroscedastic(stabiliser, exponent), objective=kind)
        return _GRAD(params, {}, _batch(x, eps), lane)[0]

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
    lane = make_lane(likelihood=CLOSED_FORM, encoder_learning_rate=0, decoder_learning_rate=0)
    start, data, state, _ = _run(lane, 1)
    expected = []
    for epoch in range(2):
        batch = train.batches(jnp.int32(epoch), start.key, data, lane)
        keep = np.asarray(batch.weight).ravel() > 0
        x, eps = (np.moveaxis(np.asarray(v), 0, -2) for v in (batch.x, batch.eps[:, :, 0]))
        x, eps = (v.reshape(len(v), -1)[:, keep] for v in (x, eps))
        heads = VAE.encode(start.params, x)
        z = np.asarray(heads["mean"]) + np.exp(0.5 * np.asarray(heads["logvar"])) * eps
        decoded = VAE.decode(start.params, z)["mean"]
        expected.append(np.sqrt(np.mean((x - np.asarray(decoded)) ** 2)))
    assert float(state.carried["scale"]) == pytest.approx(expected[0], rel=1e-5)
    # The second epoch by a chunk of its own, from the state of the first, and in one chunk of two.
    later, metrics = _CHUNK(state, data, lane, 1)
    assert float(later.carried["scale"]) == pytest.approx(expected[1], rel=1e-5)
    together = _run(lane, 2)[2]
    assert_same((later.all_params, later.opt_state), (together.all_params, together.opt_state))
    # It was trained with the first epoch's sigma: that is what the bound knows.
    reconstruction = (expected[1] / expected[0]) ** 2 + np.log(2 * np.pi * expected[0] ** 2)
    np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=1e-4)
    assert set(state.all_params["likelihood"]) == {"scale", "sum"}


def test_weight_decay_pulls_the_decoder_towards_zero_at_its_learning_rate():
    """Beside Adam's step, which stays as it was; a decay of the variance's head is added to it."""
    shape = ONE_STEP | {"num_samples": 1}
    plain, decayed = (
        make_lane(likelihood=heteroscedastic(weight_decay=own), decoder_weight_decay=all_, **shape)
        for own, all_ in ((0.0, 0.0), (2.0, 0.5))
    )
    start, _, plain, _ = _run(plain, 1)
    _, _, decayed, _ = _run(decayed, 1)
    assert_same(plain.params["encoder"], decayed.params["encoder"])
    for layer, before in start.params["decoder"].items():
        rate = 0.01 * (2.5 if layer == "logvar" else 0.5)
        for name in before:
            found = decayed.params["decoder"][layer][name] - plain.params["decoder"][layer][name]
            np.testing.assert_allclose(found, -rate * before[name], atol=2e-7)  # rounding


def test_the_first_step_is_the_learning_rate_against_the_gradient():
    """Adam's first step is lr g / (|g| + 1e-8): its size doesn't depend on the gradient's."""
    rates = {"encoder": 0.01, "decoder": 0.003}
    lane = make_lane(**ONE_STEP, **{f"{name}_learning_rate": rates[name] for name in rates})
    start, data, state, _ = _run(lane, 1)

    # The test's own estimate of the gradient, from other noise.
    @jax.jit
    @functools.partial(jax.vmap, in_axes=0)
    def gradients(eps):
        batch = _batch(data.x.T, eps)
        return jax.grad(train.loss_fn, has_aux=True)(start.params, {}, batch, lane)[0]

    grads = gradients(jax.random.normal(jax.random.key(9), (1_000, 1, 1, 8)))
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
    lanes = [make_lane(encoder_learning_rate=a, decoder_learning_rate=b) for a, b in rates]
    found = [_run(lane, 8)[2].params for lane in lanes]
    for place, name in enumerate(("encoder", "decoder")):
        for params, rate in zip(found, rates, strict=True):
            # Adam moves every single parameter, if it moves.
            moved = jax.tree.map(lambda a, b: a != b, params[name], found[0][name])
            for leaf in jax.tree.leaves(moved):
                assert np.all(leaf == (rate[place] > 0))


def test_lanes_that_differ_in_numbers_share_data_and_initialisation():
    """Paired comparisons: sigma and noise_sigma leave the seed's streams alone."""
    numbers = [{"sigma": 0.5}, {"sigma": 0.1}, {"noise_sigma": 0.8}, {"seed": 1}]
    starts = [_INIT(make_lane(**own)) for own in numbers]
    params = [state.params for state, _ in starts]
    t, x = [data.t for _, data in starts], [data.x for _, data in starts]
    assert_same((t[0], x[0], params[0]), (t[1], x[1], params[1]))
    assert_same((t[0], params[0]), (t[2], params[2]))
    assert np.all(x[0] != x[2])
    assert not np.array_equal(t[0], t[3])  # the same grid in another order
    assert_same(np.sort(t[0]), np.sort(t[3]))
    kernels = [p["encoder"]["mean"]["kernel"] for p in params]
    assert np.all(kernels[0] != kernels[3])


def test_training_improves_the_bound():
    """All parts together: sign, rates, data. In 300 steps of 0.01 the loss falls by a quarter."""
    for seed in range(4):
        lane = make_lane(seed=seed)
        _, data, state, early = _run(lane, 5)
        state, _ = _CHUNK(state, data, lane, 90)
        _, late = _CHUNK(state, data, lane, 5)
        assert late["loss"] < 0.75 * early["loss"]


# Lanes that stop being finite


@pytest.mark.parametrize("term", train.TERMS)
def test_the_first_failure_is_found_at_its_step_and_by_its_name(term):
    """Each poison is known to break one term of the first epoch, in this step, before others."""
    step, numbers = POISONS[term]
    lane = make_lane(**numbers)
    start, data, state, _ = _run(lane, 1)
    assert_same(state, start)  # what is not finite is not kept
    found = _FIRST_FAILURE(state, data, lane)
    assert (int(found[0]), train.TERMS[int(found[1])]) == (step, term)


def test_a_failure_in_a_later_epoch_counts_its_steps_from_the_start():
    """After 5 epochs of 3 steps the learning rate is 1e28: the next but one step overflows."""
    lane = make_lane(schedule="step", decay_every=5, decay_factor=1e30)
    _, data, state, metrics = _run(lane, 5)
    assert int(state.epoch) == 5 and np.isfinite(metrics["loss"])
    found = _FIRST_FAILURE(state, data, lane)
    assert (int(found[0]), train.TERMS[int(found[1])]) == (17, "reconstruction")


def test_a_chunk_that_breaks_leaves_the_state_as_it_was_again_and_again():
    lane = make_lane(schedule="step", decay_every=5, decay_factor=1e30)
    _, data, three, _ = _run(lane, 3)
    for _ in range(2):
        state, metrics = _CHUNK(three, data, lane, 3)
        assert_same(state, three)
        assert not np.isfinite(metrics["loss"])
    state, metrics = _CHUNK(three, data, lane, 2)  # as far as it can go
    assert int(state.epoch) == 5 and np.isfinite(metrics["loss"])


def test_an_adam_that_overflows_in_silence_is_not_kept():
    """The squares of the gradients are inf, all that is shown is finite: params would stand."""
    _, numbers = POISONS["gradient"]
    start, _, state, metrics = _run(make_lane(**numbers), 2)
    assert all(np.isfinite(value) for value in metrics.values())
    assert int(state.epoch) == 0
    assert_same(state.opt_state, start.opt_state)


# A start with the points' places


def test_the_pull_is_the_likelihood_of_the_places_and_moves_no_sigma():
    lane = make_lane(likelihood=Learned(sigma=np.float32(0.5)))
    lane = dataclasses.replace(lane, start=ByOrder(weight=np.float32(2.0), share=np.float32(0.5)))
    state, data = _INIT(lane)
    places = jax.random.normal(jax.random.key(4), (10,))
    plain = train.batches(jnp.zeros((), jnp.int32), state.key, data, lane)
    data = dataclasses.replace(data, start_z=places)
    pulled = train.batches(jnp.zeros((), jnp.int32), state.key, data, lane)
    # each point keeps its own place, through shuffling and padding
    by_x = {float(x): float(z) for x, z in zip(data.x[:, 0], places, strict=True)}
    shown = np.asarray(pulled.weight, bool)
    for x, z in zip(pulled.x[:, 0][shown], pulled.start_z[shown], strict=True):
        assert by_x[float(x)] == float(z)
    first, rest = (jax.tree.map(lambda leaf: leaf[0], batch) for batch in (plain, pulled))

    def loss(params, batch):
        return train.loss_fn(params, state.carried, batch, lane)[0]

    (before, grads), (after, own) = (
        jax.value_and_grad(loss)(state.params, batch) for batch in (first, rest)
    )
    heads = lane.vae.encode(state.params, rest.x)
    mean, scale = heads["mean"][0], np.exp(0.5 * heads["logvar"][0])
    log_q = stats.norm(mean, scale).logpdf(rest.start_z)
    decoded = lane.vae.decode(state.params, rest.start_z[None])["mean"]
    log_p = stats.norm(decoded, 0.5).logpdf(rest.x).sum(axis=0)
    assert float(after - before) == pytest.approx(-2 * np.mean(log_q + log_p), rel=1e-4)
    np.testing.assert_array_equal(own["likelihood"]["log_scale"], grads["likelihood"]["log_scale"])
    assert not np.array_equal(own["decoder"]["mean"]["bias"], grads["decoder"]["mean"]["bias"])

"""The encoder's own training: asleep, and after the decoder is frozen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spiral_vae.maths.noise import StudentT
from spiral_vae.model.likelihood import ClosedForm, Fixed
from spiral_vae.model.likelihood.estimator import Batch
from spiral_vae.model.posterior import Gaussian
from spiral_vae.training import dreams, train
from spiral_vae.training.dreams import Dreams
from tests.lanes import QUICKLY, assert_same, make_lane

SLEEP, AFTER = Dreams(sleep=0.5), Dreams(after=0.5)
_INIT, _BATCHES = jax.jit(train.init), jax.jit(train.batches)
_STEP = jax.jit(train.train_step)
_EPOCH = jax.jit(train.train_epoch, compiler_options=QUICKLY)


def _lane(encoder, likelihood=None):
    lane = make_lane(num_epochs=4, log_every=1, likelihood=likelihood)
    return dataclasses.replace(lane, encoder=encoder)


def _trained(lane, epochs):
    state, data = _INIT(lane)
    for _ in range(epochs):
        inputs = _BATCHES(state.epoch, state.key, data, lane)
        state, _ = _EPOCH(state, inputs, lane)
    return state, data


def _differ(one, two):
    return any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True))


def test_the_halves_of_a_training_have_their_steps():
    """4 epochs of 2 steps: a half is 4 of them, and the first of the other is none of them."""
    epoch = jnp.arange(0, 4, 0.5)
    np.testing.assert_array_equal(SLEEP.asleep(epoch / 4), [True] * 4 + [False] * 4)
    np.testing.assert_array_equal(AFTER.decoder_frozen(epoch, 4), [False] * 4 + [True] * 4)
    odd = Dreams(after=0.3)  # 1.2 epochs of 4: it begins with an epoch, so that one is whole
    np.testing.assert_array_equal(odd.decoder_frozen(epoch, 4), [False] * 6 + [True] * 2)


def test_draws_are_of_the_model():
    """A linear decoder of known slope and noise, over many draws."""

    class Line:
        latent_dim = 1

        def decode(self, params, z):
            return {"mean": jnp.concatenate([2 * z, z - 1])}

    num = 40_000
    z, x = dreams.dream(jax.random.key(0), {}, {}, Line(), Fixed(sigma=jnp.float32(0.5)), num)
    assert (z.shape, x.shape) == ((1, num), (2, num))
    residual = np.asarray(x - jnp.concatenate([2 * z, z - 1]))
    np.testing.assert_allclose(np.cov(residual), 0.25 * np.eye(2), atol=5 * 0.25 / np.sqrt(num) * 2)
    assert abs(np.corrcoef(residual[0], z[0])[0, 1]) < 4 / np.sqrt(num)
    np.testing.assert_allclose([np.mean(z), np.var(z)], [0, 1], atol=5 * np.sqrt(2 / num))


def test_student_t_noise_has_its_variance():
    noise = StudentT(dof=jnp.array([8.0, 20.0]))
    drawn = np.asarray(noise.sample(jax.random.key(1), (200_000, 2)))
    np.testing.assert_allclose(drawn.var(axis=0), noise.variance(), rtol=0.03)


def test_the_sleep_loss_is_least_for_the_posterior():
    """z ~ N(0, 1), x = z + eps: the exact posterior is N(x / 2, 1 / 2), of entropy known."""
    z, eps = jax.random.normal(jax.random.key(2), (2, 1, 100_000))

    class Encoder:
        def encode(self, params, x):
            mean = params["slope"] * x
            return {"mean": mean, "logvar": params["logvar"] + 0 * mean}

    params = {"slope": jnp.array(0.5), "logvar": jnp.log(jnp.array(0.5))}
    loss, grads = jax.value_and_grad(dreams.sleep_loss)(params, z, z + eps, Encoder(), Gaussian())
    assert float(loss) == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 0.5), abs=0.01)
    assert max(abs(float(leaf)) for leaf in jax.tree.leaves(grads)) < 0.02


def test_asleep_the_encoder_alone_learns_otherwise():
    """The decoder's first step is the same; the encoder's goes along the sleep loss."""
    plain, asleep = (_lane(encoder) for encoder in (Dreams(), SLEEP))
    state, data = _INIT(plain)
    batch = _BATCHES(state.epoch, state.key, data, asleep)
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    carry = (state.params, state.opt_state, state.carried)
    (found, _, _), _ = _STEP(carry, first, asleep)
    without = dataclasses.replace(first, dream_key=None)
    (expected, _, _), _ = _STEP(carry, without, plain)
    np.testing.assert_allclose(
        *(p["decoder"]["hidden_0"]["kernel"] for p in (found, expected)), rtol=1e-6
    )
    z, x = dreams.dream(
        first.dream_key, state.params, state.params["likelihood"], asleep.vae, asleep.likelihood, 4
    )
    grads = jax.grad(dreams.sleep_loss)(state.params, z, x, asleep.vae, asleep.posterior)
    step = jax.tree.map(lambda a, b: a - b, found["encoder"], state.params["encoder"])
    jax.tree.map(  # Adam's first step is the learning rate against the gradient's sign
        lambda s, g: np.testing.assert_allclose(s, -0.01 * np.sign(g), rtol=1e-3, atol=1e-6),
        step,
        grads["encoder"],
    )


def test_after_its_share_of_the_training_sleep_ends():
    one, two = (_trained(_lane(SLEEP), epochs)[0] for epochs in (2, 3))
    lane = _lane(Dreams())
    _, data = _INIT(lane)
    inputs = _BATCHES(one.epoch, one.key, data, lane)
    expected, _ = _EPOCH(one, inputs, lane)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        two.params,
        expected.params,
    )


@pytest.mark.parametrize("likelihood", [None, ClosedForm(sigma=0.5)])
def test_afterwards_decoder_and_noise_stand_still_and_the_encoder_goes_on(likelihood):
    lane = _lane(AFTER, likelihood)
    half, end = (_trained(lane, epochs)[0] for epochs in (2, 4))
    plain, _ = _trained(_lane(Dreams(), likelihood), 2)
    assert_same(half.params["decoder"], plain.params["decoder"])  # until then it is as without
    assert_same(end.params["decoder"], half.params["decoder"])
    assert_same(end.all_params["likelihood"], half.all_params["likelihood"])
    assert _differ(end.params["encoder"], half.params["encoder"])


def test_afterwards_the_loss_has_the_noise_that_stands_still():
    lane = _lane(AFTER, ClosedForm(sigma=0.5, estimator=Batch()))
    state, data = _trained(lane, 2)
    inputs = jax.tree.map(lambda leaf: leaf[0], _BATCHES(state.epoch, state.key, data, lane))
    x = jnp.asarray(np.random.default_rng(0).normal(size=inputs.x.shape), "f")

    def loss(scale):
        batch = dataclasses.replace(inputs, x=scale * x, frozen=jnp.asarray(True))
        _, (_, carried) = train.loss_fn(state.params, state.carried, batch, lane)
        return carried

    assert_same(loss(1.0), state.carried)
    assert_same(loss(9.0), state.carried)


def test_without_dreams_nothing_is_drawn():
    lane = _lane(Dreams())
    state, data = _INIT(lane)
    assert _BATCHES(state.epoch, state.key, data, lane).dream_key is None
    keys = _BATCHES(state.epoch, state.key, data, _lane(SLEEP)).dream_key
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3

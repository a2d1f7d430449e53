"""The same training as other JAX code has it: points as rows, Optax, a permutation each epoch."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import points

_ADAM = optax.adam(points.LEARNING_RATE)


class VAE(nn.Module):
    """Encoder and decoder with one hidden layer of tanh units."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, eps: jax.Array) -> jax.Array:
        """Returns the mean negative ELBO of a batch x [B, 2], up to its constant."""
        hidden = nn.tanh(nn.Dense(self.hidden)(x))
        mean, logvar = nn.Dense(1)(hidden), nn.Dense(1)(hidden)
        z = mean + jnp.exp(0.5 * logvar) * eps
        decoded = nn.Dense(2)(nn.tanh(nn.Dense(self.hidden)(z)))
        reconstruction = jnp.sum((x - decoded) ** 2, axis=1) / (2 * points.SIGMA**2)
        kl = -0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar), axis=1)
        return jnp.mean(reconstruction + kl)


def _step(carry: tuple, batch: jax.Array, key: jax.Array, model: VAE) -> tuple[tuple, jax.Array]:
    params, opt_state = carry
    eps = jax.random.normal(key, (len(batch), 1))
    loss, grads = jax.value_and_grad(model.apply)(params, batch, eps)
    updates, opt_state = _ADAM.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


def _start(seed: jax.typing.ArrayLike, model: VAE) -> tuple:
    params = model.init(jax.random.key(seed), jnp.zeros((1, 2)), jnp.zeros((1, 1)))
    return params, _ADAM.init(params)


def make_step(*, seeds: int, num_points: int, hidden: int, cores: int) -> Callable[[int], float]:
    """A Python loop over a jitted step, as in the examples of Flax and NumPyro; one seed."""
    assert seeds == 1
    del cores  # JAX takes all
    model, x = VAE(hidden), points.spiral(0, num_points)
    carry, key = jax.jit(_start, static_argnums=1)(0, model), jax.random.key(1)
    step = jax.jit(functools.partial(_step, model=model), donate_argnums=0)
    steps = num_points // points.BATCH_SIZE

    def train(epochs: int) -> float:
        nonlocal carry, key
        for _ in range(epochs):
            key, key_order, *keys = jax.random.split(key, 2 + steps)
            order = np.asarray(jax.random.permutation(key_order, num_points))
            losses = []
            for index, key_step in zip(np.split(order, steps), keys, strict=True):
                carry, loss = step(carry, x[index], key_step)
                losses.append(loss)
        return float(jnp.mean(jnp.stack(losses)))

    return train


def make_scan(*, seeds: int, num_points: int, hidden: int, cores: int) -> Callable[[int], float]:
    """All epochs in one compiled program and all seeds under one vmap."""
    del cores  # JAX takes all
    model, steps = VAE(hidden), num_points // points.BATCH_SIZE
    x = jnp.stack([points.spiral(seed, num_points) for seed in range(seeds)])
    carry = jax.jit(jax.vmap(functools.partial(_start, model=model)))(jnp.arange(seeds))
    keys = jax.random.split(jax.random.key(1), seeds)

    def one(carry: tuple, x: jax.Array, key: jax.Array, epochs: jax.Array) -> tuple:
        def epoch(i: jax.Array, state: tuple) -> tuple:
            key_order, *keys = jax.random.split(jax.random.fold_in(key, i), 1 + steps)
            batches = jax.random.permutation(key_order, x).reshape(steps, -1, 2)
            carry, losses = jax.lax.scan(
                lambda carry, inputs: _step(carry, *inputs, model),
                state[0],
                (batches, jnp.stack(keys)),
            )
            return carry, jnp.mean(losses)

        return jax.lax.fori_loop(0, epochs, epoch, (carry, jnp.zeros(())))

    run = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None)), donate_argnums=0)

    def train(epochs: int) -> float:
        nonlocal carry, keys
        carry, losses = run(carry, x, keys, epochs)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 0)
        return float(jnp.mean(losses))

    return train

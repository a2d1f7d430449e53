"""The latent ODE on the spirals of `experiments.bidirectional`: what a model that knows pace reads.

    python -m benchmarks.latent_ode [--seeds=2] [--iterations=2000]

As in the example beside the code of Chen, Rubanova, Bettencourt & Duvenaud 2018
(https://arxiv.org/abs/1806.07366): a recurrent encoder that goes back in time to q(z_0|x), four
latents that follow a learned ODE, 20 units, full batches, Adam at 0.01, and a noise of 0.3 that is
given. The ODE is solved by diffrax. Sequences, seen points and RMSE are those of the experiment.
"""

import argparse
import functools
import time

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import bidirectional

LATENT, HIDDEN, MEMORY = 4, 20, 25
STRIDE = 4
_STEP = 6 * np.pi / 999 * STRIDE  # of time, between points that are seen


def init(key: jax.Array) -> dict:
    """Returns params."""
    sizes = {
        "memory": (2 + MEMORY, MEMORY),
        "posterior": (MEMORY, 2 * LATENT),
        "pace_0": (LATENT, HIDDEN),
        "pace_1": (HIDDEN, HIDDEN),
        "pace_2": (HIDDEN, LATENT),
        "decoder_0": (LATENT, HIDDEN),
        "decoder_1": (HIDDEN, 2),
    }
    keys = jax.random.split(key, len(sizes))
    return {
        name: (jax.random.uniform(own, size, minval=-1) / np.sqrt(size[0]), jnp.zeros(size[1]))
        for own, (name, size) in zip(keys, sizes.items(), strict=True)
    }


def encode(params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and logvar of q(z_0|x), [S, 4] both, of sequences x [S, T, 2]."""

    def back(memory, here):
        return jnp.tanh(_dense(params["memory"], jnp.concatenate([here, memory], axis=-1))), None

    begin = jnp.zeros((len(x), MEMORY))
    memory, _ = jax.lax.scan(back, begin, jnp.swapaxes(x, 0, 1), reverse=True)
    return tuple(jnp.split(_dense(params["posterior"], memory), 2, axis=-1))


def decode(params: dict, z: jax.Array, length: int) -> jax.Array:
    """Returns what follows from z_0 [S, 4], [S, T, 2]."""

    def pace(t, z, args):
        del t, args
        hidden = jax.nn.elu(_dense(params["pace_0"], z))
        return _dense(params["pace_2"], jax.nn.elu(_dense(params["pace_1"], hidden)))

    times = _STEP * jnp.arange(length)
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(pace),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=_STEP,
        y0=z,
        saveat=diffrax.SaveAt(ts=times),
        max_steps=2 * length,
    ).ys
    out = _dense(params["decoder_1"], jax.nn.relu(_dense(params["decoder_0"], found)))
    return jnp.swapaxes(out, 0, 1)


def loss(params: dict, x: jax.Array, key: jax.Array) -> jax.Array:
    """Returns -ELBO, nats a sequence, up to a constant."""
    mean, logvar = encode(params, x)
    z = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
    residual = (x - decode(params, z, x.shape[1])) / bidirectional.NOISE
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1)
    return jnp.mean(0.5 * jnp.sum(residual**2, axis=(1, 2)) + kl)


def _dense(layer: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer[0] + layer[1]


@functools.partial(jax.jit, static_argnames="iterations")
def train(key: jax.Array, x: jax.Array, iterations: int) -> dict:
    """Returns params after so many steps on all of x."""
    optimizer = optax.adam(1e-2)
    key_init, key_eps = jax.random.split(key)
    params = init(key_init)

    def step(state, i):
        params, opt_state = state
        gradient = jax.grad(loss)(params, x, jax.random.fold_in(key_eps, i))
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(iterations))
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2_000)
    flags = parser.parse_args()
    _, x = bidirectional.draw(np.random.default_rng(0), 1_000, STRIDE)
    clean, fresh = bidirectional.draw(np.random.default_rng(1), bidirectional.NUM_FRESH, STRIDE)
    for seed in range(flags.seeds):
        start = time.perf_counter()
        params = train(jax.random.key(seed), jnp.asarray(x, jnp.float32), flags.iterations)
        mean, _ = encode(params, jnp.asarray(fresh, jnp.float32))
        found = np.asarray(decode(params, mean, fresh.shape[1]))
        seconds = time.perf_counter() - start
        print(f"seed {seed}: RMSE {bidirectional.rmse(found, clean):.3f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()

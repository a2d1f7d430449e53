"""Encoder and decoder: tanh MLPs in Flax Linen.

Modules map many examples at once, which lie along the last axis, contiguous in memory: [in, N].
`vmap` over one example would bring them to the front wherever a bias is added, and small networks
would take twice the time.

Kernels and biases start uniform in +-1/sqrt(fan_in). The bias matters: it spreads the bends of
the tanh units over the data, and without it most seeds fold the spiral instead of following it.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from spiral_vae.fields import field, integer, section

Params = dict[str, Any]
Heads = dict[str, jax.Array]
Sizes = tuple[tuple[str, int], ...]  # names and sizes of heads; hashable, unlike a dict


def _uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
    """Returns an initializer that is uniform in +-1/sqrt(fan_in), for kernels and biases."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Dense(nn.Module):
    """An affine map, [in, N] -> [features, N], with kernel [in, features]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = _uniform_fan_in(x.shape[0])
        kernel = self.param("kernel", init, (x.shape[0], self.features))
        bias = self.param("bias", init, (self.features,))
        # The bias as a product, so that its gradient is one too: XLA's sums over the last axis
        # take longer on CPU than all else in a small layer.
        return kernel.T @ x + bias[:, None] @ jnp.ones_like(x[:1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden:
    """The hidden layers of a network."""

    hidden_dim: int = field(32, integer(1, 2**14), "units of a hidden layer", static=True)
    hidden_layers: int = field(1, integer(1, 2**8), "tanh layers", static=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The section of the config on the networks."""

    latent_dim: int = field(
        1, integer(1, 2), "latents; the exact evaluation is refused beyond 2", static=True
    )
    encoder: Hidden = section(Hidden)
    decoder: Hidden = section(Hidden)


class Network(nn.Module):
    """Hidden layers, a tanh after each, and heads: x [in, N] -> {name: [size, N]}."""

    hidden: Hidden
    heads: Sizes
    detached: tuple[str, ...] = ()  # heads that train no hidden layer

    @nn.compact
    def __call__(self, x: jax.Array) -> Heads:
        for layer in range(self.hidden.hidden_layers):
            x = nn.tanh(Dense(self.hidden.hidden_dim, name=f"hidden_{layer}")(x))
        own = jax.lax.stop_gradient(x) if self.detached else x
        return {
            name: Dense(size, name=name)(own if name in self.detached else x)
            for name, size in self.heads
        }


@dataclasses.dataclass(frozen=True)
class VAE:
    """The two networks; frozen and hashable, so it can be a static argument of `jit`."""

    data_dim: int
    latent_dim: int
    encoder: Network  # heads of the posterior
    decoder: Network  # heads of the likelihood

    def init(self, key: jax.Array) -> Params:
        """Returns fresh params {'encoder': ..., 'decoder': ...}; consumes the key."""
        key_encoder, key_decoder = jax.random.split(key)
        return {
            "encoder": self.encoder.init(key_encoder, jnp.zeros((self.data_dim, 1)))["params"],
            "decoder": self.decoder.init(key_decoder, jnp.zeros((self.latent_dim, 1)))["params"],
        }

    def encode(self, params: Params, x: jax.Array) -> Heads:
        """Returns the heads of q(z|x), [size, ...] each, for x [D, ...]."""
        return _apply(self.encoder, params["encoder"], x)

    def decode(self, params: Params, z: jax.Array) -> Heads:
        """Returns the heads of p(x|z), 'mean' [D, ...] among them, for z [L, ...]."""
        return _apply(self.decoder, params["decoder"], z)


def _apply(module: Network, params: Params, x: jax.Array) -> Heads:
    found = module.apply({"params": params}, x.reshape(x.shape[0], -1))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *x.shape[1:]), found)

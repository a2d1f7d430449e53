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

Params = dict[str, Any]


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


class MLP(nn.Module):
    """The hidden layers, [in, N] -> [hidden_dim, N], a tanh after each."""

    hidden_dim: int
    hidden_layers: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in range(self.hidden_layers):
            x = nn.tanh(Dense(self.hidden_dim, name=f"hidden_{layer}")(x))
        return x


class Encoder(MLP):
    """The parameters of q(z|x): x [D, N] -> mean [L, N], logvar [L, N] (log sigma^2)."""

    latent_dim: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = super().__call__(x)
        mean = Dense(self.latent_dim, name="mean")(hidden)
        logvar = Dense(self.latent_dim, name="logvar")(hidden)
        return mean, logvar


class Decoder(MLP):
    """What p(x|z) is made of: z [L, N] -> {'mean': [data_dim, N], ...}, a head each."""

    data_dim: int = 2
    heads: tuple[str, ...] = ("mean",)
    detached: bool = False  # the other heads train no hidden layer

    @nn.compact
    def __call__(self, z: jax.Array) -> dict[str, jax.Array]:
        hidden = super().__call__(z)
        others = jax.lax.stop_gradient(hidden) if self.detached else hidden
        return {
            name: Dense(self.data_dim, name=name)(hidden if name == "mean" else others)
            for name in self.heads
        }


@dataclasses.dataclass(frozen=True)
class VAE:
    """The two networks; frozen and hashable, so it can be a static argument of `jit`."""

    encoder: Encoder
    decoder: Decoder

    def init(self, key: jax.Array) -> Params:
        """Returns fresh params {'encoder': ..., 'decoder': ...}; consumes the key."""
        key_encoder, key_decoder = jax.random.split(key)
        x, z = (jnp.zeros((dim, 1)) for dim in (self.decoder.data_dim, self.encoder.latent_dim))
        return {
            "encoder": self.encoder.init(key_encoder, x)["params"],
            "decoder": self.decoder.init(key_decoder, z)["params"],
        }

    def encode(self, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean [L, ...] and logvar [L, ...] of q(z|x) for x [D, ...]."""
        return _apply(self.encoder, params["encoder"], x)

    def decode(self, params: Params, z: jax.Array) -> dict[str, jax.Array]:
        """Returns the decoder's heads for z [L, ...], 'mean' [D, ...] among them."""
        return _apply(self.decoder, params["decoder"], z)


def _apply(module: nn.Module, params: Params, x: jax.Array) -> Any:
    """Returns what a module makes of x [in, ...], leaves [features, ...]."""
    found = module.apply({"params": params}, x.reshape(x.shape[0], -1))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *x.shape[1:]), found)

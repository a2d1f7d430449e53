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

from spiral_vae.fields import POSITIVE, field, integer, section

DRAWN = "fourier"  # the name of parameters that are drawn once and not trained

Params = dict[str, Any]
Heads = dict[str, jax.Array]
Sizes = tuple[tuple[str, int], ...]  # names and sizes of heads; hashable, unlike a dict


def _uniform_fan_in(fan_in: int, factor: float) -> nn.initializers.Initializer:
    """Returns an initializer, uniform in +-factor/sqrt(fan_in), for kernels and biases."""
    bound = factor * fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Dense(nn.Module):
    """An affine map, [in, N] -> [features, N], with kernel [in, features]."""

    features: int
    factor: float = 1.0  # on the range of the start

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = _uniform_fan_in(x.shape[0], self.factor)
        kernel = self.param("kernel", init, (x.shape[0], self.features))
        bias = self.param("bias", init, (self.features,))
        # The bias as a product, so that its gradient is one too: XLA's sums over the last axis
        # take longer on CPU than all else in a small layer.
        return kernel.T @ x + bias[:, None] @ jnp.ones_like(x[:1])


class Fourier(nn.Module):
    """x beside sines and cosines of it, [in, N] -> [in + 2 num, N]; frequencies stay as drawn."""

    num: int
    scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.normal(self.scale)
        frequencies = jax.lax.stop_gradient(self.param("kernel", init, (x.shape[0], self.num)))
        angle = frequencies.T @ x
        return jnp.concatenate([x, jnp.sin(angle), jnp.cos(angle)])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden:
    """The hidden layers of a network."""

    hidden_dim: int = field(32, integer(1, 2**14), "units of a hidden layer", static=True)
    hidden_layers: int = field(1, integer(1, 2**8), "tanh layers", static=True)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(Hidden):
    """The encoder; random Fourier features of x may stand beside it (Rahimi & Recht 2007).

    Without them it is slow to tell the arms of a curve apart that winds often (Tancik et al. 2020,
    https://arxiv.org/abs/2006.10739).
    """

    fourier_features: int = field(
        0, integer(0, 2**12), "pairs of sin and cos of random directions of x", static=True
    )
    fourier_scale: float = field(
        1.0, POSITIVE, "standard deviation of their frequencies, rad per unit x", static=True
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder(Hidden):
    """The decoder."""

    first_layer: float = field(
        1.0,
        POSITIVE,
        "factor on the range in which its first layer starts; more than 1 for a curve that winds "
        "often",
        static=True,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The section of the config on the networks."""

    latent_dim: int = field(
        1, integer(1, 2), "latents; the exact evaluation is refused beyond 2", static=True
    )
    encoder: Encoder = section(Encoder)
    decoder: Decoder = section(Decoder)


class Network(nn.Module):
    """Hidden layers, a tanh after each, and heads: x [in, N] -> {name: [size, N]}."""

    hidden: Hidden
    heads: Sizes
    detached: tuple[str, ...] = ()  # heads that train no hidden layer
    fourier_features: int = 0
    fourier_scale: float = 1.0
    first_layer: float = 1.0  # factor on the range of its start

    @nn.compact
    def __call__(self, x: jax.Array) -> Heads:
        if self.fourier_features:
            x = Fourier(self.fourier_features, self.fourier_scale, name=DRAWN)(x)
        for layer in range(self.hidden.hidden_layers):
            factor = 1.0 if layer else self.first_layer
            x = nn.tanh(Dense(self.hidden.hidden_dim, factor, name=f"hidden_{layer}")(x))
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

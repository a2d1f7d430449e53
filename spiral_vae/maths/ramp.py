"""Numbers that change along the training: factors between 0 and 1, from which ramps are made."""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.maths.arrays import Number


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Time:
    """Where the training stands."""

    epoch: jax.Array  # epochs done, a real number within an epoch
    progress: jax.Array  # share of the training that is done, in [0, 1)


def rise(progress: jax.Array, share: Number) -> jax.Array:
    """Returns a factor that rises linearly from 0 to 1 over the first `share` of the training."""
    return jnp.where(progress < share, progress / jnp.maximum(share, 1e-9), 1.0)


def fall(progress: jax.Array, share: Number) -> jax.Array:
    """Returns a factor that falls from 1 to 0 as half a cosine, after `share` of the training."""
    return 0.5 * (1 + jnp.cos(jnp.pi * (progress - share) / (1 - share)))


def after(progress: jax.Array, share: Number) -> jax.Array:
    """Returns whether `share` of the training is done."""
    return progress >= share

"""The section of the config on Adam: learning rates, their schedule, weight decay."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import NOT_NEGATIVE, SHARE, choice, contract, field, integer, kind, number
from spiral_vae.maths import ramp
from spiral_vae.maths.arrays import Number
from spiral_vae.maths.ramp import Time


@contract("schedule", "constant", "the factor on all learning rates")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(abc.ABC):
    """A factor on all learning rates."""

    of_length: ClassVar[bool] = False  # whether it depends on the number of epochs

    @abc.abstractmethod
    def __call__(self, time: Time) -> jax.Array:
        """Returns the factor at a time."""


@kind("schedule", "constant")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Always 1."""

    def __call__(self, time: Time) -> jax.Array:
        return jnp.ones(())


@kind("schedule", "step")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """decay_factor^floor(epoch / decay_every)."""

    decay_every: Number = field(5_000, integer(1), "epochs between two decays")
    decay_factor: Number = field(0.5, SHARE, "factor of one decay")

    def __call__(self, time: Time) -> jax.Array:
        return self.decay_factor ** jnp.floor(time.epoch / self.decay_every)


@kind("schedule", "cosine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """A linear rise over the first `warmup` of the training, then half a cosine down to zero."""

    of_length: ClassVar[bool] = True

    warmup: Number = field(
        0.0, number(0, 0.9), "fraction of the training with a linear rise before the cosine"
    )

    def __call__(self, time: Time) -> jax.Array:
        risen = time.progress >= self.warmup
        rise = ramp.rise(time.progress, self.warmup)
        return jnp.where(risen, ramp.fall(time.progress, self.warmup), rise)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019)."""

    encoder_learning_rate: Number = field(1e-3, NOT_NEGATIVE, "0 freezes the network")
    decoder_learning_rate: Number = field(1e-3, NOT_NEGATIVE, "0 freezes the network")
    decoder_weight_decay: Number = field(0.0, NOT_NEGATIVE, "relative to its learning rate")
    schedule: Schedule = choice("schedule", "constant", "the factor on all learning rates")

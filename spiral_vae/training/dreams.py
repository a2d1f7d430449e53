"""Training the encoder on draws of the model: before the rest of the training and after it.

A *dream* is z ~ p(z), x ~ p(x|z), of which there are always new ones. Asleep, the encoder learns by
-log q(z|x) of dreams (the sleep phase of Hinton et al. 1995), which leaves out no mode of p(z|x)
and needs no good start. Afterwards the decoder is frozen, and the encoder goes on with the
objective, on dreams in place of the data: it can't overfit them.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import Together, field, number
from spiral_vae.model import networks
from spiral_vae.model.likelihood import Likelihood, Values
from spiral_vae.model.posterior import Posterior


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dreams:
    """The section of the config on what the encoder learns besides the objective on the data."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("encoder.sleep", "encoder.after"),
            lambda sleep, after: sleep + after <= 1,
            "encoder.sleep + encoder.after must be <= 1",
        ),
    )

    sleep: float = field(
        0.0,
        number(0, 0.9),
        "first fraction of the training in which the encoder learns by -log q(z|x) of draws of "
        "the model",
        static=True,
        of_length=True,
    )
    after: float = field(
        0.0,
        number(0, 0.9),
        "last fraction of the training in which the decoder is frozen and the encoder learns by "
        "the objective on draws of the model",
        static=True,
        of_length=True,
    )

    @property
    def any(self) -> bool:
        """Whether there are dreams at all."""
        return self.sleep > 0 or self.after > 0

    def asleep(self, progress: jax.Array) -> jax.Array:
        """Returns whether the encoder sleeps."""
        return progress < self.sleep

    def decoder_frozen(self, epoch: jax.Array, num_epochs: int) -> jax.Array:
        """Returns whether the encoder alone is trained, on dreams; it begins with an epoch.

        Args:
          epoch: epochs done, a real number within an epoch.
          num_epochs: of the training.
        """
        return jnp.floor(epoch) >= num_epochs * (1 - self.after) - 1e-3  # float32's rounding


def dream(
    key: jax.Array,
    params: networks.Params,
    values: Values,
    vae: networks.VAE,
    likelihood: Likelihood,
    num: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns z [L, num] and x [D, num], draws of the model; consumes the key.

    Args:
      key: of the draws.
      params: of encoder and decoder.
      values: of the likelihood.
      vae: the networks.
      likelihood: the noise.
      num: how many.
    """
    key_z, key_x = jax.random.split(key)
    z = jax.random.normal(key_z, (vae.latent_dim, num))

    def one(key: jax.Array, heads: networks.Heads) -> jax.Array:
        found = likelihood.observation(values, heads).full()
        return found.mean + found.scale @ found.noise.sample(key, found.mean.shape)

    made = jax.vmap(one, (0, -1), -1)(jax.random.split(key_x, num), vae.decode(params, z))
    return z, jax.lax.stop_gradient(made)


def sleep_loss(
    params: networks.Params, z: jax.Array, x: jax.Array, vae: networks.VAE, posterior: Posterior
) -> jax.Array:
    """Returns the mean of -log q(z|x), for dreams z [L, N], x [D, N]."""
    return -jnp.mean(posterior.log_prob(vae.encode(params, x), z[:, None]))

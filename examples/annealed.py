"""An objective of one's own: an ELBO whose KL's weight falls from `start` to 1.

python -m spiral_vae.main --config=examples/annealed.py --config.objective.start=5
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from spiral_vae import POSITIVE, SHARE, Number, Objective, Terms, base_config, field, kind


@kind("objective", "annealed")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealed(Objective):
    of_length: ClassVar[bool] = True  # an epoch depends on how many there are

    start: Number = field(3.0, POSITIVE, "weight of the KL at the beginning")
    duration: Number = field(0.5, SHARE, "fraction of the training until the weight is 1")

    def weight(self, time):
        return self.start ** jnp.maximum(1 - time.progress / self.duration, 0)

    def terms(self, draws, log_prob, weight):
        reconstruction = -draws.mean(log_prob)
        return Terms(reconstruction + weight * draws.kl, reconstruction, draws.kl)


def get_config():
    return base_config({"objective.kind": "annealed"})

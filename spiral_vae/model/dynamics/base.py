"""The contract of dynamics: the prior of the latents of a sequence."""

import dataclasses
from typing import ClassVar

import jax

from spiral_vae.fields import Together, contract, kind
from spiral_vae.maths.arrays import Number
from spiral_vae.model.dynamics.refinement import Seen
from spiral_vae.model.networks import Params
from spiral_vae.model.posterior import Posterior


@contract("dynamics", "none", "what ties the latents of a sequence")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dynamics:
    """A prior of sequences, under which each z alone is N(0, 1)."""

    together: ClassVar[tuple[Together, ...]] = ()
    ties: ClassVar[bool] = False  # whether the latents of a sequence depend on each other

    def init(self) -> Params:
        """Returns parameters for the gradient, {'dynamics': {...}}; {} if there are none."""
        return {}

    def begin(self, correlation: jax.Array) -> Params:
        """Returns them for a correlation of neighbours that is known before the training."""
        del correlation
        return self.init()

    @property
    def rate(self) -> Number:
        """The learning rate of the parameters."""
        return 0.0

    def correlation(self, params: Params) -> jax.Array | float:
        """Returns that of neighbouring latents."""
        del params
        return 0.0

    def tied(
        self, params: Params, posterior: Posterior, length: int, weight: jax.Array, seen: Seen
    ) -> Posterior:
        """Returns the posterior of points that are sequences, one after the other.

        Args:
          params: that hold those of `init`.
          posterior: of single points.
          length: T, of a sequence.
          weight: 1 for each point that is seen, 0 for others, [S T].
          seen: the points themselves, for who looks at them besides the encoder.
        """
        del params, length, weight, seen
        return posterior


@kind("dynamics", "none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Independent(Dynamics):
    """Each point has a latent of its own, also in a sequence."""

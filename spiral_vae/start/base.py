"""The contract of a start: what is known of the points' places before the training."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from spiral_vae.fields import contract, kind
from spiral_vae.start.search import Order


@contract("start", "none", "what the training begins with")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """A start; the first part of the training may be pulled towards it."""

    of_length: ClassVar[bool] = False

    def order(self, x: np.ndarray, seed: int, sigma: float | None) -> Order | None:
        """Returns the places of points x [n, D], found on the host; None: there are none.

        Args:
          x: points.
          seed: of the lane.
          sigma: of the noise; None where it is unknown.
        """
        del x, seed, sigma
        return None

    def pull(self, progress: jax.Array) -> jax.Array | float:
        """Returns the weight of the pull towards these places."""
        del progress
        return 0.0


@kind("start", "none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing(Start):
    """Fresh networks and no more."""

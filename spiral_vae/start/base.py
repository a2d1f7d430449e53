"""The contract of a start: what is known of the points' places before the training."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from spiral_vae.fields import NOT_NEGATIVE, contract, field, kind, number
from spiral_vae.maths import ramp
from spiral_vae.maths.arrays import Number


@dataclasses.dataclass(frozen=True)
class Order:
    """Places of the points, and what is known of them."""

    z: np.ndarray  # [n]; normal scores, about
    log_evidence: float | None = None  # of the curve that they are on, mean over the points, nats
    agreed: bool | None = None  # whether two attempts ended with the same curve
    correlation: float | None = None  # of neighbouring z in a sequence

    def facts(self) -> dict[str, float]:
        """Returns what is known, by the names of columns."""
        known = {
            "start_log_evidence": self.log_evidence,
            "start_agreed": self.agreed,
            "start_correlation": self.correlation,
        }
        return {name: float(value) for name, value in known.items() if value is not None}


@contract("start", "none", "what the training begins with")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """A start; the first part of the training may be pulled towards it."""

    of_length: ClassVar[bool] = False

    def order(self, x: np.ndarray, seed: int, sigma: float | None, length: int) -> Order | None:
        """Returns the places of points x [n, D], found on the host; None: there are none.

        Args:
          x: points; nan where they are not seen.
          seed: of the lane.
          sigma: of the noise; None where it is unknown.
          length: points of a sequence, which follow one another.
        """
        del x, seed, sigma, length
        return None

    def pull(self, progress: jax.Array) -> jax.Array | float:
        """Returns the weight of the pull towards these places."""
        del progress
        return 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulling(Start):
    """A start with places z* of the points, and a pull towards them that fades.

    The loss gains weight (1 - p / share) E[-log q(z*|x) - log p(x|z*)] for a progress p < share;
    the likelihood's own parameters take no part in it.
    """

    of_length: ClassVar[bool] = True

    weight: Number = field(3.0, NOT_NEGATIVE, "of the pull towards the places, at first")
    share: Number = field(0.3, number(1e-3, 1), "of the training over which the pull fades to 0")

    def pull(self, progress: jax.Array) -> jax.Array:
        return self.weight * (1 - ramp.rise(progress, self.share))


@kind("start", "none")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing(Start):
    """Fresh networks and no more."""

"""The contract of a process: what makes the data."""

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp

from spiral_vae.fields import Together, contract, field, integer
from spiral_vae.maths.arrays import Number

if TYPE_CHECKING:
    from spiral_vae.process.curve import Curve


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Data:
    """A data set."""

    t: jax.Array | None  # the latent that made each point, [num_points], where it is known
    x: jax.Array  # [num_points, D]
    held_out: jax.Array | None = None  # points that are not trained on, [m, D], where there are any
    observed: jax.Array | None = None  # 1 for points that are seen, 0 for others, [num_points]
    held_out_observed: jax.Array | None = None  # the same of those held out, [m]

    start_z: jax.Array | None = None  # places that the training starts with, [num_points]
    start_log_evidence: jax.Array | None = None  # of the curve that they are on, nats per point, []
    start_agreed: jax.Array | None = None  # 1 where two searches found the same, []
    start_correlation: jax.Array | None = None  # of neighbouring z in a sequence, []

    def facts(self) -> dict[str, jax.Array]:
        """Returns what is one number, by name."""
        names = ("start_log_evidence", "start_agreed", "start_correlation")
        return {name: value for name, value in self.arrays().items() if name in names}

    def arrays(self) -> dict[str, jax.Array]:
        """Returns what there is, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def reordered(self, order: jax.Array) -> "Data":
        """Returns the same with its points in another order."""
        t = None if self.t is None else self.t[order]
        observed = None if self.observed is None else self.observed[order]
        return Data(t, self.x[order], self.held_out, observed, self.held_out_observed)

    @property
    def num_seen(self) -> Number:
        """How many points are seen."""
        return len(self.x) if self.observed is None else jnp.maximum(jnp.sum(self.observed), 1)

    def seen(self) -> "Data":
        """Returns the same with seen points, some of them twice, in place of those not seen."""
        if self.observed is None:
            return self
        first = jnp.argsort(1 - self.observed, stable=True)
        num = jnp.asarray(self.num_seen, int)
        return self.reordered(first[jnp.arange(len(first)) % num])


@contract("data", "spiral", "what makes the points")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Process(abc.ABC):
    """A source of points; its numbers are leaves of a pytree, so they can be lanes of a sweep."""

    of_length: ClassVar[bool] = False
    together: ClassVar[tuple[Together, ...]] = ()
    dim: ClassVar[int]  # D, of the data

    num_points: int = field(
        200,
        integer(2, 10**7),
        "that are trained on; of a table all but those that are held out, unless it says another "
        "number",
        static=True,
    )

    @property
    def sequence_length(self) -> int:
        """How many points in a row hang together."""
        return 1

    @property
    def sequence_correlation(self) -> Number:
        """That of z at neighbouring points of a sequence, where the truth is known."""
        return 0.0

    @property
    @abc.abstractmethod
    def truth(self) -> "Curve | None":
        """The known curve behind the points, if there is one."""

    @abc.abstractmethod
    def sample(self, key: jax.Array) -> Data:
        """Returns num_points points; consumes the key."""

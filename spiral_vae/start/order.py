"""The start with an order of the points, found by `search`."""

import dataclasses
from typing import ClassVar

import numpy as np

from spiral_vae.fields import Together, field, integer, kind
from spiral_vae.start.base import Order, Pulling
from spiral_vae.start.search import search


@kind("start", "order")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ByOrder(Pulling):
    """An order along the curve, as normal scores."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("start.kind", "model.latent_dim"),
            lambda kind, latent_dim: kind != "order" or latent_dim == 1,
            "an order is of one latent: model.latent_dim must be 1",
        ),
    )

    num_cuts: int = field(
        250, integer(0, 10**5), "of the curve in each of three rounds of an attempt", static=True
    )
    max_attempts: int = field(
        6, integer(1, 100), "of the search, which ends when two agree", static=True
    )

    def order(self, x: np.ndarray, seed: int, sigma: float | None, length: int) -> Order:
        del length
        z, seen = np.zeros(len(x)), np.isfinite(x[:, 0])
        found = search(x[seen], seed, sigma, num_cuts=self.num_cuts, max_attempts=self.max_attempts)
        z[seen] = found.z
        return Order(z, found.log_evidence, found.agreed)

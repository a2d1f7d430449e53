"""From a config to lanes and groups.

Numbers of the config become leaves of `train.Lane` and run side by side in one compiled program.
What changes shapes or the program is in the structure of the lane; lanes of different structures
form groups, trained one after the other and joined again in the order of the product.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from spiral_vae import fields as fields_lib
from spiral_vae.config.axes import Row
from spiral_vae.config.values import flatten
from spiral_vae.training.train import Lane


@dataclasses.dataclass(frozen=True)
class Group:
    """Lanes that share a program."""

    lanes: Lane  # leaves [R]
    index: np.ndarray  # [R], the lanes' places in the sweep


def lane_of(fields: fields_lib.Fields, seed: int) -> Lane:
    """Returns a run by its fields; scalars in full precision, which training rounds to float32."""
    lane = fields_lib.build(Lane, fields, seed=seed)
    return dataclasses.replace(jax.tree.map(np.float64, lane), seed=np.uint32(seed))


def groups(config: ConfigDict, rows: Sequence[Row]) -> list[Group]:
    """Returns the groups of a sweep, in the order in which their first lanes come.

    Args:
      config: the whole config.
      rows: the lanes' own fields, as `axes.expand` gives them.
    """
    fields = flatten(config)
    members: dict[Any, list[tuple[int, Lane]]] = {}
    before: Row = {}
    for index, row in enumerate(rows):
        if before != row | {"seed": before.get("seed")}:  # else they differ by the seed alone
            lane = lane_of(fields | row, row["seed"])
            structure = jax.tree.structure(lane)
        before, lane = row, dataclasses.replace(lane, seed=np.uint32(row["seed"]))
        members.setdefault(structure, []).append((index, lane))
    return [
        Group(
            lanes=jax.tree.map(lambda *leaves: np.stack(leaves), *(lane for _, lane in lanes)),
            index=np.asarray([index for index, _ in lanes]),
        )
        for lanes in members.values()
    ]

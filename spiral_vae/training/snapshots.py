"""When the params of a run are kept along its training, and of how many lanes.

Snapshots are even in the logarithm of the epoch, as a network changes: from the start to the end.
They lie on a grid that doesn't know the length of the run, so one that grows keeps what it has. A
few lie within the first chunk; from there on they are taken at ends of chunks.
"""

import math
from collections.abc import Sequence

import jax

from spiral_vae.training.train import Lane, init

MAX_BYTES = 2**25  # of all snapshots of a sweep; they lie in memory and in every checkpoint
_MAX_WITHIN = 100  # epochs of a first chunk that are run twice for them


def epochs(ends: Sequence[int], per_tenfold: int) -> list[int]:
    """Returns the epochs of the snapshots, rising: 0, some of the first chunk, ends of chunks.

    Args:
      ends: of the chunks.
      per_tenfold: how many while the epochs grow tenfold; 0 for none.
    """
    if not per_tenfold:
        return []
    steps = range(math.ceil(per_tenfold * math.log10(ends[-1])))
    wanted = [round(10 ** (step / per_tenfold)) for step in steps]
    within = [epoch for epoch in wanted if epoch < min(ends[0], _MAX_WITHIN)]
    later = [next(end for end in ends if end >= epoch) for epoch in wanted if epoch >= ends[0]]
    return sorted({0, *within, *later, ends[-1]})


def num_lanes(lanes: Lane, num_snapshots: int, share: float) -> int:
    """Returns of how many of the lanes, the first ones, there is room for snapshots.

    Args:
      lanes: leaves [R].
      num_snapshots: of a lane.
      share: of MAX_BYTES that these lanes have.
    """
    if not num_snapshots:
        return 0
    one = jax.tree.map(lambda leaf: leaf[0], lanes)
    state, _ = jax.eval_shape(init, one)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.all_params))
    return min(len(lanes.seed), int(share * MAX_BYTES / (size * num_snapshots)))

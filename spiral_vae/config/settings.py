"""The fields that belong to no single lane, and the roots of all declarations."""

import dataclasses
from typing import ClassVar

from spiral_vae.fields import STRINGS, Together, field, integer, number, section
from spiral_vae.training.train import Lane

MAX_LANES = 2**20  # of a sweep; more would not fit into memory

_ALL_KINDS = "a checkpoint holds lanes of all kinds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """The section of the config on looks along the training."""

    every: float = field(
        0.05,
        number(0, 1),
        "fraction of the training between two looks at the exact metrics; 0: never",
        not_swept="all lanes are evaluated at the same epochs",
    )
    snapshots: int = field(
        9,
        integer(0, 100),
        "snapshots of the params while the epochs grow tenfold, the film of the explorer; 0: none",
        not_swept="all lanes have theirs at the same epochs",
    )
    gap_points: int = field(
        24,
        integer(0, 1000),
        "training points, and as many new ones, over which the gap is taken apart; 0: none, and "
        "many lanes are judged sooner",
        not_swept="all lanes are judged alike",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The section of the config on checkpoints."""

    every: int = field(
        100,
        integer(0),
        "chunks (of train.log_every epochs) between two, besides the one at the end; 0: none but "
        "when the run is stopped",
        not_swept=_ALL_KINDS,
        changeable=True,
    )
    keep: int = field(
        2,
        integer(1),
        "newest checkpoints of each cell that are kept",
        not_swept=_ALL_KINDS,
        changeable=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all lanes of a config share."""

    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("seed", "num_seeds"),
            lambda seed, num_seeds: seed + num_seeds <= 2**32,
            "the last seed, seed + num_seeds - 1, must be <= 2**32 - 1",
        ),
    )

    seed: int = field(
        0,
        integer(0, 2**32 - 1),
        "of the first lane",
        not_swept="lanes take config.seed, config.seed + 1, ...; set config.seed and "
        "config.num_seeds",
    )
    num_seeds: int = field(
        1,
        integer(1, MAX_LANES),
        "lanes of the seeds seed, seed + 1, ...",
        not_swept="set config.num_seeds; every point of the sweep gets all seeds",
    )
    sweep: tuple[str, ...] = field(
        (), STRINGS, "axes of a sweep, as --sweep", not_swept="repeat --sweep for more axes"
    )
    cell_width: int = field(
        8,
        integer(2, 64),
        "lanes that are vmapped together on one device",
        not_swept="it says how lanes are computed and is one for all of them",
    )
    evaluate: Evaluate = section(Evaluate)
    checkpoint: Checkpoint = section(Checkpoint)


ROOTS = (Settings, Lane)  # of all fields of a config

"""The networks of experiments/claims: the post's size and data, sigma known, nothing looked at."""

from typing import Literal

import ml_collections

from spiral_vae.configs import posteriors

SEEDS = {"rate": 4, "regularised": 16, "wrong_models": 6}


def get_config(part: Literal[*SEEDS] = "rate") -> ml_collections.ConfigDict:
    """Returns the config of a module of experiments/claims, by its name."""
    config = posteriors.get_config()
    config.num_seeds = SEEDS[part]
    config.evaluate.every = 0.0
    config.evaluate.snapshots = 0
    if part == "wrong_models":
        config.data.num_points = 1_000
        config.data.design = "random"
        config.train.num_epochs = 2_000
    return config

"""The default experiment over 64 seeds."""

import ml_collections

from spiral_vae.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/basic_run.py."""
    config = base.get_config()
    config.num_seeds = 64
    return config

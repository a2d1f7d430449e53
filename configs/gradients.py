"""One model whose gradients are looked at, half-way through its training and at the end."""

import ml_collections

from spiral_vae.configs import posteriors


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/gradients.py."""
    config = posteriors.get_config()
    config.num_seeds = 1
    return config

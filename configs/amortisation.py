"""The encoder on points that it has seen and on new ones, looked at along the training."""

import ml_collections

from spiral_vae.configs import posteriors


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/amortisation.py."""
    config = posteriors.get_config()
    config.evaluate.every = 0.05
    return config

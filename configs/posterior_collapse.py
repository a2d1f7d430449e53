"""The threshold of collapse: short, well-settled runs that each start where the last one ended.

`posterior_collapse` of experiments/ varies sigma and the geometry.
"""

import ml_collections

from spiral_vae.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of one step of experiments/posterior_collapse.py."""
    config = base.get_config()
    config.num_seeds = 16
    config.objective.num_samples = 4
    config.optimizer.schedule = "cosine"
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 3e-3
    config.train.batch_size = 200
    config.train.num_epochs = 2_000
    return config

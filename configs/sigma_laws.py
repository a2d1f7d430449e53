"""Well-settled runs of the ELBO, whose optimum obeys laws that can be checked."""

import ml_collections

from spiral_vae.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the config that all panels of experiments/sigma_laws.py start from."""
    config = base.get_config()
    config.num_seeds = 16
    config.objective.num_samples = 4
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.train.num_epochs = 3_000
    config.train.batch_size = 200
    config.evaluate.every = 0.0
    return config

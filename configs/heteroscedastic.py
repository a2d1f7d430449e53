"""Noise that grows along the spiral, sd(t) = 0.05 + 0.3 t, and the plain likelihood of sigma(z)."""

import ml_collections

from spiral_vae.configs import recommended


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/heteroscedastic.py."""
    config = recommended.setting()
    config.num_seeds = 16
    config.objective.num_samples = 4
    config.data.num_points = 2_000
    config.data.noise_sigma = 0.05
    config.data.noise_slope = 0.3
    config.likelihood.kind = "heteroscedastic"
    config.train.batch_size = 100
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_layers, network.hidden_dim = 2, 32
    config.optimizer.decoder_weight_decay = 0.0
    config.train.num_epochs = 1_500
    config.train.log_every = 500
    config.evaluate.every = 0.0
    return config

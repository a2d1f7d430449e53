"""Noise of 0.1 along one axis and 0.3 along the other, which may be turned against x and y.

Isotropic sigma in closed form; experiments/anisotropic.py has the kinds that see directions.
"""

import math
from typing import Literal

import ml_collections

from spiral_vae.configs import recommended


def get_config(noise: Literal["axes", "turned"] = "axes") -> ml_collections.ConfigDict:
    """Returns the config of experiments/anisotropic.py, noise along the 'axes' or 'turned'."""
    config = recommended.setting()
    config.num_seeds = 16
    config.objective.num_samples = 4
    config.data.num_points = 2_000
    config.data.noise_sigma_x = 0.1
    config.data.noise_sigma_y = 0.3
    config.data.noise_angle = 0.0 if noise == "axes" else math.pi / 6
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_layers, network.hidden_dim = 2, 32
    config.optimizer.decoder_weight_decay = 0.0
    config.train.batch_size = 100
    config.train.num_epochs = 1_000
    config.train.log_every = 500
    config.evaluate.every = 0.0
    return config

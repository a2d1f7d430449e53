"""Common ground for the ways to find sigma: K = 4 importance samples, a start at 0.5, 16 seeds.

In closed form; experiments/unknown_sigma.py has the others.
"""

from typing import Literal

import ml_collections

from spiral_vae.configs import recommended

# name -> points, hidden layers, hidden units, epochs
SETTINGS = {
    "200 points, 1x32": (200, 1, 32, 5_000),
    "2000 points, 2x64": (2000, 2, 64, 1_000),
    "2000 points, 1x32": (2000, 1, 32, 1_000),
    "200 points, 2x64": (200, 2, 64, 2_500),
}


def get_config(setting: Literal[*SETTINGS] = "200 points, 1x32") -> ml_collections.ConfigDict:
    """Returns the config of one of the settings of experiments/unknown_sigma.py."""
    config = recommended.setting()
    config.num_seeds = 16
    config.cell_width = 4  # larger cells fall out of a core's cache here
    config.objective.num_samples = 4
    points, layers, units, epochs = SETTINGS[setting]
    config.data.num_points = points
    config.train.batch_size = 100
    config.train.num_epochs = epochs
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_layers, network.hidden_dim = layers, units
    config.evaluate.every = 0.05
    return config

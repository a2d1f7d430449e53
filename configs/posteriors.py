"""Common ground for posteriors and estimators: the post's data, 10 000 steps, 16 seeds.

`known` has the true sigma, `unknown` learns it from 0.5; experiments/posteriors.py has the ways.
"""

from typing import Literal

import ml_collections

from spiral_vae.configs import base
from spiral_vae.configs.recommended import LEARNED


def get_config(sigma: Literal["known", "unknown"] = "known") -> ml_collections.ConfigDict:
    """Returns the config of a part of experiments/posteriors.py, 'known' or 'unknown'."""
    config = base.get_config()
    config.num_seeds = 16
    config.train.batch_size = 200
    config.train.num_epochs = 10_000
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    if sigma == "unknown":
        config.update_from_flattened_dict(LEARNED)
        config.likelihood.sigma = 0.5
    return config

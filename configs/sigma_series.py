"""What a wrong sigma does: the three runs of the post, or a sweep over 25 sigmas.

python -m spiral_vae.main --config=configs/sigma_series.py:post
"""

from typing import Literal

import ml_collections

from spiral_vae.configs import base


def get_config(part: Literal["post", "sweep"] = "sweep") -> ml_collections.ConfigDict:
    """Returns the config of a part of experiments/sigma_series.py, 'post' or 'sweep'."""
    config = base.get_config()
    config.data.u_start = 0.05
    config.train.num_epochs = 15_000
    config.model.encoder.hidden_layers = 2
    config.model.decoder.hidden_layers = 2
    if part == "post":
        config.sweep = ("likelihood.sigma=0.0001,0.2,2.0",)
    else:
        config.num_seeds = 16
        config.evaluate.every = 0.0
        config.sweep = ("likelihood.sigma=log(0.01,2.4,25)",)
    return config

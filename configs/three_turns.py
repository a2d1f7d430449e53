"""Three turns: an order of the points, found before the training, is where it begins.

python -m spiral_vae.main --config=configs/three_turns.py            # sigma known
python -m spiral_vae.main --config=configs/three_turns.py:learned    # unknown
"""

import math

import ml_collections

from spiral_vae.configs import two_turns


def get_config(likelihood: str = "fixed") -> ml_collections.ConfigDict:
    """Returns the config, for a sigma that is 'fixed' or 'learned'."""
    config = two_turns.get_config(likelihood)
    config.data.omega = 6 * math.pi
    config.start.kind = "order"
    config.likelihood.anneal = 0.0  # it would undo the start
    config.model.encoder.fourier_features = 64
    config.model.encoder.fourier_scale = 1.5
    config.model.decoder.first_layer = 3.0
    config.train.num_epochs = 2_000
    return config

"""One setting for one turn and two, sigma unknown: an order of the points, then the evidence.

python -m spiral_vae.main --config=configs/order_first.py
python -m spiral_vae.main --config=configs/order_first.py:two_turns

The order is the start, so nothing has to be found by gradients; two hidden layers are free enough
for two turns, and the restricted likelihood pays for what they take of the noise of 200 points.
"""

import math

import ml_collections

from spiral_vae.configs import restricted, three_turns


def get_config(data: str = "post") -> ml_collections.ConfigDict:
    """Returns the config, for 200 points of the 'post', or 400 of 'one_turn' or 'two_turns'."""
    turns = {"post": None, "one_turn": 1, "two_turns": 2}
    if data not in turns:
        raise ValueError(f"found {data!r}, allowed: {', '.join(turns)}")
    config = restricted.get_config()
    begun = three_turns.get_config()
    config.start.kind = begun.start.kind
    config.likelihood.anneal = begun.likelihood.anneal
    for name in ("encoder", "decoder"):
        config.model[name].hidden_layers = 2
    config.model.encoder.fourier_features = begun.model.encoder.fourier_features
    config.model.encoder.fourier_scale = begun.model.encoder.fourier_scale
    config.model.decoder.first_layer = begun.model.decoder.first_layer
    config.train.num_epochs = 1_000
    if turns[data]:
        config.data.omega = 2 * math.pi * turns[data]
        config.data.u_start = begun.data.u_start
        config.data.num_points = begun.data.num_points
        config.train.batch_size = config.data.num_points
    return config

"""One setting for one turn and two, sigma unknown: an order of the points, then the evidence.

python -m spiral_vae.main --config=configs/order_first.py
python -m spiral_vae.main --config=configs/order_first.py:two_turns

The order is the start, so nothing has to be found by gradients; two hidden layers are free enough
for two turns, and the restricted likelihood pays for what they take of the noise of 200 points.
"""

import math
from typing import Literal

import ml_collections

from spiral_vae.configs import restricted, three_turns


def get_config(
    data: Literal["post", "one_turn", "two_turns"] = "post",
) -> ml_collections.ConfigDict:
    """Returns the config, for 200 points of the post, or 400 of one turn or two."""
    config = restricted.get_config()
    begun = three_turns.get_config()
    config.start = begun.start
    config.model = begun.model
    config.likelihood.anneal = begun.likelihood.anneal
    config.train.num_epochs = 1_000
    if data != "post":
        config.data.omega = 2 * math.pi if data == "one_turn" else 4 * math.pi
        config.data.u_start = begun.data.u_start
        config.data.num_points = begun.data.num_points
        config.train.batch_size = config.data.num_points
    return config

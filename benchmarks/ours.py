"""This project's training, by its own config."""

from collections.abc import Callable

import jax
import numpy as np

from spiral_vae.config import axes, lanes
from spiral_vae.configs import base
from spiral_vae.training import cells


def make(*, seeds: int, num_points: int, hidden: int, cores: int) -> Callable[[int], float]:
    """Returns a function that trains all seeds from the start and returns the last mean loss."""
    devices = jax.local_devices()[:cores]
    config = base.get_config()
    config.num_seeds, config.data.num_points = seeds, num_points
    config.model.encoder.hidden_dim = config.model.decoder.hidden_dim = hidden
    config.evaluate.every = 0.0

    def train(epochs: int) -> float:
        config.train.num_epochs = epochs
        config.train.log_every = min(epochs, base.get_config().train.log_every)
        _, rows = axes.expand(config, [])
        (group,) = lanes.groups(config, rows)
        found = cells.train(
            group.lanes,
            cell_width=config.cell_width,
            probe=None,
            probe_every=0,
            on_chunk=lambda chunk: None,
            devices=devices,
        )
        return float(np.mean(found.metrics["loss"][:, -1]))

    return train

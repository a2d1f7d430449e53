"""Spirals of 1 to 8 turns."""

import math

import ml_collections

from spiral_vae.configs import base

TURNS = (1, 2, 3, 4, 6, 8)


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/turns.py."""
    config = base.get_config()
    config.num_seeds = 16
    config.data.u_start = 0.0
    config.data.num_points = 400
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_layers = 2
        network.hidden_dim = 64
    config.optimizer.schedule = "cosine"
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 3e-3
    config.train.num_epochs = 4_000
    config.evaluate.every = 0.0
    config.sweep = ("data.omega=" + ",".join(repr(2 * math.pi * turns) for turns in TURNS),)
    return config

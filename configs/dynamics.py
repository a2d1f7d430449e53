"""Sequences that move along several turns: the time constant and sigma are learned with the curve.

python -m spiral_vae.main --config=configs/dynamics.py      # two turns
python -m spiral_vae.main --config=configs/dynamics.py:4    # four

Places by the slowest feature of the sequences, then maximum likelihood by the exact evidence of
whole sequences.
"""

import math

import ml_collections

from spiral_vae.configs import base


def get_config(turns: str = "2") -> ml_collections.ConfigDict:
    """Returns the config, for so many turns."""
    config = setting(float(turns))
    config.data.omega = 2 * math.pi * float(turns)
    config.data.u_start = 0.0
    config.data.num_points = 2_000
    config.data.design = "sequence"
    config.data.a = 0.995
    return config


def setting(turns: float) -> ml_collections.ConfigDict:
    """Returns all but the data, for a curve that bends as much as so many turns."""
    config = base.get_config()
    config.model.encoder.hidden_dim = config.model.decoder.hidden_dim = 32
    config.model.encoder.hidden_layers = config.model.decoder.hidden_layers = 2
    config.model.encoder.fourier_features = 32
    config.model.decoder.first_layer = 1.0 + 2.5 * turns
    config.posterior.kind = "potential"
    config.dynamics.kind = "markov"
    config.dynamics.start = 0.98
    config.start.kind = "slow_feature"
    config.start.weight = 1.0
    config.objective.kind = "evidence"
    # Nodes of z, as dense as the posterior of a point is narrow; more than 320 gain nothing.
    config.objective.num_samples = min(320, max(80, round(80 * turns)))
    config.objective.spacing = "even"
    config.likelihood.kind = "learned"
    config.likelihood.sigma = 1.2  # a start that does not know the truth
    config.likelihood.learning_rate = 1e-2
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 1e-2
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 400  # ten sequences
    config.train.num_epochs = round(120 * turns)
    config.train.log_every = 20
    config.evaluate.every = 0.0
    return config

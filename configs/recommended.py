"""The noise is unknown: the setting that recovers the spiral most reliably.

python -m spiral_vae.main --config=configs/recommended.py
"""

import ml_collections

from spiral_vae.configs import base

LEARNED = {"likelihood.kind": "learned", "likelihood.learning_rate": 3e-3}


def get_config() -> ml_collections.ConfigDict:
    """Returns the config; experiments/unknown_sigma.py compares it with its alternatives."""
    config = setting()
    config.update_from_flattened_dict(LEARNED)
    return config


def setting() -> ml_collections.ConfigDict:
    """Returns the same with sigma in closed form; any other kind can be set in its place."""
    config = base.get_config()
    config.likelihood.kind = "closed_form"
    config.likelihood.sigma = 0.5  # any start below the collapse threshold; the truth is 0.2
    config.objective.kind = "iwae"  # a tighter bound: the ELBO's sigma is too large
    config.objective.num_samples = 8
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_dim = 64
    config.optimizer.encoder_learning_rate = 3e-3
    config.optimizer.decoder_learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.decoder_weight_decay = 0.02  # a smoother curve: fewer bad seeds
    config.train.batch_size = 200
    config.train.num_epochs = 10_000
    return config

"""The noise is unknown: restricted maximum likelihood, nearest to the truth on 200 points.

python -m spiral_vae.main --config=configs/restricted.py

The decoder follows the evidence itself, while a sigma falls, and the freedom of the curve is paid:
without that sigma is some 7 % too small, since a curve that is fitted to 200 points follows their
noise in some 20 of 400 numbers. That number is the one thing here that belongs to the data at hand.
"""

import ml_collections

from spiral_vae.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the config."""
    config = base.get_config()
    config.objective.kind = "evidence"
    config.objective.num_samples = 128  # nodes of z
    config.posterior.kind = "mixture"  # of the encoder alone: the decoder doesn't wait for it
    config.likelihood.kind = "learned"
    config.likelihood.sigma = 0.5  # a start that does not know the truth
    config.likelihood.learning_rate = 1e-2
    config.likelihood.anneal = 0.5
    config.likelihood.freedom = 20.0
    for network in (config.model.encoder, config.model.decoder):
        network.hidden_dim = 64
    config.optimizer.encoder_learning_rate = 1e-2  # it has to follow within few steps
    config.optimizer.decoder_learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 200
    config.train.num_epochs = 1_500  # more of them fit the noise
    return config

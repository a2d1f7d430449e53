"""Two turns, which the ELBO folds: maximum likelihood with a sigma that falls finds them.

python -m spiral_vae.main --config=configs/two_turns.py            # sigma known
python -m spiral_vae.main --config=configs/two_turns.py:learned    # unknown
"""

import math

import ml_collections

from spiral_vae.configs import turns


def get_config(likelihood: str = "fixed") -> ml_collections.ConfigDict:
    """Returns the config, for a sigma that is 'fixed' or 'learned'."""
    config = turns.get_config()
    config.num_seeds = 1
    config.sweep = ()
    config.evaluate.every = 0.05
    config.data.omega = 4 * math.pi
    config.objective.kind = "evidence"
    config.objective.num_samples = 256  # nodes of z
    config.posterior.kind = "mixture"  # of the encoder alone: the decoder doesn't wait for it
    config.likelihood.anneal = 0.7
    config.likelihood.kind = likelihood
    if likelihood == "learned":
        config.likelihood.sigma = 0.5  # a start that does not know the truth
        config.likelihood.learning_rate = 1e-2
    config.train.batch_size = config.data.num_points
    config.train.num_epochs = 2_500
    return config

"""Small lanes and configs that several tests share."""

import dataclasses

import jax
import numpy as np

from spiral_vae import fields
from spiral_vae.config.values import flatten
from spiral_vae.configs import base
from spiral_vae.model.likelihood import ClosedForm, Heteroscedastic
from spiral_vae.model.likelihood.heteroscedastic import BetaNll, OneSigmaFirst, Plain
from spiral_vae.training import train

QUICKLY = {"xla_backend_optimization_level": 0}  # how programs of tests are compiled, for CPU

# 10 points in batches of 4, 4 and 2, so that all tests with it have a last batch with padding.
SMALL = {
    "num_points": 10,
    "batch_size": 4,
    "num_epochs": 8,
    "log_every": 4,
    "hidden_dim": 4,
    "sigma": 0.5,
    "encoder_learning_rate": 0.01,
    "decoder_learning_rate": 0.01,
}
_PATHS = {  # of the short names of `make_lane`
    "hidden_dim": ("model.encoder.hidden_dim", "model.decoder.hidden_dim"),
    "latent_dim": ("model.latent_dim",),
    "sigma": ("likelihood.sigma",),
    "objective": ("objective.kind",),
    **{name: (f"data.{name}",) for name in ("num_points", "design", "noise_sigma")},
    **{name: (f"objective.{name}",) for name in ("beta", "kl_warmup", "num_samples")},
    **{
        name: (f"optimizer.{name}",)
        for name in (
            *("encoder_learning_rate", "decoder_learning_rate", "decoder_weight_decay"),
            *("schedule", "decay_every", "decay_factor", "warmup"),
        )
    },
    **{name: (f"train.{name}",) for name in ("num_epochs", "batch_size", "shuffle", "log_every")},
}
CLOSED_FORM = ClosedForm(sigma=0.5)


def heteroscedastic(stabiliser="none", exponent=0.5, weight_decay=0.0):
    parts = {
        "none": Plain(),
        "beta_nll": BetaNll(beta_nll=exponent),
        "warmup": OneSigmaFirst(warmup=0.5, averaging=0.1),
    }
    return Heteroscedastic(sigma=0.5, weight_decay=weight_decay, stabiliser=parts[stabiliser])


def make_lane(*, seed=0, likelihood=None, **overrides):
    """One small lane, in float32; overrides by the short names of `_PATHS`."""
    values = flatten(base.get_config()) | {"data.omega": 8.8}
    for name, value in (SMALL | overrides).items():
        values |= dict.fromkeys(_PATHS[name], value)
    one = fields.build(train.Lane, values, seed=seed)
    if likelihood is not None:
        one = dataclasses.replace(one, likelihood=likelihood)
    one = jax.tree.map(np.float32, one)
    return dataclasses.replace(one, seed=np.uint32(one.seed))


VAE = make_lane().vae


# Numbers that break a lane in its first epoch: the step, and what is the first not to be finite.
POISONS = {
    # residuals of 1e25, whose squares the closed form takes the mean of
    "sigma": (1, {"noise_sigma": 1e25, "likelihood": CLOSED_FORM}),
    "reconstruction": (1, {"sigma": 1e-25}),
    # means of q around 1e20 after a step; the decoder's tanh hides them from the reconstruction
    "kl": (2, {"encoder_learning_rate": 1e20}),
    "loss": (1, {"beta": np.inf}),
    # gradients around 1e20, whose squares Adam keeps; the params would just stand still
    "gradient": (1, {"sigma": 1e-10}),
    "params": (1, {"decoder_learning_rate": 1e20, "decoder_weight_decay": 1e20}),
}


def assert_same(one, two):
    """Asserts that two trees have the same bits; nan is nan."""

    def check(a, b):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(check, one, two)


def take(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def make_config(**overrides):
    """A config of a run that takes next to no time; overrides by dotted field."""
    config = base.get_config()
    small = {
        "data.num_points": 10,
        "train.batch_size": 4,  # the last batch has 2
        "train.num_epochs": 4,
        "train.compiled": "quickly",
        "train.log_every": 2,
        "model.encoder.hidden_dim": 3,
        "model.decoder.hidden_dim": 3,
        "evaluate.every": 0.0,
    }
    config.update_from_flattened_dict(small | overrides)
    return config

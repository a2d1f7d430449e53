"""Small lanes, programs and configs that several tests share."""

import dataclasses

import jax
import numpy as np

from configs import base
from spiral_vae.model import networks
from spiral_vae.model.likelihood import ClosedForm, Fixed, Heteroscedastic
from spiral_vae.process.spiral import Spiral
from spiral_vae.training import train

VAE = networks.VAE(
    networks.Encoder(hidden_dim=4, hidden_layers=1), networks.Decoder(hidden_dim=4, hidden_layers=1)
)
UNEVEN_VAE = networks.VAE(VAE.encoder, networks.Decoder(4, 1, heads=("mean", "logvar")))
# 10 points in batches of 4, 4 and 2, so that all tests with it have a last batch with padding.
PROGRAM = train.Program(
    vae=VAE,
    num_points=10,
    design="grid",
    batch_size=4,
    shuffle=True,
    objective="elbo",
    num_samples=1,
    num_epochs=8,
    schedule="constant",
)
CLOSED_FORM = ClosedForm(sigma=0.5, rate=1.0, covariance="isotropic", estimator="full_data")


def heteroscedastic(stabiliser, exponent=0.5):
    return Heteroscedastic(
        sigma=0.5, floor=0.0, exponent=exponent, warmup=0.5, rate=0.1, stabiliser=stabiliser
    )


def make_lane(**overrides):
    """One lane; overrides by field, 'sigma' (of the kind fixed) and 'noise_sigma' among them."""
    spiral = Spiral(
        omega=8.8,
        rdot=2.5,
        noise_sigma=overrides.pop("noise_sigma", 0.2),
        u_start=0.01,
        u_stop=1.0,
    )
    one = train.Lane(
        seed=0,
        spiral=spiral,
        likelihood=Fixed(sigma=overrides.pop("sigma", 0.5)),
        beta=1.0,
        kl_warmup=0.0,
        encoder_learning_rate=0.01,
        decoder_learning_rate=0.01,
        likelihood_learning_rate=0.01,
        decoder_weight_decay=0.0,
        variance_weight_decay=0.0,
        decay_every=5_000,
        decay_factor=0.5,
        warmup=0.0,
    )
    one = dataclasses.replace(one, **overrides)
    one = jax.tree.map(np.float32, one)
    return dataclasses.replace(one, seed=np.uint32(one.seed))


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
        "train.log_every": 2,
        "model.encoder.hidden_dim": 3,
        "model.decoder.hidden_dim": 3,
        "evaluate.every": 0.0,
    }
    config.update_from_flattened_dict(small | overrides)
    return config

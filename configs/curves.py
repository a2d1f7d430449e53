"""Every curve, in the setting that finds two turns of the spiral."""

import math

import ml_collections

from spiral_vae.configs import two_turns

KINDS = (
    *("circle", "rings", "figure_eight", "lissajous", "helix", "eight_gaussians"),
    *("swiss_roll", "s_curve", "two_moons", "spiral"),
)


def get_config() -> ml_collections.ConfigDict:
    """Returns the config of experiments/curves.py."""
    config = two_turns.get_config()
    config.data.omega = 2.8 * math.pi
    config.num_seeds = 8
    config.posterior.kind = "gaussian"  # the decoder is the same, and it is judged sooner
    config.evaluate.every = 0.0
    config.sweep = ("data.kind=" + ",".join(KINDS),)
    return config

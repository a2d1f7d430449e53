"""The config of an earlier run: --config=configs/stored.py:runs/NAME/config.json repeats it."""

from pathlib import Path

import ml_collections

from spiral_vae.config import command_line as config


def get_config(path: str) -> ml_collections.ConfigDict:
    """Returns the config that a run wrote into its workdir."""
    return config.from_json(Path(path).read_text())

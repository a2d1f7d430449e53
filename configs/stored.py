"""The config of an earlier run: --config=stored:runs/NAME/config.json repeats it."""

from pathlib import Path

import ml_collections

from spiral_vae.config import stored


def get_config(path: str) -> ml_collections.ConfigDict:
    """Returns the config that a run wrote into its workdir."""
    return stored.from_json(Path(path).read_text())

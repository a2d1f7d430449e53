"""Sequences of one's own, from a table: sigma and the time constant are learned with the curve.

python -m spiral_vae.main --config=configs/own_sequences.py --config.data.path=walks.csv \\
    --config.data.sequence_column=walk --config.data.time_column=time --config.train.batch_size=400

The batch is of whole sequences: a multiple of the places of the longest, which a sentence names.
"""

import ml_collections

from spiral_vae.configs import dynamics


def get_config(turns: str = "2") -> ml_collections.ConfigDict:
    """Returns the config, for a curve that bends as much as so many turns of a spiral."""
    config = dynamics.setting(float(turns))
    config.data.kind = "table"
    return config

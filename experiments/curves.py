"""What can a one-dimensional latent do with curves that people know?

400 points of each, noise 0.2, sigma known, maximum likelihood with a sigma that falls. A latent on
a line has to cut a closed curve open and to bridge the gaps between pieces; what that costs is the
distance to the truth.

    python -m experiments.curves
"""

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import curves as config

_METRICS = ("kl_to_truth", "order_of_curve", "order_of_decoder")


def curves(experiment: Experiment) -> None:
    rows = experiment.sweep("sweep", config.get_config()).rows
    experiment.save(drawing.intervals(rows, _METRICS, by="data.kind"), rows)
    for kind in dict.fromkeys(row["data.kind"] for row in rows):
        own = [row for row in rows if row["data.kind"] == kind]
        found = np.mean([row.get("found", False) for row in own])
        print(f"{kind}: found {found:.0%}")
    experiment.tell(rows, _METRICS, by=("data.kind",))


if __name__ == "__main__":
    main(curves)

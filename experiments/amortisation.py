"""What the encoder costs on points that it has seen and on new ones, and what helps.

Claim: on the training points the encoder looks better than it is. Its gap at new points does not
rise along the training, so stopping early can't help; a smaller gradient variance, a richer family
and, once the decoder is frozen, training on draws of the model do.

    python -m experiments.amortisation

16 seeds, all ways on the same data, initialisation and noise, and as many steps. 'after' freezes
the decoder for the last 30 % and trains the encoder on draws of the model, 'sleep' trains it for
the first 10 % by -log q(z|x) of such draws. Lines are medians over seeds, every 5 %; told
are the median and the 10-90 % of the difference from the plain way, seed by seed.
"""

from typing import Any

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main, quantiles
from spiral_vae.configs import amortisation as config

_STL = {"objective.estimator": "stl"}
_MIXTURE = {**_STL, "posterior.kind": "mixture"}
WAYS: dict[str, dict[str, Any]] = {
    "Gaussian": {},
    "Gaussian, sleep": {"encoder.sleep": 0.1},
    "Gaussian, after": {"encoder.after": 0.3},
    "Gaussian, STL": _STL,
    "Gaussian, STL, after": {**_STL, "encoder.after": 0.3},
    "mixture, STL": _MIXTURE,
    "mixture, STL, after": {**_MIXTURE, "encoder.after": 0.3},
}
METRICS = ("inference_gap", "inference_gap_new", "kl_to_truth")


def amortisation(experiment: Experiment) -> None:
    rows, looks = [], {}
    for way, own in list(WAYS.items())[: 2 if experiment.quick else None]:
        outcome = experiment.sweep(way, config.get_config(), own)
        rows += [{"way": way, **row} for row in outcome.rows]
        with np.load(outcome.workdir / "metrics" / "probes.npz") as probes:
            looks[way] = {name: probes[name] for name in ("epoch", *METRICS)}
    experiment.save(drawing.along_training(looks, METRICS), rows)
    experiment.tell(rows, METRICS, by=("way",))
    plain = {row["seed"]: row for row in rows if row["way"] == "Gaussian"}
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        for metric in METRICS[1:]:
            difference = np.array([row[metric] - plain[row["seed"]][metric] for row in own])
            low, median, high = quantiles(difference)
            print(
                f"{way}, {metric} less that of the plain way: {median:+.4f} ({low:+.4f} to "
                f"{high:+.4f}), lower in {np.sum(difference < 0)} of {len(own)} seeds"
            )


if __name__ == "__main__":
    main(amortisation)

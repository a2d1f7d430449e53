"""The noise changes along the curve: can a decoder learn sigma(z), and which stabiliser helps?

Claim: the plain likelihood explains distance by noise before it explains it by the curve, and stays
with a folded curve; so what helps is to find the curve with one sigma first and to free the
variance then (warm-up), not to reweigh or to bound the variance.

    python -m experiments.heteroscedastic

2000 points, sd(t) = 0.05 + 0.3 t; 16 seeds that share their data between all ways. Shown is
KL(p* || p) less that of the best way, seed by seed, and the noise found along the true curve.
"""

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import heteroscedastic as config
from spiral_vae.configs.recommended import LEARNED
from spiral_vae.exact import ground_truth, recovery
from spiral_vae.exact.model import Model
from spiral_vae.runs.load import load

WARMUP = {"likelihood.stabiliser": "warmup", "likelihood.warmup": 0.3}
WAYS = {
    "one sigma": LEARNED,
    "plain likelihood": {},
    "floor 0.03": {"likelihood.floor": 0.03},
    "weight decay 0.1": {"likelihood.weight_decay": 0.1},
    "beta-NLL 0.5": {"likelihood.stabiliser": "beta_nll"},
    "faithful": {"likelihood.stabiliser": "faithful"},
    "warm-up": WARMUP,
    "warm-up, weight decay 0.5": {**WARMUP, "likelihood.weight_decay": 0.5},
    "Student-t": {"likelihood.stabiliser": "student_t"},
    "variational": {"likelihood.stabiliser": "variational"},
}


def heteroscedastic(experiment: Experiment) -> None:
    rows, curves = [], {}
    for way, overrides in list(WAYS.items())[-2 if experiment.quick else None :]:
        outcome = experiment.sweep(way, config.get_config(), overrides)
        rows += [{"way": way, **row} for row in outcome.rows]
        sound = [row["lane"] for row in outcome.rows if row["status"] == "ok"]
        curves[way] = [_along(load(outcome.workdir, lane)) for lane in sound]
    rows = drawing.with_excess(rows, by="way")
    metrics = ("kl_excess", "kl_to_truth", "sigma_log_ratio_rms")
    experiment.save(drawing.intervals(rows, metrics, by="way"), rows)
    experiment.save(drawing.sigmas(curves), rows, "sigmas")
    experiment.tell(rows, metrics, by=("way",))


def _along(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns t [T], the noise found there and the true one, root mean squares, [T] each."""
    truth = ground_truth.truth(model.curve)
    density = ground_truth.model_density(model.observe, 1)
    both = recovery.sigmas_along_truth(density.fine, truth)
    return (truth.density.fine.z[:, 0], *(np.sqrt(np.mean(s**2, axis=1)) for s in both))


if __name__ == "__main__":
    main(heteroscedastic)

"""Nobody knows sigma: which way to find it is the best?

Claim: with K importance samples in the bound (IWAE) all ways agree, as they look for the same
fixed point, E||x - m(z)||^2 = D sigma^2, and come near the truth, while the ELBO's own optimum has
a sigma that is too large. So the simplest way, a learned log sigma, is as good as any.

Found: so it is for closed forms and gradient descent everywhere, and for GECO that looks for its
kappa once there are points and units enough (2000 points, 2x64: all within 0.5 % of the truth).
With fewer GECO stops at a larger kappa; and given the right kappa it is the worst, since there
networks that can't reach that error, or can reach a smaller one, drive sigma to the wrong end.

    python -m experiments.unknown_sigma

Every way starts at sigma = 0.5 (the truth is 0.2) and has the same data, initialisation and noise.
Lines are medians and 10-90 % over 16 seeds; 'epochs' is the first look (every 5 % of the training)
at which KL(p* || p) is below 0.06 nats with |Spearman| > 0.98.
"""

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import unknown_sigma as config
from spiral_vae.configs.recommended import LEARNED
from spiral_vae.exact.recovery import FOUND_ORDER, RECOVERED_KL
from spiral_vae.runs.run import Outcome

WAYS = {
    "fixed at the truth": {"likelihood.kind": "fixed", "likelihood.sigma": 0.2},
    "closed form, full data": {"likelihood.kind": "closed_form"},
    "closed form, batch": {
        "likelihood.kind": "closed_form",
        "likelihood.estimator": "batch",
    },
    "closed form, moving average": {
        "likelihood.kind": "closed_form",
        "likelihood.estimator": "moving_average",
    },
    "learned": LEARNED,
    "GECO, right kappa": {"likelihood.kind": "geco", "likelihood.kappa": 0.2},
    "GECO, kappa found": {"likelihood.kind": "geco"},
    "learned, ELBO": {**LEARNED, "objective.kind": "elbo"},
}


def epochs_to_recover(outcome: Outcome) -> np.ndarray:
    """Returns the epoch of the first look at which each lane was recovered, [R]; nan if never."""
    with np.load(outcome.workdir / "metrics" / "probes.npz") as probes:
        found = (probes["kl_to_truth"] < RECOVERED_KL) & (np.abs(probes["spearman"]) > FOUND_ORDER)
        return np.where(found.any(axis=1), probes["epoch"][np.argmax(found, axis=1)], np.nan)


def unknown_sigma(experiment: Experiment) -> None:
    rows = []
    for number, setting in enumerate(list(config.SETTINGS)[: 1 if experiment.quick else None]):
        for way, overrides in list(WAYS.items())[-2 if experiment.quick else None :]:
            outcome = experiment.sweep(f"{number}_{way}", config.get_config(setting), overrides)
            epochs = epochs_to_recover(outcome)
            rows += [
                {"setting": setting, "way": way, "epochs_to_recover": epoch, **row}
                for row, epoch in zip(outcome.rows, epochs, strict=True)
            ]
    metrics = ("sigma_ratio", "kl_to_truth", "epochs_to_recover")
    experiment.save(drawing.intervals(rows, metrics, by="way", facet="setting"), rows)
    experiment.tell(rows, metrics, by=("setting", "way"))


if __name__ == "__main__":
    main(unknown_sigma)

"""How many points does it take to know sigma?

Claim: with the recommended setting the error of sigma falls as the Cramer-Rao bound of one who
knows the curve, and KL(p* || p) in proportion to 1/n. Found: up to 200 points; beyond some hundred
the setting itself is the limit (one hidden layer, weight decay, 8 importance samples, a fixed
number of steps), and what is left is a sigma 7 % too large.

    python -m experiments.n_and_sigma

16 seeds each; the number of steps is the same for all n. The bound is 1/sqrt(n I), with I the
Fisher information of log sigma in a point, an integral over the plane.
"""

import dataclasses

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import recommended
from spiral_vae.exact import ground_truth
from spiral_vae.process import Curve
from spiral_vae.runs.load import load

POINTS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000)
STEPS = 10_000


def fisher_information(curve: Curve, step: float = 1e-4) -> float:
    """Returns E (d log p*(x) / d log sigma)^2 for a noise that is scaled as a whole."""
    truth = ground_truth.truth(curve)
    noise = truth.density.fine.observation

    def scaled(factor: float) -> np.ndarray:
        louder = dataclasses.replace(noise, scale=factor * noise.scale)
        other = dataclasses.replace(truth.density.fine, observation=louder)
        return truth.space.log_density(other)

    score = (scaled(np.exp(step)) - scaled(np.exp(-step))) / (2 * step)
    return truth.space.integral(np.exp(truth.log_density) * score**2).value


def n_and_sigma(experiment: Experiment) -> None:
    rows = []
    for num_points in POINTS[-2 if experiment.quick else None :]:
        overrides = {
            "num_seeds": 16,
            "data.num_points": num_points,
            "train.batch_size": min(200, num_points),
            "train.num_epochs": STEPS // -(-num_points // 200),
            "train.log_every": max(1, 1_000 // -(-num_points // 200)),
            "evaluate.every": 0.0,
        }
        outcome = experiment.sweep(f"n_{num_points}", recommended.get_config(), overrides)
        rows += [{"num_points": num_points, **row} for row in outcome.rows]
    information = fisher_information(load(outcome.workdir).curve)
    print(f"Fisher information of log sigma: {information:.3f} a point")
    experiment.save(drawing.against_n(rows, information), rows)
    experiment.tell(rows, ("sigma_ratio", "kl_to_truth"), by=("num_points",))


if __name__ == "__main__":
    main(n_and_sigma)

"""Does a second turn make the latent ambiguous?

The post says that the encoder cannot tell revolutions apart, as an angle is known modulo 2 pi only.
Claim to the contrary: the radius tells them apart until the arms are closer than 4 to 5 noise
sigmas. Up to there exact posteriors have one mode and a failure is one of optimisation; beyond,
the share of points with a second mode and with it the price of a Gaussian q rise.

    python -m experiments.turns

The spacing of the arms is 2 pi rdot / omega: 12.5, 6.25, 4.2, 3.1, 2.1 and 1.6 noise sigmas.
"""

import math

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import turns as config
from spiral_vae.exact import ground_truth, inference, mixture
from spiral_vae.exact.best import best_gaussian
from spiral_vae.maths import observation
from spiral_vae.process import Spiral

SECOND_MODE = 0.05  # mass that makes a posterior count as bimodal
NUM_POINTS = 400  # draws that the share and the price are means over


def ambiguity(turns: int, num_points: int = NUM_POINTS) -> dict[str, float]:
    """Returns the share of bimodal exact posteriors and the price of the best Gaussian, nats.

    Both are of the true process: its decoder m(z) = f(F^-1(Phi(z))) and sigma = noise sigma.
    """
    curve = Spiral(omega=2 * math.pi * turns, rdot=2.5, noise_sigma=0.2, u_start=0.0, u_stop=1.0)
    truth = ground_truth.truth(curve)
    observe = ground_truth.true_decoder(curve)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((num_points, 1))
    x = observation.draw(rng, observe(z))
    density = ground_truth.model_density(observe, 1, reach=2.0)
    log_evidence, _ = density.log_density(x)
    start = inference.gaussians(z, np.full_like(z, -4.0))
    best = best_gaussian(x, start, observe, density)
    posterior = mixture.log_posterior(x, truth.density.fine)
    weight = np.exp(truth.density.fine.log_weight)
    bimodal = [_second_mode(np.exp(row), weight) > SECOND_MODE for row in posterior]
    return {
        "turns": turns,
        "spacing": 2.5 / (turns * 0.2),
        "bimodal": float(np.mean(bimodal)),
        "approximation_gap_of_truth": float(np.mean(log_evidence - best.elbo)),
    }


def _second_mode(density: np.ndarray, weight: np.ndarray) -> float:
    """Returns the mass of the second mode: nodes are split where the density has its minima."""
    inner = density[1:-1]
    minima = np.flatnonzero((inner < density[:-2]) & (inner <= density[2:])) + 1
    masses = [part.sum() for part in np.split(density * weight, minima)]
    return sorted(masses)[-2] if len(masses) > 1 else 0.0


def turns(experiment: Experiment) -> None:
    rows = experiment.sweep("sweep", config.get_config()).rows
    numbers = sorted({round(row["data.omega"] / (2 * math.pi)) for row in rows})
    exact = {n: ambiguity(n, 30 if experiment.quick else NUM_POINTS) for n in numbers}
    rows = [row | exact[round(row["data.omega"] / (2 * math.pi))] for row in rows]
    experiment.save(drawing.turns(rows), rows)
    for n in numbers:
        own = [row for row in rows if row["turns"] == n]
        found = np.mean([abs(row["spearman"]) > 0.98 for row in own])
        gap = np.median([row["approximation_gap"] for row in own])
        print(
            f"{n} turns, spacing {own[0]['spacing']:.2f}: bimodal {own[0]['bimodal']:.0%}, "
            f"gap of the truth {own[0]['approximation_gap_of_truth']:.3f}, of the model {gap:.3f}, "
            f"found {found:.0%}"
        )


if __name__ == "__main__":
    main(turns)

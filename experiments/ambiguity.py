"""Does a sequence tell the arms of a spiral apart where its points do not?

Of the true process alone: the share of points whose exact posterior of z has a second mode of 5 %,
given the point alone, given the points up to it, and given the whole sequence; by the number of
turns and the correlation a of neighbouring z. 40 sequences of 40 points.

    python -m experiments.ambiguity
"""

import math

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics
from spiral_vae.exact import forward_backward, ground_truth, mixture, sequences
from spiral_vae.maths import observation
from spiral_vae.process import Spiral

TURNS = (1, 2, 3, 4, 6)
CORRELATIONS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
LENGTH = 40


def ambiguity(experiment: Experiment) -> None:
    turns, correlations = (
        (TURNS[:2], CORRELATIONS[-2:])
        if experiment.quick
        else (
            TURNS,
            CORRELATIONS,
        )
    )
    num = 4 if experiment.quick else sequences.NUM_FRESH
    with numerics.double():
        rows = [shares(n, a, num) for n in turns for a in correlations]
    experiment.save(drawing.ambiguity(rows), rows)
    for n in turns:
        own = [row for row in rows if row["turns"] == n]
        smoothed = ", ".join(f"{row['smoothed']:.1%} ({row['a']})" for row in own)
        print(f"{n} turns: alone {own[0]['alone']:.1%}; given the sequence (a): {smoothed}")


def shares(turns: int, a: float, num: int) -> dict[str, float]:
    """Returns the shares of bimodal posteriors in `num` sequences of the true process."""
    curve = Spiral(omega=2 * math.pi * turns, u_start=0.0)
    observe = ground_truth.true_decoder(curve)
    z = sequences.draw(np.random.default_rng(0), a, num, LENGTH)
    x = observation.draw(np.random.default_rng(1), observe(z.reshape(-1, 1)))
    x = x.reshape(num, LENGTH, -1)
    model, _ = sequences.settled(observe, a, x[:4])
    law = forward_backward.smooth(model, x)
    densities = {
        "alone": mixture.log_posterior(x.reshape(-1, x.shape[-1]), model.nodes),
        "filtered": law.filtered,
        "smoothed": law.smoothed,
    }
    found = {name: sequences.share_of_bimodal(d, model) for name, d in densities.items()}
    return {"turns": turns, "a": a, **found}


if __name__ == "__main__":
    main(ambiguity)

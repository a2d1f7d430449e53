"""Do the laws of sigma hold that follow from the ELBO alone?

Each panel has a prediction and a measurement on the same axes. L* is the ELBO that training
reaches at a sigma, R(sigma) = E E_q ||x - m(z)||^2 there, D = 2.

1. Envelope: dL*/d ln sigma = R / sigma^2 - D, since the networks are at their optimum. Its zero is
   the sigma that closed form and gradient descent stop at.
2. GECO is the same problem seen from its constraint: a tolerance kappa gives the sigma with
   R(sigma) = D kappa^2 (Rezende & Viola 2018).
3. beta and sigma are one number: the optimum depends on sqrt(beta) sigma alone.
4. At the true sigma the residual of a sampled code is D sigma^2, but that of the mean code about
   (D - 1) sigma^2: estimating sigma from it comes out too small by sqrt(1/2).
5. A learned sigma that starts above the collapse threshold stalls: the collapsed solution is left
   at a rate in proportion to D lambda_1 / Tr C - 1, which falls with the number of turns.

Found: 1, 2 and 3 hold, 2 as long as the tolerance is above what these networks can reach without
noise, below which GECO's sigma falls without end. 4 holds for the model's own posterior only: the
ELBO's Gaussian leaves residuals of 1.3 and 0.8 instead of 1 and 1/2, which is why sigma comes out
too large under it. 5: after 3 000 epochs no run of two turns or more has left.

    python -m experiments.sigma_laws
"""

import math

import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import sigma_laws as config
from spiral_vae.exact import ground_truth
from spiral_vae.runs.load import load
from spiral_vae.runs.run import Outcome

KAPPAS = "0.18,0.25,0.35,0.5,0.7,0.9,1.1"
BETAS = "0.25,4.0"
TURNS = (1, 2, 3, 5)
LEFT = 0.5  # nats of mean KL above which a run has left the collapsed solution


def sigma_laws(experiment: Experiment) -> None:
    base = config.get_config()
    axis = "likelihood.sigma=log(0.1,1.6,17)"
    series = experiment.sweep("fixed", base, {"sweep": (axis,)}).rows
    geco = experiment.sweep(
        "geco",
        base,
        {
            "likelihood.kind": "geco",
            "likelihood.sigma": 0.5,
            "sweep": (f"likelihood.kappa={KAPPAS}",),
        },
    ).rows
    pairs = []
    for beta in map(float, BETAS.split(",")):
        sigmas = f"likelihood.sigma=log({0.1 / math.sqrt(beta)},{1.6 / math.sqrt(beta)},7)"
        pairs += experiment.sweep(
            f"beta_{beta:g}", base, {"sweep": (f"objective.beta={beta}", sigmas)}
        ).rows
    split = residual_split(
        experiment.sweep("split", base, {"data.num_points": 2_000, "train.num_epochs": 1_000})
    )
    escape = []
    for turns in TURNS[: 2 if experiment.quick else None]:
        escape += _escape(experiment, turns)
    figure = drawing.laws(series, geco, pairs, split, escape)
    rows = [
        {"panel": panel, **row}
        for panel, part in (
            ("fixed", series),
            ("geco", geco),
            ("beta", pairs),
            ("split", split),
            ("escape", escape),
        )
        for row in part
    ]
    experiment.save(figure, rows)
    experiment.tell(split, ("sampled", "mean_code"), by=("sigma",))
    experiment.tell(escape, ("epochs_to_leave",), by=("turns", "start"))


def residual_split(outcome: Outcome) -> list[dict[str, float]]:
    """Returns the residuals of sampled and of mean codes in units of D sigma^2, a row a lane."""
    found = []
    for row in outcome.rows:
        model = load(outcome.workdir, row["lane"])
        square = np.mean((model.x - model.decode(model.posteriors(model.x).mean)) ** 2)
        found.append(
            {
                "seed": row["seed"],
                "sigma": row["sigma"],
                "sampled": row["residual_ratio"],
                "mean_code": float(square / row["sigma"] ** 2),
            }
        )
    return found


def _escape(experiment: Experiment, turns: int) -> list[dict[str, float]]:
    """Returns when runs with a learned sigma leave collapse, from a start above and one below."""
    overrides = {
        "likelihood.kind": "learned",
        "likelihood.learning_rate": 1e-3,
        "optimizer.encoder_learning_rate": 1e-3,
        "optimizer.decoder_learning_rate": 1e-3,
        "optimizer.schedule": "constant",
        "data.omega": 2 * math.pi * turns,
        "data.u_start": 0.0,
        "train.log_every": 20,
        "sweep": ("likelihood.sigma=0.3,2.0",),
    }
    outcome = experiment.sweep(f"turns_{turns}", config.get_config(), overrides)
    truth = ground_truth.truth(load(outcome.workdir).curve)
    exponent = 2 * truth.eigenvalues[0] / np.trace(truth.covariance) - 1
    with np.load(outcome.workdir / "metrics" / "training.npz") as curves:
        left = curves["kl"] > LEFT
        ever = left.any(axis=1)
        epochs = curves["epoch"][np.where(ever, np.argmax(left, axis=1), -1)]
    return [
        {
            "turns": turns,
            "start": row["likelihood.sigma"],
            "seed": row["seed"],
            "exponent": exponent,
            "left": bool(has_left),
            "epochs_to_leave": int(epoch),  # the whole training if it never did
        }
        for row, epoch, has_left in zip(outcome.rows, epochs, ever, strict=True)
    ]


if __name__ == "__main__":
    main(sigma_laws)

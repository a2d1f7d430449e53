"""When does the posterior collapse, and what does a collapsed one look like?

Claim: a collapsed model is stable exactly where sigma exceeds sigma_c, the root of the largest
eigenvalue of the data's covariance, for any smooth decoder (a second variation of the ELBO; for
linear decoders it is probabilistic PCA, Lucas et al. 2019, https://arxiv.org/abs/1911.02469). There
the mean KL of a linear decoder is ln(sigma_c / sigma).

    python -m experiments.posterior_collapse

Each of 16 seeds follows sigma up from a trained model and down from a collapsed one, each step
starting where the last one ended; sigma_c is that of the seed's own 200 points. The threshold is
where the mean KL, followed from above 0.02 nats, would reach 0.
"""

import dataclasses

import jax
import numpy as np

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.config import axes, lanes
from spiral_vae.config.values import with_values
from spiral_vae.configs import base
from spiral_vae.configs import posterior_collapse as config
from spiral_vae.runs import run
from spiral_vae.runs.load import load
from spiral_vae.training import cells, train

GEOMETRIES = {
    "1.26 turns": {},
    "0.83 turns, r rising slowly": {
        "data.omega": 3 * np.pi,
        "data.rdot": 1.0,
        "data.noise_sigma": 0.1,
        "data.u_start": 0.2,
    },
    "3 turns": {"data.omega": 6 * np.pi},
    "1 turn, t uniform": {"data.omega": 2 * np.pi, "data.t_law": "uniform", "data.u_start": 0.0},
}
RATIOS = np.linspace(0.85, 1.06, 22)  # sigma / sigma_c
SMALL = 0.02  # nats; below it a run is too slow to have settled


def follow(group: lanes.Group, ratios: np.ndarray) -> np.ndarray:
    """Returns the mean KL after each step of a path of sigma / sigma_c, [steps, seeds]."""
    _, data = jax.jit(jax.vmap(train.init))(group.lanes)
    critical = [np.linalg.eigvalsh(np.cov(x.T, bias=True))[-1] ** 0.5 for x in np.asarray(data.x)]
    params, kls = None, []
    for ratio in ratios:
        likelihood = dataclasses.replace(group.lanes.likelihood, sigma=ratio * np.asarray(critical))
        found = cells.train(
            dataclasses.replace(group.lanes, likelihood=likelihood),
            cell_width=8,
            probe=None,
            probe_every=0,
            on_chunk=lambda chunk: None,
            params=params,
        )
        params = found.params
        kls.append([_kl(group, found, i) for i in range(len(group.index))])
    return np.asarray(kls)


def _kl(group: lanes.Group, found: cells.Trained, i: int) -> float:
    model = run.model_of(group, found, i)
    return float(np.mean(model.posteriors(model.x).kl))


def threshold(ratios: np.ndarray, kl: np.ndarray) -> float:
    """Returns sigma / sigma_c at which KL [S], over rising ratios, would reach 0.

    The line through the last two points above SMALL is followed down in ln sigma.
    """
    last = np.flatnonzero(kl > SMALL)[-2:]
    if len(last) < 2:
        return np.nan
    (x0, x1), (y0, y1) = np.log(ratios[last]), kl[last]
    return float(np.exp(x1 - y1 * (x1 - x0) / (y1 - y0))) if y1 < y0 else np.nan


def posterior_collapse(experiment: Experiment) -> None:
    collapsed = experiment.sweep("collapsed", base.get_config(), {"likelihood.sigma": 2.0})
    experiment.save(drawing.posteriors(load(collapsed.workdir)), collapsed.rows, "posteriors")
    ratios = RATIOS[::20] if experiment.quick else RATIOS
    geometries = dict(list(GEOMETRIES.items())[: 1 if experiment.quick else None])
    curves, rows = {}, []
    for name, geometry in geometries.items():
        own = with_values(config.get_config(), geometry)
        if experiment.quick:
            own.num_seeds, own.train.num_epochs = 2, 20
        own.train.log_every = own.train.num_epochs  # one chunk: only its end is looked at
        _, points = axes.expand(own, [])
        (group,) = lanes.groups(own, points)
        up = follow(group, ratios)
        down = follow(group, ratios[::-1])[::-1]
        curves[name] = (-np.log(ratios), up, down)
        for direction, kl in (("up", up), ("down", down)):
            found = [threshold(ratios, column) for column in kl.T]
            rows += [
                {"geometry": name, "direction": direction, "seed": seed, "threshold": value}
                for seed, value in enumerate(found)
            ]
            if np.isfinite(found).any():
                low, median, high = np.nanquantile(found, [0.1, 0.5, 0.9])
                print(f"{name}, {direction}: {median:.3f} sigma_c ({low:.3f} to {high:.3f})")
    experiment.save(drawing.thresholds(curves), rows, "threshold")


if __name__ == "__main__":
    main(posterior_collapse)

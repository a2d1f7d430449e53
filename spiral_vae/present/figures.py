"""The figures of one trained lane: computes the arrays that `plotting` draws."""

import dataclasses
from pathlib import Path

import numpy as np

from spiral_vae.exact import evaluate, ground_truth, mixture
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.gaussian import LOG_2PI
from spiral_vae.maths.observation import Observation, Observe
from spiral_vae.present import plotting
from spiral_vae.runs.load import Model

NUM_SAMPLES = 500
NUM_POINTS = 6  # whose posteriors are shown


def draw_lane(folder: Path, model: Model, report: evaluate.Report) -> None:
    """Writes basic_run, density and, for one latent dimension, posterior, gaps and calibration.

    Args:
      folder: of the figures.
      model: one trained lane.
      report: on it; its gaps are drawn, so they should have many points.
    """
    encode, observe, t, x = model.encode, model.observe, model.t, model.x
    process = ground_truth.process(model.spec)
    curve = process.rules.fine.mean
    mean, _ = encode(x)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((NUM_SAMPLES, mean.shape[1]))
    plotting.save(
        plotting.basic_run(
            t=t,
            x=x,
            mean=mean[:, np.argmax(np.abs([evaluate.spearman(m, t) for m in mean.T]))],
            reconstruction=model.decode(mean),
            samples=observation_lib.draw(rng, observe(z)),
            curve=curve,
        ),
        folder,
        "basic_run",
    )
    _draw_density(folder, process, observe, mean.shape[1], x)
    if report.gaps is not None:
        gaps = report.gaps
        plotting.save(
            plotting.gaps(
                t=gaps.t, approximation=gaps.approximation, amortisation=gaps.amortisation
            ),
            folder,
            "gaps",
        )
        _draw_posterior(folder, encode, report, x, curve)
    if report.calibration is not None:
        found = report.calibration
        plotting.save(
            plotting.calibration(
                rank=found.rank,
                coverage_nominal=found.nominal,
                coverage=found.coverage,
                noise_coverage=found.noise_coverage,
            ),
            folder,
            "calibration",
        )


def _draw_density(
    folder: Path,
    process: ground_truth.Process,
    observe: Observe,
    latent_dim: int,
    x: np.ndarray,
) -> None:
    middle = 0.5 * (x.min(axis=0) + x.max(axis=0))
    half = 0.5 * np.ptp(x, axis=0).max() + 3 * process.noise_sigma
    offset = np.linspace(-half, half, 200)
    grid_x, grid_y = middle[:, None] + offset
    points = np.stack(np.meshgrid(grid_x, grid_y), axis=-1).reshape(-1, 2)
    # Seen through pixels: a density finer than they are would fall between them.
    pixel = 0.5 * (offset[1] - offset[0])
    rules = ground_truth.model_rules(lambda z: _blurred(observe(z), pixel), latent_dim)
    model = rules.fine if latent_dim == 1 else rules.coarse  # fine enough to look at
    nodes = process.rules.fine
    true = dataclasses.replace(nodes, observation=_blurred(nodes.observation, pixel))
    truth, learned = (
        np.exp(mixture.log_density(points, density)).reshape(len(grid_y), len(grid_x))
        for density in (true, model)
    )
    figure = plotting.density(grid_x=grid_x, grid_y=grid_y, truth=truth, model=learned, x=x)
    plotting.save(figure, folder, "density")


def _blurred(observation: Observation, width: float) -> Observation:
    """Returns p(x|z) convolved with N(0, width^2 I); a Student-t's tails are kept as they are."""
    scale = observation.scale
    covariance = scale @ np.swapaxes(scale, 1, 2) + width**2 * np.eye(scale.shape[1])
    return dataclasses.replace(observation, scale=np.linalg.cholesky(covariance))


def _draw_posterior(folder, encode, report, x, curve) -> None:
    """Draws the posteriors of points evenly along t, and of the one with the largest gap."""
    gaps, nodes = report.gaps, report.rules.fine
    worst = int(np.argmax(gaps.approximation + gaps.amortisation))
    even = np.linspace(0, len(gaps.t) - 1, NUM_POINTS).round().astype(int)[:-1]
    chosen = np.unique([*even, worst])
    points = gaps.x[chosen]
    # The nodes of the mixture resolve the posterior; a grid for drawing resolves q as well.
    mean, logvar = encode(points)
    z = np.sort(
        np.concatenate(
            [np.linspace(-5, 5, 2001)]
            + [
                (m + np.exp(0.5 * v) * np.linspace(-6, 6, 241)).ravel()
                for m, v in ((mean, logvar), (gaps.best.mean[chosen], gaps.best.logvar[chosen]))
            ]
        )
    )
    log_posterior = mixture.log_posterior(points, nodes)
    inside = np.abs(nodes.z[:, 0]) < 8
    exact = np.exp([np.interp(z, nodes.z[inside, 0], row) for row in log_posterior[:, inside]])

    def normal(mean: np.ndarray, logvar: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((z - mean) ** 2 * np.exp(-logvar) + logvar + LOG_2PI))

    figure = plotting.posterior(
        z=z,
        exact=exact,
        encoder=normal(mean, logvar),
        best=normal(gaps.best.mean[chosen], gaps.best.logvar[chosen]),
        points=points,
        x=x,
        curve=curve,
    )
    plotting.save(figure, folder, "posterior")

"""The figures of a run: arrays first, by the name of each figure, then the drawing."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spiral_vae.exact import (
    densities,
    evaluate,
    forward_backward,
    ground_truth,
    mixture,
    sequences,
)
from spiral_vae.exact.ground_truth import Truth
from spiral_vae.exact.model import Model
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.rank import spearman
from spiral_vae.present import plotting

NUM_SAMPLES = 500
NUM_POINTS = 6  # whose posteriors are shown
NUM_GAPS = 200  # points at which gaps are taken apart for their figure

Arrays = dict[str, dict[str, Any]]  # the arguments of `plotting`'s functions, by their names


def basic(model: Model) -> Arrays:
    """Returns what basic_run shows of one trained lane."""
    truth = None if model.curve is None else ground_truth.truth(model.curve)
    return {"basic_run": _basic_run(model) | _curve(model, truth)}


def detailed(model: Model, report: evaluate.Report) -> evaluate.Report:
    """Returns a report with gaps at more points than its metrics are means over."""

    def finer(points: evaluate.Points | None) -> evaluate.Gaps | None:
        if points is None or report.gaps is None:
            return None
        return evaluate.take_apart(points.evenly(NUM_GAPS), model.observe, report.density)

    return dataclasses.replace(report, gaps=finer(report.points), new_gaps=finer(report.new))


def of_lane(model: Model, report: evaluate.Report) -> Arrays:
    """Returns what basic_run and density show and, for one latent, posterior, gaps, calibration.

    Args:
      model: one trained lane.
      report: on it; its gaps are drawn, so they should have many points.
    """
    truth = None if model.curve is None else ground_truth.truth(model.curve)
    curve = _curve(model, truth)
    found = basic(model)
    if model.x.shape[1] == 2:
        found["density"] = _density(model, truth)
    if report.gaps is not None:
        found["gaps"] = {"known": model.t is not None}
        for name, own in {"": report.gaps, "new_": report.new_gaps}.items():
            if own is not None:
                found["gaps"] |= {
                    f"{name}t": own.t,
                    f"{name}approximation": own.family,
                    f"{name}amortisation": own.approximation + own.amortisation - own.family,
                }
        found["posterior"] = _posterior(report, report.gaps, model.x) | curve
    if report.sequences is not None:
        found["sequences"] = _sequences(model, report.sequences)
    if report.calibration is not None:
        found["calibration"] = {
            "rank": report.calibration.rank,
            "coverage_nominal": report.calibration.nominal,
            "coverage": report.calibration.coverage,
            "noise_coverage": report.calibration.noise_coverage,
        }
    return found


def draw(folder: Path, arrays: Mapping[str, Mapping[str, Any]], *, svg: bool) -> None:
    """Writes figures, each by the function of `plotting` that has its name; as SVG too or not."""
    folder.mkdir(exist_ok=True)
    for name, arguments in arrays.items():
        plotting.save(getattr(plotting, name)(**arguments), folder, name, svg=svg)


def _curve(model: Model, truth: Truth | None) -> dict[str, Any]:
    """Returns the true curve in the plane, or else the decoder's; a surface has none."""
    if truth is not None:
        return {"curve": _in_plane(truth.density.fine.mean), "curve_name": "noise-free curve"}
    if model.posteriors(model.x[:1]).latent_dim > 1:
        return {"curve": np.zeros((0, 2)), "curve_name": None}
    z = np.linspace(-3, 3, 601)[:, None]
    return {"curve": _in_plane(model.decode(z)), "curve_name": "mean of $p(x|z)$, $|z| < 3$"}


def _basic_run(model: Model) -> dict[str, Any]:
    mean = model.posteriors(model.x).mean
    rng = np.random.default_rng(0)
    z = rng.standard_normal((NUM_SAMPLES, mean.shape[1]))
    ordered = 0
    if model.t is not None:
        ranks = [abs(spearman(column, model.t)) for column in mean.T]
        ordered = int(np.argmax(ranks))
    return {
        "t": model.t,
        "x": _in_plane(model.x),
        "mean": mean[:, ordered],
        "reconstruction": _in_plane(model.decode(mean)),
        "samples": _in_plane(observation_lib.draw(rng, model.observe(z))),
    }


def _sequences(model: Model, report: sequences.Report) -> dict[str, Any]:
    """Returns the fresh sequence that goes farthest, and the posteriors of one of its points."""
    z, law = report.fresh.z, report.law
    row = int(np.argmax(np.ptp(z, axis=1)))
    nodes, x = report.model.z, report.fresh.x[row]
    mass = np.exp(law.smoothed[row]) * report.model.step
    mean = mass @ nodes
    sd = np.sqrt(np.maximum(mass @ nodes**2 - mean**2, 0))
    sign = np.copysign(1.0, np.sum(report.mean * z))  # the latent's direction means nothing
    alone = forward_backward.smooth(report.model, x[:, None]).smoothed[:, 0]
    width = np.exp(alone) * report.model.step
    spread = width @ nodes**2 - (width @ nodes) ** 2
    point = int(np.argmax(spread[1:-1])) + 1  # which says least of its own place
    shown = np.abs(nodes) < 4
    return {
        "z": z[row],
        "mean": sign * mean,
        "sd": sd,
        "x": _in_plane(x),
        "path": _in_plane(report.fresh.truth.nodes.mean[_nearest(report.fresh.truth.z, z[row])]),
        "smoothed_path": _in_plane(model.decode(mean[:, None])),
        "nodes": sign * nodes[shown],
        "posteriors": {
            "alone": np.exp(alone[point])[shown],
            "given the past": np.exp(law.filtered[row, point])[shown],
            "given all": np.exp(law.smoothed[row, point])[shown],
        },
        "point": point,
    }


def _nearest(nodes: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the place of the node of an even grid that is nearest to each z."""
    return np.clip(np.rint((z - nodes[0]) / (nodes[1] - nodes[0])), 0, len(nodes) - 1).astype(int)


def _in_plane(points: np.ndarray) -> np.ndarray:
    """Returns points [N, D] by their first two dimensions, [N, 2]; one alone lies along x."""
    return np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))[:, :2]


def _density(model: Model, truth: Truth | None) -> dict[str, Any]:
    x = model.x
    middle = 0.5 * (x.min(axis=0) + x.max(axis=0))
    sigma = 0.05 * np.ptp(x) if truth is None else truth.noise_sigma
    half = 0.5 * np.ptp(x, axis=0).max() + 3 * sigma
    offset = np.linspace(-half, half, 200)
    grid_x, grid_y = middle[:, None] + offset
    points = np.stack(np.meshgrid(grid_x, grid_y), axis=-1).reshape(-1, 2)
    # Seen through pixels: a density finer than they are would fall between them.
    pixel = 0.5 * (offset[1] - offset[0])
    latent_dim = model.posteriors(x[:1]).latent_dim
    rules = ground_truth.model_density(lambda z: _blurred(model.observe(z), pixel), latent_dim)
    learned = rules.fine if latent_dim == 1 else rules.coarse  # fine enough to look at
    shown = {"model": learned}
    if truth is not None:
        nodes = truth.density.fine
        blurred = _blurred(nodes.observation, pixel)
        shown["truth"] = dataclasses.replace(nodes, observation=blurred)
    values = {
        name: np.exp(mixture.log_density(points, density)).reshape(len(grid_y), len(grid_x))
        for name, density in shown.items()
    }
    return {"grid_x": grid_x, "grid_y": grid_y, **values, "x": x}


def _blurred(observation: Observation, width: float) -> Observation:
    """Returns p(x|z) convolved with N(0, width^2 I); the law of other noise is kept as it is."""
    scale = observation.scale
    covariance = scale @ np.swapaxes(scale, 1, 2) + width**2 * np.eye(scale.shape[1])
    return dataclasses.replace(observation, scale=np.linalg.cholesky(covariance))


def _posterior(report: evaluate.Report, gaps: evaluate.Gaps, x: np.ndarray) -> dict[str, Any]:
    """Returns the posteriors of points evenly along the curve, and that with the largest gap."""
    worst = int(np.argmax(gaps.approximation + gaps.amortisation))
    even = np.linspace(0, len(gaps.t) - 1, NUM_POINTS).round().astype(int)[:-1]
    chosen = np.unique([*even, worst])
    found = densities.at_points(gaps[chosen], report.density)
    return {
        **vars(found),
        "points": _in_plane(gaps.x[chosen]),
        "x": _in_plane(x),
        "local": gaps.q.family.local,
    }

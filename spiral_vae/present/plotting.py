"""Figures of runs and of exact answers: numpy arrays in, `Figure` out, files by `save` alone.

The only module of the package that needs matplotlib. Figures are made without pyplot, so none is
kept alive behind the caller's back. A value that is not finite (a lane that failed) is not drawn.
"""

import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.special import bdtr

from spiral_vae.exact.metrics import METRICS
from spiral_vae.workdir import files

# Okabe & Ito's colours, told apart by the colour-blind; each means the same in every figure.
DATA = "#999999"
TRUTH = "#000000"  # the process that made the data
MODEL = "#0072B2"  # prior and decoder, and all that follows from them exactly
ENCODER = "#D55E00"
BEST = "#009E73"  # the best member of a family, what an encoder could reach
_LANES = [MODEL, ENCODER, BEST, "#CC79A7", "#56B4E9", "#E69F00", TRUTH]

_WIDTH = 10.0  # inch; with _DPI and 11 pt, letters are 14 px high when 1500 px are shown on 900
_DPI = 150
_STYLE: Any = {  # matplotlib's parameters
    "font.size": 11,
    "axes.titlesize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titley": 1.0,  # by default it is found from all tick labels, a third of the drawing
    "legend.markerscale": 2,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.hashsalt": "spiral_vae",  # else ids in the SVG are random
}
# Ticks are made when a figure is drawn, so `save` needs the style as well.
styled = matplotlib.rc_context(_STYLE)


@styled
def save(figure: Figure, folder: Path, name: str, *, svg: bool = True) -> None:
    """Writes folder/name.png and, where asked for, folder/name.svg, each whole or not at all.

    The same figure gives the same bytes: the first call freezes its layout, as laying out starts
    from the last result and so moves by a hair each time. The canvases are called themselves, since
    `Figure.savefig` would go through all of a figure twice for each file.
    """
    canvas = _laid_out(figure)
    print_svg = functools.partial(FigureCanvasSVG(figure).print_svg, metadata={"Date": None})
    for kind, write in (("png", canvas.print_png), ("svg", print_svg))[: 2 if svg else 1]:
        partial = files.partial(folder / f"{name}.{kind}")
        try:
            write(partial)
            os.replace(partial, folder / f"{name}.{kind}")
        finally:
            partial.unlink(missing_ok=True)


def png(figure: Figure) -> bytes:
    """Returns the figure as `save` would write it."""
    buffer = io.BytesIO()
    _laid_out(figure).print_png(buffer)
    return buffer.getvalue()


def _laid_out(figure: Figure) -> FigureCanvasAgg:
    figure.set_dpi(_DPI)  # here, as writing an SVG leaves another one behind
    canvas = FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    return canvas


@styled
def basic_run(
    *,
    t: np.ndarray | None,
    x: np.ndarray,
    mean: np.ndarray,
    reconstruction: np.ndarray,
    samples: np.ndarray,
    curve: np.ndarray,
    curve_name: str | None = "noise-free curve",
) -> Figure:
    """Draws what a run learned: the latent against t, reconstructions, generated points.

    Args:
      t: where on the curve each point was made, [n]; None where that is unknown.
      x: data, [n, 2].
      mean: mean of q(z|x), [n].
      reconstruction: the decoder's mean at `mean`, [n, 2].
      samples: points generated from the prior, the decoder's noise included, [m, 2].
      curve: the curve without noise, or that of a decoder, [k, 2].
      curve_name: which it is, for the legend; None where there is none.
    """
    figure = new_figure(4.0)
    latent, middle, right = figure.subplots(1, 3)
    if t is not None:
        latent.plot(t, mean, ".", color=ENCODER, label="mean of q(z|x)")
        latent.set(xlabel="true $t$", ylabel="mean of $q(z|x)$", box_aspect=1)
    else:
        points = latent.scatter(*x.T, c=mean, s=8, cmap="viridis")
        data_space(latent, x)
        figure.colorbar(points, ax=latent, shrink=0.6, label="mean of $q(z|x)$")
    latent.set_title("Latent")

    middle.plot(*x.T, ".", color=DATA, label="data")
    middle.plot(*reconstruction.T, ".", color=MODEL, label="model")
    middle.plot(*curve.T, color=TRUTH, linewidth=1, label=curve_name)
    middle.set_title("Reconstruction at the mean")
    right.plot(*samples.T, ".", color=MODEL)
    right.plot(*curve.T, color=TRUTH, linewidth=1)
    right.set_title("Generated, with noise")
    for axes in (middle, right):
        data_space(axes, x, reconstruction, samples, curve)
    right.set_ylabel("")
    return shared_legend(figure)


@styled
def training(
    *,
    epoch: np.ndarray,
    loss: np.ndarray,
    reconstruction: np.ndarray,
    kl: np.ndarray,
    names: Sequence[str] | None = None,
) -> Figure:
    """Draws the terms of the loss along training, nats per point.

    One lane is a line; several are their median and 10-90 % band or, with names, a line each.

    Args:
      epoch: [rows], increasing.
      loss: the negative bound at the beta of training, [lanes, rows].
      reconstruction: -E_q log p(x|z), [lanes, rows].
      kl: KL(q(z|x) || p(z)), [lanes, rows].
      names: of the lanes, for the legend.
    """
    figure = new_figure(4.0)
    panels = {
        "Loss": (loss, "$-$bound"),
        "Reconstruction": (reconstruction, METRICS["reconstruction"].label),
        "KL to the prior": (kl, METRICS["kl_to_prior"].label),
    }
    for axes, (title, (lanes, label)) in zip(
        figure.subplots(1, 3).flat, panels.items(), strict=True
    ):
        axes.set(title=title, ylabel=f"{label}, nats per point")
        low, high = _along_training(axes, epoch, lanes, names)
        _show_bulk(axes, epoch, low, high)
    return shared_legend(figure)


@styled
def progress(
    *,
    epoch: np.ndarray,
    kl_to_prior: np.ndarray,
    inference_gap: np.ndarray,
    inference_gap_new: np.ndarray | None = None,
    kl_to_truth: np.ndarray | None = None,
    order_of_curve: np.ndarray | None = None,
    train_log_evidence: np.ndarray | None = None,
    nll_held_out: np.ndarray | None = None,
) -> Figure:
    """Draws exact metrics along training: one lane as a line, several as median and band.

    The first panels show the distance to the truth and the order of the latent where a truth is
    known, else the likelihood of the data.

    Args:
      epoch: [rows], increasing; may start at 0.
      kl_to_prior: KL(q(z|x) || p(z)) in nats, mean over points, [lanes, rows].
      inference_gap: log p(x) - ELBO, mean over the training points, nats, [lanes, rows].
      inference_gap_new: the same over the true density or held-out points, [lanes, rows].
      kl_to_truth: KL(p* || p) in nats, [lanes, rows]; on a log scale.
      order_of_curve: rank correlation of the place on the curve and the mean of q(z|x), for points
        without noise, [lanes, rows].
      train_log_evidence: log p(x), mean over the training points, nats, [lanes, rows].
      nll_held_out: -log p(x), mean over held-out points, nats, [lanes, rows].
    """
    figure = new_figure(6.4 if kl_to_truth is not None else 4.0)
    if kl_to_truth is not None and order_of_curve is not None:
        truth, order, prior, gap = figure.subplots(2, 2).flat
        _along_training(truth, epoch, _log_scaled(truth, kl_to_truth))
        truth.set(title="Model against the truth", ylabel=METRICS["kl_to_truth"].axis)
        _along_training(order, epoch, order_of_curve)
        order.set(title="Order of the latent", ylabel=METRICS["order_of_curve"].axis)
        order.set_ylim(-0.03, 1.03)
    else:
        nll, prior, gap = figure.subplots(1, 3).flat
        ends = []
        if nll_held_out is not None:
            ends.append(_along_training(nll, epoch, nll_held_out, of="at new points"))
        if train_log_evidence is not None:
            own = {"colour": _LANES[3], "of": "at training points"}
            ends.append(_along_training(nll, epoch, -train_log_evidence, **own))
        low, high = zip(*ends, strict=True)
        _show_bulk(nll, epoch, functools.reduce(np.fmin, low), functools.reduce(np.fmax, high))
        nll.set(title="Likelihood", ylabel=r"$-\log p(x)$, nats per point")
    _along_training(prior, epoch, kl_to_prior)
    prior.set(title="KL to the prior", ylabel=METRICS["kl_to_prior"].axis)
    if inference_gap_new is not None:
        of = "at new points" if len(inference_gap_new) == 1 else ""  # else it is the median's
        _along_training(gap, epoch, inference_gap_new, of=of)
    _along_training(gap, epoch, inference_gap, colour=_LANES[3], of="at training points")
    gap.set(title="Inference gap", ylabel=METRICS["inference_gap"].axis)
    return shared_legend(figure)


@styled
def density(
    *,
    grid_x: np.ndarray,
    grid_y: np.ndarray,
    model: np.ndarray,
    x: np.ndarray,
    truth: np.ndarray | None = None,
) -> Figure:
    """Draws the true density, the learned one on the same colour scale, and their difference.

    Without a truth the learned one alone.
    A model that overfits can be orders of magnitude denser than the truth at some places. The
    scale stops at three times the truth's peak, so that the truth stays visible.

    Args:
      grid_x: [a], first coordinate.
      grid_y: [b], second coordinate.
      model: p(x), [b, a], per unit area.
      x: data, [n, 2].
      truth: p*(x), [b, a], per unit area; None where it is unknown.
    """
    if truth is None:
        return _one_density(grid_x, grid_y, model, x)
    difference = model - truth
    top = min(_largest(truth, model), 3 * _largest(truth))
    bound = min(_largest(np.abs(difference)), top)
    densities = {"vmin": 0, "vmax": top, "cmap": "Blues"}
    panels = (
        ("True density", truth, densities),
        ("Learned density", model, densities),
        ("Learned $-$ true", difference, {"vmin": -bound, "vmax": bound, "cmap": "RdBu_r"}),
    )
    figure = new_figure(5.2)
    grid = figure.subplots(1, 3, sharex=True, sharey=True)
    meshes = []
    for axes, (title, values, colours) in zip(grid, panels, strict=True):
        # As vectors, the SVG of a fine grid would have tens of megabytes.
        meshes.append(
            axes.pcolormesh(grid_x, grid_y, values, shading="nearest", rasterized=True, **colours)
        )
        axes.plot(*x.T, ".", color=DATA, markersize=2.5, label="data")
        axes.set(title=title, xlabel="$x_1$", aspect="equal")
        axes.set(xlim=(grid_x[0], grid_x[-1]), ylim=(grid_y[0], grid_y[-1]))
    grid[0].set_ylabel("$x_2$")
    bar: dict[str, Any] = {"location": "bottom", "aspect": 30}
    figure.colorbar(
        meshes[0],
        ax=grid[:2],
        shrink=0.5,
        extend="max" if _largest(model) > top else "neither",
        label="density, per unit area",
        **bar,
    )
    figure.colorbar(
        meshes[2],
        ax=grid[2],
        extend="both" if _largest(np.abs(difference)) > bound else "neither",
        label="difference, per unit area",
        ticks=MaxNLocator(4),
        **bar,
    )
    return shared_legend(figure)


def _one_density(
    grid_x: np.ndarray, grid_y: np.ndarray, model: np.ndarray, x: np.ndarray
) -> Figure:
    """Draws a learned density alone."""
    figure = new_figure(5.2)
    axes = figure.subplots()
    mesh = axes.pcolormesh(
        grid_x, grid_y, model, shading="nearest", rasterized=True, cmap="Blues", vmin=0
    )
    axes.plot(*x.T, ".", color=DATA, markersize=2.5, label="data")
    axes.set(title="Learned density", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.set(xlim=(grid_x[0], grid_x[-1]), ylim=(grid_y[0], grid_y[-1]))
    figure.colorbar(mesh, ax=axes, shrink=0.8, label="density, per unit area")
    return shared_legend(figure)


@styled
def posterior(
    *,
    z: np.ndarray,
    exact: np.ndarray,
    encoder: np.ndarray,
    best: np.ndarray,
    points: np.ndarray,
    x: np.ndarray,
    curve: np.ndarray,
    curve_name: str | None = "noise-free curve",
    local: bool = False,
) -> Figure:
    """Draws densities over z for p <= 6 chosen points, and where these points lie.

    Args:
      z: [k], increasing.
      exact: the model's p(z|x) at each point, [p, k], per unit z.
      encoder: q(z|x), [p, k], per unit z.
      best: the member of its family with the least KL to the exact posterior, [p, k], per unit z.
      points: the chosen points, [p, 2].
      x: data, [n, 2].
      curve: the curve without noise, or that of a decoder, [c, 2].
      curve_name: which it is, for the legend; None where there is none.
      local: whether the family may have better members than those found.
    """
    columns = min(len(points), 3)
    rows = -(-len(points) // 3)
    figure = new_figure(4.6)
    cells = figure.add_gridspec(rows, 1 + columns, width_ratios=[1.8] + [1] * columns)
    plane = figure.add_subplot(cells[:, 0])
    plane.plot(*x.T, ".", color=DATA, label="data")
    plane.plot(*curve.T, color=TRUTH, linewidth=1, label=curve_name)
    plane.set_title("Chosen points")
    data_space(plane, x, points, curve)
    circle = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": TRUTH}
    for i, (point, *densities) in enumerate(zip(points, exact, encoder, best, strict=True)):
        if np.isfinite(point).all():
            plane.text(
                point[0], point[1], str(i + 1), fontsize=9, ha="center", va="center", bbox=circle
            )
        axes = figure.add_subplot(cells[i // 3, 1 + i % 3])
        _posterior_panel(axes, z, *densities, local=local)
        axes.set_title(f"Point {i + 1}")
        if i % 3 == 0:
            axes.set_ylabel("density, per unit $z$")
        if i + 3 >= len(points):
            axes.set_xlabel("$z$")
    return shared_legend(figure)


@styled
def gaps(
    *,
    t: np.ndarray,
    approximation: np.ndarray,
    amortisation: np.ndarray,
    new_t: np.ndarray | None = None,
    new_approximation: np.ndarray | None = None,
    new_amortisation: np.ndarray | None = None,
    known: bool = True,
) -> Figure:
    """Draws the two parts of the inference gap along the curve, nats, of training and new points.

    Linear axes show the sum, where it is large; log axes show all of the rest.

    Args:
      t: where on the curve each training point was made, [n].
      approximation: KL of the best member of the family to the exact posterior, >= 0, [n].
      amortisation: what the encoder loses against that member, >= 0, [n].
      new_t: the same of points that the encoder has not seen, [m].
      new_approximation: [m].
      new_amortisation: [m].
      known: whether these places are true t, or else means of q(z|x).
    """
    figure = new_figure(6.4)
    columns = {"Training points": (t, approximation, amortisation)}
    if new_t is not None and new_approximation is not None and new_amortisation is not None:
        columns["New points"] = (new_t, new_approximation, new_amortisation)
    axes = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for (title, column), (stacked, separate) in zip(columns.items(), axes.T, strict=True):
        mean = _stacked_gaps(stacked, separate, *column)
        stacked.set_title(f"{title}, mean {mean:.2g} nats")
        separate.set_xlabel("true $t$" if known else "mean of $q(z|x)$")
    axes[0, 0].set_ylabel("nats per point")
    axes[1, 0].set_ylabel("nats per point, log scale")
    return shared_legend(figure)


def _stacked_gaps(
    stacked: Axes,
    separate: Axes,
    t: np.ndarray,
    approximation: np.ndarray,
    amortisation: np.ndarray,
) -> float:
    """Draws one set of points, and returns the mean of the gap."""
    rows = np.argsort(t)
    rows = rows[np.isfinite(t + approximation + amortisation)[rows]]
    parts = {
        "approximation: of the family's best": (approximation[rows], BEST),
        "amortisation: of the encoder": (amortisation[rows], ENCODER),
    }
    bottom = np.zeros(len(rows))
    for name, (part, colour) in parts.items():
        stacked.fill_between(
            t[rows], bottom, bottom + part, color=colour, linewidth=0.5, label=name
        )
        separate.plot(t[rows], _log_scaled(separate, part), ".", color=colour)
        bottom = bottom + part
    return bottom.mean() if bottom.size else np.nan


@styled
def calibration(
    *,
    rank: np.ndarray,
    coverage_nominal: np.ndarray,
    coverage: np.ndarray,
    noise_coverage: np.ndarray | None = None,
) -> Figure:
    """Draws whether q and the decoder's noise are as wide as they should be.

    Args:
      rank: of the z that made a point among draws of q(z|x), in [0, 1], [s]; uniform if q is
        right (simulation-based calibration, https://arxiv.org/abs/1804.06788).
      coverage_nominal: mass of the central regions, [c].
      coverage: share of such z within q's central interval, [c].
      noise_coverage: share of points within the decoder's noise ellipse, [c].
    """
    figure = new_figure(4.8)
    left, right = figure.subplots(1, 2)
    rank = rank[np.isfinite(rank)]
    bins = 20
    # The count in one bin is binomial; its quantiles are the first counts that reach the mass.
    reached = bdtr(np.arange(len(rank) + 1), len(rank), 1 / bins)
    low, high = np.searchsorted(reached, [0.025, 0.975])
    left.axhspan(low, high, color=DATA, alpha=0.35, linewidth=0, label="95 % of uniform ranks")
    counts, edges = np.histogram(rank, bins, (0, 1))
    left.stairs(counts, edges, baseline=None, color=ENCODER, linewidth=1.5, label="encoder")
    left.set(
        title="Rank of the true $z$", xlabel="rank in draws of $q(z|x)$", ylabel="count per bin"
    )
    left.set(xlim=(0, 1), ylim=(0, 1.1 * max(high, *counts, 1)), box_aspect=1)

    right.plot([0, 1], [0, 1], color=TRUTH, linewidth=1, linestyle="--", label="calibrated")
    right.plot(coverage_nominal, coverage, ".-", color=ENCODER)
    if noise_coverage is not None:
        right.plot(coverage_nominal, noise_coverage, ".-", color=MODEL, label="decoder's noise")
    right.set(title="Coverage", xlabel="nominal", ylabel="found", aspect="equal")
    right.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    return shared_legend(figure)


@styled
def sequences(
    *,
    z: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    x: np.ndarray,
    path: np.ndarray,
    smoothed_path: np.ndarray,
    nodes: np.ndarray,
    posteriors: Mapping[str, np.ndarray],
    point: int,
) -> Figure:
    """Draws a sequence in the plane and along time, and what is known of one of its points.

    Args:
      z: the true latents, [T].
      mean: their means given all of the sequence, [T].
      sd: their standard deviations, [T].
      x: the points, [T, 2].
      path: without noise, [T, 2].
      smoothed_path: the decoder's at `mean`, [T, 2].
      nodes: z of the densities, [N].
      posteriors: p(z|...) of one point, [N], by what is given.
      point: its place in time, from 0 on.
    """
    figure = new_figure(4.6)
    plane, along, single = figure.subplots(1, 3)
    plane.plot(*path.T, "-", color=TRUTH, label="true")
    plane.plot(*smoothed_path.T, "--", color=MODEL, label="model, given all points")
    plane.plot(*x.T, ".", color=DATA, label="points")
    plane.plot(*x[point], "o", color=ENCODER, fillstyle="none", markersize=7, label="one point")
    plane.set(title="A fresh sequence", xlabel="$x$", ylabel="$y$")
    data_space(plane, x, path)
    time = np.arange(len(z))
    along.plot(time, z, "-", color=TRUTH)
    along.plot(time, mean, "--", color=MODEL)
    along.fill_between(time, mean - 2 * sd, mean + 2 * sd, color=MODEL, alpha=0.25, linewidth=0)
    along.axvline(point, color=ENCODER, linewidth=1)
    along.set(title=r"Latent, $\pm 2$ standard deviations", xlabel="time", ylabel="$z$")
    along.set(box_aspect=1)
    styles = zip(posteriors.items(), ((DATA, "-"), (BEST, ":"), (MODEL, "-")), strict=True)
    for (name, density), (color, style) in styles:
        single.plot(nodes, density, style, color=color, label=f"$p(z)$ {name}")
    single.axvline(z[point], color=TRUTH, linewidth=1)
    single.set(title="One point", xlabel="$z$", ylabel="density", box_aspect=1)
    return shared_legend(figure)


def band(lanes: np.ndarray) -> np.ndarray:
    """Returns the 10, 50 and 90 % percentiles over the finite of lanes [lanes, rows]: [3, rows].

    A row without a finite value is NaN.
    """
    lanes = np.where(np.isfinite(lanes), lanes, np.nan)
    some = np.isfinite(lanes).any(axis=0)
    result = np.full((3, lanes.shape[1]), np.nan)
    if some.any():
        result[:, some] = np.nanpercentile(lanes[:, some], (10, 50, 90), axis=0)
    return result


def new_figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def shared_legend(figure: Figure) -> Figure:
    """Puts one legend for all panels below them, where it covers no point."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=min(len(entries), 5),
        )
    return figure


def log_scale(axes: Axes, which: str) -> None:
    """Gives the 'x' or 'y' axis a log scale whose labels are plain numbers that don't collide."""
    axis = getattr(axes, f"{which}axis")
    axes.set(**{f"{which}scale": "log"})
    low, high = sorted(axis.get_view_interval())
    subs = (1.0, 2.0, 5.0) if high / low < 30 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def data_space(axes: Axes, *points: np.ndarray) -> None:
    """Gives axes of data space the same scale and a square that holds points, each [n, 2]."""
    every = np.concatenate(points)
    every = every[np.isfinite(every).all(axis=1)]
    low, high = (every.min(axis=0), every.max(axis=0)) if len(every) else (-np.ones(2), np.ones(2))
    half = 0.55 * float(np.max(high - low)) or 1.0
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")


def _along_training(
    axes: Axes,
    epoch: np.ndarray,
    lanes: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    colour: str = MODEL,
    of: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Draws lanes [lanes, rows] against epoch [rows].

    Args:
      axes: on which it is drawn.
      epoch: [rows].
      lanes: [lanes, rows].
      names: of lines, one a lane; else several lanes are a median and a band.
      colour: of that median or of a single lane.
      of: what the legend says of it, in place of what all such lines are.

    Returns:
      The lowest and the highest of what is drawn, each [rows].
    """
    marker = "." if len(epoch) == 1 else ""  # a line through one row is invisible
    lanes = np.where(np.isfinite(lanes), lanes, np.nan)
    if names is not None:
        low, high = functools.reduce(np.fmin, lanes), functools.reduce(np.fmax, lanes)
        for i, (name, lane) in enumerate(zip(names, lanes, strict=True)):
            cycle, place = divmod(i, len(_LANES))
            axes.plot(
                epoch,
                lane,
                marker=marker,
                color=_LANES[place],
                linestyle=("-", "--", ":", "-.")[cycle % 4],
                label=name,
            )
    else:
        low, median, high = band(lanes)
        several = len(lanes) > 1
        label = of or (f"median of {len(lanes)} lanes" if several else None)
        axes.plot(epoch, median, marker=marker, color=colour, label=label)
        if several:
            label = None if of else "10-90 % of lanes"
            axes.fill_between(epoch, low, high, color=colour, alpha=0.25, linewidth=0, label=label)
    # Most happens early. A log axis has no 0, so there it is linear up to the first epoch after.
    first, last = epoch[epoch > 0].min(initial=epoch[-1]), epoch[-1]
    if last >= 10 * first > 0:
        if epoch[0] > 0:
            axes.set_xlim(first / 1.2, last * 1.2)
            log_scale(axes, "x")
        else:
            axes.set_xscale("symlog", linthresh=first, linscale=0.3)
            axes.set_xlim(0, last * 1.2)
    axes.set_xlabel("epoch")
    return low, high


def _show_bulk(axes: Axes, epoch: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Chooses a scale of y, in nats, for what is drawn between low and high, each [rows].

    An untrained decoder with a small sigma starts at 1e8 nats. A short spike may leave the top of
    a linear axis; where the way down takes long, the axis is log, or symlog if there are losses
    below 0.
    """
    some = np.isfinite(high) & (epoch > 0)
    if not some.any():
        return
    epoch, low, high = epoch[some], low[some], high[some]
    even = np.geomspace(epoch[0], epoch[-1], 200)  # even on the axis, unlike the rows
    rows = np.searchsorted(epoch, even).clip(max=len(epoch) - 1)
    bottom, top, peak = low.min(), np.percentile(high[rows], 75), high.max()
    margin = 0.05 * (top - bottom) or 1.0
    if top - bottom > 1e3 and bottom > 0:
        axes.set_yscale("log")
    elif top - bottom > 1e3:
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(2 * bottom - 10, 2 * peak)  # matplotlib would mirror the decades below 0
    elif peak - top > 400 * margin:
        axes.set_ylim(bottom - margin, top + 4 * margin)
        axes.set_title(f"{axes.get_title()}\n(starts off scale, peak {peak:.1e})")


def _posterior_panel(
    axes: Axes,
    z: np.ndarray,
    exact: np.ndarray,
    encoder: np.ndarray,
    best: np.ndarray,
    *,
    local: bool,
) -> None:
    """Draws three densities [k] over z [k] where they have their mass."""
    inside = np.zeros(len(z), bool)
    for values in (exact, encoder, best):
        inside |= values > max(0.01 * _largest(values), 1e-12)
    if inside.any():
        left, right = z[inside][[0, -1]]
        margin = 0.1 * (right - left) or 0.1
        left, right = left - margin, right + margin
        # A far too narrow encoder may leave the top, so that the others stay visible.
        top = min(_largest(exact, encoder, best), 3 * _largest(exact, best))
        axes.set(xlim=(left, right), ylim=(0, 1.05 * top))
        # What can't be seen would be most of the SVG.
        shown = slice(max(np.searchsorted(z, left) - 1, 0), np.searchsorted(z, right) + 1)
        z, exact, encoder, best = z[shown], exact[shown], encoder[shown], best[shown]
    axes.fill_between(z, exact, color=MODEL, alpha=0.35, linewidth=0, label="exact p(z|x)")
    axes.plot(z, encoder, color=ENCODER, label="encoder q(z|x)")
    axes.plot(
        z,
        best,
        color=BEST,
        linestyle="--",
        label="best found of the family" if local else "best of the family",
    )
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_locator(MaxNLocator(3))


def _log_scaled(axes: Axes, values: np.ndarray) -> np.ndarray:
    """Gives axes a log scale if any of values is positive; returns them, NaN where none exists."""
    positive = values > 0
    if positive.any():
        axes.set_yscale("log")
    return np.where(positive, values, np.nan)


def _largest(*arrays: np.ndarray) -> float:
    """Returns the largest finite value, or 1 where none is positive: a scale to divide by."""
    values = np.concatenate([array.ravel() for array in arrays])
    return values.max(initial=0.0, where=np.isfinite(values)) or 1.0

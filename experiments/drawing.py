"""Figures of the experiments, in the style of the library's: arrays and rows in, `Figure` out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from spiral_vae import ground_truth, plotting
from spiral_vae.plotting import BEST, DATA, ENCODER, MODEL, TRUTH, Figure
from spiral_vae.trained import Model

Rows = Sequence[Mapping[str, Any]]

LABELS = {
    "kl_to_truth": r"KL$(p^*\|\,p)$, nats",
    "nll": r"$-\mathrm{E}\,\log p$, nats",
    "kl_to_prior": r"KL$(q(z|x)\,\|\,p(z))$, nats",
    "inference_gap": r"$\log p -$ ELBO, nats",
    "approximation_gap": "approximation gap, nats",
    "spearman": "|Spearman's $\\rho$|",
}
_LOG = ("kl_to_truth", "nll", "inference_gap")


@plotting.styled
def models(named: Mapping[str, Model]) -> Figure:
    """Returns a panel a model: data, reconstruction at the mean of q, the noise-free spiral."""
    figure = plotting.new_figure(4.0)
    for axes, (title, model) in zip(figure.subplots(1, len(named)), named.items(), strict=True):
        _reconstruction(axes, title, model)
    return plotting.shared_legend(figure)


@plotting.styled
def models_and_histogram(named: Mapping[str, Model], kl: np.ndarray) -> Figure:
    """Returns `models` in a row and below it the histogram of all lanes' KL to the truth, [R]."""
    figure = plotting.new_figure(6.4)
    grid = figure.add_gridspec(2, len(named), height_ratios=[2.4, 1])
    for column, (title, model) in enumerate(named.items()):
        _reconstruction(figure.add_subplot(grid[0, column]), title, model)
    axes = figure.add_subplot(grid[1, :])
    axes.hist(kl, bins=24, color=MODEL)
    axes.set(xlabel=LABELS["kl_to_truth"], ylabel="seeds")
    return plotting.shared_legend(figure)


@plotting.styled
def bands(
    rows: Rows, *, x: str, label: str, metrics: Sequence[str], marks: Mapping[str, float]
) -> Figure:
    """Returns a panel a metric: median and 10-90 % band over seeds, against column `x`.

    Args:
      rows: of summary.csv.
      x: name of a column.
      label: of the x axis.
      metrics: names of columns.
      marks: label -> x, drawn as vertical lines.
    """
    figure = plotting.new_figure(6.4)
    panels = figure.subplots(2, -(-len(metrics) // 2)).flat
    places = np.unique([row[x] for row in rows])
    for metric, axes in zip(metrics, panels, strict=False):
        values = [
            [abs(row[metric]) for row in rows if row[x] == place and row["status"] == "ok"]
            for place in places
        ]
        low, median, high = np.transpose(
            [np.quantile(v, [0.1, 0.5, 0.9]) if v else [np.nan] * 3 for v in values]
        )
        axes.fill_between(places, low, high, color=MODEL, alpha=0.3, linewidth=0, label="10-90 %")
        axes.plot(places, median, color=MODEL, label="median over seeds")
        axes.set(xscale="log", xlabel=label, ylabel=LABELS[metric])
        if metric in _LOG and np.nanmin(low) > 0:
            axes.set_yscale("log")
        for (name, place), style in zip(marks.items(), (":", "--", "-."), strict=False):
            axes.axvline(place, color=TRUTH, linestyle=style, linewidth=1, label=name)
    for axes in list(panels):  # what is left over
        axes.remove()
    return plotting.shared_legend(figure)


@plotting.styled
def turns(rows: Rows) -> Figure:
    """Returns, against the number of turns: what is found, what is ambiguous, what it costs."""
    figure = plotting.new_figure(4.2)
    found, gap = figure.subplots(1, 2)
    places = sorted({row["turns"] for row in rows})
    own = {n: [row for row in rows if row["turns"] == n and row["status"] == "ok"] for n in places}
    share = [np.mean([abs(row["spearman"]) > 0.98 for row in own[n]]) for n in places]
    found.plot(places, share, "o-", color=MODEL, label="seeds that found the order")
    bimodal = [own[n][0]["bimodal"] for n in places]
    found.plot(places, bimodal, "s--", color=TRUTH, label="points with two modes (exact)")
    found.set(xlabel="turns", ylabel="share", ylim=(-0.05, 1.05), xticks=places)
    gaps = [np.quantile([r["approximation_gap"] for r in own[n]], [0.1, 0.5, 0.9]) for n in places]
    low, median, high = np.transpose(gaps)
    gap.fill_between(places, low, high, color=MODEL, alpha=0.3, linewidth=0)
    gap.plot(places, median, "o-", color=MODEL, label="trained: median, 10-90 %")
    exact = [own[n][0]["approximation_gap_of_truth"] for n in places]
    gap.plot(places, exact, "s--", color=TRUTH, label="exact decoder")
    gap.set(xlabel="turns", ylabel=LABELS["approximation_gap"], yscale="log", xticks=places)
    return plotting.shared_legend(figure)


@plotting.styled
def posteriors(model: Model) -> Figure:
    """Returns the posteriors of a collapsed model: mean and variance of q over the data."""
    figure = plotting.new_figure(4.0)
    histogram, scatter = figure.subplots(1, 2)
    mean, logvar = model.encode(model.x)
    variance = np.exp(logvar)
    bins = np.linspace(-0.1, 1.1, 61)
    histogram.hist(mean[:, 0], bins, color=ENCODER, label="mean of q(z|x)")
    histogram.hist(variance[:, 0], bins, color=BEST, label="variance of q(z|x)")
    histogram.set(xlabel="value", ylabel="points")
    scatter.plot(model.t, mean[:, 0], ".", color=ENCODER)
    scatter.plot(model.t, variance[:, 0], ".", color=BEST)
    scatter.set(xlabel="true $t$", ylabel="value")
    return plotting.shared_legend(figure)


@plotting.styled
def thresholds(curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Returns a panel a geometry: mean KL against ln(sigma_c / sigma), swept both ways.

    Args:
      curves: name -> (ln(sigma_c / sigma) [S], KL swept up [S, seeds], swept down [S, seeds]).
    """
    figure = plotting.new_figure(6.4)
    panels = figure.subplots(-(-len(curves) // 2), 2, squeeze=False).flat
    for (name, (place, up, down)), axes in zip(curves.items(), panels, strict=False):
        for values, colour, label in (
            (up, MODEL, "sigma rising, from a trained model"),
            (down, ENCODER, "sigma falling, from a collapsed one"),
        ):
            low, median, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
            axes.fill_between(place, low, high, color=colour, alpha=0.3, linewidth=0)
            axes.plot(place, median, ".-", color=colour, label=label)
        line = np.linspace(min(place.min(), 0), place.max(), 100)
        axes.plot(line, np.maximum(line, 0), "--", color=TRUTH, label="linear decoder, exact")
        axes.set(title=name, xlabel=r"$\ln(\sigma_c / \sigma)$", ylabel="mean KL, nats")
    return plotting.shared_legend(figure)


def _reconstruction(axes: Axes, title: str, model: Model) -> None:
    curve = ground_truth.process(model.spec).rules.fine.mean
    mean, _ = model.encode(model.x)
    axes.plot(*model.x.T, ".", color=DATA, label="data")
    axes.plot(*model.decode(mean).T, ".", color=MODEL, label="reconstruction")
    axes.plot(*curve.T, color=TRUTH, label="noise-free spiral")
    plotting.data_space(axes, curve - 0.6, curve + 0.6)  # the same for all lanes of a process
    axes.set_title(title)

"""Figures of the experiments, in the style of the library's: arrays and rows in, `Figure` out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.experiment import quantiles
from spiral_vae.exact import ground_truth
from spiral_vae.exact.model import Model
from spiral_vae.present import plotting
from spiral_vae.present.plotting import BEST, DATA, ENCODER, MODEL, TRUTH, Figure

Rows = Sequence[Mapping[str, Any]]

LABELS = {  # short ones: panels are narrow
    "kl_rate_to_truth": "KL rate, nats a point",
    "order_of_path": "order of the path",
    "tau_ratio": r"$\tau$ / true $\tau$",
    "kl_to_truth": r"KL$(p^*\|\,p)$, nats",
    "nll": r"$-\mathrm{E}\,\log p$, nats",
    "kl_to_prior": r"KL$(q(z|x)\,\|\,p(z))$, nats",
    "inference_gap": r"$\log p -$ ELBO, nats",
    "inference_gap_new": r"$\log p -$ ELBO, new points",
    "encoder_overfit": "new less training, nats",
    "approximation_gap": "approximation gap, nats",
    "spearman": "|Spearman's $\\rho$|",
    "order_of_curve": "order of the encoder",
    "order_of_decoder": "order of the decoder",
    "sigma_ratio": r"$\hat\sigma$ / noise sigma",
    "sigma_x_ratio": r"$\hat\sigma_x$ / true",
    "sigma_y_ratio": r"$\hat\sigma_y$ / true",
    "sigma_log_ratio_rms": r"RMS $\ln(\hat\sigma / \sigma)$ along the curve",
    "kl_excess": "KL above the best, nats",
    "epochs_to_recover": "epochs until recovered",
}
_LOG = ("kl_to_truth", "nll", "inference_gap", "inference_gap_new")


@plotting.styled
def models(named: Mapping[str, Model]) -> Figure:
    """Returns two panels a model: the plane with reconstructions, and the latent against t.

    The latent is the mean of q(z|x) with its standard deviation.
    """
    figure = plotting.new_figure(6.8)
    panels = figure.subplots(2, len(named), height_ratios=[1.5, 1])
    for (plane, latent), (title, model) in zip(panels.T, named.items(), strict=True):
        _reconstruction(plane, title, model)
        q = model.posteriors(model.x)
        style = {"fmt": ".", "color": ENCODER, "ecolor": DATA, "elinewidth": 0.8, "zorder": 2}
        latent.errorbar(model.t, q.mean[:, 0], q.scale[:, 0], **style)
        latent.plot([], [], ".", color=ENCODER, label="mean of q(z|x) and its sd")
        latent.set(xlabel="true $t$", ylabel="$z$")
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
    """Returns, against the number of turns: what is found, how near, and what a Gaussian costs."""
    figure = plotting.new_figure(3.8)
    found, kl, gap = figure.subplots(1, 3)
    places = sorted({row["turns"] for row in rows})
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for way, marker in zip(ways, "osD", strict=True):
        own = [[r for r in rows if r["turns"] == n and r["way"] == way] for n in places]
        share = [np.mean([bool(row.get("found", False)) for row in part]) for part in own]
        (line,) = found.plot(places, share, marker + "-", label=way)
        values = [quantiles(np.asarray([r.get("kl_to_truth", np.nan) for r in p])) for p in own]
        low, median, high = np.transpose(values)
        kl.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        kl.plot(places, median, marker + "-", color=line.get_color())
    exact = [next(row for row in rows if row["turns"] == n) for n in places]
    bimodal = [row["bimodal"] for row in exact]
    found.plot(places, bimodal, "^--", color=TRUTH, label="points with two modes (exact decoder)")
    price = [row["approximation_gap_of_truth"] for row in exact]
    gap.plot(places, price, "^--", color=TRUTH)
    found.set(xlabel="turns", ylabel="share", ylim=(-0.05, 1.05), xticks=places, title="Found")
    kl.set(xlabel="turns", ylabel=LABELS["kl_to_truth"], yscale="log", xticks=places)
    kl.set_title("Distance, 10-90 %")
    gap.set(xlabel="turns", ylabel="nats per point", yscale="log", xticks=places)
    gap.set_title("Price of a Gaussian q")
    return plotting.shared_legend(figure)


@plotting.styled
def ambiguity(rows: Rows) -> Figure:
    """Returns the shares of bimodal posteriors against the correlation, a panel for each number."""
    figure = plotting.new_figure(3.6)
    numbers = sorted({row["turns"] for row in rows})
    panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    names = {"alone": "the point alone", "filtered": "and its past", "smoothed": "and its future"}
    for axes, n in zip(panels, numbers, strict=True):
        own = [row for row in rows if row["turns"] == n]
        for (name, label), style in zip(names.items(), ("^--", "s-", "o-"), strict=True):
            colour = TRUTH if name == "alone" else None
            places = [1 - row["a"] for row in own]
            axes.plot(places, [row[name] for row in own], style, color=colour, label=label)
        axes.set(xscale="log", ylim=(-0.03, 1.03), title=f"{n} turn" + "s" * (n > 1))
        axes.set_xlabel("1 - a")
        axes.invert_xaxis()
    panels[0].set_ylabel("share with two modes")
    return plotting.shared_legend(figure)


@plotting.styled
def forecasts(rows: Rows) -> Figure:
    """Returns excess against the horizon, and the rate and the imputation, by share missing."""
    figure = plotting.new_figure(3.8)
    ahead, behind = figure.subplots(1, 2, width_ratios=[1.4, 1])
    shares = sorted({row["data.missing"] for row in rows})
    horizons = [int(name.rpartition("_")[2]) for name in rows[0] if name.startswith("forecast_")]
    for share in shares:
        own = [row for row in rows if row["data.missing"] == share and row["status"] == "ok"]
        values = [[row[f"forecast_excess_{h}"] for row in own] for h in horizons]
        low, median, high = np.transpose([quantiles(np.asarray(v)) for v in values])
        (line,) = ahead.plot(horizons, median, "o-", label=f"{share:.0%} missing in training")
        ahead.fill_between(horizons, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        for place, name in enumerate(("kl_rate_to_truth", "imputation_excess")):
            dots = [row[name] for row in own]
            spread = place + 0.2 * (shares.index(share) - 0.5 * (len(shares) - 1))
            behind.plot([spread] * len(dots), dots, ".", color=line.get_color())
    ahead.set(xlabel="points ahead", ylabel="excess over the truth, nats", xticks=horizons)
    behind.set_xticks([0, 1], ["KL rate", "imputation"])
    behind.set(xlim=(-0.5, 1.5), ylabel="nats per point")
    return plotting.shared_legend(figure)


@plotting.styled
def bidirectional(rows: Rows, curves: Sequence[np.ndarray], spirals: np.ndarray) -> Figure:
    """Returns the curves that were learned over the true ones, and their RMSE beside the marks.

    Args:
      rows: one a lane, with `rmse` and its marks.
      curves: one a lane, [K, 2].
      spirals: without noise, [2, n, 2].
    """
    figure = plotting.new_figure(3.8)
    grid = figure.add_gridspec(1, 2, width_ratios=[2, 1])
    middle = np.argsort([row["rmse"] for row in rows])[len(rows) // 2]
    plane, errors = (figure.add_subplot(part) for part in grid)
    for i, own in enumerate(spirals):
        plane.plot(*own.T, color=TRUTH, linewidth=3, alpha=0.3, label="" if i else "the truth")
    plane.plot(*curves[middle].T, color=MODEL, linewidth=1, label=f"the curve of seed {middle}")
    plane.set(xlabel="x", ylabel="y", aspect="equal")
    for place, row in enumerate(rows):
        errors.plot(place, row["rmse"], "o", color=MODEL)
    marks = {"rmse_seen": "the points", "rmse_wandering": "true curve, no pace"}
    marks |= {"rmse_optimum": "all known"}
    for (name, label), style in zip(marks.items(), (":", "--", "-"), strict=True):
        errors.axhline(rows[0][name], color=TRUTH, linestyle=style, linewidth=1, label=label)
    errors.set(xlabel="seed", ylabel="RMSE", xticks=range(len(rows)), ylim=(0, None))
    errors.set_xlim(-0.5, len(rows) - 0.5)
    return plotting.shared_legend(figure)


@plotting.styled
def families(table: Rows, shown: Mapping[str, np.ndarray]) -> Figure:
    """Returns the gap of each family against turns, and three exact posteriors with their best q.

    Args:
      table: a row a family and number of turns.
      shown: densities over z, [3, k] each, by what they are; and z itself, [k].
    """
    figure = plotting.new_figure(6.4)
    grid = figure.add_gridspec(2, 3, height_ratios=[1.3, 1])
    gaps = figure.add_subplot(grid[0, :])
    colours = (MODEL, ENCODER, BEST, DATA)
    for name, colour in zip(dict.fromkeys(row["family"] for row in table), colours, strict=False):
        own = [row for row in table if row["family"] == name]
        for column, style in (("best", "o-"), ("amortised", "s--"), ("refined", "^:")):
            some = [row for row in own if column in row]
            if some:
                place, value = [row["turns"] for row in some], [row[column] for row in some]
                gaps.plot(place, value, style, color=colour, label=f"{name}: {column}")
    gaps.set(xlabel="turns", ylabel="gap, nats per point", yscale="log")
    gaps.set_xticks(sorted({row["turns"] for row in table}))
    gaps.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    z = shown["z"]
    exact, *best = [name for name in shown if name != "z"]
    for i in range(3):
        axes = figure.add_subplot(grid[1, i])
        inside = np.flatnonzero(shown[exact][i] > 0.01 * shown[exact][i].max())
        axes.fill_between(
            z, shown[exact][i], color=MODEL, alpha=0.35, linewidth=0, label=f"{exact}, 4 turns"
        )
        for name, colour in zip(best, (ENCODER, BEST), strict=True):
            axes.plot(z, shown[name][i], color=colour, label=name)
        left, right = z[inside[[0, -1]]]
        margin = 0.2 * (right - left)
        axes.set(xlim=(left - margin, right + margin), xlabel="$z$")
        axes.set_ylim(0, 1.2 * shown[exact][i].max())
    figure.axes[1].set_ylabel("density, per unit $z$")
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@plotting.styled
def along_training(looks: Mapping[str, Mapping[str, np.ndarray]], metrics: Sequence[str]) -> Figure:
    """Returns a panel a metric: the median over lanes of each way against the epoch.

    Args:
      looks: by way, 'epoch' [rows] and metrics [lanes, rows].
      metrics: names of panels.
    """
    figure = plotting.new_figure(4.6)
    panels = figure.subplots(1, len(metrics))
    for metric, axes in zip(metrics, panels, strict=True):
        for place, (way, look) in enumerate(looks.items()):
            style = ("-", "--", ":", "-.")[place % 4]
            colour = (MODEL, ENCODER, BEST)[place % 3]
            median = np.median(look[metric], axis=0)
            axes.plot(look["epoch"], median, linestyle=style, color=colour, label=way)
        axes.set(xlabel="epoch", ylabel=LABELS[metric], yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(3))
    return plotting.shared_legend(figure)


@plotting.styled
def gradients(rows: Rows) -> Figure:
    """Returns the signal-to-noise ratio against K: a column a group, a row a set of points."""
    rows = [row for row in rows if row["when"] == rows[-1]["when"]]
    groups, sets = (list(dict.fromkeys(row[key] for row in rows)) for key in ("group", "points"))
    figure = plotting.new_figure(2.0 + 2.2 * len(sets))
    panels = figure.subplots(len(sets), len(groups), squeeze=False, sharex=True, sharey="row")
    for line, which in zip(panels, sets, strict=True):
        for axes, group in zip(line, groups, strict=True):
            own = [row for row in rows if row["group"] == group and row["points"] == which]
            names = dict.fromkeys(row["estimator"] for row in own)
            for name, colour in zip(names, (DATA, BEST, ENCODER, MODEL), strict=True):
                some = [row for row in own if row["estimator"] == name]
                place, value = ([row[key] for row in some] for key in ("samples", "snr"))
                axes.plot(place, value, ".-", color=colour, label=name)
            axes.set(title=f"{group}, {which} points", xscale="log", yscale="log")
        line[0].set_ylabel("signal-to-noise ratio")
    for axes in panels[-1]:
        axes.set_xlabel("samples $K$")
    return plotting.shared_legend(figure)


@plotting.styled
def posteriors(model: Model) -> Figure:
    """Returns the posteriors of a collapsed model: mean and variance of q over the data."""
    figure = plotting.new_figure(4.0)
    histogram, scatter = figure.subplots(1, 2)
    q = model.posteriors(model.x)
    mean, variance = q.mean, q.scale**2
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


def with_excess(rows: Rows, by: str, within: str | None = None) -> list[dict[str, Any]]:
    """Returns the rows with `kl_excess`: KL to the truth less that of the best way, seed by seed.

    Args:
      rows: of summary.csv, with the column `by`.
      by: names the way of a row; the best one has the smallest median.
      within: column of separate comparisons, if there are several.
    """
    found: list[dict[str, Any]] = []
    for part in dict.fromkeys(row[within] if within else None for row in rows):
        own = [row for row in rows if not within or row[within] == part]
        kl: dict[str, dict[int, float]] = {}
        for row in own:
            kl.setdefault(row[by], {})[row["seed"]] = row.get("kl_to_truth", np.inf)
        best = min(kl, key=lambda way: np.median(list(kl[way].values())))  # a failed lane is last
        found += [
            row | {"kl_excess": row.get("kl_to_truth", np.nan) - kl[best][row["seed"]]}
            for row in own
        ]
    return found


@plotting.styled
def intervals(rows: Rows, metrics: Sequence[str], by: str, facet: str | None = None) -> Figure:
    """Returns a row a facet and a panel a metric: median and 10-90 % over seeds for each way."""
    facets = list(dict.fromkeys(row[facet] if facet else None for row in rows))
    parts = [[row for row in rows if not facet or row[facet] == part] for part in facets]
    ways = [list(dict.fromkeys(row[by] for row in part)) for part in parts]
    figure = plotting.new_figure(1.0 + sum(0.5 + 0.26 * len(own) for own in ways))
    panels = figure.subplots(
        len(facets),
        len(metrics),
        squeeze=False,
        sharey="row",
        sharex="col",
        height_ratios=[len(own) for own in ways],
    )
    for line, name, part, names in zip(panels, facets, parts, ways, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            for place, way in enumerate(names):
                own = [row for row in part if row[by] == way]
                values = np.asarray([r.get(metric, np.nan) for r in own], float)
                low, median, high = quantiles(values)
                if np.isfinite(median):
                    axes.plot(median, place, "o", color=MODEL)
                if np.isfinite(low):
                    axes.plot([low, high if np.isfinite(high) else 1e9], [place] * 2, color=MODEL)
            drawn = [r.get(metric, np.nan) for r in rows]
            drawn = np.asarray([v for v in drawn if np.isfinite(v)])
            if metric in _LOG and len(drawn) and drawn.min() > 0:
                axes.set_xscale("log")
            if metric.endswith("ratio"):
                axes.axvline(1.0, color=TRUTH, linewidth=1, linestyle=":")
            if metric == "kl_excess":
                axes.axvline(0.0, color=TRUTH, linewidth=1, linestyle=":")
            if len(drawn):
                low, high = np.quantile(drawn, [0.0, 0.98])
                pad = 0.08 * (high - low) or 0.1
                if axes.get_xscale() == "linear":
                    axes.set_xlim(low - pad, high + pad)
                else:
                    axes.set_xlim(low / 1.2, high * 1.5)
                    plotting.log_scale(axes, "x")
        line[0].set_yticks(range(len(names)), names)
        line[0].set_ylim(len(names) - 0.5, -0.5)
        if facet:
            line[0].set_title(str(name), loc="left")
    for axes, metric in zip(panels[-1], metrics, strict=True):
        axes.set_xlabel(LABELS[metric])
    return figure


@plotting.styled
def sigmas(curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]]) -> Figure:
    """Returns a panel a way: the noise found along the true curve, over the true one.

    Args:
      curves: name -> for each lane (t [T], found [T], true [T]).
    """
    columns = 3
    height = 2.2 * -(-len(curves) // columns) + 0.6
    figure = plotting.new_figure(height)
    panels = figure.subplots(-(-len(curves) // columns), columns, squeeze=False, sharex=True)
    used, spare = np.split(panels.ravel(), [len(curves)])
    for (name, lanes), axes in zip(curves.items(), used, strict=True):
        axes.set_title(name)
        if not lanes:
            continue
        t, _, true = lanes[0]
        low, median, high = np.quantile([found for _, found, _ in lanes], [0.1, 0.5, 0.9], axis=0)
        axes.fill_between(t, low, high, color=MODEL, alpha=0.3, linewidth=0, label="10-90 %")
        axes.plot(t, median, color=MODEL, label="median over seeds")
        axes.plot(t, true, "--", color=TRUTH, label="truth")
        axes.set_ylim(0, 1.6 * true.max())
        axes.set_ylabel(r"$\sigma$")
    for axes in used[-columns:]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("$t$")
    for axes in spare:
        axes.remove()
    return plotting.shared_legend(figure)


@plotting.styled
def against_n(rows: Rows, information: float) -> Figure:
    """Returns the error of sigma and the KL to the truth against the number of points.

    Args:
      rows: with the column num_points.
      information: Fisher information of log sigma in a point.
    """
    figure = plotting.new_figure(4.0)
    left, right = figure.subplots(1, 2)
    places = np.asarray(sorted({row["num_points"] for row in rows}))
    for axes, metric in ((left, "sigma_ratio"), (right, "kl_to_truth")):
        low, median, high = np.transpose(
            [
                quantiles(np.asarray([r[metric] for r in rows if r["num_points"] == n], float))
                for n in places
            ]
        )
        axes.fill_between(places, low, high, color=MODEL, alpha=0.3, linewidth=0, label="10-90 %")
        axes.plot(places, median, "o-", color=MODEL, label="median over seeds")
        axes.set(xlabel="points", ylabel=LABELS[metric])
    # 10-90 % of a normal estimate that meets the bound: 1.28 standard deviations.
    error = 1.2816 / np.sqrt(information * places)
    left.plot(places, np.exp(error), "--", color=TRUTH, label="Cramer-Rao bound, 10-90 %")
    left.plot(places, np.exp(-error), "--", color=TRUTH)
    left.axhline(1.0, color=TRUTH, linewidth=1, linestyle=":")
    right.plot(places, median[0] * places[0] / places, ":", color=TRUTH, label="1/n")
    for axes, both in ((left, "x"), (right, "xy")):
        for which in both:
            plotting.log_scale(axes, which)
    return plotting.shared_legend(figure)


def _medians(rows: Rows, x: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of column x and the quantiles of `value` there, [P] and [P, 3]."""
    places = sorted({row[x] for row in rows})
    return np.asarray(places), np.asarray(
        [quantiles(np.asarray([r[value] for r in rows if r[x] == p], float)) for p in places]
    )


@plotting.styled
def laws(series: Rows, geco: Rows, pairs: Rows, split: Rows, escape: Rows) -> Figure:
    """Returns the panels of experiments/sigma_laws.py, from its five lists of rows."""
    figure = plotting.new_figure(7.0)
    envelope, duality, equivalence, residual, leaving, spare = figure.subplots(2, 3).flat
    spare.remove()

    sigma, _ = _medians(series, "likelihood.sigma", "elbo")
    seeds = sorted({row["seed"] for row in series})
    elbo, ratio = (
        np.asarray([[r[name] for r in series if r["seed"] == seed] for seed in seeds])
        for name in ("elbo", "residual_ratio")
    )
    middle = np.sqrt(sigma[1:] * sigma[:-1])
    slope = np.median(np.diff(elbo, axis=1) / np.diff(np.log(sigma)), axis=0)
    predicted = np.median(2 * (ratio - 1), axis=0)
    envelope.plot(sigma, predicted, "-", color=TRUTH, label="prediction")
    envelope.plot(middle, slope, "o", color=MODEL, label="measured")
    envelope.axhline(0, color=TRUTH, linewidth=0.5)
    envelope.set(
        title="1 envelope", xlabel=r"$\sigma$", ylabel=r"$dL^*/d\,\ln\sigma$, nats", ylim=(-2, 8)
    )

    tolerance = np.median(sigma * np.sqrt(ratio), axis=0)
    duality.plot(tolerance, sigma, "-", color=TRUTH)
    places, found = _medians(geco, "likelihood.kappa", "sigma")
    duality.errorbar(
        places,
        found[:, 1],
        (found[:, 1] - found[:, 0], found[:, 2] - found[:, 1]),
        fmt="o",
        color=MODEL,
    )
    duality.set(title="2 GECO", xlabel=r"$\kappa$", ylabel=r"$1/\sqrt{2\lambda}$")
    for axes, both in ((envelope, "x"), (duality, "xy")):
        for which in both:
            plotting.log_scale(axes, which)

    for beta, marker in zip(sorted({row["objective.beta"] for row in pairs}), "^v", strict=False):
        own = [row for row in pairs if row["objective.beta"] == beta]
        places, found = _medians(own, "likelihood.sigma", "kl_to_prior")
        equivalence.plot(
            np.sqrt(beta) * places, found[:, 1], marker, label=rf"$\beta$ = {beta:g}", alpha=0.7
        )
    places, found = _medians(series, "likelihood.sigma", "kl_to_prior")
    equivalence.plot(places, found[:, 1], "-", color=TRUTH, label=r"$\beta$ = 1")
    equivalence.set(
        title=r"3 $\beta$ and $\sigma$",
        xlabel=r"$\sqrt{\beta}\,\sigma$",
        ylabel="mean KL, nats",
    )

    plotting.log_scale(equivalence, "x")

    for place, name in enumerate(("sampled", "mean_code")):
        values = [row[name] for row in split]
        residual.plot(np.full(len(values), place), values, ".", color=MODEL)
        residual.plot([place - 0.2, place + 0.2], [1.0 - 0.5 * place] * 2, color=TRUTH)
    residual.set(title="4 residual", ylabel=r"$\|x - m\|^2 / (D\sigma^2)$", ylim=(0, 1.4))
    residual.set_xticks([0, 1], ["sampled\ncode", "mean\ncode"])
    residual.set_xlim(-0.5, 1.5)

    for start, colour, label in (
        (2.0, ENCODER, r"from $\sigma$ = 2"),
        (0.3, BEST, r"from $\sigma$ = 0.3"),
    ):
        own = [row for row in escape if row["start"] == start]
        places, found = _medians(own, "exponent", "epochs_to_leave")
        left = np.isin(places, [row["exponent"] for row in own if row["left"]])
        leaving.fill_between(places, found[:, 0], found[:, 2], color=colour, alpha=0.3, linewidth=0)
        leaving.plot(places[left], found[left, 1], "o-", color=colour, label=label)
        if start == 2.0:
            line = found[-1, 1] * places[-1] / places
            leaving.plot(places, line, ":", color=TRUTH, label="in proportion to 1/rate")
            stuck = {"color": colour, "fillstyle": "none", "label": "not left by then"}
            leaving.plot(places[~left], found[~left, 1], "^", **stuck)
    leaving.set(
        title="5 leaving collapse",
        xlabel=r"$2\lambda_1 / \mathrm{Tr}\,C - 1$",
        ylabel="epochs",
    )
    for which in "xy":
        plotting.log_scale(leaving, which)
    return plotting.shared_legend(figure)


def _reconstruction(axes: Axes, title: str, model: Model) -> None:
    curve = ground_truth.truth(model.curve).density.fine.mean
    mean = model.posteriors(model.x).mean
    axes.plot(*model.x.T, ".", color=DATA, label="data")
    axes.plot(*model.decode(mean).T, ".", color=MODEL, label="reconstruction")
    axes.plot(*curve.T, color=TRUTH, label="noise-free spiral")
    plotting.data_space(axes, curve - 0.6, curve + 0.6)  # the same for all lanes of a process
    axes.set_title(title)

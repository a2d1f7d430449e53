"""Figures of the claims: predictions in black, with what was measured beside them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.drawing import Rows
from spiral_vae.present import plotting
from spiral_vae.present.plotting import BEST, DATA, ENCODER, MODEL, TRUTH, Figure


def _values(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], float)


def _with_error(rows: Rows, name: str) -> tuple[float, float]:
    """Returns the mean of a column and its standard error."""
    values = _values(rows, name)
    return float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))


@plotting.styled
def signal_to_noise(rows: Rows) -> Figure:
    """Returns the ratio against K: a row for each dimension, a column for each parameter."""
    dims, groups = (list(dict.fromkeys(row[name] for row in rows)) for name in ("dim", "group"))
    figure = plotting.new_figure(6.4)
    panels = figure.subplots(len(dims), len(groups), squeeze=False, sharex=True, sharey="row")
    colours = {"plain": ENCODER, "DReG": BEST}
    titles = {"A": "encoder, $A$", "b": "encoder, $b$", "mu": r"decoder, $\mu$"}
    for line, dim in zip(panels, dims, strict=True):
        for axes, group in zip(line, groups, strict=True):
            own = [row for row in rows if row["dim"] == dim and row["group"] == group]
            places = sorted({row["samples"] for row in own})
            for name in dict.fromkeys(row["estimator"] for row in own):
                parts = [
                    [row for row in own if row["estimator"] == name and row["samples"] == num]
                    for num in places
                ]
                # Of logarithms: problems differ by factors.
                found = np.array([np.log(_values(part, "snr")) for part in parts])
                mean, error = found.mean(axis=1), found.std(axis=1) / np.sqrt(found.shape[1])
                theory = [np.mean(np.log(_values(part, "predicted"))) for part in parts]
                style = "--" if name == "plain" else ":"
                label = f"predicted, {name}"
                axes.plot(places, np.exp(theory), style, color=TRUTH, linewidth=1, label=label)
                bars = np.exp(mean) - np.exp(mean - error), np.exp(mean + error) - np.exp(mean)
                bar = {"fmt": "o", "color": colours[name], "label": f"measured, {name}"}
                axes.errorbar(places, np.exp(mean), bars, **bar)
            axes.set(xscale="log", yscale="log")
            axes.set_title(f"{titles[group]}, D = {dim}")
        line[0].set_ylabel("signal-to-noise ratio")
    for axes in panels[-1]:
        axes.set_xlabel("samples $K$")
    return plotting.shared_legend(figure)


@plotting.styled
def rate(rows: Rows, deep: float) -> Figure:
    """Returns K times the gap of some points, and that over its prediction, for each kind of q.

    Args:
      rows: of experiments/claims/rate.py.
      deep: depth of the valley from which on there is a prediction.
    """
    figure = plotting.new_figure(4.2)
    single, *ratios = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    first = [row for row in rows if row["q"] == "encoder" and row["seed"] == rows[0]["seed"]]
    # Points without a valley come first, the others by chi^2.
    ranked = sorted(first, key=lambda row: (row["depth"] > deep) * (1 + row["predicted"]))
    some = [ranked[int(share * (len(ranked) - 1))]["point"] for share in (0.1, 0.4, 0.7, 1.0)]
    for point, colour in zip(some, (MODEL, BEST, ENCODER, DATA), strict=True):
        own = [row for row in first if row["point"] == point]
        single.plot(_values(own, "samples"), _values(own, "scaled_gap"), "o-", color=colour)
        if own[0]["depth"] > deep:
            single.axhline(own[0]["predicted"], color=TRUTH, linestyle="--", linewidth=1)
    single.plot([], [], "o-", color=MODEL, label="exact")
    single.plot([], [], "--", color=TRUTH, linewidth=1, label=r"predicted, $\chi^2/2$")
    single.set(xscale="log", yscale="log", xlabel="samples $K$", title="four points, one encoder")
    single.set_ylabel(r"$K (\log p - L_K)$, nats")
    for axes, name in zip(ratios, dict.fromkeys(row["q"] for row in rows), strict=True):
        own = [row for row in rows if row["q"] == name]
        seen = [row for row in own if row["depth"] > deep]
        places = sorted({row["samples"] for row in own})
        for low, high in ((0.1, 0.9), (0.25, 0.75)):
            band = [_ratio(seen, num, (low, high)) for num in places]
            axes.fill_between(places, *np.transpose(band), color=MODEL, alpha=0.25, linewidth=0)
        axes.plot(places, [_ratio(seen, num, 0.5) for num in places], "o-", color=MODEL)
        axes.axhline(1, color=TRUTH, linestyle="--", linewidth=1)
        share = f"{len(seen) / len(own):.0%} of points"
        axes.set(xscale="log", xlabel="samples $K$", ylim=(0, 2), title=f"{name},\n{share}")
        axes.set_ylabel(r"over $\chi^2/2$: median, 50, 80 %" if name == "encoder" else "")
    return plotting.shared_legend(figure)


def _ratio(rows: Rows, num: int, at: float | tuple[float, float]) -> np.ndarray:
    own = [row for row in rows if row["samples"] == num]
    if not own:
        return np.full(np.shape(at), np.nan)
    return np.quantile(_values(own, "scaled_gap") / _values(own, "predicted"), at)


@plotting.styled
def regularised(table: Rows) -> Figure:
    """Returns differences from the plain way with two standard errors, a row for each setting."""
    settings = list(dict.fromkeys(row["num_points"] for row in table))
    ways = list(dict.fromkeys(row["way"] for row in table))
    figure = plotting.new_figure(1.2 + len(settings) * (0.6 + 0.3 * len(ways)))
    panels = figure.subplots(len(settings), 3, squeeze=False, sharey=True)
    labels = {
        "nll": r"change of $-\mathrm{E}\,\log p$, nats",
        "inference_gap_new": "change of the new gap, nats",
        "overfit_gap": "training points likelier by, nats",
    }
    for line, num in zip(panels, settings, strict=True):
        own = [row for row in table if row["num_points"] == num]
        places = [ways.index(row["way"]) for row in own]
        for axes, metric in zip(line, labels, strict=True):
            bars = 2 * _values(own, f"{metric}_error")
            axes.errorbar(_values(own, metric), places, xerr=bars, fmt="o", color=MODEL)
            axes.axvline(0, color=TRUTH, linestyle=":", linewidth=1)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if metric != "overfit_gap":
                low, high = axes.get_xlim()
                low = min(low, -0.3 * (high - low))
                axes.axvspan(low, 0, color=DATA, alpha=0.2, linewidth=0, label="claimed")
                axes.set_xlim(low, high)
        line[0].set_yticks(range(len(ways)), ways)
        line[0].set_ylim(len(ways) - 0.5, -0.5)
        line[0].set_title(f"{num} points", loc="left")
    for axes, label in zip(panels[-1], labels.values(), strict=True):
        axes.set_xlabel(label)
    return plotting.shared_legend(figure)


@plotting.styled
def wrong_models(rows: Rows) -> Figure:
    """Returns a panel a curve: what each way's ELBO falls short of the entropy by, in two parts."""
    curves, ways = (list(dict.fromkeys(row[name] for row in rows)) for name in ("curve", "way"))
    figure = plotting.new_figure(1.4 + 0.35 * len(ways))
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, curve in zip(panels, curves, strict=True):
        own = [row for row in rows if row["curve"] == curve]
        for place, way in enumerate(ways):
            part = [row for row in own if row["way"] == way]
            kl, kl_error = _with_error(part, "kl_to_truth")
            cost, _ = _with_error(part, "price")
            sums = _values(part, "kl_to_truth") + _values(part, "price")
            bar = {"capsize": 3, "color": TRUTH, "linewidth": 1, "fmt": "none"}
            axes.barh(place, kl, color=MODEL, label=r"KL$(p^*\|\,p)$ of the model")
            axes.barh(place, cost, left=kl, color=ENCODER, label="price of a Gaussian under it")
            axes.errorbar(kl, place - 0.15, xerr=kl_error, **bar)
            error = np.std(sums) / np.sqrt(len(sums))
            axes.errorbar(kl + cost, place + 0.15, xerr=error, **bar)
        price, error = own[0]["price_of_truth"], own[0]["price_of_truth_error"]
        axes.axvspan(price - error, price + error, color=DATA, alpha=0.5, linewidth=0)
        axes.axvline(price, color=TRUTH, linestyle="--", label="price under the truth")
        axes.set(title=curve, xlabel="nats a point")
        axes.xaxis.set_major_locator(MaxNLocator(3))
    panels[0].set_yticks(range(len(ways)), ways)
    panels[0].set_ylim(len(ways) - 0.5, -0.5)
    return plotting.shared_legend(figure)


@plotting.styled
def width(rows: Rows, lines: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Returns, a row for each setting, the gap against the width and the functions of x.

    Args:
      rows: of experiments/claims/width.py.
      lines: by setting, x [N] rising, the means of the best q and of a network's.
    """
    figure = plotting.new_figure(7.0)
    panels = figure.subplots(len(lines), 2, squeeze=False)
    for (gaps, means), (setting, line) in zip(panels, lines.items(), strict=True):
        own = [row for row in rows if row["setting"] == setting]
        numbers = sorted({row["num_points"] for row in own})
        for num, colour in zip(numbers, (MODEL, BEST, ENCODER), strict=False):
            part = [row for row in own if row["num_points"] == num and row["width"]]
            places = sorted({row["width"] for row in part})
            found = [_with_error([r for r in part if r["width"] == w], "gap") for w in places]
            mean, error = np.transpose(found)
            gaps.errorbar(places, mean, error, fmt="o-", color=colour, label=f"{num} points")
        by_adam = [row for row in own if row["width"] == 0]
        if by_adam:
            stuck, _ = _with_error(by_adam, "gap")
            gaps.axhline(stuck, color=TRUTH, linestyle=":", label="factorised q by Adam")
        gaps.set(title=setting, xlabel="width", ylabel="amortisation gap, nats a point")
        gaps.set(xscale="log", yscale="log")
        _functions(means, line)
    return plotting.shared_legend(figure)


def _functions(axes: Axes, line: Mapping[str, np.ndarray]) -> None:
    axes.plot(line["x"], line["best"], ".", color=TRUTH, markersize=3, label="best q of each point")
    axes.plot(line["x"], line["network"], color=ENCODER, linewidth=1, label="the widest network")
    axes.set(xlabel="$x$", ylabel="mean of $q(z|x)$")

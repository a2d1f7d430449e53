"""What the judge says: a table of text, one of Markdown, a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spiral_vae.judge import trial
from spiral_vae.judge.pairs import LEVEL, Paired
from spiral_vae.present import plotting

_LEGEND = (
    "Nats per point. KL = KL(p*||p), median; difference = KL of this method less that\n"
    f"of the other on the same data and seeds, median and {LEVEL:.0%} bootstrap interval;\n"
    "wins = seeds in which this one is nearer to the truth."
)
_HEADING = ("against", "KL", "found", "difference", "interval", "wins", "")


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a line or two on a method's own rows on one problem."""
    num = len(rows)
    distances = trial.distances(rows)
    low, median, high = np.quantile(distances, [0.1, 0.5, 0.9], method="nearest")
    sound = [row for row in rows if row["status"] == "ok"]
    parts = [f"KL {_plain(median)} (10-90 %: {_plain(low)} to {_plain(high)})"]
    parts += [f"{name} {_count(rows, name)} of {num}" for name in ("found", "recovered")]
    if sound:
        parts += [
            f"{heading} {np.median([row[name] for row in sound]):.3f}"
            for name, heading in (("inference_gap_new", "new gap"), ("sigma_ratio", "sigma"))
        ]
    if len(sound) < num:
        parts.append(f"{num - len(sound)} failed")
    text = ", ".join(parts)
    return (
        f"{rows[0]['method']} on {rows[0]['problem']}, {rows[0]['seconds']:.1f} s a seed:\n{text}"
    )


def _count(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(bool(row.get(name, False)) for row in rows)


def _cells(pair: Paired, other: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        pair.against,
        _plain(float(np.median(trial.distances(other)))),
        f"{_count(other, 'found')}/{len(other)}",
        _signed(pair.median),
        f"{_signed(pair.low)} to {_signed(pair.high)}",
        f"{pair.wins}/{len(pair.difference)}",
        pair.verdict,
    ]


def table(pairs: Sequence[Paired], others: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the pairs of one problem as text of at most 80 columns.

    Args:
      pairs: of a method with each of others.
      others: their rows, by method.
    """
    lines = [list(_HEADING)] + [_cells(pair, others[pair.against]) for pair in pairs]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for first, *rest, last in lines:
        middle = (cell.rjust(width) for cell, width in zip(rest, widths[1:-1], strict=True))
        text.append("  ".join([first.ljust(widths[0]), *middle, last]).rstrip())
    return "\n".join([*text, _LEGEND])


def markdown(pairs: Sequence[Paired], others: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the same as a table of Markdown, for a paper's appendix."""
    first = pairs[0]
    lines = [
        f"### {first.method} on {first.problem}, {len(first.difference)} seeds",
        "",
        "| " + " | ".join([*_HEADING[:-1], "verdict"]) + " |",
        "| --- | " + "---: | " * (len(_HEADING) - 2) + "--- |",
        *("| " + " | ".join(_cells(pair, others[pair.against])) + " |" for pair in pairs),
        "",
        _LEGEND.replace("\n", " "),
        "",
    ]
    return "\n".join(lines)


@plotting.styled
def figure(pairs: Sequence[Paired]) -> Figure:
    """Returns the differences of all pairs, a panel a problem: each seed, median and interval."""
    problems = list(dict.fromkeys(pair.problem for pair in pairs))
    most = max(sum(pair.problem == name for pair in pairs) for name in problems)
    drawn = plotting.new_figure(1.0 + 0.32 * most * len(problems))
    panels = drawn.subplots(len(problems), 1, squeeze=False)[:, 0]
    for axes, problem in zip(panels, problems, strict=True):
        own = [pair for pair in pairs if pair.problem == problem]
        for place, pair in enumerate(own):
            clear = pair.verdict in ("better", "worse")
            color = plotting.MODEL if clear else plotting.DATA
            known = pair.difference[np.isfinite(pair.difference)]
            axes.plot(known, np.full(len(known), place), "|", color=plotting.DATA, markersize=8)
            ends = [value for value in (pair.low, pair.high) if np.isfinite(value)]
            axes.plot(ends, [place] * len(ends), color=color, linewidth=3, solid_capstyle="butt")
            if np.isfinite(pair.median):
                axes.plot(pair.median, place, "o", color=color, markersize=7)
        axes.axvline(0, color=plotting.TRUTH, linewidth=1)
        widest = max(
            (abs(d) for pair in own for d in (pair.low, pair.high, pair.median)), default=0
        )
        axes.set_xscale("symlog", linthresh=max(0.02, 0.1 * min(widest, 1.0)))
        axes.set_yticks(range(len(own)), [pair.against for pair in own])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(f"{own[0].method} on {problem}, {len(own[0].difference)} seeds")
    panels[-1].set_xlabel(
        r"$\mathrm{KL}(p^*\|\,p)$ less that of the other method, nats per point; left of 0: better"
    )
    return drawn


def _plain(value: float) -> str:
    return f"{value:.4f}" if value < 100 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 100 else f"{value:+.3g}"

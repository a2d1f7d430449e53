"""The figure of the judge: differences in pairs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from spiral_vae.judge.pairs import Paired
from spiral_vae.present import plotting


@plotting.styled
def differences(pairs: Sequence[Paired]) -> Figure:
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
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(own)), [pair.against for pair in own])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(f"{own[0].method} on {problem}, {len(own[0].difference)} seeds")
    panels[-1].set_xlabel(
        r"$\mathrm{KL}(p^*\|\,p)$ less that of the other method, nats per point; left of 0: better"
        "\nlines: seeds; dot and bar: median and 90 % interval, grey where it has 0 in it"
    )
    return drawn

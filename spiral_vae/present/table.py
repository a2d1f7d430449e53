"""The table at the end of a run, in plain text of at most 80 columns."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from spiral_vae.exact.metrics import METRICS

WIDTH = 80  # columns of a terminal
MAX_LINES = 16  # a line each up to so many lanes, else one for each point of the sweep
# The most telling first: of runs whose truth is known, of sequences, and of others.
_OF_TRUTH = ("kl_to_truth", "order_of_curve", "nll", "kl_to_prior", "inference_gap_new")
_OF_SEQUENCES = (
    "kl_rate_to_truth",
    "order_of_path",
    "sigma_ratio",
    "tau_ratio",
    "gap_rate",
)
_OF_OWN_SEQUENCES = ("nll_rate", "nll_rate_error", "sigma", "correlation", "gap_rate")
_OF_DATA = ("nll_held_out", "overfit_gap", "sigma", "kl_to_prior", "inference_gap_new")


def table(rows: Sequence[dict[str, Any]], axes: Sequence[str]) -> str:
    """Returns what was found: a line a lane, or for many lanes one a point of the sweep.

    Args:
      rows: of summary.csv.
      axes: the swept fields.
    """
    failed = sum(row["status"] != "ok" for row in rows)
    names, legend = _OF_TRUTH, _LEGEND
    if any("kl_rate_to_truth" in row for row in rows):
        names, legend = _OF_SEQUENCES, _LEGEND_OF_SEQUENCES
    elif any("nll_rate" in row for row in rows):
        names, legend = _OF_OWN_SEQUENCES, _LEGEND_OF_OWN_SEQUENCES
    elif not any("kl_to_truth" in row for row in rows) and any("elbo" in row for row in rows):
        names, legend = _OF_DATA, _LEGEND_OF_DATA
    end = f"\n{legend}" + f"\n{failed} of {len(rows)} lanes failed." * bool(failed)
    if len(rows) <= MAX_LINES:
        return _lane_table(rows, ["seed", *axes], names) + end
    keys = axes  # the seeds are what a line summarises
    points: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        points.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    first, second = (METRICS[name] for name in names[:2])
    heading = [
        *_short_names(keys),
        "lanes",
        f"{first.heading}: median (10-90 %)",
        second.heading,
        "verdicts",
    ]
    lines = [
        [*map(_plain, point), *_point_cells(own, first.name, second.name)]
        for point, own in points.items()
    ]
    return aligned(heading, lines) + end


_LEGEND = (
    "Nats per point. kl to truth = KL(p*||p), exact; order = 1 where the latent runs\n"
    "along the curve; nll = -E log p under the true density; kl = KL(q||p(z)) over\n"
    "the data; new gap = log p - ELBO at new points."
)
_LEGEND_OF_SEQUENCES = (
    "Nats per point of 40 fresh sequences. kl rate = KL(p*||p) of whole sequences over\n"
    "their length; path = 1 where the smoothed latent follows the true one; sigma,\n"
    "tau = noise and time constant over the true ones; gap rate = log p - ELBO."
)
_LEGEND_OF_OWN_SEQUENCES = (
    "Nats per point of sequences not trained on. nll rate = -log p of a sequence over its\n"
    "length, and its standard error; sigma in the units of the data; correlation of\n"
    "neighbouring z; gap rate = log p - ELBO over its length."
)
_LEGEND_OF_DATA = (
    "Nats per point. nll held out = -log p of points not trained on; overfit = by how\n"
    "much the training points are likelier; sigma in the units of the data; kl =\n"
    "KL(q||p(z)); new gap = log p - ELBO at the points held out."
)


def _lane_table(rows: Sequence[dict[str, Any]], keys: Sequence[str], names: Sequence[str]) -> str:
    """Returns a line a lane; where a verdict would be wrapped the last columns are left out."""
    for num in range(len(names), 0, -1):
        columns = [METRICS[name] for name in names[:num]]
        heading = _short_names(keys) + [column.heading or column.name for column in columns]
        lines = [
            [
                *(_plain(row.get(key)) for key in keys),
                *(
                    _number(row[column.name], column.form) if column.name in row else "-"
                    for column in columns
                ),
                row.get("verdict", _short(row)),
            ]
            for row in rows
        ]
        text = aligned([*heading, "verdict"], lines)
        shown = text.splitlines()
        if len(shown) == 1 + len(rows) and max(map(len, shown)) <= WIDTH:
            break
    return text


def _short_names(paths: Sequence[str]) -> list[str]:
    """Returns the ends of dotted paths, as long as it takes to tell them apart."""

    def end(path: str, length: int) -> str:
        return ".".join(path.split(".")[-length:])

    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        lengths = range(1, path.count(".") + 2)
        unique = (end(path, n) for n in lengths if end(path, n) not in [end(o, n) for o in others])
        names.append(next(unique, path))
    return names


def _short(row: dict[str, Any]) -> str:
    """Returns what went wrong, without the details: 'not finite', 'not evaluated'."""
    return " ".join(row["status"].partition(":")[0].split()[:2])


def _point_cells(rows: Sequence[dict[str, Any]], first: str, second: str) -> list[str]:
    sound = [row for row in rows if row["status"] == "ok" and first in row]
    verdicts = Counter(row.get("verdict", _short(row)) for row in rows)
    if sound:
        low, median, high = np.quantile([row[first] for row in sound], [0.1, 0.5, 0.9])
        spread = f"{_number(median)} ({_number(low)}-{_number(high)})"
        others = [row[second] for row in sound if second in row]
        order = f"{np.median(others):.4f}" if others else "-"
    else:
        spread = order = "-"
    return [
        str(len(rows)),
        spread,
        order,
        ", ".join(f"{count} {name}" for name, count in verdicts.most_common()),
    ]


def _number(value: float, form: str = "{:.4f}") -> str:
    return f"{value:.3g}" if abs(value) >= 1000 else form.format(value)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def aligned(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns the table: numbers to the right; the last column, words, wrapped at the width."""
    widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)][:-1]
    indent = sum(widths) + 2 * len(widths)
    text = []
    for *cells, words in (heading, *lines):
        numbers = "".join(c.rjust(width) + "  " for c, width in zip(cells, widths, strict=True))
        first, *more = textwrap.wrap(words, max(WIDTH - indent, 10))
        text += [numbers + first, *(" " * indent + line for line in more)]
    return "\n".join(text)

"""What the judge says, in text: of problems and methods, and of pairs; these in Markdown, too."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spiral_vae.judge import trial
from spiral_vae.judge.methods import METHODS, Method
from spiral_vae.judge.pairs import LEVEL, Paired
from spiral_vae.judge.problems import PROBLEMS, Problem, known_facts
from spiral_vae.present.table import WIDTH, aligned

_LEGEND = (
    "Nats per point. KL = KL(p*||p), median; difference = KL of this method less that\n"
    f"of the other on the same data and seeds, median and {LEVEL:.0%} bootstrap interval;\n"
    "wins = seeds in which this one is nearer to the truth."
)
_FACTS = ("entropy", "inform.", "collapsed", "Gaussian", "sigma_c", "price", "problem")
_LEGEND_OF_FACTS = (
    "Nats per point. entropy = the least nll; inform. = I(x; t); collapsed, Gaussian\n"
    "= nll of the best isotropic and the best Gaussian; sigma_c, in units of x: above\n"
    "it a sigma collapses; price = what Gaussian posteriors lose, exact decoder."
)
_HEADING = ("against", "KL", "found", "difference", "interval", "wins", "verdict")


def problems() -> str:
    """Returns all named problems and their exact numbers."""
    lines = [
        [*(f"{value:.4f}" for value in facts.values()), name]
        for name, facts in known_facts().items()
    ]
    return f"{_meanings(PROBLEMS)}\n\n{aligned(_FACTS, lines)}\n{_LEGEND_OF_FACTS}"


def methods() -> str:
    """Returns all named methods."""
    return _meanings(METHODS)


def _meanings(named: Mapping[str, Problem] | Mapping[str, Method]) -> str:
    width = max(map(len, named))
    return "\n".join(f"{name:{width}}  {own.meaning}" for name, own in named.items())


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns a line or two on a method's own rows on one problem."""
    num = len(rows)
    low, high = np.quantile(trial.distances(rows), [0.1, 0.9], method="nearest")
    sound = [row for row in rows if row["status"] == "ok"]
    parts = [f"KL {_plain(trial.median(rows))} (10-90 %: {_plain(low)} to {_plain(high)})"]
    parts += [f"{name} {_count(rows, name)} of {num}" for name in ("found", "recovered")]
    if sound:
        parts += [
            f"{heading} {np.median([row[name] for row in sound]):.3f}"
            for name, heading in (("inference_gap_new", "new gap"), ("sigma_ratio", "sigma"))
        ]
    if len(sound) < num:
        parts.append(f"{num - len(sound)} failed")
    what = f"{rows[0]['method']} on {rows[0]['problem']}, {rows[0]['seconds']:.1f} s a seed: "
    return textwrap.fill(what + ", ".join(parts), WIDTH)


def _count(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(bool(row.get(name, False)) for row in rows)


def _cells(pair: Paired, other: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        pair.against,
        _plain(trial.median(other)),
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
    lines = [_cells(pair, others[pair.against]) for pair in pairs]
    return f"{aligned(_HEADING, lines)}\n{_LEGEND}"


def markdown(pairs: Sequence[Paired], others: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the same as a table of Markdown, for a paper's appendix."""
    first = pairs[0]
    lines = [
        f"### {first.method} on {first.problem}, {len(first.difference)} seeds",
        "",
        "| " + " | ".join(_HEADING) + " |",
        "| --- | " + "---: | " * (len(_HEADING) - 2) + "--- |",
        *("| " + " | ".join(_cells(pair, others[pair.against])) + " |" for pair in pairs),
        "",
        _LEGEND.replace("\n", " "),
        "",
    ]
    return "\n".join(lines)


def _plain(value: float) -> str:
    return f"{value:.4f}" if value < 100 else f"{value:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 100 else f"{value:+.3g}"

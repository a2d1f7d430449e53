"""The page on problems, methods and standing results, and the stored facts of the problems.

python -m spiral_vae.judge.reference docs
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spiral_vae.judge import problems, standing, trial
from spiral_vae.judge.methods import METHODS
from spiral_vae.judge.problems import FACTS, PROBLEMS
from spiral_vae.workdir import files

_MADE = "<!-- Made by `make reference`; what it says is declared in the code. -->"
_SIZES = ("hidden_layers", "hidden_dim")
_LIKELIHOOD = "evidence_anneal"  # the method that says how far maximum likelihood gets


def page() -> str:
    """Returns the page on what the judge knows, in Markdown."""
    known = problems.known_facts()
    lines = [
        _MADE,
        "",
        "# Problems, methods, standing results",
        "",
        "[judge.md](judge.md) says what counts and how it is measured.",
        "",
        "## Problems",
        "",
        "| problem | what it is | fields |",
        "| --- | --- | --- |",
        *(f"| `{one.name}` | {one.meaning} | {_fields(one.values)} |" for one in PROBLEMS.values()),
        "",
        "Exact numbers, in nats per point: the entropy, which is the least nll; the information of",
        "x on t; the nll of the best collapsed model and of the best Gaussian; in units of x the",
        "sigma_c above which a decoder's sigma collapses; the price of Gaussian posteriors under",
        "the true decoder. Then how far exact maximum likelihood, sigma falling, stays from the",
        "truth: KL(p*||p), median over the seeds.",
        "",
        "| problem | " + " | ".join(next(iter(known.values()))) + " | KL of likelihood |",
        "| --- |" + " ---: |" * (len(next(iter(known.values()))) + 1),
        *(
            f"| `{name}` | {' | '.join(f'{value:.4f}' for value in own.values())} | "
            f"{_reached(name)} |"
            for name, own in known.items()
        ),
        "",
        "## Methods",
        "",
        f"Each has {problems.STEPS:,} steps of Adam on {problems.BATCH} points.".replace(",", " "),
        "",
        "| method | what it is | fields |",
        "| --- | --- | --- |",
        *(f"| `{one.name}` | {one.meaning} | {_fields(one.values)} |" for one in METHODS.values()),
        "",
        "## Standing results",
        "",
        *_results(),
    ]
    return "\n".join(lines) + "\n"


def _fields(values: Mapping[str, Any]) -> str:
    """Returns fields as a cell; the networks of problems are told once for all, in judge.md."""
    own = {path: value for path, value in values.items() if not path.endswith(_SIZES)}
    return ", ".join(f"`{path}={_short(value)}`" for path, value in own.items()) or "the default"


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _reached(name: str) -> str:
    own = standing.of(PROBLEMS[name]).get(_LIKELIHOOD)
    return f"{trial.median(own):.4f}" if own else "-"


def _results() -> list[str]:
    found = standing.rows()
    if not found:
        return ["None are stored yet."]
    first = found[0]
    seconds: dict[str, list[float]] = {}
    for row in found:
        seconds.setdefault(row["method"], []).append(row["seconds"])
    names = list(dict.fromkeys(row["problem"] for row in found))
    lines = [
        f"Version {first['version']}, JAX {first['jax']}, {first['machine']};",
        f"{len({row['seed'] for row in found})} seeds. KL(p*||p) in nats, median, and in how many "
        "seeds the curve was found.",
        "",
    ]
    for some in (names[: len(names) // 2], names[len(names) // 2 :]):
        lines += [
            "| method | " + " | ".join(f"`{name}`" for name in some) + " |",
            "| --- |" + " ---: |" * len(some),
        ]
        for method in METHODS:
            cells = [_cell(standing.of(PROBLEMS[name]).get(method)) for name in some]
            lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        "Seconds a lane, compilation and judgement included, the median over the problems:",
        ", ".join(f"`{name}` {np.median(own):.1f}" for name, own in seconds.items()) + ".",
    ]
    return lines


def _cell(rows: Sequence[Mapping[str, Any]] | None) -> str:
    if not rows:
        return "-"
    count = sum(bool(row.get("found", False)) for row in rows)
    return f"{trial.median(rows):.3f}, {count}"


def main(folder: Path) -> None:
    """Computes the facts of all problems and writes them, and the page into a folder."""
    rows = [{"problem": name, **problems.facts(own)} for name, own in PROBLEMS.items()]
    files.write_csv(FACTS, rows)
    files.write_text(folder / "problems.md", page())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

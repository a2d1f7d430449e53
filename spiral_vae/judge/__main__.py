"""The judge: an own method or problem, in one file, against all that is known of the others.

python -m spiral_vae.judge METHOD [--problem=PROBLEM ...] [--against=METHOD,...] [--seeds=16]
    [--workdir=DIR]     METHOD and PROBLEM: names, or files with a get_config()
python -m spiral_vae.judge --problems | --methods
python -m spiral_vae.judge --standing --workdir=DIR [--part=K/N]
python -m spiral_vae.judge --repeat[=PROBLEM/METHOD] [--workdir=DIR]
"""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from spiral_vae import machine
from spiral_vae.config import command_line
from spiral_vae.config.values import ConfigError
from spiral_vae.judge import report, standing, trial
from spiral_vae.judge.checks import checks
from spiral_vae.judge.methods import METHODS, Method, method
from spiral_vae.judge.pairs import paired
from spiral_vae.judge.problems import PROBLEMS, Problem, problem
from spiral_vae.present import table
from spiral_vae.workdir import files, life
from spiral_vae.workdir.life import WorkdirError

_DEFAULT = "post"
_PAIRS = "paired.csv"  # by which a folder is known to be a judge's


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        command_line.fail(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m spiral_vae.judge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("method", nargs="?", help="a name or a file")
    parser.add_argument("--problem", action="append", help=f"a name or a file; {_DEFAULT}")
    parser.add_argument("--against", help="names of methods, with commas; by default all")
    parser.add_argument("--seeds", type=_seeds, default=trial.SEEDS, help="how many, 1 .. 1000")
    parser.add_argument("--workdir", type=Path, help="of the results; a dated one under runs/")
    parser.add_argument("--problems", action="store_true", help="what is known of each")
    parser.add_argument("--methods", action="store_true", help="what each is")
    parser.add_argument("--standing", action="store_true", help="run all methods on all problems")
    parser.add_argument(
        "--part", type=_part, help="K/N, of those; by default that of Slurm's array"
    )
    parser.add_argument("--repeat", nargs="?", const="", help="a standing cell, and compare bits")
    return parser


def main(arguments: list[str]) -> int | None:
    """Runs the command; a mistake is a sentence and exit status 2."""
    flags = _parser().parse_args(arguments)
    os.environ["MPLBACKEND"] = "agg"
    if note := machine.prepare_jax():
        print(f"note: {note}", file=sys.stderr)
    try:
        if flags.problems:
            print(report.problems())
        elif flags.methods:
            print(report.methods())
        elif flags.standing:
            return _standing(flags)
        elif flags.repeat is not None:
            return _repeat(flags)
        elif flags.method is None:
            command_line.fail("method: missing, must be a file or a name; --help says more")
        else:
            return _judge(flags)
    except (ConfigError, WorkdirError) as error:
        command_line.fail(error)
    except OSError as error:  # of what the judge itself writes
        where = error.filename or "the results"
        command_line.fail(f"{where} can't be written: {error.strerror or error}")
    return None


def _seeds(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"found {text!r}, must be 1 .. 1000")
    return int(text)


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"found {text!r}, must be K/N with 1 <= K <= N")
    return int(found[1]), int(found[2])


def _standing(flags: argparse.Namespace) -> int | None:
    if flags.workdir is None:
        raise ConfigError("--standing: needs a --workdir, in which it can be stopped and go on")
    if flags.part is None and "SLURM_ARRAY_TASK_ID" in os.environ:
        first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", "1"))
        count = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", "1"))
        flags.part = (int(os.environ["SLURM_ARRAY_TASK_ID"]) - first + 1, count)
    missing = standing.make(flags.workdir, *(flags.part or (1, 1)))
    print(f"standing results: {len(PROBLEMS) - len(missing)} of {len(PROBLEMS)} problems are whole")
    return None


def _repeat(flags: argparse.Namespace) -> int | None:
    folder = flags.workdir or life.fresh(Path("runs"))
    cell, same, num = standing.repeated(folder, flags.repeat or None)
    print(f"{cell}: {same} of {num} lanes have the same bits as the standing results")
    return None if same == num else 1


def _judge(flags: argparse.Namespace) -> int | None:
    own = method(flags.method)
    chosen = [problem(name) for name in flags.problem or [_DEFAULT]]
    others = {one.name: _others(one, flags.against) for one in chosen}
    configs = [trial.config(one, own) for one in chosen]
    for other in {other.name: other for found in others.values() for other in found}.values():
        if other.name == own.name and other != own:
            raise ConfigError(f"--against: two methods are called {own.name!r}; rename a file")
    _see_whether_free(flags.workdir)
    if own.ignored:
        print(f"of {flags.method} the problem decides {', '.join(own.ignored)}")
    if not _sound(own.name, configs[0]):
        return 2
    folder = _folder(flags.workdir)
    pairs, texts, rows = [], [], []
    for one in chosen:
        mine = trial.run(one, own, _place(folder, one, own), flags.seeds)
        theirs = _rows(one, others[one.name], folder, flags.seeds)
        of_one = [paired(mine, other) for other in theirs.values()]
        print(f"\n{report.summary(mine)}")
        if of_one:
            print(report.table(of_one, theirs))
            texts.append(report.markdown(of_one, theirs))
        pairs += of_one
        rows += mine
    files.write_csv(folder / "rows.csv", rows)
    files.write_csv(folder / _PAIRS, [pair.row for pair in pairs])
    if pairs:
        from spiral_vae.judge import figure  # matplotlib takes long to import
        from spiral_vae.present import plotting

        files.write_text(folder / "paired.md", "\n".join(texts))
        plotting.save(figure.differences(pairs), folder, "paired")
    print(f"results: {folder}")
    return None


def _sound(name: str, config: ConfigDict) -> bool:
    """Prints what is found of a method before it is trained; returns whether all is well."""
    print(f"checks of {name}")
    for finding in checks(config):
        text = f"{'✓' if finding.sound else '✗'} {finding.name}: {finding.sentence}"
        lines = textwrap.wrap(text, table.WIDTH, initial_indent="  ", subsequent_indent=6 * " ")
        print(*lines, sep="\n", flush=True)
    return finding.sound


def _others(one: Problem, against: str | None) -> list[Method]:
    """Returns the methods that one is paired with on a problem."""
    if against is not None:
        return [method(name) for name in against.split(",") if name]
    return [other for other in METHODS.values() if trial.suits(one, other)]


def _place(folder: Path, one: Problem, own: Method) -> Path:
    return folder / one.name / own.name


def _rows(
    one: Problem, others: Sequence[Method], folder: Path, seeds: int
) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows of others, standing ones or else trained now; the nearest first."""
    known = standing.of(one)
    found = {}
    for other in others:
        kept = [row for row in known.get(other.name, []) if row["seed"] < seeds]
        if len(kept) < seeds:
            print(
                f"{other.name} does not stand on {one.name} for {seeds} seeds and is trained, too"
            )
            kept = trial.run(one, other, _place(folder, one, other), seeds)
        found[other.name] = kept
    return dict(sorted(found.items(), key=lambda item: trial.median(item[1])))


def _see_whether_free(workdir: Path | None) -> None:
    """Raises WorkdirError if a folder holds something other than what a judge began."""
    if workdir is None or not workdir.exists() or (workdir / _PAIRS).exists():
        return
    if not workdir.is_dir() or any(workdir.iterdir()):
        raise WorkdirError(f"workdir: {workdir} is in use already; give a new or an empty folder")


def _folder(workdir: Path | None) -> Path:
    """Returns the folder of the results, made if need be; by default a fresh one under runs/."""
    if workdir is None:
        return life.fresh(Path("runs"))
    files.write_text(workdir / _PAIRS, "")
    return workdir


if __name__ == "__main__":
    machine.open_streams()
    sys.exit(main(sys.argv[1:]))

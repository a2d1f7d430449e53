"""Command lines as no one should write them, and some as one should."""

import random
import re
from collections.abc import Callable
from pathlib import Path

from spiral_vae import fields
from spiral_vae.config.settings import ROOTS
from spiral_vae.configs import base

_CONFIGS = (base.__file__, base.__file__, "base", "configs/base.py", "recommended")
# A run that takes no time, where nothing else is said.
_TINY = (
    "--config.data.num_points=10",
    "--config.train.batch_size=5",
    "--config.train.num_epochs=20",
    "--config.train.log_every=10",
)
_EXTREME = (
    *("", " ", "None", "nan", "inf", "-inf", "true", "False", "[1,2]", "(1,)", "{}", "a,b"),
    *("0", "-1", "1", "0.5", "1e3", "1_000", "0x10", "1e300", "-1e300", "1e-300", "1e400"),
    *(str(2**31 - 1), str(2**31), str(2**32 - 1), str(2**63), str(10**30), "1" * 5000),
    *("fixed", "ü", "雪", "٣", "\N{ZERO WIDTH SPACE}", "'", '"', "=", "--", "\n", "$HOME", "../.."),
)
_FINE = (
    *("likelihood.sigma=0.1,0.2", "likelihood.sigma=lin(1,2,3)", "data.num_points=5,10"),
    *("model.decoder.hidden_dim=2,3", "likelihood.kind=fixed,geco", "train.num_epochs=10,30"),
)
_SWEEPS = (
    *("", "=", "likelihood.sigma", "likelihood.sigma=", "=0.1,0.2", "likelihood.sigma=,"),
    *("likelihood.sigma=0.1,0.1", "likelihood.sigma=0.1,", "likelihood.sigma=nan,1"),
    *("likelihood.sigma=lin(0,1,3)", "likelihood.sigma=log(0,1,3)", "likelihood.sigma=lin(1,2)"),
    *("likelihood.sigma=log(0.1,1,5)", "likelihood.sigma=lin(1,2,0)", "likelihood.sigma=lin(,,)"),
    *("likelihood.sigma=lin(1,2,99999999999)", "likelihood.sigma=log(1,inf,3)"),
    *("likelihood.sigma=0.1,0.2", "likelihood.sigma=1e-300,1e300", "likelihood.sigma=0.1;0.2"),
    *("model.decoder.hidden_dim=2,3", "model.decoder.hidden_dim=lin(1,2,4)", "model.decoder=1"),
    *("seed=0,1", "num_seeds=1,2", "sweep=a", "cell_width=2,4", "train.log_every=1,2"),
    *("likelihood.kind=fixed,geco", "likelihood.kind=fixed,wrong", "likelihood.kind=lin(1,2,2)"),
    *("train.shuffle=true,false", "data.num_points=3,30", "checkpoint.every=1,2", "ü=雪"),
)
_FLAGS = (
    *("--flagfile=/nope", "--flagfile=", "--flagfile", "--nosuch", "--nosuch=1", "-x", "-", "--"),
    *("extra", "", " ", "--workdir", "--sweep", "--config", "--config=", "--config=/nope.py"),
    *("--config=.", "--config=empty.py", "--config=broken.py", "--config=:", "--noconfig"),
    *("--config.", "--config.=1", "--config.likelihood=1", "--config.likelihood.sigma"),
    *("--resume", "--noresume", "--resume=maybe", "--debug_nans", "--nodebug_nans=1"),
    *("--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=x", "--distributed"),
    *("--help", "--helpshort", "--helpfull", "--helpxml", "--only_check_args", "--verbosity=x"),
)


def command_line(folder: Path, rng: random.Random) -> list[str]:
    """Returns arguments of a run in a folder, which gets the files that they speak of."""
    (folder / "file").write_text("kept")
    (folder / "empty.py").touch()
    (folder / "broken.py").write_text("def get_config(:\n")
    for name in ("empty", "full", "damaged"):
        (folder / name).mkdir()
    (folder / "full" / "notes").write_text("kept")
    (folder / "damaged" / "config.json").write_text('{"seed": 0')
    (folder / "damaged" / "SHA256SUMS").write_text("0  config.json\n")
    (folder / "dangling").symlink_to("nowhere")
    args = [f"--config={rng.choice(_CONFIGS)}"] * (rng.random() < 0.7) + [*_TINY]
    well = rng.random() < 0.5  # half of them may well be right
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        args += _override(well, rng)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        odd = rng.choice((*_SWEEPS, f"{_path(rng)}={rng.choice(_EXTREME)}"))
        args += _flag("--sweep", rng.choice(_FINE) if well else odd, rng)
    if rng.random() < 0.9:
        args += _flag("--workdir", _workdir(folder, well, rng), rng)
    if rng.random() < 0.1:
        args.append("--resume")
    if rng.random() < (0.05 if well else 0.3):
        args.insert(rng.randrange(len(args) + 1), rng.choice(_FLAGS))
    if rng.random() < 0.05:
        args.append(rng.choice(args))
    return args


def _workdir(folder: Path, well: bool, rng: random.Random) -> str:
    odd = ("", " ", ".", "file", "file/run", "full", "damaged", "dangling", "dangling/run", "~")
    odd += ("/dev/null", "/dev/null/run", "/proc/1/run", "x" * 300, "/", "-", "=", "\n")
    fine = ("run", "a b/ü 雪", "empty", "a/../b", str(folder / "deep" / "er"), "it's", "--run")
    return rng.choice(odd if rng.random() < (0.1 if well else 0.3) else fine)


def _override(well: bool, rng: random.Random) -> list[str]:
    path = rng.choice(list(fields.declared(*ROOTS)))
    value = _right(path, rng) if well or rng.random() < 0.3 else rng.choice(_EXTREME)
    given = {**_users(path, rng), path: value} if well else {path: value}
    if not well and rng.random() < 0.2:
        given = {_path(rng): value}
    dashes = rng.choice(("--", "--", "--", "-"))
    return [part for name in given for part in _flag(f"{dashes}config.{name}", given[name], rng)]


def _users(path: str, rng: random.Random) -> dict[str, str]:
    """Returns the kinds of one that uses a field, where not everything does."""
    users = fields.declared(*ROOTS)[path].users
    if not users:
        return {}
    selector, name = rng.choice(users).split(" ", 1)
    return _users(selector, rng) | {selector: name.strip("'")}


def _flag(name: str, value: str, rng: random.Random) -> list[str]:
    return [name, value] if rng.random() < 0.1 else [f"{name}={value}"]


def _path(rng: random.Random) -> str:
    """Returns a field that most likely does not exist."""
    path = rng.choice(list(fields.declared(*ROOTS)))
    i = rng.randrange(len(path))
    changes: tuple[Callable[[], str], ...] = (
        lambda: path,
        lambda: path[:i] + path[i + 1 :],
        lambda: path[:i] + rng.choice("xü. -") + path[i:],
        lambda: path.upper(),
        lambda: path.rpartition(".")[2],
        lambda: path.partition(".")[0],
        lambda: f"{path}.{path}",
        lambda: "",
    )
    return rng.choice(changes)()


def _right(path: str, rng: random.Random) -> str:
    """Returns a value that the field may well have."""
    rule = rng.choice(fields.declared(*ROOTS)[path].fields).rule
    if rule.options:
        return rng.choice(rule.options)
    if rule.type is bool:
        return rng.choice(("true", "false"))
    if rule.type is int:
        if rng.random() < 0.2:  # the largest ones
            return rng.choice(re.findall(r"(\d+)\]", rule.allowed))
        return str(rng.choice((1, 2, 3, 5, 8, 16, 64, 200)))
    if rng.random() < 0.2:
        return rng.choice(("1e-300", "1e-30", "1e30", "1e300", "-1e300", "0", "-1"))
    return f"{rng.choice((0.01, 0.1, 0.5, 0.9, 1, 2, 10 ** rng.uniform(-6, 6))):g}"

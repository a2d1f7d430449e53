"""From the command line to checked lanes: flags, axes of a sweep, configs on disk.

A user's mistake becomes a `ConfigError` with a sentence that names the field, the value found
and what is allowed. Overrides (`--config.likelihood.sigma=1`) and axes of a sweep
(`--sweep=likelihood.sigma=1,2`) are read by the same code.
"""

import copy
import dataclasses
import functools
import itertools
import json
import math
import os
import re
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_dict

from spiral_vae.config import rules
from spiral_vae.config.rules import Fields

DEFAULT = "configs/base.py"

Lane = dict[str, Any]  # one run: its 'seed' and the values of the swept fields


class ConfigError(ValueError):
    """A mistake of the user's; the message has a sentence a line, ready to be shown."""


_NOT_SWEPT = {
    "seed": "lanes take config.seed, config.seed + 1, ...; set config.seed and config.num_seeds",
    "num_seeds": "set config.num_seeds; every point of the sweep gets all seeds",
    "sweep": "repeat --sweep for more axes",
    "cell_width": "it says how lanes are computed and is one for all of them",
    "train.log_every": "all lanes are logged at the same epochs",
    "evaluate.every": "all lanes are evaluated at the same epochs",
    "checkpoint.every": "a checkpoint holds lanes of all kinds",
    "checkpoint.keep": "a checkpoint holds lanes of all kinds",
}
_MAY_DIFFER = {"checkpoint.every", "checkpoint.keep"}  # when a run goes on
_LENGTH = {  # fields by which an epoch may depend on how many there are
    "train.num_epochs",
    "optimizer.schedule",
    "objective.kl_warmup",
    "likelihood.stabiliser",
}


def _flatten(config: ConfigDict, prefix: str = "") -> Fields:
    fields = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= _flatten(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


# Text to values: overrides and axes.

_PARSERS = {
    int: ("an integer", flags.IntegerParser()),
    float: ("a number", flags.FloatParser()),
    bool: ("true or false", flags.BooleanParser()),
    str: ("a string", flags.ArgumentParser()),
}


def _type(path: str, fields: Fields) -> type:
    """Returns the type of a field; raises ConfigError if there is none of that name."""
    if path in fields:
        # An empty field has no type of its own.
        return rules.RULES[path].type if fields[path] is None else type(fields[path])
    if inside := [field for field in fields if field.startswith(f"{path}.")]:
        raise ConfigError(f"{path}: a section, not a field; it has {', '.join(inside)}")
    raise ConfigError(rules.unknown(path, fields))


def _parse(path: str, text: str, type_: type) -> Any:
    wanted, parser = _PARSERS[type_]
    try:
        return parser.parse(text)
    except (TypeError, ValueError):
        raise ConfigError(f"{path}: {text!r} is not {wanted}") from None


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a sweep: a dotted field and its values, of the field's type."""

    path: str
    values: tuple


def parse_axis(text: str, config: ConfigDict) -> Axis:
    """Returns the axis for 'FIELD=VALUE,...', 'FIELD=lin(LO,HI,N)' or 'FIELD=log(LO,HI,N)'.

    Both ranges include their ends; lin is even in the value, log in its logarithm. Raises
    ConfigError if the text is anything else, or the field can't be swept.
    """
    return _parse_axis(text, _flatten(config))


def _parse_axis(text: str, fields: Fields) -> Axis:
    path, equals, listed = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"sweep {text!r}: must be FIELD=VALUE,VALUE,...")
    type_ = _type(path, fields)
    if path in _NOT_SWEPT:
        raise ConfigError(f"{path}: can't be swept; {_NOT_SWEPT[path]}")
    if type_ not in _PARSERS:
        raise ConfigError(f"{path}: a {type_.__name__} can't be swept")
    if not listed:
        raise ConfigError(f"{path}: the sweep has no values")
    if spread := re.fullmatch(r"(lin|log)\((.*)\)", listed):
        values = _range(path, *spread.groups(), type_)
    else:
        values = [_parse(path, item.strip(), type_) for item in listed.split(",")]
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}: {value} can't be swept, must be finite")
        if value == "":
            raise ConfigError(f"{path}: an empty value in the sweep {listed!r}")
    if len(set(values)) < len(values):
        twice = next(value for index, value in enumerate(values) if value in values[:index])
        raise ConfigError(f"{path}: {twice!r} is more than once in the sweep {listed!r}")
    return Axis(path, tuple(values))


def _range(path: str, spacing: str, arguments: str, type_: type) -> list[float] | list[int]:
    """Returns the values of lin(LO,HI,N) or log(LO,HI,N)."""
    name = f"{spacing}({arguments})"
    if type_ not in (int, float):
        raise ConfigError(f"{path}: {name} needs a field that is a number")
    items = [item.strip() for item in arguments.split(",")]
    if len(items) != 3:
        raise ConfigError(f"{path}: {name} must be {spacing}(LO,HI,N)")
    low, high = (_parse(path, item, float) for item in items[:2])
    num = _parse(path, items[2], int)
    if not 1 <= num <= rules.MAX_LANES:
        raise ConfigError(f"{path}: {name} has N = {num}, must be 1 .. {rules.MAX_LANES}")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{path}: {name} must have finite ends")
    if spacing == "log" and not (low > 0 and high > 0):
        raise ConfigError(f"{path}: {name} must have ends > 0")
    values = [low]
    for index in range(1, num):
        w = index / (num - 1)
        value = low ** (1 - w) * high**w if spacing == "log" else low * (1 - w) + high * w
        # 12 digits remove the noise of rounding: 0.01, not 0.010000000000000002.
        values.append(high if w == 1 else float(f"{value:.12g}"))
    if type_ is int:
        for value in values:
            if not value.is_integer():
                raise ConfigError(f"{path}: {name} holds {value}, which is not an integer")
    return [type_(value) for value in values]


def expand(config: ConfigDict, sweep: Sequence[str]) -> tuple[list[Axis], list[Lane]]:
    """Returns the axes and the lanes of a sweep: the product of all axes and the seeds.

    Args:
      config: the config that the lanes start from.
      sweep: axes as `parse_axis` reads them; none for the seeds alone.

    Returns:
      The axes, in the order given, and a dict {'seed': ..., path: value, ...} for each lane. The
      first axis is slowest, the seeds are fastest.

    Raises:
      ConfigError: if an axis is wrong or named twice, if the lanes are too many, or if the whole
        config of any lane breaks a rule.
    """
    fields = _flatten(config)
    own_problems = rules.problems(fields)
    if not rules.RULES["sweep"].accepts(fields.get("sweep")):
        raise ConfigError("\n".join(own_problems))
    axes = [_parse_axis(text, fields) for text in sweep]
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"{path}: swept twice, give all its values in one axis")
    num_lanes = math.prod(len(axis.values) for axis in axes)
    if rules.RULES["num_seeds"].accepts(fields.get("num_seeds")):
        num_lanes *= fields["num_seeds"]
    if num_lanes > rules.MAX_LANES:
        raise ConfigError(f"the sweep has {num_lanes} lanes, must have at most {rules.MAX_LANES}")
    points = [
        dict(zip(paths, values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]
    for point in points:
        if problems := rules.problems(fields | point):
            # What is wrong without the sweep too isn't the fault of this point.
            where = f"lane {rules.assignments(point)}: "
            lines = [line if line in own_problems else where + line for line in problems]
            raise ConfigError("\n".join(lines))
    seeds = range(fields["seed"], fields["seed"] + fields["num_seeds"])
    return axes, [{"seed": seed, **point} for point in points for seed in seeds]


def lane_config(config: ConfigDict, lane: Lane) -> ConfigDict:
    """Returns a copy of the config with the lane's values set."""
    config = copy.deepcopy(config)
    config.update_from_flattened_dict(lane)
    return config


# To and from disk.


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote; a field without a value has a type all the same.

    Raises ConfigError if the text is damaged or breaks a rule.
    """
    try:
        fields = json.loads(text, object_hook=_with_tuples)
        if not isinstance(fields, dict):
            raise TypeError(f"found {fields!r}, must be an object")
        config = ConfigDict(fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the stored config can't be read: {error}") from error
    expand(config, config.get("sweep"))  # some configs are sound in their lanes alone
    empty = [path for path, value in _flatten(config).items() if value is None]
    for path in empty:
        *sections, name = path.split(".")
        section = functools.reduce(getattr, sections, config)
        section[name] = config_dict.placeholder(rules.RULES[path].type)
    return config


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns fields with tuples for JSON's lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


def check_resume(stored: ConfigDict, given: ConfigDict) -> None:
    """Raises ConfigError if a run of the stored config can't go on with the one given.

    Only what changes no result may differ: how checkpoints are made, and a number of epochs that
    grows, if an epoch is the same whatever their number.
    """
    old, new = _flatten(stored), _flatten(given)
    differing = {path for path in old if old[path] != new[path]} - _MAY_DIFFER
    swept = {text.partition("=")[0].strip() for text in new["sweep"]}
    depends = (
        new["optimizer.schedule"] == "cosine"
        or new["objective.kl_warmup"] > 0
        or new["likelihood.stabiliser"] == "warmup"
        or not swept.isdisjoint(_LENGTH)
    )
    if new["train.num_epochs"] > old["train.num_epochs"] and not depends:
        differing.discard("train.num_epochs")
    if differing:
        lines = [
            f"{path}: found {new[path]!r}, must be {old[path]!r} as in the run that goes on"
            for path in old
            if path in differing
        ]
        raise ConfigError("\n".join(lines))


# The command line.


def fail(message: object) -> NoReturn:
    """Prints the message to stderr, 'error: ' before each line, and exits with status 2."""
    for line in str(message).splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


def parse_flags(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the flags, --config among them; for `app.run(main, flags_parser=parse_flags)`.

    Without --config the default one is taken. Whatever is wrong ends in `fail`.

    Args:
      argv: the command line, program name first.
      flag_values: where the flags are defined, 'config' by `DEFINE_config_file` without a default
        (with one it would be parsed at import, where no error can be caught).

    Returns:
      The program name: a list, as absl wants it.
    """
    try:
        # ml_collections' own errors are tracebacks or lose the field's name, so the overrides are
        # read here first.
        args = flag_values.read_flags_from_files(list(argv[1:]), force_gnu=False)
        given = list(_config_flags(args))
        sources = [value for path, _, value in given if path is None]
        if not sources:
            sources = [_default_source(args)]
            args = [f"--config={sources[0]}", *args]
        elif len(sources) > 1:
            raise ConfigError("--config: given more than once")
        elif given[0][0] is not None:
            raise ConfigError(f"--config: must stand before the override of {given[0][0]}")
        if sources[0] is not None:  # else absl says that the value is missing
            fields = _load(sources[0])
            for path, text, value in given:
                if path is not None:
                    _check_override(path, text, value, fields)
        rest = flag_values([argv[0], *args])
        if rest[1:]:
            raise ConfigError(f"{rest[1]!r}: not a flag; flags have the form --NAME=VALUE")
        return rest
    except (ConfigError, flags.Error, ValueError) as error:  # absl has bare ValueErrors too
        fail(error)
    except SystemExit as stop:  # absl's help exits with 1, as if to ask for help were a failure
        sys.exit(0 if stop.code == 1 else stop.code)


def _config_flags(args: Sequence[str]) -> Iterator[tuple[str | None, str | None, str | None]]:
    """Yields dotted field, text and value of each config flag.

    The field is None for --config itself, the text what follows '=', None without, and the value
    the text or else the next argument, None at the end.
    """
    for arg, following in itertools.zip_longest(args, args[1:]):
        if match := re.fullmatch(r"--?(?:no)?config(?:\.([^=]*))?(?:=(.*))?", arg, re.DOTALL):
            path, text = match.groups()
            yield path, text, following if text is None else text


def _check_override(path: str, text: str | None, value: str | None, fields: Fields) -> None:
    """Raises ConfigError if the field doesn't exist or the value isn't of its type."""
    type_ = _type(path, fields)
    given = text if type_ is bool else value  # a boolean never takes the next argument
    if given is not None and type_ in _PARSERS:
        _parse(path, given, type_)


def _default_source(args: Sequence[str]) -> str:
    """Returns the config of the run that goes on, or else the default one, here or by the package.

    Raises ConfigError if there is no run to go on with.
    """
    root = Path(__file__).resolve().parents[2]
    if not any(re.fullmatch(r"--?(resume|debug_nans)(=true)?", arg) for arg in args):
        return DEFAULT if Path(DEFAULT).exists() else str(root / DEFAULT)
    given = [
        match[1] or following or ""
        for arg, following in itertools.zip_longest(args, args[1:])
        if (match := re.fullmatch(r"--?workdir(?:=(.*))?", arg, re.DOTALL))
    ]
    if not given:
        raise ConfigError("--resume, --debug_nans: need the --workdir of the run")
    stored = Path(given[-1]) / "config.json"
    if not os.path.isfile(stored):  # unlike Path.is_file it takes names that no file can have
        raise ConfigError(
            f"--workdir: there is no run in {given[-1]!r}; to begin one there give --config"
        )
    return f"{root / 'configs' / 'stored.py'}:{stored}"


def _load(source: str) -> Fields:
    """Returns the fields of 'FILE' or 'FILE:ARGUMENT'; raises ConfigError if there is no config."""
    path, *argument = source.split(":", 1)
    if not path:
        raise ConfigError(f"--config: found {source!r}, must be a file such as {DEFAULT}")
    if not os.path.isfile(path):
        raise ConfigError(f"--config: there is no file {path!r}")
    try:
        get_config = runpy.run_path(path).get("get_config")
        config = get_config(*argument) if get_config else None
        if isinstance(config, ConfigDict):
            return _flatten(config)
    except (Exception, SystemExit) as error:  # the file is the user's and may do anything
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        where = f"{path}, line {lines[-1]}" if lines else path
        raise ConfigError(f"--config: {where}: {type(error).__name__}: {error}") from error
    raise ConfigError(f"--config: {path} must define get_config() that returns a ConfigDict")

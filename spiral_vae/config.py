"""From the command line to checked lanes: flags, rules for every field, axes of a sweep.

A user's mistake becomes a `ConfigError` with a sentence that names the field, the value found
and what is allowed. Overrides (`--config.likelihood.sigma=1`) and axes of a sweep
(`--sweep=likelihood.sigma=1,2`) are read by the same code.
"""

import copy
import dataclasses
import difflib
import itertools
import json
import math
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from spiral_vae import likelihood, objectives, spiral, train

DEFAULT = "configs/base.py"
MAX_LANES = 2**20  # of a sweep; more would not fit into memory

Fields = dict[str, Any]  # a whole config, flat: dotted field -> value
Lane = dict[str, Any]  # one run: its 'seed' and the values of the swept fields


class ConfigError(ValueError):
    """A mistake of the user's; the message has a sentence a line, ready to be shown."""


# Rules: what a value may be.


@dataclasses.dataclass(frozen=True)
class _Rule:
    type: type
    allowed: str  # completes the sentence 'must be ...'
    holds: Callable[[Any], bool] = lambda value: True
    empty: bool = False  # whether the field may have no value

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.empty
        # To Python a bool is an int, to a user it isn't.
        typed = isinstance(value, self.type) and isinstance(value, bool) == (self.type is bool)
        return typed and self.holds(value)


def _integer(low: int, high: int = 2**31 - 1) -> _Rule:  # int32 counts everything on devices
    return _Rule(int, f"an integer in [{low}, {high}]", lambda value: low <= value <= high)


def _number(low: float, high: float) -> _Rule:
    return _Rule(float, f"a number in [{low:g}, {high:g}]", lambda value: low <= value <= high)


def _finite(allowed: str, holds: Callable[[float], bool] = lambda value: True) -> _Rule:
    return _Rule(float, allowed, lambda value: math.isfinite(value) and holds(value))


def _optional(rule: _Rule) -> _Rule:
    return dataclasses.replace(rule, allowed=f"{rule.allowed}, or empty", empty=True)


def _choice(*options: str) -> _Rule:
    return _Rule(str, " or ".join(map(repr, options)), lambda value: value in options)


_BOOLEAN = _Rule(bool, "True or False")
_STRINGS = _Rule(tuple, "a tuple of strings", lambda axes: all(isinstance(a, str) for a in axes))
_FINITE = _finite("a finite number")
_NONZERO = _finite("a finite number other than 0", lambda value: value != 0)
_POSITIVE = _finite("a finite number > 0", lambda value: value > 0)
_SHARE = _finite("a number in (0, 1]", lambda value: 0 < value <= 1)
_NOT_NEGATIVE = _finite("a finite number >= 0", lambda value: value >= 0)

_RULES = {
    "seed": _integer(0, 2**32 - 1),
    "num_seeds": _integer(1, MAX_LANES),
    "sweep": _STRINGS,
    "cell_width": _integer(2, 64),
    "data.num_points": _integer(2, 10**7),
    "data.omega": _FINITE,
    "data.rdot": _NONZERO,
    "data.noise_sigma": _POSITIVE,
    "data.noise_sigma_x": _optional(_POSITIVE),
    "data.noise_sigma_y": _optional(_POSITIVE),
    "data.noise_slope": _NOT_NEGATIVE,
    "data.noise_angle": _FINITE,
    "data.t_law": _choice(*spiral.T_LAWS),
    "data.u_start": _number(0, 1),
    "data.u_stop": _number(0, 1),
    "data.design": _choice(*spiral.DESIGNS),
    "model.latent_dim": _integer(1, 2),
    "model.encoder.hidden_dim": _integer(1, 2**14),
    "model.encoder.hidden_layers": _integer(1, 2**8),
    "model.decoder.hidden_dim": _integer(1, 2**14),
    "model.decoder.hidden_layers": _integer(1, 2**8),
    "likelihood.kind": _choice(*likelihood.KINDS),
    "likelihood.sigma": _POSITIVE,
    "likelihood.estimator": _choice(*likelihood.ESTIMATORS),
    "likelihood.averaging": _SHARE,
    "likelihood.learning_rate": _NOT_NEGATIVE,
    "likelihood.kappa": _optional(_POSITIVE),
    "likelihood.geco_rate": _POSITIVE,
    "likelihood.geco_averaging": _finite("a number in [0, 1)", lambda value: 0 <= value < 1),
    "likelihood.stabiliser": _choice(*likelihood.STABILISERS),
    "likelihood.beta_nll": _number(0, 1),
    "likelihood.warmup": _number(0, 1),
    "likelihood.floor": _NOT_NEGATIVE,
    "likelihood.weight_decay": _NOT_NEGATIVE,
    "objective.kind": _choice(*objectives.KINDS),
    "objective.beta": _NOT_NEGATIVE,
    "objective.num_samples": _integer(1, 10**5),
    "objective.kl_warmup": _number(0, 0.9),
    "optimizer.encoder_learning_rate": _NOT_NEGATIVE,
    "optimizer.decoder_learning_rate": _NOT_NEGATIVE,
    "optimizer.decoder_weight_decay": _NOT_NEGATIVE,
    "optimizer.schedule": _choice(*train.SCHEDULES),
    "optimizer.decay_every": _integer(1),
    "optimizer.decay_factor": _SHARE,
    "optimizer.warmup": _number(0, 0.9),
    "train.num_epochs": _integer(1),
    "train.batch_size": _integer(1),
    "train.shuffle": _BOOLEAN,
    "train.log_every": _integer(1),
    "evaluate.every": _number(0, 1),
}

# Fields that are each fine and yet may not go together.
_COMBINATIONS = (
    (
        ("data.u_start", "data.u_stop"),
        lambda start, stop: start < stop,
        "data.u_start must be < data.u_stop",
    ),
    (
        ("train.batch_size", "data.num_points"),
        lambda batch_size, num_points: batch_size <= num_points,
        "train.batch_size must be <= data.num_points",
    ),
    (
        ("likelihood.kind", "likelihood.estimator"),
        lambda kind, estimator: kind != "closed_form" or estimator != "learned",
        "likelihood.estimator must not be 'learned' for closed_form; that is the kind 'learned'",
    ),
    (
        ("likelihood.kind", "likelihood.kappa"),
        lambda kind, kappa: kind == "geco" or kappa is None,
        "likelihood.kappa must be empty unless likelihood.kind is 'geco'",
    ),
    *(
        (
            ("likelihood.kind", f"likelihood.{name}"),
            lambda kind, value, neutral=neutral: kind == "heteroscedastic" or value == neutral,
            f"likelihood.{name} must be {neutral!r} unless likelihood.kind is 'heteroscedastic'",
        )
        for name, neutral in (("stabiliser", "none"), ("floor", 0.0), ("weight_decay", 0.0))
    ),
    (
        ("likelihood.floor", "data.rdot"),
        lambda floor, rdot: floor < abs(rdot),
        "likelihood.floor must be < the spread of the data, |data.rdot|",
    ),
    (
        ("seed", "num_seeds"),
        lambda seed, num_seeds: seed + num_seeds <= 2**32,
        "the last seed, seed + num_seeds - 1, must be <= 2**32 - 1",
    ),
)

_NOT_SWEPT = {
    "seed": "lanes take config.seed, config.seed + 1, ...; set config.seed and config.num_seeds",
    "num_seeds": "set config.num_seeds; every point of the sweep gets all seeds",
    "sweep": "repeat --sweep for more axes",
    "cell_width": "it says how lanes are computed and is one for all of them",
    "train.log_every": "all lanes are logged at the same epochs",
    "evaluate.every": "all lanes are evaluated at the same epochs",
}


def validate(config: ConfigDict) -> None:
    """Raises a ConfigError that lists all problems of the config, a line each."""
    if problems := _problems(_flatten(config)):
        raise ConfigError("\n".join(problems))


def _problems(fields: Fields) -> list[str]:
    problems = [_unknown(path, _RULES) for path in fields if path not in _RULES]
    bad = set()
    for path, rule in _RULES.items():
        if path not in fields:
            problems.append(f"{path}: missing, must be {rule.allowed}")
            bad.add(path)
        elif not rule.accepts(fields[path]):
            problems.append(f"{path}: found {fields[path]!r}, must be {rule.allowed}")
            bad.add(path)
    for paths, holds, wanted in _COMBINATIONS:
        if bad.isdisjoint(paths) and not holds(*(fields[path] for path in paths)):
            found = _assignments({path: fields[path] for path in paths})
            problems.append(f"{wanted}, found {found}")
    return problems


def _flatten(config: ConfigDict, prefix: str = "") -> Fields:
    fields = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= _flatten(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in values.items())


# Text to values: overrides and axes.

_PARSERS = {
    int: ("an integer", flags.IntegerParser()),
    float: ("a number", flags.FloatParser()),
    bool: ("true or false", flags.BooleanParser()),
    str: ("a string", flags.ArgumentParser()),
}


def _unknown(path: str, known: Mapping[str, Any]) -> str:
    """Returns the sentence for an unknown field, with the fields that it may have meant."""

    def similarity(field: str) -> float:
        # By its last part too: a field is often remembered without its section.
        pairs = [(path, field), (path.rpartition(".")[2], field.rpartition(".")[2])]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    scores = {field: similarity(field) for field in known}
    best = max(scores.values(), default=0)
    near = [field for field, score in scores.items() if score > max(0.7, best - 0.1)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"{DEFAULT} lists all fields"
    return f"{path}: no such field; {hint}"


def _type(path: str, fields: Fields) -> type:
    """Returns the type of a field; raises ConfigError if there is none of that name."""
    if path in fields:
        # An empty field has no type of its own.
        return _RULES[path].type if fields[path] is None else type(fields[path])
    if inside := [field for field in fields if field.startswith(f"{path}.")]:
        raise ConfigError(f"{path}: a section, not a field; it has {', '.join(inside)}")
    raise ConfigError(_unknown(path, fields))


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
    if not 1 <= num <= MAX_LANES:
        raise ConfigError(f"{path}: {name} has N = {num}, must be 1 .. {MAX_LANES}")
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
    own_problems = _problems(fields)
    axes = [_parse_axis(text, fields) for text in sweep]
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"{path}: swept twice, give all its values in one axis")
    num_lanes = math.prod(len(axis.values) for axis in axes)
    if _RULES["num_seeds"].accepts(fields.get("num_seeds")):
        num_lanes *= fields["num_seeds"]
    if num_lanes > MAX_LANES:
        raise ConfigError(f"the sweep has {num_lanes} lanes, must have at most {MAX_LANES}")
    points = [
        dict(zip(paths, values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]
    for point in points:
        if problems := _problems(fields | point):
            # What is wrong without the sweep too isn't the fault of this point.
            where = f"lane {_assignments(point)}: "
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


def from_json(text: str, template: ConfigDict) -> ConfigDict:
    """Returns the config that `to_json` wrote, with the template's types.

    Fields that the text lacks, being older than they are, keep the template's values. Raises
    ConfigError if the text is damaged, has unknown fields or values of other types.
    """
    try:
        stored = ConfigDict(json.loads(text))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"the stored config can't be read: {error}") from error
    config = copy.deepcopy(template)
    known = _flatten(template)
    for path, value in _flatten(stored).items():
        wanted = _type(path, known).__name__
        try:
            config.update_from_flattened_dict({path: value})
        except (TypeError, ValueError):
            raise ConfigError(f"{path}: the stored {value!r} is not of type {wanted}") from None
    return config


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
            sources = [_default_source()]
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
    except (ConfigError, flags.Error) as error:
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


def _default_source() -> str:
    """Returns the path of the default config, here or beside the package."""
    if Path(DEFAULT).exists():
        return DEFAULT
    return str(Path(__file__).resolve().parents[1] / DEFAULT)


def _load(source: str) -> Fields:
    """Returns the fields of 'FILE' or 'FILE:ARGUMENT'; raises ConfigError if there is no config."""
    path, *argument = source.split(":", 1)
    if not path:
        raise ConfigError(f"--config: found {source!r}, must be a file such as {DEFAULT}")
    if not Path(path).is_file():
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

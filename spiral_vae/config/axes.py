"""The axes of a sweep, and its rows: the product of all axes and the seeds."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from spiral_vae import fields as fields_lib
from spiral_vae.config.settings import MAX_LANES, ROOTS
from spiral_vae.config.values import ConfigError, empties, flatten, parse, parseable, type_of
from spiral_vae.fields import Fields

Row = dict[str, Any]  # one lane: its 'seed' and the values of the swept fields


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a sweep: a dotted field and its values, of the field's type or None."""

    path: str
    values: tuple


def parse_axis(text: str, config: ConfigDict) -> Axis:
    """Returns the axis for 'FIELD=VALUE,...', 'FIELD=lin(LO,HI,N)' or 'FIELD=log(LO,HI,N)'.

    Both ranges include their ends; lin is even in the value, log in its logarithm. Raises
    ConfigError if the text is anything else, or the field can't be swept.
    """
    return _parse_axis(text, flatten(config))


def _parse_axis(text: str, fields: Fields) -> Axis:
    path, equals, listed = (part.strip() for part in text.partition("="))
    if not equals:
        raise ConfigError(f"sweep {text!r}: must be FIELD=VALUE,VALUE,...")
    type_ = type_of(path, fields)
    declared = fields_lib.declared(*ROOTS)
    if path not in declared:
        raise ConfigError(fields_lib.unknown(path, fields))
    if reason := declared[path].fields[0].not_swept:
        raise ConfigError(f"{path}: can't be swept; {reason}")
    if not parseable(type_):
        raise ConfigError(f"{path}: a {type_.__name__} can't be swept")
    if not listed:
        raise ConfigError(f"{path}: the sweep has no values")
    values: list[Any]
    if spread := re.fullmatch(r"(lin|log)\((.*)\)", listed):
        values = _range(path, spread[1], spread[2], type_)
    else:
        items = [item.strip() for item in listed.split(",")]
        values = [None if empties(path, item) else parse(path, item, type_) for item in items]
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
    low, high = (parse(path, item, float) for item in items[:2])
    num = parse(path, items[2], int)
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


def expand(config: ConfigDict, sweep: Sequence[str]) -> tuple[list[Axis], list[Row]]:
    """Returns the axes and the rows of a sweep: the product of all axes and the seeds.

    Args:
      config: the config that the lanes start from.
      sweep: axes as `parse_axis` reads them; none for the seeds alone.

    Returns:
      The axes, in the order given, and a dict {'seed': ..., path: value, ...} for each lane. The
      first axis is slowest, the seeds are fastest.

    Raises:
      ConfigError: if an axis is wrong or named twice, if the lanes are too many, if the whole
        config of any lane breaks a rule, or if a field is set that no lane uses.
    """
    fields = flatten(config)
    own_problems = fields_lib.problems(fields, *ROOTS)
    if not _accepted("sweep", fields):
        raise ConfigError("\n".join(own_problems))
    axes = [_parse_axis(text, fields) for text in sweep]
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"{path}: swept twice, give all its values in one axis")
    num_lanes = math.prod(len(axis.values) for axis in axes)
    if _accepted("num_seeds", fields):
        num_lanes *= fields["num_seeds"]
    if num_lanes > MAX_LANES:
        raise ConfigError(f"the sweep has {num_lanes} lanes, must have at most {MAX_LANES}")
    points = [
        dict(zip(paths, values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]
    unused: dict[str, str] | None = None  # by all points so far
    for point in points:
        values = fields | point
        problems = fields_lib.problems(values, *ROOTS) or _idle(point, values)
        if problems:
            # What is wrong without the sweep too isn't the fault of this point.
            where = f"lane {fields_lib.assignments(point)}: "
            lines = [line if line in own_problems else where + line for line in problems]
            raise ConfigError("\n".join(lines))
        if unused is None or unused:
            own = fields_lib.unused(values, *ROOTS)
            unused = own if unused is None else {p: s for p, s in unused.items() if p in own}
    if unused:
        raise ConfigError("\n".join(unused.values()))
    seeds = range(fields["seed"], fields["seed"] + fields["num_seeds"])
    return axes, [{"seed": seed, **point} for point in points for seed in seeds]


def _accepted(path: str, fields: Fields) -> bool:
    (field,) = fields_lib.declared(*ROOTS)[path].fields
    return field.rule.accepts(fields.get(path))


def _idle(point: Row, values: Fields) -> list[str]:
    """Returns a sentence for each swept field that makes no difference at a point."""
    inside = fields_lib.used(values, *ROOTS).fields
    return [
        f"{path}: is swept, but nothing here uses it; {fields_lib.belongs(path, *ROOTS)}"
        for path in point
        if path not in inside
    ]

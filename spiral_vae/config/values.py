"""Values of a config: flat and nested, from text, to and from disk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_dict

from spiral_vae import fields as fields_lib
from spiral_vae.config.settings import ROOTS
from spiral_vae.fields import Fields


class ConfigError(ValueError):
    """A mistake of the user's; the message has a sentence a line, ready to be shown."""


def flatten(config: ConfigDict, prefix: str = "") -> Fields:
    """Returns all values by dotted path."""
    fields: Fields = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= flatten(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def with_values(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """Returns a copy of a config with these values set, by dotted path."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(values)
    return config


def updated(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """Returns a copy of a config with a user's values, by dotted path; numpy's numbers are numbers.

    Raises:
      ConfigError: there is no such field, or the value is of another type.
    """
    fields = flatten(config)
    config = config.copy_and_resolve_references()
    for path, value in values.items():
        type_ = type_of(path, fields)
        value = value.item() if isinstance(value, np.generic) else value
        try:
            config.update_from_flattened_dict({path: value})
        except (TypeError, ValueError):
            raise ConfigError(f"{path}: {value!r} is not of type {type_.__name__}") from None
    return config


def settled(config: ConfigDict) -> ConfigDict:
    """Returns a copy of a config with the fields that follow from others, or from a file.

    A kind says them by a class method of this name, which takes all values and returns some.

    Raises:
      ConfigError: of such a file.
    """
    values = flatten(config)
    found = fields_lib.used(values, *ROOTS)
    if not all(own.rule.accepts(values.get(path)) for path, own in found.fields.items()):
        return config  # told by the rules
    own: Fields = {}
    try:
        for cls in found.classes:
            if (function := getattr(cls, "settled", None)) is not None:
                own |= function(values)
    except fields_lib.FieldError as error:
        raise ConfigError(str(error)) from None
    return with_values(config, own)


def complete(config: ConfigDict) -> None:
    """Gives a config the fields that it lacks, at their defaults: those of a user's kinds, say.

    A field without a value gets its type.
    """
    fields = flatten(config)
    with config.unlocked():
        for path, (declared, _) in fields_lib.declared(*ROOTS).items():
            if fields.get(path) is None:
                value = None if path in fields else declared[0].default
                _set(config, path, value, declared[0].rule.type)


def _set(config: ConfigDict, path: str, value: Any, type_: type) -> None:
    *sections, name = path.split(".")
    for section in sections:
        if section not in config:
            config[section] = ConfigDict()
        config = config[section]
        if not isinstance(config, ConfigDict):  # told by the rules
            return
    config[name] = config_dict.placeholder(type_) if value is None else value


# From text.

_PARSERS: dict[type, tuple[str, flags.ArgumentParser]] = {
    int: ("an integer", flags.IntegerParser()),
    float: ("a number", flags.FloatParser()),
    bool: ("true or false", flags.BooleanParser()),
    str: ("a string", flags.ArgumentParser()),
}


def type_of(path: str, fields: Fields) -> type:
    """Returns the type of a field; raises ConfigError if there is none of that name."""
    known = fields_lib.declared(*ROOTS)
    if path in known and path in fields:
        return known[path].fields[0].rule.type
    if inside := [field for field in fields if field.startswith(f"{path}.")]:
        raise ConfigError(f"{path}: a section, not a field; it has {', '.join(inside)}")
    if path in fields:
        return type(fields[path])
    raise ConfigError(fields_lib.unknown(path, fields))


def parseable(type_: type) -> bool:
    """Returns whether text can be read as values of this type."""
    return type_ in _PARSERS


def empties(path: str, text: str | None) -> bool:
    """Returns whether a text takes the value of an optional field away: it is 'none'."""
    known = fields_lib.declared(*ROOTS).get(path)
    return known is not None and known.fields[0].rule.empty and (text or "").lower() == "none"


def parse(path: str, text: str, type_: type) -> Any:
    """Returns the value that a text stands for; raises ConfigError if it isn't of the type."""
    wanted, parser = _PARSERS[type_]
    try:
        return parser.parse(text)
    except (TypeError, ValueError):
        if empties(path, "none"):
            wanted += " or none"
        raise ConfigError(f"{path}: {text!r} is not {wanted}") from None

"""Configs on disk: config.json, and whether a run may go on with another one."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from spiral_vae import fields as fields_lib
from spiral_vae.config import axes, sources
from spiral_vae.config.settings import ROOTS
from spiral_vae.config.values import ConfigError, complete, flatten
from spiral_vae.fields import Fields

_FILES = "files"  # in config.json beside the fields: the user's files and their SHA-256


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text; tuples become lists.

    Where it uses kinds of a user's file, the text holds that file's path and SHA-256.
    """
    values = config.to_dict()
    if files := _files(config):
        values[_FILES] = files
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _files(config: ConfigDict) -> dict[str, str]:
    """Returns the user's files whose kinds a config or an axis of its sweep names, with SHA-256."""
    fields = flatten(config)
    swept = [axes.parse_axis(text, config) for text in fields["sweep"]]
    named = [axis for axis in swept if isinstance(axis.values[0], str)]  # kinds among them
    points = [
        dict(zip([axis.path for axis in named], values, strict=True))
        for values in itertools.product(*(axis.values for axis in named))
    ]
    classes = {cls for point in points for cls in fields_lib.used(fields | point, *ROOTS).classes}
    found = {
        str(path): sources.digest(cls, path)
        for cls in classes
        if (path := fields_lib.source(cls)) is not None
    }
    return dict(sorted(found.items()))


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote; a field without a value has a type all the same.

    Fields that are newer than the text get their defaults; kinds of a user's file are registered.

    Raises:
      ConfigError: the text is damaged or breaks a rule, or a user's file is gone or has changed.
    """
    try:
        values = json.loads(text, object_hook=_with_tuples)
        if not isinstance(values, dict):
            raise TypeError(f"found {values!r}, must be an object")
        files = values.pop(_FILES, {})
        config = ConfigDict(values)
        for path, digest in files.items():
            _check_file(Path(path), digest)
            sources.load_file(Path(path))
        complete(config)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the stored config can't be read: {error}") from error
    axes.expand(config, config.get("sweep"))  # some configs are sound in their lanes alone
    return config


def _check_file(path: Path, digest: str) -> None:
    try:
        content = path.read_bytes()
    except OSError:
        raise ConfigError(f"{path}: is not there any more, and the run uses its kinds") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ConfigError(f"{path}: has changed since the run began, which uses its kinds")


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
    old, new = flatten(stored), flatten(given)
    known = fields_lib.declared(*ROOTS)
    differing = {path for path in new if old.get(path) != new[path]}
    differing -= {path for path in differing if known[path].fields[0].changeable}
    if new["train.num_epochs"] > old["train.num_epochs"] and not _depends_on_length(given, new):
        differing.discard("train.num_epochs")
    if differing:
        lines = [
            f"{path}: found {new[path]!r}, must be {old.get(path)!r} as in the run that goes on"
            for path in new
            if path in differing
        ]
        raise ConfigError("\n".join(lines))


def _depends_on_length(config: ConfigDict, fields: Fields) -> bool:
    """Returns whether an epoch of any lane may depend on how many there are."""
    found, rows = axes.expand(config, config.sweep)
    if any(axis.path == "train.num_epochs" for axis in found):
        return True
    points = rows[:: fields["num_seeds"]]
    return any(fields_lib.depends_on_length(fields | point, *ROOTS) for point in points)

"""Configs, and a user's files of kinds, that several tests share."""

import contextlib
import sys
from collections.abc import Iterator

from ml_collections import ConfigDict

from spiral_vae import fields
from spiral_vae.configs import base


def make(**overrides) -> ConfigDict:
    """The default config with fields set past ConfigDict's own type checks."""
    config = base.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict(overrides)
    return config


def get(config: ConfigDict, path: str):
    for name in path.split("."):
        config = config[name]
    return config


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Forgets the kinds that are registered, and the modules that are loaded, meanwhile."""
    kinds = {name: dict(family.kinds) for name, family in fields._FAMILIES.items()}
    modules = set(sys.modules)
    try:
        yield
    finally:
        registered = set()
        for name, before in kinds.items():
            found = fields._FAMILIES[name].kinds
            registered |= {cls.__module__ for cls in found.values() if cls not in before.values()}
            found.clear()
            found.update(before)
        for name in set(sys.modules) - modules:
            module = sys.modules[name]
            if name in registered or any(fields.is_own(cls) for cls in _classes(module)):
                del sys.modules[name]


def _classes(module) -> list[type]:
    return [
        one for one in vars(module).values() if isinstance(one, type) and hasattr(one, "together")
    ]


# A user's file: a likelihood with a field of its own, and get_config() that chooses it.
MINE = """\
import dataclasses

from spiral_vae.configs import base
from spiral_vae.fields import POSITIVE, field, kind
from spiral_vae.model.likelihood import Fixed


@kind("likelihood", "mine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Fixed):
    own: float = field(1.5, POSITIVE, "what it is all about")


def get_config():
    config = base.get_config()
    config.likelihood.kind = "mine"
    return config
"""

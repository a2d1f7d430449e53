"""Where a config comes from: a name of the package, or a file of the user's."""

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from spiral_vae import configs, fields
from spiral_vae.config.values import ConfigError, complete
from spiral_vae.fields import FieldError

_PACKAGED = Path(configs.__path__[0]).resolve()
_DIGEST = "__sha256__"  # attribute of modules that `load_file` made
_loaded: dict[Path, str] = {}  # the user's files that are loaded, and the names of their modules


def load(source: str) -> ConfigDict:
    """Returns the config of 'FILE', 'NAME' of the package, or either with ':ARGUMENT'.

    It has all fields of all kinds, those that the file itself defines among them. Where get_config
    names the arguments that it knows, as `part: Literal["a", "b"]`, no other one is passed on.

    Raises:
      ConfigError: there is no such file, no config in it, or no such argument.
    """
    name, *argument = source.split(":", 1)
    path = _found(name)
    module = load_file(path)
    get_config = getattr(module, "get_config", None)
    try:
        if get_config and argument:
            _check(get_config, argument[0])
        config = get_config(*argument) if get_config else None
        if isinstance(config, ConfigDict):
            complete(config)
            return config
    except ConfigError:  # which says all
        raise
    except (Exception, SystemExit) as error:  # the file is the user's and may do anything
        raise _told(path, error) from error
    raise ConfigError(f"config: {path} must define get_config() that returns a ConfigDict")


def _check(get_config: Callable, argument: str) -> None:
    """Raises ConfigError for an argument that get_config does not take, or does not name."""
    parameters = list(inspect.signature(get_config).parameters.values())
    if not parameters:
        raise ConfigError(f"config: found {argument!r} after the colon, which must be empty here")
    known = typing.get_args(parameters[0].annotation)
    if typing.get_origin(parameters[0].annotation) is typing.Literal and argument not in known:
        allowed = ", ".join(map(repr, known))
        raise ConfigError(f"config: {parameters[0].name}: found {argument!r}, allowed: {allowed}")


def _found(name: str) -> Path:
    """Returns the file of a config by its path or, of the package, by its name."""
    if not name:
        raise ConfigError("config: found '', must be a file or one of the names " + _names())
    if os.path.isfile(name):  # unlike Path.is_file it takes names that no file can have
        return Path(name)
    if match := re.fullmatch(r"(?:configs/)?(\w+?)(?:\.py)?", name):
        if os.path.isfile(path := _PACKAGED / f"{match[1]}.py"):
            return path
    raise ConfigError(f"config: there is no file {name!r}; of the package there are {_names()}")


def _names() -> str:
    found = sorted(path.stem for path in _PACKAGED.glob("*.py") if path.stem != "__init__")
    return ", ".join(found)


def load_file(path: Path) -> ModuleType:
    """Returns a file as a module, and so registers its kinds; again when its content changes.

    Raises:
      ConfigError: it can't be run.
    """
    try:
        full = path.resolve()
        if full.parent == _PACKAGED:
            return importlib.import_module(f"{configs.__name__}.{full.stem}")
        content = full.read_bytes()
        digest = hashlib.sha256(str(full).encode() + content).hexdigest()[:16]
        name = f"{full.stem}_{digest}"
        if _loaded.get(full) == name and name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, full)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path}: is no Python file")
        module = importlib.util.module_from_spec(spec)
        setattr(module, _DIGEST, hashlib.sha256(content).hexdigest())
        sys.modules[name] = module  # dataclasses look their module up
        try:
            # Not by the loader, which may take bytecode of an older content of the same second.
            exec(compile(content, full, "exec", dont_inherit=True), vars(module))
        except BaseException:
            _loaded.pop(full, None)
            fields.forget(name)
            del sys.modules[name]
            raise
        _loaded[full] = name
        return module
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise _told(path, error) from error


def digest(cls: type, path: Path) -> str:
    """Returns the SHA-256 of a class's file as it was loaded, or else as it is."""
    loaded = getattr(sys.modules[cls.__module__], _DIGEST, None)
    return loaded or hashlib.sha256(path.read_bytes()).hexdigest()


def _told(path: Path, error: BaseException) -> ConfigError:
    """Returns the sentence for an error in a config file."""
    names = (str(path), str(path.resolve()))
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename in names]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    known = isinstance(error, ConfigError | FieldError)
    return ConfigError(f"{where}: " + f"{type(error).__name__}: " * (not known) + f"{error}")

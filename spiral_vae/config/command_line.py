"""The command line: flags, overrides of the config, sentences for mistakes.

A user's mistake becomes a `ConfigError` with a sentence that names the field, the value found
and what is allowed. Overrides (`--config.likelihood.sigma=1`) and axes of a sweep
(`--sweep=likelihood.sigma=1,2`) are read by the same code.
"""

import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from spiral_vae.config import sources
from spiral_vae.config.values import ConfigError, empties, flatten, parse, parseable, type_of
from spiral_vae.fields import Fields

DEFAULT = "base"  # by name: a folder may have a configs/base.py that is another project's


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
      flag_values: where the flags are defined; 'config' is defined here, when it is known.

    Returns:
      The program name: a list, as absl wants it.
    """
    try:
        # ml_collections' own errors are tracebacks or lose the field's name, so the overrides are
        # read here first.
        args = flag_values.read_flags_from_files(list(argv[1:]), force_gnu=False)
        given = list(_config_flags(args))
        named = [value for path, _, value in given if path is None]
        if len(named) > 1:
            raise ConfigError("--config: given more than once")
        if named and given[0][0] is not None:
            raise ConfigError(f"--config: must stand before the override of {given[0][0]}")
        if named == [None]:
            raise ConfigError("--config: needs a file or a name, as in --config=FILE")
        (source,) = named or (None,)
        config = sources.load(_default_source(args) if source is None else source)
        fields = flatten(config)
        for path, text, value in given:
            if path is not None:
                _check_override(path, text, value, fields)
        rest = [argv[0], *_of_the_library(args)]
        config_flags.DEFINE_config_dict(
            "config", config, _HELP, flag_values, lock_config=True, sys_argv=rest
        )
        rest = flag_values(rest)
        last = {path: value for path, _, value in given if path is not None}
        emptied = [path for path, value in last.items() if empties(path, value)]
        flag_values.config.update_from_flattened_dict(dict.fromkeys(emptied))
        if rest[1:]:
            raise ConfigError(f"{rest[1]!r}: not a flag; flags have the form --NAME=VALUE")
        return rest
    except (ConfigError, flags.Error, ValueError) as error:  # absl has bare ValueErrors too
        fail(error)
    except SystemExit as stop:  # absl's help exits with 1, as if to ask for help were a failure
        sys.exit(0 if stop.code == 1 else stop.code)


_HELP = (
    "A config of the package by its name, such as base or recommended, or a file with "
    "get_config(). Fields are overridden by --config.FIELD=VALUE."
)
_CONFIG_FLAG = re.compile(r"--?(?:no)?config(?:\.([^=]*))?(?:=(.*))?", re.DOTALL)


def _of_the_library(args: Sequence[str]) -> list[str]:
    """Returns the arguments without those that are read here: --config, and 'none' for a field."""
    rest, skip = [], False
    for arg, following in itertools.zip_longest(args, args[1:]):
        match = _CONFIG_FLAG.fullmatch(arg)
        if skip:
            skip = False
        elif match and (
            match[1] is None or empties(match[1], following if match[2] is None else match[2])
        ):
            skip = match[2] is None  # then the value follows
        else:
            rest.append(arg)
    return rest


def _config_flags(args: Sequence[str]) -> Iterator[tuple[str | None, str | None, str | None]]:
    """Yields dotted field, text and value of each config flag.

    The field is None for --config itself, the text what follows '=', None without, and the value
    the text or else the next argument, None at the end.
    """
    for arg, following in itertools.zip_longest(args, args[1:]):
        if match := _CONFIG_FLAG.fullmatch(arg):
            path, text = match.groups()
            yield path, text, following if text is None else text


def _check_override(path: str, text: str | None, value: str | None, fields: Fields) -> None:
    """Raises ConfigError if the field doesn't exist or the value isn't of its type."""
    type_ = type_of(path, fields)
    given = text if type_ is bool else value  # a boolean never takes the next argument
    if given is not None and parseable(type_) and not empties(path, given):
        parse(path, given, type_)


def _default_source(args: Sequence[str]) -> str:
    """Returns the config of the run that goes on, or else the default one.

    Raises ConfigError if there is no run to go on with.
    """
    if not any(
        re.fullmatch(r"--?(resume|debug_nans)(=(true|t|1))?", arg, re.IGNORECASE) for arg in args
    ):
        return DEFAULT
    given = [
        following or "" if match[1] is None else match[1]
        for arg, following in itertools.zip_longest(args, args[1:])
        if (match := re.fullmatch(r"--?workdir(?:=(.*))?", arg, re.DOTALL))
    ]
    if not given:
        raise ConfigError("--resume, --debug_nans: need the --workdir of the run")
    stored = Path(given[-1]) / "config.json"
    if not os.path.isfile(stored):
        raise ConfigError(
            f"--workdir: there is no run in {given[-1]!r}; to begin one there give --config"
        )
    return f"stored:{stored}"

"""Writes the explorer of a finished run: python -m spiral_vae.explore WORKDIR"""

import sys
from pathlib import Path

from spiral_vae import machine
from spiral_vae.config import command_line
from spiral_vae.config.values import ConfigError
from spiral_vae.explore import page
from spiral_vae.workdir.life import WorkdirError


def main(arguments: list[str]) -> None:
    """Writes the page and says where it is; a mistake is a sentence and exit status 2."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        found = " ".join(arguments) or "nothing"
        command_line.fail(f"found {found!r}, must be one folder: that of a finished run")
    try:
        path = page.write(Path(arguments[0]))
    except (ConfigError, WorkdirError) as error:
        command_line.fail(error)
    print(f"explorer: {path}")


if __name__ == "__main__":
    machine.open_streams()
    main(sys.argv[1:])

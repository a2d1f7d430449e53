"""environment.json: what a run runs on."""

import contextlib
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from spiral_vae import numerics
from spiral_vae.version import __version__
from spiral_vae.workdir import files

NAME = "environment.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib")


def write(path: Path) -> list[str]:
    """Writes what a run runs on; adds it to what is there where the run began earlier.

    Returns:
      What differs from where the run began and may change numbers: packages with other versions,
      settings, 'the devices', 'the code'.
    """
    versions = {"spiral_vae": __version__}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    environment: dict[str, Any] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": [
            f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()
        ],
        "settings": numerics.settings(),
        "git_commit": _git_commit(),
    }
    first = environment
    with contextlib.suppress(OSError, ValueError):
        first = json.loads(path.read_text())
        first.setdefault("resumed", []).append(environment)
    files.write_text(path, json.dumps(first, indent=2) + "\n")
    return _differing(first, environment)


def other_data(path: Path) -> str:
    """Returns the sentence for a workdir whose data its seeds do not make again."""
    began = json.loads((path / NAME).read_text())["versions"].get("jax")
    return (
        f"{path}: its seeds make other data here (JAX {jax.__version__}) than it was trained with "
        f"(JAX {began}); go on where it began, as environment.json says, or begin a new run"
    )


def _differing(first: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns the names of what may change numbers."""
    versions, settings = ((first.get(key, now[key]), now[key]) for key in ("versions", "settings"))
    names = [
        name
        for old, new in (versions, settings)
        for name in new | old
        if old.get(name) != new.get(name)
    ]
    kinds = [
        {text.split(":")[0] + text.split(" ", 1)[1] for text in one["devices"]}
        for one in (first, now)
    ]
    names += ["the devices"] * (kinds[0] != kinds[1])
    return names + ["the code"] * (first["git_commit"] != now["git_commit"])


def _git_commit() -> str | None:
    """Returns the commit of this code, marked when files differ from it; None outside of git."""

    def git(*args: str) -> str:
        found = subprocess.run(
            ["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        return found.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # else the repository is another's
        return git("describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return None

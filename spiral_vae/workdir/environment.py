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

from spiral_vae.workdir import files

PACKAGES = ("spiral_vae", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "matplotlib")


def write(path: Path) -> list[str]:
    """Writes what a run runs on; adds it to what is there where the run began earlier.

    Returns:
      What differs from where the run began: packages with other versions, 'the code'.
    """
    versions = {}
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
        "git_commit": _git_commit(),
    }
    first = environment
    with contextlib.suppress(OSError, ValueError):
        first = json.loads(path.read_text())
        first.setdefault("resumed", []).append(environment)
    files.write_text(path, json.dumps(first, indent=2) + "\n")
    other_code = first["git_commit"] != environment["git_commit"]
    return [name for name in PACKAGES if versions.get(name) != first["versions"].get(name)] + [
        "the code"
    ] * other_code


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

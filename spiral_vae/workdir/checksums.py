"""SHA-256 sums of files in a folder, kept in SHA256SUMS as `sha256sum --check` reads it."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from spiral_vae.workdir import files

NAME = "SHA256SUMS"


def of(content: bytes | Path) -> str:
    """Returns the sum of bytes or of a file's."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open(content, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, sums: Mapping[str, str]) -> None:
    """Writes the sums of a folder, by file name."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    files.write_text(folder / NAME, "".join(lines))


def read(folder: Path) -> dict[str, str]:
    """Returns the sums of a folder by file name; none if there are none that can be read."""
    try:
        lines = (folder / NAME).read_text().splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        return {}


def damaged(folder: Path, names: Iterable[str]) -> list[str]:
    """Returns those of the files that are not there, or not with the sum that they should have."""
    sums = read(folder)
    return [name for name in sorted(names) if not _intact(folder / name, sums.get(name))]


def _intact(path: Path, digest: str | None) -> bool:
    try:
        return digest == of(path)
    except OSError:
        return False

"""Disks that are full."""

import contextlib
import functools
import math
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from soak import signals
from soak.lab import Lab, Result
from soak.reference import Reference, short

_PAGE = 4  # KiB


def disk(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Runs on disks that are too small, of `count` sizes, and goes on when they have grown."""
    try:
        with _disk(lab.new_folder("disk"), _PAGE):
            pass
    except subprocess.CalledProcessError as error:
        return [
            Result("full disk", f"not tried: a tmpfs can't be mounted ({error.stderr.strip()})")
        ]
    folder = lab.new_folder("disk")
    process = lab.start(folder, *short(folder / "run"))
    if process.wait():
        raise RuntimeError(process.report("the undisturbed run fails"))
    used = subprocess.run(["du", "-sk", folder / "run"], capture_output=True, text=True, check=True)
    whole = int(used.stdout.split()[0])
    return lab.tries("disk", functools.partial(_fill, lab, reference, whole, count), count)


@contextlib.contextmanager
def _disk(folder: Path, size: int) -> Iterator[None]:
    """Mounts a disk of some KiB on a folder."""
    _command("mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(folder))
    try:
        yield
    finally:
        _command("umount", str(folder))


def _command(*args: str) -> None:
    subprocess.run(args, capture_output=True, text=True, check=True)


def _fill(
    lab: Lab,
    reference: Reference,
    whole: int,
    count: int,
    folder: Path,
    rng: random.Random,
    number: int,
) -> Result:
    size = math.floor((whole / _PAGE) ** (number / count)) * _PAGE  # from one page on
    place = folder / "run"
    place.mkdir()
    with _disk(place, size):
        process = lab.start(folder, *short(place))
        code = process.end()
        if code == 0:
            return Result("full disk", "large enough")
        fault = f"disk full while {signals.phase(place)}"
        what = f"on {size} KiB it ends with {code}"
        if code != 2:
            return Result(fault, "wrong exit status", process.report(what))
        if "Traceback" in process.output or process.output.count("error: ") != 1:
            return Result(fault, "not one sentence", process.report(what))
        if wrong := reference.wrong_checkpoints(place):
            return Result(fault, "wrong checkpoint", process.report(f"{what}, {wrong}"))
        _command("mount", "-o", "remount,size=1g", str(place))
        return signals.resumed(lab, reference, folder, fault)

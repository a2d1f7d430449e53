"""The life of a workdir: begun, held by one writer, stopped and taken up again, finished.

SHA256SUMS says how far it is. It lists config.json once a run has begun, and all results once it
is finished. Checkpoints have sums of their own.
"""

import contextlib
import datetime
import itertools
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from spiral_vae import machine
from spiral_vae.workdir import checksums, files

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
SUMMARY = "summary.csv"
PARAMS = "params.npz"
DATA = "data.npz"
TRAINING = "metrics/training.npz"
PROBES = "metrics/probes.npz"
SNAPSHOTS = "metrics/snapshots.npz"
EVENTS = "metrics/tensorboard"
FIGURES = "figures"
EXPLORER = "explorer.html"
_LOCK = ".lock"
_NEXT = f".{CONFIG}.next"  # before it takes the name


class WorkdirError(Exception):
    """The workdir can't be used; the message says why and what would work."""


@contextlib.contextmanager
def opened(workdir: str | None, *, resume: bool) -> Iterator[Path]:
    """Makes a workdir or opens one, and holds it as its only writer until the context ends.

    Args:
      workdir: a new or an empty folder, or with `resume` one in which a run has begun; None for a
        new, dated one under runs/.
      resume: whether to go on with a run that has begun.

    Raises:
      WorkdirError: the folder holds something else, is in use, can't be made or written to.
    """
    path = Path("runs" if workdir is None else workdir)
    try:
        if workdir is None:
            path = fresh(path)
        if path.exists() and not path.is_dir():
            raise WorkdirError(f"workdir: {path} is not a folder; give a new or an empty folder")
        begun = has_begun(path)
        if begun and not resume:
            raise WorkdirError(
                f"workdir: {path} holds a run already; give a new or an empty folder, or go on "
                "with that run (--resume, or resume=True)"
            )
        if not begun and (found := _others(path)):
            raise WorkdirError(
                f"workdir: {path} holds files already ({found[0]}); give a new or an empty folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            _mend(path)
            for partial in path.rglob(files.partial(Path("*")).name):  # of a run that was killed
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
            yield path
    except OSError as error:
        where = error.filename or path
        raise WorkdirError(f"{where} can't be written: {error.strerror or error}") from error


def begin(path: Path, config: str) -> None:
    """Writes the config of a run, before all else."""
    files.write_text(path / _NEXT, config)
    checksums.write(path, {CONFIG: checksums.of(config.encode())})
    (path / _NEXT).replace(path / CONFIG)  # a kill before this leaves it to `_mend`


def _mend(path: Path) -> None:
    """Gives a run the config whose sum it has already, where `begin` was killed."""
    if not (path / _NEXT).exists():
        return
    if has_begun(path) and checksums.of(path / _NEXT) == checksums.read(path).get(CONFIG):
        (path / _NEXT).replace(path / CONFIG)
    else:
        (path / _NEXT).unlink()


def finish(path: Path) -> None:
    """Marks a run as finished: all that it wrote gets its sum."""
    found = [p.relative_to(path) for p in path.rglob("*") if p.is_file()]
    own = (_LOCK, checksums.NAME, CHECKPOINTS)  # with sums of their own, or without
    names = [str(file) for file in found if file.parts[0] not in own]
    checksums.write(path, {name: checksums.of(path / name) for name in names})


def has_begun(path: Path) -> bool:
    """Returns whether a folder holds a run."""
    return (path / CONFIG).is_file() and (path / checksums.NAME).is_file()


def holds(path: Path, name: str) -> bool:
    """Returns whether a run has written a file: versions differ in what they write."""
    return name in checksums.read(path)


def is_finished(path: Path) -> bool:
    """Returns whether a run is finished and all its results are as they were written."""
    sums = checksums.read(path)
    return SUMMARY in sums and not checksums.damaged(path, sums)


def verify(path: Path, *names: str) -> None:
    """Raises WorkdirError if files of a run are not there or not as they were written."""
    if not has_begun(path):
        raise WorkdirError(f"{path} holds no run")
    if missing := set(names) - set(checksums.read(path)):
        raise WorkdirError(f"{path} has no {min(missing)} yet; its run has to be finished")
    if damaged := checksums.damaged(path, names):
        raise WorkdirError(
            f"{path / damaged[0]} is damaged: its SHA-256 is not the one in {checksums.NAME}"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of a workdir. A process that dies, however it dies, gives it back."""
    with open(path / _LOCK, "a+") as file:
        try:
            held = machine.lock(file)
        except OSError as error:
            raise WorkdirError(
                f"workdir: {path} can't be locked ({error.strerror or error}); give a folder on "
                "another file system, a local one say, and copy the run when it is finished"
            ) from error
        if not held:
            file.seek(0)
            raise WorkdirError(
                f"workdir: {path} is in use by {file.read().strip() or 'another process'}"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _others(path: Path) -> list[str]:
    """Returns what a folder holds besides what a run leaves that was killed as it began."""
    own = {_LOCK, checksums.NAME, _NEXT}
    own |= {files.partial(path / name).name for name in (_NEXT, checksums.NAME)}
    return sorted(p.name for p in path.iterdir() if p.name not in own) if path.exists() else []


def fresh(folder: Path) -> Path:
    """Makes a new folder in this one, named by the time; returns it.

    Of many processes at the same time each makes its own.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = folder / (stamp if number == 1 else f"{stamp}_{number}")
            path.mkdir()
            return path
    raise AssertionError

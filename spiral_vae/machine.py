"""What differs between platforms, and how a process finds its files and its streams."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

fcntl: Any = None
with contextlib.suppress(ImportError):  # Linux and macOS have it
    import fcntl


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def unsupported() -> str:
    """Returns a sentence if this platform is not supported, else nothing."""
    if sys.platform != "win32":
        return ""
    return "Windows is not supported, as it has no locks for workdirs; WSL and containers are"


def lock(file: IO) -> bool:
    """Returns whether this process holds the lock of an open file, until the file is closed.

    Where a platform has no such locks, every process is told that it does. Raises OSError where
    the file system has none.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_streams() -> None:
    """Makes the standard streams writable, whatever the process was given.

    What is closed writes to nowhere, so that no file that is opened later takes its number; what
    an encoding lacks is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def cache_folder() -> str | None:
    """Returns where compiled code is kept, made if need be; None where that can't be.

    It is JAX_COMPILATION_CACHE_DIR or lies in XDG_CACHE_HOME, by default the user's ~/.cache.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if "://" in given:  # in a cloud
        return given
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = given or os.path.join(base, "spiral_vae")
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None

"""What differs between platforms: Linux, macOS and those that lack some of Python's modules."""

import contextlib
import os
from typing import IO, Any

fcntl: Any = None
with contextlib.suppress(ImportError):  # Linux and macOS have it
    import fcntl


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lock(file: IO) -> bool:
    """Returns whether this process holds the lock of an open file, until the file is closed.

    Where a platform has no such locks, every process is told that it does.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

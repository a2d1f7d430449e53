"""What differs between platforms, and how a process finds its files and its streams."""

import contextlib
import functools
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import IO, Any

import jax

fcntl: Any = None
with contextlib.suppress(ImportError):  # Linux and macOS have it
    import fcntl


def num_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def has_wide_vectors() -> bool:
    """Returns whether a core computes with vectors of 512 bits; False where that isn't known."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


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


def shows_progress() -> bool:
    """Returns whether progress on stderr is seen as it grows: on a terminal, in a notebook.

    A notebook's stream is no terminal, and comes from the kernel's package.
    """
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


def prepare_jax() -> str:
    """Sets the devices and the compilation cache of a run; returns a note, if there is one to tell.

    What the environment or the caller has set stays. It is for the whole process, as JAX has but
    one of either.
    """
    # On CPU every core counts as a device, so that as many cells are trained at a time; other
    # platforms ignore this.
    if jax.config.values["jax_num_cpu_devices"] < 0:
        with contextlib.suppress(RuntimeError):  # the devices are in use
            jax.config.update("jax_num_cpu_devices", num_cores())
    # Compilation takes longer than a short run: keep what was compiled.
    of_environment = "JAX_COMPILATION_CACHE_DIR" in os.environ
    if jax.config.values["jax_compilation_cache_dir"] and not of_environment:
        return ""
    if (folder := cache_folder()) is None:
        jax.config.update("jax_enable_compilation_cache", False)
        return (
            "there is no folder for compiled code, which a run makes anew; "
            "JAX_COMPILATION_CACHE_DIR can name one"
        )
    if not of_environment:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _drop_damaged(Path(folder))
    return ""


@functools.cache  # once is enough for a process
def _drop_damaged(folder: Path) -> None:
    """Has compiled code made anew that a kill or a full disk has left in parts.

    JAX tells of it in a warning, which names the program, and would leave it there for ever.
    """
    told = re.compile(r"Error (read|writ)ing persistent compilation cache entry for '([^']+)'")
    show = warnings.showwarning

    def drop_or_show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if (found := told.match(str(message))) is None:
            return show(message, *args, **kwargs)
        for path in folder.glob(f"{found[2]}-*"):
            path.unlink(missing_ok=True)

    warnings.filterwarnings("always", told.pattern)  # not an error either
    warnings.showwarning = drop_or_show


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

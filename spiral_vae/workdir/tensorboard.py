"""Event files for TensorBoard, where tensorboardX is installed; they grow while a run does."""

import functools
import math
import os
import shutil
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spiral_vae.workdir import files

MAX_LANES = 8  # the first ones; a sweep of hundreds would take longer to write than to run


class Events:
    """The event files of one process, which `tensorboard --logdir` shows."""

    def __init__(self, folder: Path):
        """Makes none yet; the first lanes get a folder each in this one."""
        self._folder = folder
        self._name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"

    def write(self, lanes: np.ndarray, epoch: int, values: Mapping[str, np.ndarray]) -> None:
        """Appends what lanes have come to, but for what is not finite.

        Args:
          lanes: their numbers, [N].
          epoch: at its end.
          values: [N] each.

        Raises:
          OSError: they can't be written.
        """
        if (library := _library()) is None:
            return
        Event, Summary, crc = library
        for i in np.flatnonzero(np.asarray(lanes) < MAX_LANES):
            found = {name: float(value[i]) for name, value in values.items()}
            scalars = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in found.items()
                if math.isfinite(value)
            ]
            if not scalars:
                continue
            events = [Event(step=epoch, summary=Summary(value=scalars))]
            path = self._folder / f"lane_{lanes[i]:04d}" / self._name
            if not path.exists():
                events.insert(0, Event(file_version="brain.Event:2"))
            files.append(path, b"".join(_record(event, crc) for event in events))


def clear(folder: Path) -> None:
    """Removes all event files: a run that goes on writes its history again."""
    shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _library() -> tuple[Any, Any, Callable[[bytes], int]] | None:
    """Returns what is used of tensorboardX.

    Not its writers: those tell of a full disk a second time when the process ends.
    """
    try:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c
    except ImportError:
        return None
    return Event, Summary, masked_crc32c


def _record(event: Any, crc: Callable[[bytes], int]) -> bytes:
    """Returns an event as a record of TensorFlow's: length and content, each with its CRC."""
    event.wall_time = time.time()
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = [struct.pack("<I", crc(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]

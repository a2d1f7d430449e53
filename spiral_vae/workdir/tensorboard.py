"""Event files for TensorBoard, where tensorboardX is installed."""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MAX_LANES = 8  # the first ones; a sweep of hundreds would take longer to write than to run


def write(
    folder: Path, epoch: np.ndarray, metrics: Mapping[str, np.ndarray], lanes: Sequence[int]
) -> None:
    """Writes event files that `tensorboard --logdir` shows, if tensorboardX is installed.

    Args:
      folder: gets a subfolder for each of the first lanes.
      epoch: [rows].
      metrics: [lanes, rows] each.
      lanes: their numbers.
    """
    try:  # not SummaryWriter: its thread and exit handler would tell of a full disk once more
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
    except ImportError:
        return
    shutil.rmtree(folder, ignore_errors=True)  # it appends, and a resumed run writes all again
    for row, lane in enumerate(lanes[:MAX_LANES]):
        place = folder / f"lane_{lane:04d}"
        place.mkdir(parents=True)
        writer = EventsWriter(str(place / "events"))
        for name, values in metrics.items():
            for i in np.flatnonzero(np.isfinite(values[row])):
                value = summary.scalar(name, float(values[row, i]))
                writer.write_event(Event(wall_time=time.time(), step=int(epoch[i]), summary=value))
        writer.close()

"""Event files for TensorBoard, read as TensorFlow defines them."""

import struct

import numpy as np
import pytest

from spiral_vae.workdir import tensorboard

pytest.importorskip("tensorboardX")
EPOCHS = (10, 20, 30)


def _crc32c(content):
    """Castagnoli's checksum, bit by bit (RFC 3720, B.4), masked as TensorFlow does."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def events(path):
    """Returns the first record's version, then step and values by tag of all others."""
    from tensorboardX.proto.event_pb2 import Event

    found, content = [], path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        parts = content[:8], content[12 : 12 + length]
        sums = content[8:12], content[12 + length : 16 + length]
        assert [struct.unpack("<I", sum_)[0] for sum_ in sums] == [_crc32c(part) for part in parts]
        event = Event.FromString(parts[1])
        values = {value.tag: np.float32(value.simple_value) for value in event.summary.value}
        found.append((event.step, values) if found else event.file_version)
        content = content[16 + length :]
    return found


def test_the_checksum_is_that_of_the_standard():
    assert _crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_the_first_lanes_get_what_is_finite_as_it_comes(tmp_path):
    loss = np.ones((10, 3), np.float32)
    loss[1, 1:] = np.nan
    lanes = np.arange(2, 12)
    log = tensorboard.Events(tmp_path)
    for i, epoch in enumerate(EPOCHS):
        log.write(lanes, epoch, {"loss": loss[:, i], "kl": np.full(10, np.inf)})
        (file,) = (tmp_path / "lane_0007").iterdir()
        found = [(epoch, {"loss": 1.0}) for epoch in EPOCHS[: i + 1]]
        assert events(file) == ["brain.Event:2", *found]
    wanted = [f"lane_{lane:04d}" for lane in range(2, tensorboard.MAX_LANES)]
    assert sorted(path.name for path in tmp_path.iterdir()) == wanted
    counts = [len(events(next((tmp_path / name).iterdir()))) for name in wanted]
    assert counts == [4, 2, *[4] * (len(wanted) - 2)]


def test_files_are_found_by_their_names(tmp_path):
    """TensorBoard reads what has 'tfevents' in its name."""
    tensorboard.Events(tmp_path).write(np.zeros(1, int), 1, {"loss": np.ones(1)})
    (file,) = tmp_path.rglob("*events*")
    assert "tfevents" in file.name
    tensorboard.clear(tmp_path)
    assert not tmp_path.exists()

"""Event files for TensorBoard."""

import numpy as np
import pytest

from spiral_vae.workdir import tensorboard


def test_tensorboard_files_are_written_anew(tmp_path):
    """A run that goes on writes all of its curves again."""
    pytest.importorskip("tensorboardX")
    for _ in range(2):
        tensorboard.write(tmp_path, np.asarray([10]), {"loss": np.ones((1, 1))}, [0])
    assert len(list((tmp_path / "lane_0000").iterdir())) == 1


def test_tensorboard_gets_the_first_lanes_and_no_nan(tmp_path):
    pytest.importorskip("tensorboardX")
    loss = np.ones((10, 3))
    loss[1, 1:] = np.nan
    lanes = list(range(5, 15))
    tensorboard.write(tmp_path, np.asarray([10, 20, 30]), {"loss": loss}, lanes)
    wanted = [f"lane_{lane:04d}" for lane in range(5, 5 + tensorboard.MAX_LANES)]
    assert sorted(path.name for path in tmp_path.iterdir()) == wanted
    counts = [next((tmp_path / name).iterdir()).read_bytes().count(b"loss") for name in wanted]
    assert counts == [3, 1, *[3] * (len(wanted) - 2)]

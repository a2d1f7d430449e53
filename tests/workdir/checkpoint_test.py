"""Checkpoints: what comes back has its bits, and what is damaged doesn't come back."""

import errno
import resource
import shutil

import numpy as np
import pytest

from spiral_vae.workdir import checkpoint, checksums
from spiral_vae.workdir.checkpoint import Checkpoints
from spiral_vae.workdir.life import WorkdirError
from tests.lanes import assert_same

EPOCHS = range(0, 1000, 10)
EPSILON = np.nextafter(np.float32(1), np.float32(2))  # a bit that any rounding would lose


def _arrays(number):
    """Arrays as cells store them, others for each number."""
    return {
        "state/epoch": np.asarray([number, 3], np.int32),
        "state/key": np.asarray([[2**32 - 1, number], [0, 1]], np.uint32),
        "state/params/decoder/mean/kernel": np.full((2, 3, 4), EPSILON) * np.float32(number),
        "state/carried/scale": np.asarray([np.nan, -np.inf], np.float32),
        "training/epoch": np.asarray([10, 20]),
        "training/loss": np.ones((2, 2), np.float32),
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of a cell after 10 and 20 epochs; for tests that only read."""
    folder = tmp_path_factory.mktemp("written")
    _save(folder, 10, 20)
    return folder


@pytest.fixture
def stored(written, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(written, tmp_path / "stored")
    return tmp_path / "stored"


def _save(folder, *epochs, keep=2, cell=3):
    for epoch in epochs:
        Checkpoints(folder, keep).save(cell, epoch, _arrays(epoch))


def _path(folder, epoch, cell=3):
    return folder / f"cell_{cell:05d}" / f"epoch_{epoch:010d}"


def _load(folder, epochs=EPOCHS, cell=3):
    return Checkpoints(folder, 2).load(cell, epochs)


def _kept(folder, cell=3):
    return sorted(path.name for path in (folder / f"cell_{cell:05d}").iterdir())


def test_the_newest_comes_back_with_its_bits_and_types(written, capsys):
    epoch, arrays = _load(written)
    assert epoch == 20
    assert_same(arrays, _arrays(20))
    for name, leaf in _arrays(20).items():
        assert arrays[name].dtype == leaf.dtype and arrays[name].shape == leaf.shape
    assert capsys.readouterr() == ("", "")


def test_only_epochs_at_which_the_run_can_go_on_are_loaded(written):
    epoch, arrays = _load(written, epochs=[5, 10, 15])
    assert epoch == 10
    assert_same(arrays, _arrays(10))
    assert _load(written, epochs=[15]) is None


def test_cells_do_not_mix(written):
    assert _load(written, cell=0) is None


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_are_kept(tmp_path, keep):
    _save(tmp_path, 10, 20, 30, keep=keep)
    wanted = [f"epoch_{epoch:010d}" for epoch in (10, 20, 30)[-keep:]]
    assert _kept(tmp_path) == wanted


def test_one_of_an_earlier_epoch_takes_the_place_of_later_ones(tmp_path):
    """They are of other epochs than the run stops at now, or damaged: it came here without them."""
    _save(tmp_path, 10, 20, keep=2)
    _save(tmp_path, 5, keep=2)
    assert _kept(tmp_path) == ["epoch_0000000005"]
    assert _load(tmp_path, epochs=[5, 15])[0] == 5


def test_every_file_is_under_a_sum(written, tmp_path, capsys):
    """A bit is flipped in each of them, one by one."""
    path = _path(tmp_path, 20)
    shutil.copytree(_path(written, 20), path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    assert len(files) == 2  # or the test would be blind
    for file in files:
        content = file.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1} if content else ():
            file.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
            assert _load(tmp_path) is None, f"{file}, byte {place}"
            assert capsys.readouterr().err == f"note: {path} is damaged and not used\n"
        file.write_bytes(content)
    assert _load(tmp_path)[0] == 20


def _largest(path):
    return max((file for file in path.rglob("*") if file.is_file()), key=lambda f: f.stat().st_size)


def _cut(path):
    file = _largest(path)
    file.write_bytes(file.read_bytes()[:-7])


def _empty(path):
    shutil.rmtree(path)
    path.mkdir()


DAMAGES = {
    "cut off": _cut,
    "a file of no bytes": lambda path: _largest(path).write_bytes(b""),
    "a file gone": lambda path: _largest(path).unlink(),
    "an empty folder": _empty,
    "no sums": lambda path: (path / checksums.NAME).unlink(),
    "sums of no bytes": lambda path: (path / checksums.NAME).write_bytes(b""),
    "sums of garbage": lambda path: (path / checksums.NAME).write_bytes(b"\xff\x00garbage"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_used(stored, capsys, damage):
    DAMAGES[damage](_path(stored, 20))
    epoch, arrays = _load(stored)
    assert epoch == 10
    assert_same(arrays, _arrays(10))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"note: {_path(stored, 20)} is damaged and not used"


def test_without_a_good_one_there_is_none(stored, capsys):
    for epoch in (10, 20):
        _cut(_path(stored, epoch))
    assert _load(stored) is None
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_damaged_one_is_replaced_when_its_epoch_comes_again(stored, capsys):
    _cut(_path(stored, 20))
    _save(stored, 20)
    epoch, arrays = _load(stored)
    assert epoch == 20
    assert_same(arrays, _arrays(20))
    assert capsys.readouterr().err == ""


def test_what_a_killed_run_left_is_overwritten(stored):
    partial = _path(stored, 30).with_name(".epoch_0000000030.partial")
    partial.mkdir()
    (partial / "half").write_bytes(b"half")
    assert _load(stored)[0] == 20  # it is no checkpoint yet
    _save(stored, 30)
    assert _load(stored)[0] == 30
    assert _kept(stored) == ["epoch_0000000020", "epoch_0000000030"]
    assert not list(stored.rglob("half"))


def _no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["sums", "rename"])
def test_a_save_that_fails_says_why_and_leaves_the_ones_before(stored, monkeypatch, where):
    if where == "sums":
        monkeypatch.setattr(checkpoint.checksums, "write", _no_space)
    else:
        monkeypatch.setattr("pathlib.Path.rename", _no_space)
    with pytest.raises(WorkdirError) as caught:
        _save(stored, 30)
    reason = "can't be written: No space left on device"
    assert str(caught.value) == f"{_path(stored, 30)} {reason}"
    monkeypatch.undo()
    assert _kept(stored) == ["epoch_0000000010", "epoch_0000000020"]
    assert _load(stored)[0] == 20


def test_a_file_that_the_system_refuses_to_write_is_an_error_of_the_workdir(stored):
    """No file may have more than 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"state/params": np.random.default_rng(0).normal(size=100_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WorkdirError) as caught:
            Checkpoints(stored, 2).save(3, 30, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{_path(stored, 30)} can't be written: ")
    assert "\n" not in str(caught.value)
    assert _kept(stored) == ["epoch_0000000010", "epoch_0000000020"]
    assert _load(stored)[0] == 20


def test_a_folder_that_can_not_be_made_is_an_error_of_the_workdir(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WorkdirError, match="can't be written: "):
        _save(tmp_path / "file", 10)
    assert (tmp_path / "file").read_text() == "mine"

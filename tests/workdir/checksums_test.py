"""Checksums: the format is that of `sha256sum`, and every damage is found."""

import hashlib
import shutil
import subprocess

import pytest

from spiral_vae.workdir import checksums

CONTENT = {"a.txt": b"abc", "folder/b.npz": bytes(range(256)), "empty": b""}


@pytest.fixture
def folder(tmp_path):
    """Three files under their sums."""
    for name, content in CONTENT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    checksums.write(tmp_path, {name: checksums.of(tmp_path / name) for name in CONTENT})
    return tmp_path


def test_the_sum_is_sha_256(tmp_path):
    """Of the standard's first example, FIPS 180-2, B.1."""
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "file").write_bytes(b"abc")
    assert checksums.of(b"abc") == checksums.of(tmp_path / "file") == wanted


def test_what_was_written_is_read(folder):
    wanted = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    assert checksums.read(folder) == wanted
    assert checksums.damaged(folder, wanted) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_reads_the_file(folder):
    def check():
        command = ["sha256sum", "--check", "--strict", checksums.NAME]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    assert check().stdout.splitlines() == ["a.txt: OK", "empty: OK", "folder/b.npz: OK"]
    (folder / "empty").write_bytes(b"!")
    assert check().returncode == 1


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": _flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a.txt", "folder/b.npz"])
def test_every_damage_is_found_in_the_file_where_it_is(folder, name, damage):
    DAMAGES[damage](folder / name)
    assert checksums.damaged(folder, CONTENT) == [name]


def test_a_file_without_a_sum_is_damaged(folder):
    (folder / "more").write_bytes(b"more")
    assert checksums.damaged(folder, [*CONTENT, "more"]) == ["more"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"no sum of anything\nat all\n"])
def test_without_sums_that_can_be_read_all_is_damaged(folder, content):
    path = folder / checksums.NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert checksums.read(folder) == {}
    assert checksums.damaged(folder, CONTENT) == sorted(CONTENT)


def test_a_flipped_bit_in_the_sums_is_found(folder):
    path = folder / checksums.NAME
    content = bytearray(path.read_bytes())
    content[3] ^= 1  # in the first file's sum
    path.write_bytes(content)
    assert checksums.damaged(folder, CONTENT) == ["a.txt"]

"""A user's file of kinds."""

import pytest

from tests.config import made


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Returns the path of a file with a kind of likelihood; the kind is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(made.MINE)
    with made.forgetting():
        yield path

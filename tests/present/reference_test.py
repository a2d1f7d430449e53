"""The reference pages of docs/ say what the code declares."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The pages as they are made now, in a process that knows of no user's kinds."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "spiral_vae.present.reference", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("name", ["fields.md", "columns.md"])
def test_a_page_is_what_make_reference_makes(made, name):
    assert (ROOT / "docs" / name).read_text() == (made / name).read_text(), "run `make reference`"


def test_every_line_of_a_table_has_as_many_cells(made):
    for page in made.iterdir():
        rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1

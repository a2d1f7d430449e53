"""The notebook of docs/, run from top to bottom in a folder that is not the clone."""

import json
import subprocess
import sys

import jupytext
import nbformat
import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, environment):
    """The outputs of all cells, after few epochs."""
    folder = tmp_path_factory.mktemp("notebook")
    found = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "notebook.py"), str(folder / "story.ipynb")],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "STORY_EPOCHS": "40"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stderr
    cells = json.loads((folder / "story.ipynb").read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_every_figure_is_drawn(outputs):
    pictures = [output["data"] for output in outputs if "image/png" in output.get("data", {})]
    sources = [cell.source for cell in _story().cells if cell.cell_type == "code"]
    assert len(pictures) == sum("plt.subplots" in s or "lane.figure" in s for s in sources) > 6


def test_the_explorer_is_inline(outputs):
    last = outputs[-1]["data"]
    assert "".join(last["text/html"]).startswith("<iframe srcdoc=")
    assert "".join(last["text/plain"]).startswith("<Page ")


def test_it_warns_of_nothing(outputs):
    told = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stderr")
    lines = [line for line in told.replace("\r", "\n").splitlines() if line.strip()]
    assert lines and all("epochs/s" in line or "lanes" in line for line in lines)  # the bars
    assert all("100%" in line for line in lines)


def test_the_stored_one_is_the_same_story():
    stored = nbformat.read(ROOT / "docs" / "story.ipynb", as_version=4)
    assert [c.source for c in stored.cells] == [c.source for c in _story().cells]
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(o.output_type == "error" for cell in code for o in cell.outputs)


def _story():
    return jupytext.read(ROOT / "docs" / "story.py")

"""Writes the story as a notebook with its outputs: python docs/notebook.py FILE

The kernel's folder is that of FILE. STORY_EPOCHS=40 makes it quick.
"""

import sys
from pathlib import Path

import jupytext
import nbclient
import nbformat


def main(path: Path) -> None:
    notebook = jupytext.read(Path(__file__).parent / "story.py")
    resources = {"metadata": {"path": str(path.parent)}}
    # Of a bar of progress the last state is kept.
    nbclient.NotebookClient(notebook, coalesce_streams=True, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each was run
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The page: what it holds and what it does in one file that asks nobody for anything."""

import html
import json
from importlib import resources
from pathlib import Path

from spiral_vae.explore import bundle
from spiral_vae.workdir import files, life
from spiral_vae.workdir.life import WorkdirError

_SCRIPTS = ("model", "exact", "trainer", "panels", "live", "controls")  # in this order


def write(workdir: Path) -> Path:
    """Writes the explorer of a finished run into its workdir; returns its path.

    Raises:
      WorkdirError: there is no such run, what is read of it is damaged, or the page can't be
        written.
      ConfigError: a file of the user's that the run uses is gone or has changed.
    """
    path = workdir / life.EXPLORER
    content = page(bundle.bundle(workdir))
    try:
        files.write_text(path, content)
    except OSError as error:
        raise WorkdirError(f"{path} can't be written: {error.strerror or error}") from error
    return path


def page(content: bundle.Description) -> str:
    """Returns the HTML of what `bundle` gives."""
    folder = resources.files("spiral_vae.explore") / "web"
    scripts = [
        f'<script id="{name}Script">\n{(folder / f"{name}.js").read_text()}</script>'
        for name in _SCRIPTS
    ]
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(content["title"]),
        "subtitle": html.escape(content["subtitle"]),
        "style": (folder / "page.css").read_text(),
        "content": text.replace("<", "\\u003c"),  # nothing in it ends the element
        "scripts": "\n".join(scripts),
    }
    found = (folder / "page.html").read_text()
    for name, part in parts.items():
        found = found.replace(f"<!--{name}-->", part)
    return found

"""A real browser for tests of pages: Debian's chromium, by Playwright."""

import contextlib
import os
import shutil
import time

import pytest


def _executable():
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next(filter(None, found), None)


@contextlib.contextmanager
def started():
    """Yields a browser; skips the test where there is none, but fails in CI."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    executable = _executable()
    if sync_playwright is None or executable is None:
        missing = "Playwright" if sync_playwright is None else "chromium"
        word = f"{missing} is not installed, so pages can't be opened"
        assert os.environ.get("CI") != "true", word
        pytest.skip(word)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, path, address="", frame=lambda page: page, **context):
    """Yields a page, or a frame of it; it must ask nobody for anything and complain of nothing."""
    with contextlib.closing(browser.new_context(offline=True, **context)) as opener:
        page = opener.new_page()
        heard = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{path}{address}")
        wait(frame(page), "drawn.key !== undefined", heard=heard)
        yield frame(page)
        assert heard == []
        own = ("blob:", "about:srcdoc", f"file://{path}")
        assert [url for url in asked if not url.startswith(own)] == []


def wait(page, condition, seconds=60, heard=()):
    """Returns when a condition holds in a page or a frame; Playwright's own way needs `eval`."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, (condition, heard)
        time.sleep(0.03)

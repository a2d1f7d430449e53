"""How quick a page of the explorer is, in chromium by Playwright.

python -m benchmarks.explorer FILE [--picture=FILE]
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

_READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
# A step of the first slider, from the key to the drawn frame, there and back.
_STEPS = """async () => {
  const input = document.querySelector('#controls input'), took = [];
  for (let i = 0; i <= 2 * +input.max; i++) {
    const begin = performance.now();
    input.value = Math.abs(i - +input.max);
    input.dispatchEvent(new Event('input'));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    took.push(performance.now() - begin);
  }
  took.sort((a, b) => a - b);
  return [took[took.length >> 1], took.at(-1)];
}"""
_LEARNING = 20  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"file://{args.file.resolve()}")
        page.wait_for_timeout(1000)
        print(f"size: {args.file.stat().st_size / 1e6:.2f} MB")
        print(f"ready: {page.evaluate(_READY):.0f} ms")
        if args.picture:
            page.screenshot(path=args.picture, full_page=True)
        median, longest = page.evaluate(_STEPS)
        print(f"a step of the first slider: median {median:.0f} ms, longest {longest:.0f} ms")
        page.click("#live summary")
        page.click("#go")
        page.wait_for_timeout(1000 * _LEARNING)
        found = page.evaluate("[live.epoch, live.kl, live.gap, live.took]")
        epoch, kl, gap, took = found
        print(f"learning for {_LEARNING} s: {epoch} epochs, KL {kl:.3f}, gap {gap:.3f}")
        print(f"a look at both takes {took:.1f} ms")
        browser.close()


if __name__ == "__main__":
    main()

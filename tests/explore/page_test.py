"""The page of a sweep in a real browser, against summary.csv and as a visitor uses it."""

import csv
import dataclasses
import html
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from spiral_vae import base_config
from spiral_vae.explore import page as explorer
from spiral_vae.runs import run
from tests.explore import browser as browser_lib

WIDE = {"viewport": {"width": 1280, "height": 860}}
NARROW = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
RIGHT = "#likelihood.sigma=0.2&seed=0"


@dataclasses.dataclass(frozen=True)
class Sweep:
    path: Path  # of the page
    rows: list[dict[str, str]]  # of summary.csv


@pytest.fixture(scope="module")
def browser():
    with browser_lib.started() as found:
        yield found


@pytest.fixture(scope="module")
def sweep(browser, tmp_path_factory):
    """3 sigmas x 2 seeds, well trained."""
    workdir = tmp_path_factory.mktemp("sweep") / "run"
    config = base_config(
        {
            "num_seeds": 2,
            "sweep": ("likelihood.sigma=0.1,0.2,0.6",),
            "train.num_epochs": 2000,
            "optimizer.encoder_learning_rate": 3e-3,
            "optimizer.decoder_learning_rate": 3e-3,
        }
    )
    run.train_and_evaluate(config, str(workdir), figures="none")
    with open(workdir / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return Sweep(explorer.write(workdir), rows)


@pytest.fixture(scope="module")
def wide(browser, sweep):
    """The page, kept open; each test begins with the lane of the right sigma."""
    with browser_lib.opened(browser, sweep.path, RIGHT, **WIDE) as page:
        yield page


@pytest.fixture
def page(wide):
    wide.mouse.move(1, 1)
    wide.evaluate(
        "change(() => { state.at = [1, 0]; state.epoch = lastEpoch; state.point = 100; "
        "state.metric = 'kl_to_truth'; })"
    )
    _settle(wide)
    return wide


def _settle(page):
    """Waits until what was asked for is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _cards(page):
    return page.eval_on_selector_all(
        "#cards div", "all => all.map(c => [c.dataset.name, c.querySelector('b').textContent])"
    )


def _curve(page):
    return page.evaluate("panels.data.curve.getAttribute('d')")


def _center(page, path):
    """Returns where a place of a panel is on the screen: panel, x and y in the panel's numbers."""
    return page.evaluate(
        "([name, x, y]) => { const p = panels[name], b = p.svg.getBoundingClientRect(), "
        "u = b.width / p.width; return [b.x + u * p.x(x), b.y + u * p.y(y)]; }",
        path,
    )


# Numbers


def test_the_file_names_no_address(sweep):
    text = sweep.path.read_text()
    assert not re.findall(r"""(?:src|href|import|fetch|url)\s*[=(]?\s*["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("lane", range(6))
def test_cards_are_those_of_summary_csv(page, sweep, lane):
    page.evaluate(f"change(() => state.at = [{lane // 2}, {lane % 2}])")
    _settle(page)
    cards = dict(_cards(page))
    row = sweep.rows[lane]
    assert cards.pop("verdict") == row["verdict"]
    assert {"kl_to_truth", "inference_gap", "kl_to_prior", "nll"} <= set(cards)
    for name, text in cards.items():
        assert float(text) == pytest.approx(float(row[name]), rel=1e-3), name


@pytest.mark.parametrize("lane", range(6))
def test_its_own_gap_and_kl_are_those_of_summary_csv(page, sweep, lane):
    gap, kl = page.evaluate(
        f"(() => {{ const m = modelOf({lane}, framesOf({lane}).length - 1), d = datasets[run.lanes["
        f"{lane}].data], n = modelNodes(m, reachOf(d.x, 2)); "
        "return [meanGap(m, n, d.x), klToTruth(truths[0].points(7), n)]; })()"
    )
    row = sweep.rows[lane]
    assert gap == pytest.approx(float(row["inference_gap"]), abs=1e-9)
    right = row["likelihood.sigma"] == "0.2"  # a smaller one wants more nodes in x
    assert kl == pytest.approx(float(row["kl_to_truth"]), abs=1e-4 if right else 0.02)


def test_the_film_ends_with_the_numbers_of_the_run(page, sweep):
    """Its last look is the cheap version of the exact metric, good to 2e-3 nats."""
    frames, looks = page.evaluate("[films.get(2).epochs, films.get(2).looks.kl_to_truth]")
    assert (frames[0], frames[-1]) == (0, 2000)
    assert looks[-1] == pytest.approx(float(sweep.rows[2]["kl_to_truth"]), abs=5e-3)
    assert looks[0] > 10 * looks[-1]


def test_the_parts_of_a_gap_are_not_negative(page):
    for point in range(0, 200, 25):
        page.evaluate(f"change(() => state.point = {point})")
        _settle(page)
        found = page.evaluate("shown.judged")
        assert found["approximation"] > -1e-9
        assert found["amortisation"] > -1e-6
        assert found["approximation"] + found["amortisation"] == pytest.approx(found["gap"])
    assert "log p" in page.inner_text("#gap")


# Hands


def test_keys_move_sigma_and_the_panels_follow(page):
    before, curve = page.inner_text("#controls output"), _curve(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    _settle(page)
    assert (before, page.inner_text("#controls output")) == ("0.2", "0.6")
    assert page.get_attribute("#controls input", "aria-valuetext") == "0.6"
    assert _curve(page) != curve
    browser_lib.wait(page, "document.getElementById('say').textContent.includes('sigma=0.6')")
    assert "kl to truth" in page.text_content("#say")


def test_tab_reaches_every_control(page):
    page.evaluate("document.activeElement.blur()")
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName + document.activeElement.id"))
    assert {name.rstrip("0123456789") for name in seen} >= {
        "INPUTslider", "BUTTON", "SUMMARY", "SELECTmetric"
    }  # fmt: skip


def test_hover_chooses_a_point_in_both_panels(page):
    for panel, number in (("data", 40), ("latent", 120)):
        x, y = page.evaluate(
            f"(i => '{panel}' === 'data' ? [shown.data.x[2 * i], shown.data.x[2 * i + 1]] "
            f": [shown.data.along[i], shown.moments[i][0]])({number})"
        )
        page.mouse.move(*_center(page, [panel, x, y]))
        _settle(page)
        assert page.evaluate("chosen()") == number


def test_a_click_on_a_lane_goes_there(page):
    place = page.evaluate("[panels.lanes.xs[5], panels.lanes.ys[5]]")
    page.mouse.click(*_center(page, ["lanes", *place]))
    _settle(page)
    assert page.evaluate("lane()") in (4, 5)  # seeds may lie on one another
    assert page.inner_text("#controls output") == "0.6"


def test_the_menu_shows_another_metric(page):
    page.select_option("#metric", "nll")
    _settle(page)
    assert "nll" in page.inner_text("#lanes")


def test_a_drag_moves_in_time(page):
    curve = _curve(page)
    x, y = _center(page, ["training", 30, 1])
    page.mouse.move(x + 40, y)
    page.mouse.down()
    page.mouse.move(x, y)
    page.mouse.up()
    _settle(page)
    assert 15 < page.evaluate("shown.epoch") < 60
    assert _curve(page) != curve
    assert dict(_cards(page))["kl_to_truth"] != "–"


def test_the_film_plays_and_pauses(page):
    page.get_by_label("play the film of the training").click()
    browser_lib.wait(page, "shown.epoch > 0 && shown.epoch < 1000")
    page.get_by_label("pause the film").click()
    stopped = page.evaluate("shown.epoch")
    page.wait_for_timeout(400)
    assert page.evaluate("shown.epoch") == stopped


def test_a_link_restores_what_was_shown(browser, sweep, page):
    page.evaluate(
        "change(() => { state.at = [2, 1]; state.epoch = 100; state.point = 7; "
        "state.metric = 'nll'; })"
    )
    browser_lib.wait(page, "location.hash.includes('metric=nll')")
    address = page.evaluate("location.hash")
    what = "[state.at.join(), shown.epoch, state.point, state.metric].join()"
    wanted = page.evaluate(what)
    with browser_lib.opened(browser, sweep.path, address, **WIDE) as other:
        assert other.evaluate(what) == wanted
    with browser_lib.opened(browser, sweep.path, "#point=99999&epoch=x&nonsense", **WIDE) as other:
        assert other.evaluate("lane()") == page.evaluate("laneAt(axes, axes.map(a => a.start))")


# Screens


def test_a_narrow_screen_has_no_sideways_scroll_and_a_tap_chooses(browser, sweep):
    with browser_lib.opened(browser, sweep.path, **NARROW) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        letters = page.evaluate(
            "[...document.querySelectorAll('svg text')].map(t => 11 * t.ownerSVGElement"
            ".getBoundingClientRect().width / t.ownerSVGElement.viewBox.baseVal.width)"
        )
        assert min(letters) >= 10.99
        place = page.evaluate("[shown.data.x[100], shown.data.x[101]]")
        page.touchscreen.tap(*_center(page, ["data", *place]))
        _settle(page)
        assert page.evaluate("chosen()") == 50


@pytest.mark.parametrize("screen", [WIDE, NARROW], ids=["wide", "narrow"])
def test_targets_are_large_enough(browser, sweep, screen):
    with browser_lib.opened(browser, sweep.path, **screen) as page:
        page.click("#live summary")
        sizes = page.eval_on_selector_all(
            "button, select, input, summary",
            "all => all.map(e => [e.id, Math.min(e.offsetWidth, e.offsetHeight)])",
        )
        assert len(sizes) >= 12
        assert [one for one in sizes if one[1] < 24] == []


def test_it_prints_on_one_page(page):
    content = page.pdf(prefer_css_page_size=True, print_background=True)
    pages = re.findall(rb"/Type\s*/Page[^s]", content)
    streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    for stream in streams:  # where objects are compressed
        try:
            pages += re.findall(rb"/Type\s*/Page[^s]", zlib.decompress(stream))
        except zlib.error:
            continue
    assert len(pages) == 1
    (box,) = set(re.findall(rb"/MediaBox\s*\[([^\]]*)\]", content))
    width, height = np.array(box.split(), float)[2:]
    assert width > height


def test_dark_mode_is_dark(browser, sweep):
    with browser_lib.opened(browser, sweep.path, color_scheme="dark", **WIDE) as page:
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", back))) < 60


def test_it_works_inside_of_a_frame(browser, sweep):
    outer = sweep.path.with_name("outer.html")
    text = html.escape(sweep.path.read_text(), quote=True)
    outer.write_text(f'<iframe width="1200" height="800" srcdoc="{text}"></iframe>')
    with browser_lib.opened(browser, outer, frame=lambda page: page.frames[1]) as frame:
        before = frame.evaluate("lane()")
        frame.locator("#controls input").first.press("ArrowLeft")
        browser_lib.wait(frame, f"lane() === {before} - 2")
        assert frame.locator("#cards div").count() == 6
        frame.locator("#live summary").click()
        frame.locator("#go").click()
        browser_lib.wait(frame, "live.epoch > 0")


# A network that learns in the page


def test_a_network_learns_here(browser, sweep):
    with browser_lib.opened(browser, sweep.path, RIGHT, **WIDE) as page:
        recorded = dict(_cards(page))
        page.click("#live summary")
        page.click("#go")
        browser_lib.wait(page, "live.kl > 1")
        rate = page.locator("#liveControls input").nth(2)
        rate.fill("-2.4")  # the logarithm: 0.004
        browser_lib.wait(page, "live.kl < 0.2")
        assert "new network, not a recorded lane" in page.inner_text("#liveText")
        assert dict(_cards(page))[""] is not None
        assert page.evaluate("live.gap") > 0
        page.click("#go")
        epoch = page.evaluate("live.epoch")
        page.wait_for_timeout(400)
        assert page.evaluate("live.epoch") - epoch <= 200  # what was on its way
        page.click("#leave")
        _settle(page)
        assert dict(_cards(page)) == recorded


def test_more_points_and_turns_while_it_learns(browser, sweep):
    with browser_lib.opened(browser, sweep.path, RIGHT, **WIDE) as page:
        page.click("#live summary")
        page.click("#go")
        browser_lib.wait(page, "live.epoch > 50")
        page.locator("#liveControls input").nth(3).fill("400")
        browser_lib.wait(page, "shown.data.order.length === 400")
        page.locator("#liveControls input").nth(4).fill("2")
        browser_lib.wait(page, "live.settings.turns === 2 && live.truth !== truths[0]")
        turned = page.evaluate("[...live.truth.mean.slice(-2)]")
        t = page.evaluate("live.truth.t.at(-1)")
        angle = 4 * np.pi * t
        np.testing.assert_allclose(turned, 2.5 * t * np.array([np.cos(angle), np.sin(angle)]))
        page.click("#go")
        page.wait_for_timeout(200)  # for what is on its way
        epoch = page.evaluate("live.epoch")
        page.click("#fresh")
        browser_lib.wait(page, f"live.epoch < {epoch}")
        assert page.evaluate("[live.settings.points, live.settings.turns].join()") == "400,2"

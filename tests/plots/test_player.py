"""The page of verdicts in a real browser: played, sought by mouse and by keyboard, on a phone, printed, in the dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from outside import ROOT
from predictions import prediction, track

from dfdc_utils.plots import write_page
from dfdc_utils.prediction import Explanation, Prediction

pytest.importorskip("playwright", reason="playwright is not installed: see requirements.txt")
from lab import CHROMIUM, HEIGHT, WIDTH, listen, picture, serious_faults, start_browser
from playwright.sync_api import Browser, Page, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: Debian's package is `chromium`"),
]

PICTURES = ROOT / "data" / "sample" / "results" / "screenshots"
PHONE = 390  # pixels
WHY = Explanation(np.ones((4, 32, 32), np.float32) / 2, np.zeros(4, np.float32), 1.0)
# How much of the canvas is drawn on.
DRAWN = """() => { const canvas = document.querySelector('canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, i) => i % 4 === 3 && value > 0).length }"""
NOW = "document.querySelector('video').currentTime"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Prediction]:
    """Verdicts of each kind on clips of five seconds: two people, one, nobody."""
    folder = tmp_path_factory.mktemp("videos")
    people = [track((0.95, 0.9, 1.0), (0.7, 0.6, 0.8), (0.1, 0.0, 0.2)), track((0.2, 0.1, 0.3), number=1)]
    for place, person in enumerate(people):
        for window in person.all_windows:
            window.faces.boxes[:] = (40 + 120 * place, 60, 80, 100)
    found = {
        "a/a.mp4": prediction(*people),
        "b/a.mp4": prediction(track((0.2, 0.1, 0.3))),
        "nobody_in_a_file_whose_name_is_longer_than_a_phone_is_wide.mp4": prediction(status="no_face", error="none"),
    }
    frames = [np.full((240, 320, 3), 20 + 2 * number, np.uint8) for number in range(100)]
    for name in found:
        (folder / name).parent.mkdir(exist_ok=True)
        write_clip(folder / name, frames, fps=20)
    return [replace(one, path=folder / name, seconds=4.0, duration=8.0) for name, one in found.items()]


@pytest.fixture(params=["one", "many"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pages(videos: list[Prediction], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    evidence = {videos[0].path: (np.zeros((4, 32, 32, 3), np.uint8), WHY)}
    return {
        name: write_page(folder / f"{name}.html", shown, evidence)
        for name, shown in (("one", videos[:1]), ("many", videos))
    }


@pytest.fixture
def page(browser: Browser, pages: dict[str, Path], kind: str) -> Iterator[Page]:
    """The page, open in a browser without network. In the end it must not have complained."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, offline=True, color_scheme="light")
    complaints, requests = listen(page), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[kind].as_uri())
    yield page
    page.close()
    assert complaints == []
    assert [url[:80] for url in requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("kind", ["one"], indirect=True)
def test_the_video_plays_with_the_faces_boxed(page: Page) -> None:
    still = page.get_by_role("img", name="Frame at 1.0 s, faces boxed")
    expect(still).to_be_visible()
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function(f"{NOW} > 0.2")
    expect(still).to_be_hidden()
    assert page.evaluate(DRAWN) > 500
    expect(page.locator(".now")).to_contain_text("score 0.")  # which one, a busy machine may say too late
    page.get_by_role("button", name="Pause").click()
    stopped = page.evaluate(NOW)
    page.wait_for_timeout(200)
    assert page.evaluate(NOW) == stopped


@pytest.mark.parametrize("kind", ["one"], indirect=True)
def test_a_click_on_the_score_line_goes_there(page: Page) -> None:
    line = page.get_by_role("slider", name="Time in the video")
    box = line.bounding_box()
    assert box
    # Four seconds were looked at, and a little more is shown. The handle begins at the still, at 1.0 s.
    for part, score in ((1.0 / 4.2, "0."), (0.95, "0.10"), (0.12, "0.95")):
        line.click(position={"x": part * box["width"], "y": box["height"] / 2})
        page.wait_for_function(f"Math.abs({NOW} - {part} * 4.2) < 0.15")
        expect(page.locator(".now")).to_contain_text(f"score {score}")


@pytest.mark.parametrize("kind", ["one"], indirect=True)
def test_the_keyboard_alone_is_enough(page: Page) -> None:
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("button", name="Play")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    line = page.get_by_role("slider")
    expect(line).to_be_focused()
    keys.press("End")
    page.wait_for_function(f"{NOW} > 3.8")
    for _ in range(6):
        keys.press("ArrowLeft")
    page.wait_for_function(f"{NOW} < 3.8")
    assert "score 0.10" in str(line.get_attribute("aria-valuetext"))
    keys.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.get_by_text("What looked most suspicious")).to_be_visible()


@pytest.mark.parametrize("kind", ["many"], indirect=True)
def test_the_table_of_many_videos_leads_to_each(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("3 videos: 1 unsure, 1 no sign of a fake, 1 not judged")
    links = page.get_by_role("table").first.get_by_role("link")
    assert links.all_inner_texts()[:2] == ["a/a.mp4", "b/a.mp4"]
    links.nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="nobody_in_a_file")).to_be_in_viewport()


def test_it_fits_a_phone_and_paper_and_has_no_serious_fault(page: Page, kind: str) -> None:
    picture(page.locator("body"), PICTURES / f"page_{kind}")
    faults = serious_faults(page)
    page.set_viewport_size({"width": PHONE, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if kind == "one":
        expect(page.get_by_text("This is not proof.")).to_be_in_viewport()  # above the fold
    page.screenshot(path=PICTURES / f"page_{kind}_phone.png", full_page=True)
    page.emulate_media(media="print")
    assert page.locator("video").first.is_hidden() and page.locator(".still").first.is_visible()
    page.set_viewport_size({"width": 700, "height": HEIGHT})
    page.screenshot(path=PICTURES / f"page_{kind}_print.png", full_page=True)
    if not os.environ.get("DFDC_AXE"):
        pytest.skip("accessibility: set DFDC_AXE to axe.min.js of axe-core to test it")
    assert faults == []

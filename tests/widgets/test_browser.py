"""The notebooks in a real browser: run from the menu, moved by mouse and by keyboard, pictured in light and in dark."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT

from dfdc_utils.processing import read_manifest

pytest.importorskip("playwright", reason="playwright is not installed: see requirements.txt")
from lab import CHROMIUM, HEIGHT, WIDTH, Notebook, listen, picture, serve, start_browser, upload
from playwright.sync_api import Browser, Locator, expect

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: Debian's package is `chromium`")

NOTEBOOKS = ("02_face_detection", "05_results", "06_predict")
PICTURES = ROOT / "data" / "results" / "screenshots"
PATIENCE = 240  # seconds for a notebook; with faces and model there, two idle cores take a quarter of it
SLOW = 30_000  # milliseconds for an answer of the model

CUT_OFF = """() => [...document.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output *')]
    .filter(box => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'visible')
    .map(box => `${box.className}: ${box.textContent.slice(0, 80)}`)"""


@pytest.fixture(scope="module")
def folder(sample: Path, sample_faces: Path, sample_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the notebooks without outputs, so that what is seen was made here; what they write stays here too."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("data", "notebooks"):
        (folder / name).mkdir()
    for made in (sample, sample_faces, sample_model):
        (folder / "data" / made.name).symlink_to(made)
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")  # no longer: while Playwright runs, nothing else in this process can run an event loop
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def run_notebook(browser: Browser, folder: Path) -> Iterator[Callable[[str], Notebook]]:
    """Opens a notebook, runs all of it and takes its picture. In the end no window may have complained."""
    notebooks = []
    with serve(folder / "notebooks", folder / "scratch") as address:

        def run(name: str) -> Notebook:
            notebook = Notebook(browser, address, folder / "notebooks" / f"{name}.ipynb")
            notebooks.append(notebook)
            notebook.run_all(patience=PATIENCE)
            notebook.picture(PICTURES / name)
            return notebook

        yield run
        for notebook in notebooks:
            notebook.page.close()
    assert {notebook.path.stem: notebook.complaints for notebook in notebooks if notebook.complaints} == {}


@pytest.fixture(scope="module")
def faces(run_notebook: Callable[[str], Notebook]) -> Notebook:
    return run_notebook("02_face_detection")


@pytest.fixture(scope="module")
def results(run_notebook: Callable[[str], Notebook]) -> Notebook:
    return run_notebook("05_results")


@pytest.fixture(scope="module")
def predict(run_notebook: Callable[[str], Notebook]) -> Notebook:
    return run_notebook("06_predict")


def visible_images(shown: Locator) -> list[str]:
    """The sources of all images that are not hidden. Each has a text for those who do not see it."""
    images = [image for image in shown.locator("img").all() if image.is_visible()]
    assert all((image.get_attribute("alt") or "").strip() for image in images)
    return [str(image.get_attribute("src")) for image in images]


def button(shown: Locator, name: str) -> Locator:
    return shown.get_by_role("button", name=name, exact=True)


def eventually(holds: Callable[[], object]) -> bool:
    """Whether it holds within five seconds: the kernel tells the page of its changes one by one."""
    end = time.monotonic() + 5
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def scores_in(captions: Locator) -> list[float]:
    return [float(caption.split()[-1]) for caption in captions.all_inner_texts() if caption]


def cut_off(notebook: Notebook) -> list[str]:
    """What is wider than its place: a reader would have to scroll sideways, or could not see it at all."""
    return list(notebook.page.evaluate(CUT_OFF))


class TestFaceBrowser:
    @pytest.fixture
    def shown(self, faces: Notebook) -> Locator:
        """The widget as its cell makes it: on its first page, nothing filtered, nothing ticked."""
        faces.run_cell("FaceBrowser(")
        return faces.widget("FaceBrowser(")

    def test_the_mouse_turns_pages(self, shown: Locator) -> None:
        first = visible_images(shown)
        assert len(first) > 4
        button(shown, "next").click()
        expect(shown.get_by_role("status")).to_contain_text("page 2 of")
        second = visible_images(shown)
        assert second and not set(second) & set(first)
        button(shown, "previous").click()
        expect(shown.get_by_role("status")).to_contain_text("page 1 of")
        assert visible_images(shown) == first

    def test_the_keyboard_turns_pages(self, shown: Locator) -> None:
        pages = [visible_images(shown)]
        button(shown, "previous").focus()
        for number, keys in enumerate((["Tab", "Enter"], ["Space"], ["Tab", "ArrowRight"]), start=2):
            for key in keys:
                shown.page.keyboard.press(key)
            expect(shown.get_by_role("status")).to_contain_text(f"page {number} of")
            pages.append(visible_images(shown))
        assert len({image for page in pages for image in page}) == sum(map(len, pages)) > 16
        shown.page.keyboard.press("End")
        expect(shown.get_by_role("status")).to_contain_text(re.compile(r"page (\d+) of \1,"))

    def test_filters(self, shown: Locator) -> None:
        shown.get_by_label("status").select_option(label="no_face (1)")
        expect(shown.get_by_role("status")).to_have_text("page 1 of 1, 1 videos")
        assert visible_images(shown) == []
        expect(shown.get_by_role("paragraph")).to_contain_text("no lasting face")
        shown.get_by_label("status").select_option(label="any")
        shown.get_by_label("label").select_option(label="FAKE (61)")
        expect(shown.get_by_role("status")).to_contain_text("61 videos")
        expect(shown.locator(".widget-checkbox")).to_have_text([re.compile("FAKE ")] * 8)
        shown.get_by_label("find").fill("nobody")
        shown.get_by_label("find").press("Enter")
        expect(shown.get_by_role("status")).to_have_text("no video matches")

    def test_opens_and_closes_a_video_by_keyboard(self, shown: Locator) -> None:
        opener = button(shown, "open").first
        opener.focus()
        shown.page.keyboard.press("Enter")
        expect(button(shown, "close")).to_be_focused()
        assert len(visible_images(shown)) > 16  # sixteen faces, and frames with boxes
        expect(shown.get_by_role("img", name="Score of the detector")).to_be_visible()
        picture(shown, PICTURES / "face_browser_opened")
        shown.page.keyboard.press("Enter")
        expect(opener).to_be_focused()
        expect(button(shown, "close")).to_be_hidden()

    def test_ticked_videos_come_back(self, faces: Notebook, shown: Locator) -> None:
        box = shown.get_by_role("checkbox").first
        box.focus()
        shown.page.keyboard.press("Space")
        expect(box).to_be_checked()
        label, video = shown.locator(".widget-checkbox").first.inner_text().split()
        assert faces.run_cell("browser.picked").split()[-2:] == [video, label]

    def test_nothing_is_cut_off(self, faces: Notebook) -> None:
        assert cut_off(faces) == []


class TestResults:
    @pytest.fixture
    def explorer(self, results: Notebook) -> Locator:
        results.run_cell("ThresholdExplorer(")
        return results.widget("ThresholdExplorer(")

    def test_the_keyboard_moves_the_threshold(self, explorer: Locator) -> None:
        """Counts are REAL videos cleared and called fake, then FAKE ones missed and found."""
        counts = explorer.locator("td strong")
        cleared, alarms, missed, found = map(int, counts.all_inner_texts())
        real, fake = f"{cleared + alarms}", f"{missed + found}"
        explorer.get_by_role("slider").focus()
        explorer.page.keyboard.press("End")
        expect(counts).to_have_text([real, "0", fake, "0"])
        explorer.page.keyboard.press("Home")
        expect(counts).to_have_text(["0", real, "0", fake])
        explorer.page.keyboard.press("ArrowRight")
        expect(explorer.get_by_role("img", name="threshold at 0.01")).to_be_visible()

    def test_the_mouse_moves_the_threshold(self, explorer: Locator) -> None:
        mouse = explorer.page.mouse
        explorer.get_by_role("slider").hover()
        mouse.down()
        mouse.move(WIDTH, 0, steps=5)  # beyond the end of the slider
        mouse.up()
        expect(explorer.get_by_role("status")).to_contain_text("Nothing is called fake")

    def test_the_keyboard_filters_by_score(self, results: Notebook) -> None:
        shown = results.widget("FaceBrowser(")
        everything = shown.get_by_role("status").inner_text()
        lowest = shown.get_by_role("slider").first
        lowest.focus()
        for _ in range(3):
            shown.page.keyboard.press("PageUp")
        expect(shown.get_by_role("status")).not_to_have_text(everything)
        low = float(lowest.get_attribute("aria-valuenow") or "nan")
        captions = shown.locator(".widget-checkbox")
        assert eventually(lambda: captions.count() and all(score >= low > 0 for score in scores_in(captions)))
        shown.page.keyboard.press("Home")
        expect(shown.get_by_role("status")).to_have_text(everything)

    def test_pages_of_scored_videos_turn(self, results: Notebook) -> None:
        shown = results.widget("FaceBrowser(")
        first = visible_images(shown)
        button(shown, "next").click()
        expect(shown.get_by_role("status")).to_contain_text("page 2 of")
        assert first and not set(visible_images(shown)) & set(first)

    def test_nothing_is_cut_off(self, results: Notebook) -> None:
        assert cut_off(results) == []


class TestVideoJudge:
    @pytest.fixture
    def shown(self, predict: Notebook) -> Locator:
        return predict.widget("VideoJudge(")

    @pytest.fixture
    def videos(self, sample_faces: Path) -> dict[str, Path]:
        """A video of each label and of each status, none of them the one that the notebook asks about."""
        manifest = read_manifest(sample_faces).iloc[::-1]
        manifest["path"] = [(ROOT / "notebooks" / path).resolve() for path in manifest["path"]]
        ok = manifest[manifest["status"] == "ok"]
        return dict(pd.concat([ok.groupby("label")["path"].first(), manifest.groupby("status")["path"].first()]))

    def test_judges_an_uploaded_clip(self, predict: Notebook, shown: Locator, videos: dict[str, Path]) -> None:
        assert visible_images(shown)  # of the video that it was made with
        upload(shown.get_by_role("button", name="upload"), videos["REAL"])
        heading = shown.get_by_role("heading", name=videos["REAL"].name)
        expect(heading).to_be_visible(timeout=SLOW)
        assert len(visible_images(shown)) >= 3
        headline = heading.inner_text().split(": ", 1)[1]
        assert headline and headline in predict.run_cell("judge.prediction.headline")
        picture(shown, PICTURES / "verdict")

    @pytest.mark.parametrize("status", ["no_face", "unreadable"])
    def test_gives_no_score_where_there_is_none(self, shown: Locator, videos: dict[str, Path], status: str) -> None:
        upload(shown.get_by_role("button", name="upload"), videos[status])
        heading = shown.get_by_role("heading", name=videos[status].name)
        expect(heading).to_contain_text("No verdict", timeout=SLOW)
        assert visible_images(shown) == []

    def test_judges_a_path_typed_in(self, shown: Locator, videos: dict[str, Path]) -> None:
        shown.get_by_label("Video").fill(str(videos["FAKE"]))
        shown.page.keyboard.press("Tab")
        shown.page.keyboard.press("Enter")
        expect(shown.get_by_role("heading", name=videos["FAKE"].name)).to_be_visible(timeout=SLOW)

    def test_nothing_is_cut_off(self, predict: Notebook) -> None:
        assert cut_off(predict) == []


def test_the_page_of_a_verdict_needs_no_network(predict: Notebook, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
    complaints, requests = listen(page), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.goto((predict.path.parents[1] / "data" / "results" / "verdict.html").as_uri())
    expect(page.get_by_role("heading", level=2)).to_contain_text("Looks fake")
    assert len(visible_images(page.locator("body"))) >= 3
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page.locator("body"), PICTURES / "verdict_page")
    page.close()
    assert complaints == []
    assert [url[:80] for url in requests if not url.startswith(("file:", "data:"))] == []

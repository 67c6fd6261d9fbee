"""The widgets in a real browser: moved by mouse and by keyboard, pictured in light and in dark; stored notebooks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from outside import ROOT
from predictions import prediction, track

from dfdc_utils.processing import read_manifest
from dfdc_utils.widgets import Compare

pytest.importorskip("playwright", reason="playwright is not installed: see requirements.txt")
from lab import CHROMIUM, HEIGHT, WIDTH, Notebook, listen, picture, serious_faults, serve, start_browser, upload
from playwright.sync_api import Browser, Locator, expect

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: Debian's package is `chromium`"),
]

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
PICTURES = ROOT / "data" / "sample" / "results" / "screenshots"
PATIENCE = 240  # seconds for all cells; two idle cores take a tenth of it
SLOW = 30_000  # milliseconds for an answer of the model

# One cell per widget, with scores at random and an untrained model: what they show is tested elsewhere.
CELLS = (
    """
import sys
import numpy as np
sys.path.insert(0, TESTS)
from fake_models import open_model
from dfdc_utils import Detector, SequenceConfig, plots, read_manifest
from dfdc_utils.models import Calibration
from dfdc_utils.widgets import FaceBrowser, ThresholdExplorer, VideoJudge
plots.use_theme()
manifest = read_manifest(FACES)
scores = manifest[manifest["status"] == "ok"].iloc[:40].copy()
scores["score"] = np.random.default_rng(0).uniform(0.05, 0.95, len(scores)).round(2)
scores["mistake"] = (scores["score"] - (scores["label"] == "FAKE")).abs()
calls_all_fake = Calibration(threshold=0.01)  # so that there is evidence to show
detector = Detector(open_model(sequence=SequenceConfig(5.0, 16, 96, detector="haar"), calibration=calls_all_fake))
""",
    "browser = FaceBrowser(manifest, FACES)\nbrowser",
    'browser.picked[["video", "label"]]',
    "ThresholdExplorer(scores)",
    "FaceBrowser(scores, FACES)",
    "judge = VideoJudge(detector, VIDEO)\njudge",
    "judge.prediction.headline",
)

CUT_OFF = """() => [...document.querySelectorAll('.jp-OutputArea-output, .jp-OutputArea-output *')]
    .filter(box => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'visible')
    .map(box => `${box.className}: ${box.textContent.slice(0, 80)}`)"""


@pytest.fixture(scope="module")
def manifest(sample_faces: Path) -> pd.DataFrame:
    manifest = read_manifest(sample_faces)  # a notebook may have written it, with paths as seen from there
    manifest["path"] = [str((ROOT / "notebooks" / path).resolve()) for path in manifest["path"]]
    return manifest


@pytest.fixture(scope="module")
def videos(manifest: pd.DataFrame) -> dict[str, Path]:
    """A video of each label and of each status."""
    ok = manifest[manifest["status"] == "ok"]
    chosen = pd.concat([ok.groupby("label")["path"].first(), manifest.groupby("status")["path"].last()])
    return {str(name): Path(path) for name, path in chosen.items()}


def stored_verdict(path: Path) -> str:
    """What a notebook stores of a prediction that is a cell's last value."""
    return replace(prediction(track((0.9, 0.8, 0.95))), path=path)._repr_html_()


@pytest.fixture(scope="module")
def folder(
    sample_faces: Path, manifest: pd.DataFrame, videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A notebook with the widgets, and one that was stored: a verdict, then all cells of the stored notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    manifest.to_csv(folder / "manifest.csv", index=False)
    faces = folder / "faces"
    faces.mkdir()
    for made in sample_faces.iterdir():
        (faces / made.name).symlink_to(made if made.name != "manifest.csv" else folder / "manifest.csv")
    clips = folder / "clips"
    clips.mkdir()
    for label in ("REAL", "FAKE"):
        (clips / videos[label].name).symlink_to(videos[label])
    # An MP4 of 50 MB: players skip a box of the type `free`.
    padding = (50_000_000).to_bytes(4, "big") + b"free" + bytes(50_000_000 - 8)
    (folder / "large.mp4").write_bytes(videos["REAL"].read_bytes() + padding)
    shown = nbformat.v4.new_output("execute_result", {"text/html": stored_verdict(videos["FAKE"])}, execution_count=1)
    stored = [nbformat.v4.new_code_cell("detector.predict(VIDEO)", outputs=[shown], execution_count=1)]
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        stored += [nbformat.from_dict({**cell, "id": f"{path.stem}_{cell.id}"}) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=stored, metadata=kernel), folder / "stored.ipynb")
    named = {"TESTS": str(ROOT / "tests"), "FACES": str(faces), "VIDEO": str(videos["ok"])}
    constants = "\n".join(f"{name} = {value!r}" for name, value in named.items())
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in (constants, *CELLS)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "widgets.ipynb")
    return folder


@pytest.fixture(scope="module")  # no longer: while Playwright runs, nothing else in this process can run an event loop
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    with serve(folder, tmp_path_factory.mktemp("lab_settings")) as address:
        yield address


@pytest.fixture(scope="module")
def notebook(browser: Browser, address: Callable[[str], str], folder: Path) -> Iterator[Notebook]:
    """The notebook with the widgets, all of it run from the menu. In the end its window must not have complained."""
    notebook = Notebook(browser, address, folder / "widgets.ipynb")
    notebook.run_all(patience=PATIENCE)
    notebook.picture(PICTURES / "widgets")
    yield notebook
    notebook.page.close()
    assert notebook.complaints == []


def visible_images(shown: Locator) -> list[str]:
    """The sources of all images that are not hidden. Each has an alternative text."""
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


class TestFaceBrowser:
    @pytest.fixture
    def shown(self, notebook: Notebook) -> Locator:
        """The widget as its cell makes it: on its first page, nothing filtered, nothing ticked."""
        notebook.run_cell("FaceBrowser(manifest")
        return notebook.widget("FaceBrowser(manifest")

    def test_the_mouse_turns_pages(self, shown: Locator) -> None:
        first = visible_images(shown)
        assert len(first) > 4
        expect(shown.get_by_role("slider", name="page", exact=True)).to_be_visible()
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

    def test_filters(self, shown: Locator, manifest: pd.DataFrame) -> None:
        shown.get_by_label("status").select_option(label="no_face (1)")
        expect(shown.get_by_role("status")).to_have_text("page 1 of 1, 1 video")
        assert visible_images(shown) == []
        expect(shown.get_by_role("paragraph")).to_contain_text("no face found")
        shown.get_by_label("status").select_option(label="any")
        fakes = (manifest["label"] == "FAKE").sum()
        shown.get_by_label("label").select_option(label=f"FAKE ({fakes})")
        expect(shown.get_by_role("status")).to_contain_text(f"{fakes} videos")
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
        picture(shown, PICTURES / "face_browser_opened")
        shown.page.keyboard.press("Enter")
        expect(opener).to_be_focused()
        expect(button(shown, "close")).to_be_hidden()

    def test_ticked_videos_come_back(self, notebook: Notebook, shown: Locator) -> None:
        box = shown.get_by_role("checkbox").first
        box.focus()
        shown.page.keyboard.press("Space")
        expect(box).to_be_checked()
        label, video = shown.locator(".widget-checkbox").first.inner_text().split()
        assert notebook.run_cell("browser.picked").split()[-2:] == [video, label]

    def test_the_keyboard_filters_by_score(self, notebook: Notebook) -> None:
        shown = notebook.widget("FaceBrowser(scores")
        everything = shown.get_by_role("status").inner_text()
        lowest = shown.get_by_role("slider", name="lowest score")
        lowest.focus()
        for _ in range(3):
            shown.page.keyboard.press("PageUp")
        expect(shown.get_by_role("status")).not_to_have_text(everything)
        low = float(lowest.get_attribute("aria-valuenow") or "nan")
        captions = shown.locator(".widget-checkbox")
        assert eventually(lambda: captions.count() and all(score >= low > 0 for score in scores_in(captions)))
        shown.page.keyboard.press("Home")
        expect(shown.get_by_role("status")).to_have_text(everything)


class TestThresholdExplorer:
    @pytest.fixture
    def shown(self, notebook: Notebook) -> Locator:
        notebook.run_cell("ThresholdExplorer(scores")
        return notebook.widget("ThresholdExplorer(scores")

    def test_the_keyboard_moves_the_threshold(self, shown: Locator) -> None:
        """Counts are REAL videos cleared and called fake, then FAKE ones missed and found."""
        counts = shown.locator("td strong")
        cleared, false_positives, missed, found = map(int, counts.all_inner_texts())
        real, fake = f"{cleared + false_positives}", f"{missed + found}"
        shown.get_by_role("slider", name="threshold", exact=True).focus()
        shown.page.keyboard.press("End")
        expect(counts).to_have_text([real, "0", fake, "0"])
        shown.page.keyboard.press("Home")
        expect(counts).to_have_text(["0", real, "0", fake])
        shown.page.keyboard.press("ArrowRight")
        expect(shown.get_by_role("img", name="threshold at 0.01")).to_be_visible()

    def test_the_mouse_moves_the_threshold(self, shown: Locator) -> None:
        mouse = shown.page.mouse
        shown.get_by_role("slider").hover()
        mouse.down()
        mouse.move(WIDTH, 0, steps=5)  # beyond the end of the slider
        mouse.up()
        expect(shown.get_by_role("status")).to_contain_text("Nothing is called fake")


class TestVideoJudge:
    @pytest.fixture
    def shown(self, notebook: Notebook) -> Locator:
        return notebook.widget("VideoJudge(")

    @pytest.mark.parametrize("large", [False, True], ids=["small", "50 MB"])
    def test_judges_an_uploaded_clip(
        self, notebook: Notebook, shown: Locator, folder: Path, videos: dict[str, Path], large: bool
    ) -> None:
        path = folder / "large.mp4" if large else videos["REAL"]
        button = shown.get_by_role("button", name="upload")
        upload(button, path)
        expect(heading(shown, 1)).to_have_text(path.name, timeout=SLOW)
        expect(heading(shown, 2)).to_contain_text("Looks fake")
        assert "Fake" in notebook.run_cell("judge.prediction.headline")
        assert len(visible_images(shown.frame_locator("iframe").locator("body"))) == 1  # the boxed frame
        if not large:
            picture(shown, PICTURES / "verdict")
        with shown.page.expect_file_chooser():
            button.click()
        expect(shown.locator("iframe")).to_have_count(0)  # the old answer goes before the new file is there

    @pytest.mark.parametrize("status", ["no_face", "unreadable"])
    def test_gives_no_score_where_there_is_none(self, shown: Locator, videos: dict[str, Path], status: str) -> None:
        upload(shown.get_by_role("button", name="upload"), videos[status])
        expect(heading(shown, 1)).to_have_text(videos[status].name, timeout=SLOW)
        expect(heading(shown, 2)).to_contain_text("Not judged")
        expect(shown.frame_locator("iframe").locator(".gauge")).to_have_count(0)

    def test_judges_a_path_or_a_folder_typed_in_and_a_video_picked(
        self, shown: Locator, folder: Path, videos: dict[str, Path]
    ) -> None:
        box = shown.get_by_role("textbox", name="Video")
        box.fill(str(folder / "clips"))
        box.press("Enter")
        expect(heading(shown, 1)).to_have_text("2 videos: 2 look fake", timeout=2 * SLOW)
        shown.get_by_label("or pick").select_option(label=videos["FAKE"].name)
        expect(heading(shown, 1)).to_have_text(videos["FAKE"].name, timeout=SLOW)
        expect(box).to_have_value(str(folder / "clips" / videos["FAKE"].name))
        box.fill(str(videos["REAL"]))
        box.press("Enter")
        expect(heading(shown, 1)).to_have_text(videos["REAL"].name, timeout=SLOW)

    def test_plays_and_has_no_serious_fault(self, shown: Locator) -> None:
        answer = shown.frame_locator("iframe")
        answer.get_by_role("button", name="Play").click()
        expect(answer.locator(".now")).to_contain_text("score", timeout=SLOW)
        frame = shown.locator("iframe")
        assert frame.evaluate("frame => frame.clientHeight >= frame.contentDocument.body.clientHeight")
        assert serious_faults(shown.page, within=".dfdc-judge") == []


def heading(shown: Locator, level: int) -> Locator:
    """A heading of the verdict, which is a page in a frame."""
    return shown.frame_locator("iframe").get_by_role("heading", level=level)


def test_no_widget_has_a_serious_fault(notebook: Notebook) -> None:
    for cell in ("FaceBrowser(manifest", "ThresholdExplorer(scores"):
        notebook.run_cell(cell)
        notebook.widget(cell)
    assert serious_faults(notebook.page, within=".jp-OutputArea") == []


def test_nothing_is_cut_off(notebook: Notebook) -> None:
    """Else a reader would have to scroll sideways, or could not see it at all."""
    assert notebook.page.evaluate(CUT_OFF) == []


@pytest.fixture(scope="module")
def stored(browser: Browser, address: Callable[[str], str], folder: Path) -> Iterator[Notebook]:
    """Opened and not run. In the end its window must not have complained."""
    notebook = Notebook(browser, address, folder / "stored.ipynb")
    yield notebook
    notebook.page.close()
    assert notebook.complaints == []


def test_a_stored_verdict_is_seen_where_scripts_and_frames_are_not(stored: Notebook) -> None:
    """JupyterLab removes both from the outputs of a notebook that this user has not run."""
    shown = stored.page.locator(".jp-OutputArea-output").first
    expect(shown.get_by_role("img")).to_have_count(2)  # the boxed frame and the gauge
    assert shown.evaluate("shown => [...shown.querySelectorAll('img')].every(one => one.naturalWidth)")
    expect(shown).to_contain_text("This is not proof.")
    expect(shown.locator("iframe")).to_have_count(0)


def test_stored_outputs_are_shown_whole(stored: Notebook) -> None:
    """The tables and figures of all notebooks."""
    tables, figures = (stored.page.locator(f".jp-OutputArea {kind}").count() for kind in ("table", "img"))
    assert tables > 10 and figures > 20
    assert stored.page.evaluate(CUT_OFF) == []


def test_the_handle_between_two_pictures_moves_by_mouse_and_keyboard(browser: Browser, tmp_path: Path) -> None:
    """As a file of its own: it needs neither a kernel nor a network."""
    pictures = [np.full((90, 160, 3), grey, np.uint8) for grey in (0, 255, 128)]
    shown = Compare(*zip(("REAL", "fake", "mask"), pictures, strict=True))
    (tmp_path / "compare.html").write_text(f"<!DOCTYPE html><title>compare</title>{shown._repr_html_()}")
    page = browser.new_page(viewport={"width": 390, "height": HEIGHT}, offline=True)
    complaints = listen(page)
    page.goto((tmp_path / "compare.html").as_uri())
    handle, figure = page.get_by_role("slider"), page.locator("figure")

    def cut() -> str:
        return str(figure.evaluate("figure => figure.style.getPropertyValue('--at')"))

    handle.focus()
    page.keyboard.press("ArrowRight")
    assert cut() == "51%"
    box = handle.bounding_box()
    assert box is not None and box["width"] > 300 and box["height"] > 150, "it covers the pictures"
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    assert abs(int(cut().rstrip("%")) - 25) <= 3
    page.get_by_role("radio", name="mask").check()
    assert [image.get_attribute("alt") for image in page.locator("img").all() if image.is_visible()] == ["mask", "REAL"]
    page.screenshot(path=PICTURES / "compare.png")
    assert serious_faults(page) == []
    page.close()
    assert complaints == []

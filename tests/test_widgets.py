from __future__ import annotations

import time
from pathlib import Path

import ipywidgets as ui
import pandas as pd
import pytest
from faces_on_disk import flickering_faces

from dfdc_utils.widgets import FaceBrowser

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ipywidgets' own, on creating any widget


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return flickering_faces(folder, families=6)


def captions(browser: FaceBrowser) -> list[list[str]]:
    """What each row of the page says, left and right; empty where a side is empty."""
    rows = []
    for row in browser.children[1].children:
        cells = [cell.children for cell in row.children]
        rows.append([cell[0].description if cell else "" for cell in cells])
    return rows


def control(browser: FaceBrowser, kind: type) -> ui.Widget:
    return next(widget for widget in browser.children[0].children if type(widget) is kind)


def test_an_original_stands_beside_its_fake(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=4)
    assert captions(browser) == [[f"REAL real_0{i}", f"FAKE fake_0{i}"] for i in range(4)]


def test_paging_shows_every_video_once(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=4)
    slider = control(browser, ui.IntSlider)
    seen = []
    for page in range(1, slider.max + 1):
        slider.value = page
        seen += [caption.split()[1] for row in captions(browser) for caption in row]
    assert sorted(seen) == sorted(table["video"])


def test_search_keeps_whole_families(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=2)
    control(browser, ui.IntSlider).value = 3
    control(browser, ui.Text).value = "FAKE_03"
    assert captions(browser) == [["REAL real_03", "FAKE fake_03"]]
    assert control(browser, ui.IntSlider).value == 1
    control(browser, ui.Text).value = "nobody"
    assert len(browser.children[1].children) == 1 and "no video" in browser.children[1].children[0].value


def test_worst_first_when_there_are_scores(folder: Path, table: pd.DataFrame) -> None:
    scored = table.assign(score=0.5, mistake=range(len(table)))
    assert captions(FaceBrowser(scored, folder, page_size=1)) == [
        ["REAL real_05, score 0.50", "FAKE fake_05, score 0.50"]
    ]


def test_ticked_rows_come_back_from_any_page(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=1)
    assert browser.picked.empty
    for page in (2, 5):
        control(browser, ui.IntSlider).value = page
        browser.children[1].children[0].children[1].children[0].value = True
    assert browser.picked["video"].tolist() == ["fake_01", "fake_04"]
    control(browser, ui.IntSlider).value = 2  # the tick is still there, and can be taken back
    tick = browser.children[1].children[0].children[1].children[0]
    assert tick.value
    tick.value = False
    assert browser.picked["video"].tolist() == ["fake_04"]


def test_a_missing_partner_leaves_its_side_empty(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table[table["video"] != "real_00"], folder, page_size=1)
    assert captions(browser) == [["", "FAKE fake_00"]]


def test_a_page_is_drawn_at_once(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=4)
    started = time.perf_counter()
    control(browser, ui.IntSlider).value = 2
    assert time.perf_counter() - started < 0.3

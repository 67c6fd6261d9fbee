from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from predictions import prediction, track

from dfdc_utils import plots
from dfdc_utils.plots import describe, page as report, write_page
from dfdc_utils.prediction import Explanation

SEQUENCE = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
HEAT = np.zeros((4, 32, 32), np.float32)
HEAT[2, 8:16, 8:16] = 0.9
EVIDENCE = SEQUENCE, Explanation(HEAT, np.array([0.1, -0.2, 1.5, 0.0], np.float32), 1.0)


class Reader(HTMLParser):
    """What a page asks for, and the texts of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [value for key, value in attrs if key in ("src", "href") and value is not None]
        assert tag != "script"
        if tag == "img":
            self.alts.append(values.get("alt"))


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_a_page_needs_nothing_beside_itself(tmp_path: Path) -> None:
    fake = prediction(track((0.9, 0.8, 0.95), (0.7, 0.6, 0.8)))
    path = write_page(tmp_path / "page.html", [fake], {fake.path: EVIDENCE})
    page = path.read_text(encoding="utf-8")
    seen = read(page)
    assert all(source.startswith("data:") for source in seen.sources)
    assert len(seen.alts) == 3 and all(seen.alts)
    assert "0.0 to 2.0 s: 0.90" in str(seen.alts[0])
    assert "The frame at 1.33 s adds most, +1.5 of +1.4 in logits." in page
    assert "v.mp4: Fake" in page and "trained on videos in 2 folders (a, b)" in page


def test_names_and_errors_are_text_and_no_markup(tmp_path: Path) -> None:
    odd = prediction(status="unreadable", error="<script>alert(1)</script> & more")
    object.__setattr__(odd, "path", Path("a<b>&c.mp4"))
    page = write_page(tmp_path / "page.html", [odd], {}).read_text(encoding="utf-8")
    read(page)
    assert "&lt;script&gt;" in page and "a&lt;b&gt;&amp;c.mp4" in page


def test_many_videos_have_a_table_and_some_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_EXPLAINED", 2)
    some = [prediction(track((score, score, score))) for score in (0.1, 0.9, 0.5)]
    for number, one in enumerate(some):
        object.__setattr__(one, "path", Path(f"video_{number}.mp4"))
    page = write_page(tmp_path / "page.html", some, {}).read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(video_\d)", page)
    assert headings == ["video_1", "video_2"]
    assert "1 more are in the table only" in page and page.count("video_0") >= 1
    assert "<h1>3 videos: 1 fake, 2 no sign of a fake</h1>" in page


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        write_page(tmp_path / "no_such_folder" / "page.html", [prediction(track((0.9, 0.8, 1.0)))], {})


def test_a_piece_without_evidence_or_score() -> None:
    assert describe(prediction(track((0.9, 0.8, 1.0)))).count("<img") == 1
    assert "<img" not in describe(prediction(status="no_face", error="nobody"))


def test_heat_is_bright_where_it_is_and_leaves_the_rest_grey() -> None:
    grey = np.full((32, 32, 3), 120, np.uint8)
    laid = plots.lay_heat(grey, HEAT[2]).astype(int)
    assert np.ptp(laid[20:, 20:], axis=-1).max() == 0
    assert np.ptp(laid[8:16, 8:16], axis=-1).min() > 40
    assert laid[10, 10].sum() > laid[25, 25].sum()


def test_the_score_over_time_takes_any_number_of_people_and_shows_what_was_not_looked_at() -> None:
    one = prediction(*(track((0.9 - n / 10, 0.5, 1.0), (0.2, 0.1, 0.3), number=n) for n in range(6)))
    (axis,) = plots.plot_score_over_time(one).axes
    assert axis.get_title() == "Unsure: score 0.55, above the threshold in 1 of 2 windows"
    assert len(axis.get_legend().get_texts()) == 6
    assert axis.get_xlim() == (0, 3)
    assert plots.plot_score_over_time(replace(one, duration=10.0)).axes[0].get_xlim() == (0, 10)
    with pytest.raises(ValueError, match="no score to plot"):
        plots.plot_score_over_time(prediction(status="no_face"))


def test_a_page_names_no_frame_where_none_raises_the_score() -> None:
    nothing = Explanation(np.zeros_like(HEAT), np.zeros(4, np.float32), 0.0)
    assert "adds most" not in describe(prediction(track((0.1, 0.0, 0.2))), (SEQUENCE, nothing))

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from predictions import model_folder, prediction, track

from dfdc_utils import plots
from dfdc_utils.plots import describe, list_verdicts, page as report, write_page
from dfdc_utils.plots.page import box_faces, draw_still, read_media
from dfdc_utils.prediction import Explanation, Prediction
from dfdc_utils.prediction.verdicts import TrackScore

SEQUENCE = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
HEAT = np.zeros((4, 32, 32), np.float32)
HEAT[2, 8:16, 8:16] = 0.9
WHY = Explanation(HEAT, np.array([0.1, -0.2, 1.5, 0.0], np.float32), 1.0)
FRAME_LOGITS = np.array([-2.0, 0.0, 2.0, 4.0], np.float32)


class Reader(HTMLParser):
    """What a page asks for, and the texts of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [value for key, value in attrs if key in ("src", "href") and value is not None]
        if tag == "img":
            self.alts.append(values.get("alt"))


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of grey, 160 x 120."""
    frames = [np.full((120, 160, 3), 128, np.uint8)] * 60
    return write_clip(tmp_path_factory.mktemp("clip") / "v.mp4", frames, fps=20)


def at(path: Path, one: Prediction) -> Prediction:
    return replace(one, path=path)


def test_a_page_needs_nothing_beside_itself(tmp_path: Path, clip: Path) -> None:
    fake = at(clip, prediction(track((0.9, 0.8, 0.95), (0.7, 0.6, 0.8))))
    page = write_page(tmp_path / "page.html", [fake], {fake.path: (SEQUENCE, WHY)}).read_text(encoding="utf-8")
    seen = read(page)
    assert all(source.startswith("data:") for source in seen.sources)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert sum(source.startswith("data:video/mp4") for source in seen.sources) == 1
    assert seen.alts == [
        "Frame at 1.0 s, faces boxed",
        *(f"{what} at {t}" for t in TIMES for what in ("Face", "Heat map")),
    ]
    assert "<h1>v.mp4</h1>" in page and "Looks fake</h2>" in page and "trained on videos in 2 folders (a, b)" in page
    assert "The frame at 1.33 s" in page and "+1.5 of +1.4 of the evidence." in page


TIMES = ["0.00 s", "0.67 s", "1.33 s", "2.00 s"]


def test_a_page_says_what_it_rests_on_and_what_it_is_not(tmp_path: Path, clip: Path) -> None:
    one = at(clip, prediction(track((0.9, 0.8, 0.95)), track((0.3, 0.2, 0.4), number=1, flaw="too small")))
    page = write_page(tmp_path / "page.html", [replace(one, duration=10.0, left_out=2)], {}).read_text(encoding="utf-8")
    above = page[: page.index("<details>")]
    assert "Person 1 of 2 scores 0.90" in above and "above 0.60 counts as fake" in above
    assert "the score is 0.80 to 0.95" in above and "at most 34% with 95 % confidence" in above
    assert "This is not proof." in above and "Look for the original" in above
    assert re.search(r"Looked at 0 to 3.0 s of 10.0 s; the rest was not looked at", above)
    assert "Not judged: person 2, too small." in above and "Not judged: 2 more people" in above
    digest = read_media([one])[0].digest
    assert len(digest) == 64 and digest in page and "0" * 64 in page  # the file's, the model's
    assert re.search(r"Made 20\d\d-\d\d-\d\d \d\d:\d\d UTC with dfdc_utils [\d.]+, model nowhere", page)


@pytest.mark.parametrize(
    ("person", "error", "said"),
    [
        ((0.9, 0.8, 0.95), "", "This is not proof."),
        ((0.1, 0.0, 0.2), "", "This is not proof that it is real."),
        (None, "v.mp4: nobody. Leave it out.", ""),
    ],
)
def test_the_warning_fits_the_verdict(
    tmp_path: Path, clip: Path, person: tuple[float, float, float] | None, error: str, said: str
) -> None:
    one = prediction(track(person)) if person else prediction(status="no_face", error=error)
    page = write_page(tmp_path / "page.html", [at(clip, one)], {}).read_text(encoding="utf-8")
    assert re.findall(r"This is not proof[\w ]*\.", page) == ([said] if said else [])
    assert page.count(error) == 1 or not error


def test_faces_that_are_rare_in_training_are_said_beside_the_score(tmp_path: Path, clip: Path) -> None:
    person = track((0.1, 0.0, 0.2))
    rare = TrackScore(0, tuple(replace(window, ood_percentile=91.0) for window in person.all_windows))
    page = write_page(tmp_path / "page.html", [at(clip, prediction(rare))], {}).read_text(encoding="utf-8")
    assert "trust the score less" in page[: page.index("<details>")]


def test_people_in_a_still_have_numbers_if_they_are_several(clip: Path) -> None:
    one, other = track((0.9, 0.8, 0.95)), track((0.3, 0.2, 0.4), number=1)
    for person, box in ((one, (10, 10, 70, 100)), (other, (90, 10, 150, 100))):
        for window in person.all_windows:
            window.faces.boxes[:] = box
    white = []
    for people in ([one], [one, other]):
        shown = at(clip, prediction(*people))
        preview = read_media([shown])[0].preview
        assert preview is not None
        white.append((draw_still(preview, list(box_faces(shown, preview, None)), 0.6) == 255).all(axis=-1).sum())
    assert white[0] == 0 and white[1] > 20


def test_one_window_draws_no_line_unless_the_model_scores_frames(tmp_path: Path, clip: Path) -> None:
    one = at(clip, prediction(track((0.9, 0.8, 0.95))))
    many = at(clip, prediction(track((0.9, 0.8, 0.95), (0.2, 0.1, 0.3))))
    by_frame = (SEQUENCE, replace(WHY, frame_logits=FRAME_LOGITS))
    pages = [
        write_page(tmp_path / "page.html", [shown], {clip: why} if why else {}).read_text(encoding="utf-8")
        for shown, why in ((one, None), (one, by_frame), (many, by_frame))
    ]
    assert [page.count("<polyline") for page in pages] == [0, 1, 1]
    assert "Score of each frame" in pages[1] and "Score of each window" in pages[2]
    assert "<figcaption>0.67 s<br>0.50</figcaption>" in pages[1]  # the frame's own score, below its face


def test_the_player_knows_where_each_face_is_and_its_score(clip: Path) -> None:
    person = track((0.9, 0.8, 0.95), (0.5, 0.4, 0.6))  # from 0 to 2 s and from 1 to 3 s
    for window in person.all_windows:
        window.faces.boxes[:] = (40, 30, 80, 60)
    one = at(clip, prediction(person, track((0.3, 0.2, 0.4), number=1, flaw="too small")))
    preview = read_media([one])[0].preview
    assert preview is not None
    seen, other = box_faces(one, preview, None)
    assert seen["times"] == sorted(seen["times"]) and len(seen["times"]) == 8
    assert seen["boxes"][0] == [0.25, 0.25, 0.5, 0.5]
    assert seen["scores"][0] == 0.9 and seen["scores"][-1] == 0.5
    assert other["scores"] == [None] * 4 and seen["decides"] and not other["decides"]
    json.dumps([seen, other])


def test_names_and_errors_are_text_and_no_markup(tmp_path: Path) -> None:
    odd = prediction(status="unreadable", error="<script>alert(1)</script> & more")
    odd = at(Path("a<b>&c.mp4"), odd)
    page = write_page(tmp_path / "page.html", [odd], {}).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in page and "<script>alert" not in page and "a&lt;b&gt;&amp;c.mp4" in page
    shown = describe(odd)
    assert "<script>" not in shown and shown.count("<iframe") == 1  # what the frame holds is an attribute


def test_many_videos_have_a_table_and_some_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_EXPLAINED", 2)
    some = [at(tmp_path / f"video_{n}.mp4", prediction(track((s, s, s)))) for n, s in enumerate((0.1, 0.9, 0.95))]
    some.append(at(tmp_path / "b" / "video_1.mp4", prediction(status="no_face", error="nobody")))
    page = write_page(tmp_path / "page.html", some, {}).read_text(encoding="utf-8")
    assert "<h1>4 videos: 2 look fake, 1 no sign of a fake, 1 not judged</h1>" in page
    assert re.findall(r"<h2>(.*)</h2>", page) == ["video_2.mp4", "video_1.mp4"]
    assert re.findall(r'href="(#.*?)">(.*?)<', page) == [("#video-1", "video_2.mp4"), ("#video-2", "video_1.mp4")]
    assert re.findall(r'id="(video-\d)"', page) == ["video-1", "video-2"]
    assert "b/video_1.mp4" in page and "2 more are in the table only" in page
    alone = list_verdicts(some).replace("&lt;", "<").replace("&gt;", ">")
    assert "<h1>4 videos" in alone and "This is not proof." in alone and "at most 34% with 95 % confidence" in alone


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        write_page(tmp_path / "no_such_folder" / "page.html", [prediction(track((0.9, 0.8, 1.0)))], {})


def test_a_file_that_is_gone_leaves_the_verdict_without_a_picture() -> None:
    gone = prediction(track((0.9, 0.8, 1.0)))
    assert "file not found" in describe(gone) or "No such file" in describe(gone)
    assert "Fake: v.mp4" in describe(gone) and "data:video" not in describe(gone)
    assert "nobody" in describe(prediction(status="no_face", error="nobody"))


def test_a_notebook_shows_a_verdict_by_itself_also_without_scripts(clip: Path) -> None:
    shown = at(clip, prediction(track((0.9, 0.8, 0.95))))._repr_html_()
    static = shown[: shown.index("<iframe")]
    assert static.count("<img") == 2 and 'alt="Score 0.90, threshold 0.60"' in static  # the boxed frame, the gauge
    assert "This is not proof." in static and "<script" not in shown and "data:video/mp4" in shown


def test_words_name_doubts_and_fake_parts(clip: Path) -> None:
    still = prediction(track((0.9, 0.8, 1.0)), folder=model_folder(time_step=5.0))
    assert "Treat the score as a guess." in describe(still).partition("<iframe")[0]
    crossing = prediction(track((0.62, 0.5, 0.7)))
    assert "0.50 to 0.70, on both sides of the threshold" in describe(crossing).partition("<iframe")[0]
    spliced = prediction(track(*[(0.1, 0.0, 0.2)] * 9, (0.9, 0.8, 0.95)))
    assert "<p>1 of 10 windows score above 0.60, the highest" in describe(spliced).partition("<iframe")[0]


def test_heat_is_bright_where_it_is_and_leaves_the_rest_grey() -> None:
    grey = np.full((32, 32, 3), 120, np.uint8)
    laid = plots.lay_heat(grey, HEAT[2]).astype(int)
    assert np.ptp(laid[20:, 20:], axis=-1).max() == 0
    assert np.ptp(laid[8:16, 8:16], axis=-1).min() > 40
    assert laid[10, 10].sum() > laid[25, 25].sum()


def test_a_page_names_no_frame_where_none_raises_the_score() -> None:
    nothing = Explanation(np.zeros_like(HEAT), np.zeros(4, np.float32), 0.0)
    assert "adds most" not in describe(prediction(track((0.1, 0.0, 0.2))), (SEQUENCE, nothing))


def test_colours_stand_out_from_the_page_in_light_and_dark() -> None:
    """WCAG 2 asks for 4.5:1 for text and 3:1 for graphics; here all colours serve both."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = np.frombuffer(bytes.fromhex(digits), np.uint8) / 255
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    style = (Path(report.__file__).parent / "templates/style.css").read_text()
    colours = {name: pair for name, *pair in re.findall(r"--(\w+): light-dark\((#\w+), (#\w+)\)", style)}
    backs = colours.pop("back")
    assert {"text", "faint", "line", "fake", "clear", "unsure", "none"} <= set(colours)
    for name, pair in colours.items():
        for colour, back in zip(pair, backs, strict=True):
            dark, light = sorted((luminance(colour), luminance(back)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour, back)

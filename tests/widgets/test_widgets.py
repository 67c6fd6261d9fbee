from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import ipywidgets as ui
import numpy as np
import pandas as pd
import pytest
from clips import write_clip
from faces_on_disk import SMALL, flickering_faces, write_video_faces
from ipywidgets.widgets.widget import _instances
from predictions import prediction, track

from dfdc_utils.faces import write_faces
from dfdc_utils.prediction import Prediction
from dfdc_utils.processing import read_manifest
from dfdc_utils.widgets import FaceBrowser, ThresholdExplorer, VideoJudge, faces, verdict
from dfdc_utils.widgets.faces import clip_detail

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ipywidgets' own, on creating any widget

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return flickering_faces(folder, families=6)


def visible(widget: ui.Widget) -> Iterator[ui.Widget]:
    """A widget and all in it that one sees, in the order in which Tab goes through them."""
    if widget.layout.display != "none" and widget.layout.visibility != "hidden":
        yield widget
        for child in getattr(widget, "children", ()):
            yield from visible(child)


def all_of(widget: ui.Widget, kind: type) -> list[Any]:
    return [found for found in visible(widget) if type(found) is kind]


def control(browser: ui.Widget, description: str) -> Any:
    """The control, or the button, that is called so."""
    return next(found for found in visible(browser) if getattr(found, "description", None) == description)


def captions(browser: FaceBrowser) -> list[str]:
    """What the tiles of the page say, left to right, row by row."""
    return [tick.description for tick in all_of(browser, ui.Checkbox)]


def text(browser: ui.Widget) -> str:
    return "\n".join(html.value for html in all_of(browser, ui.HTML))


def tick(browser: FaceBrowser, video: str) -> ui.Checkbox:
    return next(box for box in all_of(browser, ui.Checkbox) if video in box.description)


def open_first(browser: FaceBrowser) -> None:
    control(browser, "open").click()


def test_an_original_stands_beside_its_fake(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=4)
    assert captions(browser) == [f"{label} {label.lower()}_0{i}" for i in range(4) for label in ("REAL", "FAKE")]


def test_paging_shows_every_video_once(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=4)
    seen = captions(browser)
    control(browser, "next").click()
    seen += captions(browser)
    assert sorted(caption.split()[1] for caption in seen) == sorted(table["video"])
    assert "page 2 of 2, 12 videos" in text(browser)
    control(browser, "next").click()  # at the end it stays
    assert control(browser, "page").value == control(browser, "page").max == 2
    control(browser, "previous").click()
    assert captions(browser) == seen[:8]
    control(browser, "page").value = 2
    assert captions(browser) == seen[8:]


def test_search_keeps_whole_source_groups(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=2)
    control(browser, "page").value = 3
    control(browser, "find").value = "FAKE_03"
    assert captions(browser) == ["REAL real_03", "FAKE fake_03"]
    assert control(browser, "page").value == 1
    control(browser, "find").value = "nobody"
    assert captions(browser) == [] and "no video matches" in text(browser)


def test_orders_are_those_that_the_table_has(folder: Path, table: pd.DataFrame) -> None:
    assert control(FaceBrowser(table, folder), "order").options == ("by name",)
    scored = table.assign(score=np.linspace(0.9, 0.1, 12), mistake=range(12), faces_detected=[4] * 8 + [1] + [4] * 3)
    browser = FaceBrowser(scored, folder, page_size=1)
    assert captions(browser) == ["REAL real_05, score 0.17", "FAKE fake_05, score 0.10"]  # the worst mistake
    for order, video in (("highest score", "real_00"), ("fewest faces detected", "real_04"), ("by name", "real_00")):
        control(browser, "order").value = order
        assert video in captions(browser)[0]


def test_filters_by_status_label_and_score(folder: Path, table: pd.DataFrame) -> None:
    scored = table.assign(status=["ok"] * 11 + ["no_face"], score=[*np.linspace(0, 1, 11), np.nan])
    browser = FaceBrowser(scored, folder, page_size=6)
    assert len(captions(browser)) == 12
    control(browser, "status").value = "no_face"
    assert captions(browser) == ["FAKE fake_05"]
    control(browser, "status").value = "any"
    control(browser, "label").value = "FAKE"
    assert captions(browser) == [f"FAKE fake_0{i}, score 0.{2 * i + 1}0" for i in range(5)] + ["FAKE fake_05"]
    control(browser, "score").value = (0.25, 0.75)  # which a video without a score is not in
    assert captions(browser) == ["FAKE fake_01, score 0.30", "FAKE fake_02, score 0.50", "FAKE fake_03, score 0.70"]


def test_a_filter_with_nothing_to_choose_is_not_there(folder: Path, table: pd.DataFrame) -> None:
    names = [found.description for found in visible(FaceBrowser(table, folder)) if hasattr(found, "description")]
    assert "label" in names and "status" not in names and "score" not in names


def test_a_video_without_faces_says_why_and_has_no_picture(folder: Path, table: pd.DataFrame) -> None:
    rows = {"video": ["<i>x</i>", "y"], "label": ["REAL", "FAKE"], "original": "<i>x</i>", "score": np.nan}
    broken = pd.DataFrame({**rows, "status": ["unreadable", "no_face"], "error": ["cut & <b>torn</b>", ""]})
    browser = FaceBrowser(broken, folder)
    shown = text(browser)
    assert "cannot be read: cut &amp; &lt;b&gt;torn&lt;/b&gt;" in shown and "no face found: no reason" in shown
    assert "<img" not in shown and "<b>" not in shown
    open_first(browser)
    assert "<strong>REAL &lt;i&gt;x&lt;/i&gt;</strong>" in text(browser) and "<i>" not in text(browser)
    assert "torn&lt;/b&gt;" in text(browser)


def test_faces_that_are_gone_are_named(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table.assign(video="gone"), folder, page_size=1)
    assert "gone: no faces in" in text(browser)
    open_first(browser)
    assert "gone: no faces in" in text(browser)


def test_ticked_rows_come_back_from_any_page(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder, page_size=1)
    assert browser.picked.empty
    for page, video in ((2, "fake_01"), (5, "fake_04")):
        control(browser, "page").value = page
        tick(browser, video).value = True
    control(browser, "page").value = 1
    assert not any(box.value for box in all_of(browser, ui.Checkbox))
    assert browser.picked["video"].tolist() == ["fake_01", "fake_04"]
    control(browser, "page").value = 2  # the tick is still there, and can be taken back
    assert tick(browser, "fake_01").value
    tick(browser, "fake_01").value = False
    assert browser.picked["video"].tolist() == ["fake_04"]


def test_a_missing_partner_leaves_its_side_empty(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table[table["video"] != "real_00"], folder, page_size=2)
    assert captions(browser) == ["FAKE fake_00", "REAL real_01", "FAKE fake_01"]
    rows = [box for box in all_of(browser, ui.HBox) if all(isinstance(child, ui.VBox) for child in box.children)]
    left, right = rows[0].children
    assert left.layout.visibility == "hidden" and right.layout.visibility == "visible"


def test_every_picture_has_its_text(folder: Path, table: pd.DataFrame) -> None:
    browser = FaceBrowser(table, folder)
    pictures = re.findall(r"<img[^>]*>", text(browser))
    assert len(pictures) == 8
    assert 'alt="8 faces of REAL real_00, in order of time"' in pictures[0]
    open_first(browser)
    pictures = re.findall(r"<img[^>]*>", text(browser))
    assert [re.findall('alt="(.*?)"', picture) for picture in pictures] == [[f"face at 0.{i}0 s"] for i in range(4)]


def test_an_opened_video_takes_the_place_of_its_page_and_gives_the_focus_back(
    folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    focused: list[str] = []
    monkeypatch.setattr(ui.Button, "focus", lambda button: focused.append(f"{button.description} {button.tooltip}"))
    browser = FaceBrowser(table, folder, page_size=2)
    all_of(browser, ui.Button)[4].click()  # previous, next, and the third tile's
    assert captions(browser) == [] and "<strong>REAL real_01</strong>: 4 of 4 faces detected." in text(browser)
    control(browser, "close").click()
    assert len(captions(browser)) == 4 and "<strong>" not in text(browser)
    assert [name.split(":")[0] for name in focused] == ["close back to the page", "open open real_01"]
    open_first(browser)
    control(browser, "next").click()  # another page closes it as well
    assert captions(browser)[0] == "REAL real_02"


def test_pages_leave_nothing_behind(folder: Path, table: pd.DataFrame) -> None:
    """ipywidgets holds on to every widget that was ever made."""
    browser = FaceBrowser(table, folder, page_size=1)
    before = len(_instances)
    for page in (2, 3, 4, 5, 6, 1):
        control(browser, "page").value = page
        open_first(browser)
        control(browser, "close").click()
    assert len(_instances) == before


def test_what_is_stored_of_a_widget_is_short_and_the_same_each_time(folder: Path, table: pd.DataFrame) -> None:
    assert repr(FaceBrowser(table, folder)) == "FaceBrowser(12 videos, 2 pages)"
    scores = pd.DataFrame({"label": ["REAL", "FAKE"], "score": [0.2, 0.7]})
    assert repr(ThresholdExplorer(scores)) == "ThresholdExplorer(2 videos)"


def test_a_detail_shows_frames_of_the_video_while_it_is_there(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [np.full((120, 160, 3), 128, np.uint8)] * 8, fps=20)
    record = {"video": "a", "config": asdict(SMALL), "source_bytes": clip.stat().st_size, "error": "", "frames": 4}
    write_faces(tmp_path, record | {"status": "no_face"}, [], np.empty(0))
    row = {"video": "a", "label": "REAL", "status": "no_face", "error": "none seen", "path": str(clip)}
    shown = clip_detail(tmp_path, row)
    assert shown.count("<img") == 4 and 'alt="frame at 0.05 s, no box"' in shown and "none seen" in shown
    assert "no path to the video" in clip_detail(tmp_path, row | {"path": ""})
    clip.unlink()
    assert "a.mp4: file not found" in clip_detail(tmp_path, row)


def test_an_unreadable_video_is_not_decoded_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"video": "a", "config": asdict(SMALL), "source_bytes": 1, "status": "unreadable", "error": "hung"}
    write_faces(tmp_path, record, [], np.empty(0))
    monkeypatch.setattr("dfdc_utils.plots.boxed_frames", lambda *_: pytest.fail("it might hang again"))
    row = {"video": "a", "label": "", "status": "unreadable", "error": "hung", "path": "a.mp4"}
    assert "cannot be read: hung" in clip_detail(tmp_path, row)


def test_a_damaged_crop_leaves_the_rest_of_the_detail(tmp_path: Path) -> None:
    write_video_faces(tmp_path, "a", [np.zeros((32, 32, 3), np.uint8)] * 4)
    (tmp_path / "a" / "0" / "002.jpg").unlink()
    shown = clip_detail(tmp_path, {"video": "a", "label": "REAL", "path": ""})
    assert "a: 0/002.jpg is missing or damaged" in shown and "4 of 4 faces detected" in shown


@pytest.mark.parametrize(("detector", "timelines"), [("yunet", 2), ("haar", 0)])
def test_a_detail_has_a_timeline_per_person_but_not_of_haar(tmp_path: Path, detector: str, timelines: int) -> None:
    """Haar's scores are always 1."""
    write_video_faces(tmp_path, "a", [np.zeros((32, 32, 3), np.uint8)] * 4, replace(SMALL, detector=detector), people=2)
    shown = clip_detail(tmp_path, {"video": "a", "label": "REAL", "path": ""})
    alts = re.findall('alt="(Score.*?)"', shown)
    assert alts == [f"Score of the detector (yunet), person {n}: 4 of 4 faces detected" for n in (1, 2)][:timelines]
    assert shown.count("data:image/svg+xml") == timelines


def test_pages_and_details_of_the_sample_are_drawn(sample: Path, sample_faces: Path) -> None:
    manifest = read_manifest(sample_faces)  # a notebook may have written it, with paths as seen from there
    manifest["path"] = [str(sample / Path(path).parent.name / Path(path).name) for path in manifest["path"]]
    browser = FaceBrowser(manifest, sample_faces, page_size=4)
    control(browser, "page").value = 2
    assert text(browser).count("<img") == 8
    row = manifest[manifest["status"] == "ok"].iloc[0].to_dict()
    assert clip_detail(sample_faces, row).count("<img") == 16 + 4


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = [("REAL", 0.1), ("REAL", 0.2), ("REAL", 0.3), ("REAL", 0.7), ("FAKE", 0.4), ("FAKE", 0.9)]
    return pd.DataFrame(rows, columns=["label", "score"])


def test_the_matrix_follows_the_threshold(scores: pd.DataFrame) -> None:
    explorer = ThresholdExplorer(scores)
    assert explorer.threshold == 0.5
    assert explorer.counts.to_numpy().tolist() == [[3, 1], [1, 1]]
    slider = control(explorer, "threshold")
    assert slider.step == 0.01
    slider.value = 0.35
    assert explorer.counts.to_numpy().tolist() == [[3, 1], [0, 2]]
    cells = re.findall(r"<strong>(\d+)</strong><br><small>([a-z ]+)<", text(explorer))
    assert cells == [("3", "cleared"), ("1", "false positives"), ("0", "missed"), ("2", "found")]
    assert "False positive rate: <strong>25 %</strong> (1 of 4; 95 % interval 1 to 81 %)" in text(explorer)
    assert "Recall: <strong>100 %</strong> (2 of 2; 95 % interval 16 to 100 %)" in text(explorer)
    assert "3.8 % of those called fake would be fake" in text(explorer)  # 1 / (1 + 100 / 4)
    assert "(1.2 % at the upper end" in text(explorer)
    slider.value = 1
    assert "Nothing is called fake." in text(explorer) and "nan" not in text(explorer)


def test_the_threshold_moves_along_the_scores(scores: pd.DataFrame) -> None:
    explorer = ThresholdExplorer(scores, threshold=0)
    at = []
    for value in (0, 0.5, 1):
        control(explorer, "threshold").value = value
        (x,) = re.findall(r'<path d="M([\d.]+) 0V', text(explorer))
        at.append(float(x))
    real = [float(x) for x in re.findall(r"M([\d.]+) 4v", text(explorer))]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2, abs=0.1)
    np.testing.assert_allclose((np.array(real) - at[0]) / (at[2] - at[0]), [0.1, 0.2, 0.3, 0.7], atol=0.001)


@pytest.mark.parametrize(("rows", "message"), [(slice(0, 4), "4 REAL and 0 FAKE"), (slice(0, 0), "0 REAL and 0 FAKE")])
def test_one_class_has_no_threshold(scores: pd.DataFrame, rows: slice, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ThresholdExplorer(scores.iloc[rows])
    with pytest.raises(ValueError, match="a table without score"):
        ThresholdExplorer(scores[["label"]])


def test_many_videos_do_not_make_the_picture_larger() -> None:
    generator = np.random.default_rng(0)
    many = pd.DataFrame({"label": generator.choice(["REAL", "FAKE"], 100_000), "score": generator.random(100_000)})
    explorer = ThresholdExplorer(many)
    control(explorer, "threshold").value = 0.2
    assert len(text(explorer)) < 50_000


class Judge:
    """A detector that knows its answers."""

    def __init__(self, **answers: Prediction) -> None:
        self.answers, self.asked = answers, list[tuple[str, bool]]()

    def predict(self, path: Path, *, whole: bool) -> Prediction:
        self.asked.append((path.name, whole))
        if path.stem not in self.answers:
            raise FileNotFoundError("YuNet's weights <are> missing")
        return self.answers[path.stem]

    def predict_many(self, paths: list[Path], *, whole: bool, show_progress: bool) -> Iterator[Prediction]:
        assert not show_progress  # the widget shows its own
        return (replace(self.predict(path, whole=whole), path=path) for path in paths)

    def gather_evidence(self, predictions: list[Prediction]) -> dict[Path, Any]:
        return {}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of files that look like videos, and another."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("fake.mp4", "nobody.mp4"):
        write_clip(folder / name, [np.full((120, 160, 3), 128, np.uint8)] * 8, fps=20)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture
def detector() -> Judge:
    return Judge(fake=prediction(track((0.9, 0.8, 0.95))), nobody=prediction(status="no_face", error="no face"))


def press_enter(judge: VideoJudge) -> None:
    control(judge, "Video")._handle_custom_msg({"event": "submit"}, [])


def test_a_video_is_judged_by_its_path(videos: Path, detector: Judge) -> None:
    judge = VideoJudge(detector, videos / "fake.mp4")  # type: ignore[arg-type]
    assert judge.prediction is detector.answers["fake"] and "<strong>Fake: v.mp4" in text(judge)
    control(judge, "Video").value = str(videos / "nobody.mp4")
    control(judge, "the whole video, not only its first seconds").value = True
    control(judge, "Score it").click()
    assert "Not judged: no face found" in text(judge) and "<img" not in text(judge)
    assert detector.asked == [("fake.mp4", False), ("nobody.mp4", True)]
    control(judge, "Video").value = "gone.mp4"
    press_enter(judge)
    assert "YuNet&#39;s weights &lt;are&gt; missing" in text(judge)
    for nothing in (" ", "https://example.org/a.mp4"):
        control(judge, "Video").value = nothing
        press_enter(judge)
        assert "Enter the path of a video on this machine" in text(judge)
    assert not control(judge, "Score it").disabled


def test_a_video_is_picked_in_a_folder_without_upload(videos: Path, detector: Judge) -> None:
    judge = VideoJudge(detector, videos / "nobody.mp4")  # type: ignore[arg-type]
    pick = control(judge, "or pick")
    assert [label for label, _ in pick.options] == [pick.label, "fake.mp4", "nobody.mp4"]
    assert pick.label == f"2 videos in {videos}, without its subfolders"
    for _ in range(2):  # the same one can be picked again
        pick.value = str(videos / "fake.mp4")
    assert [name for name, _ in detector.asked] == ["nobody.mp4", "fake.mp4", "fake.mp4"]
    assert "<strong>Fake: v.mp4" in text(judge) and control(judge, "Video").value == str(videos / "fake.mp4")


def test_a_path_may_stand_in_quotes(videos: Path, detector: Judge) -> None:
    judge = VideoJudge(detector)  # type: ignore[arg-type]
    control(judge, "Video").value = f"'{videos / 'fake.mp4'}' "
    press_enter(judge)
    assert "<strong>Fake" in text(judge)
    quoted = videos.parent / "'quoted'"
    quoted.mkdir()
    control(judge, "Video").value = str(shutil.copy(videos / "fake.mp4", quoted / "fake.mp4'"))
    press_enter(judge)
    assert [name for name, _ in detector.asked] == ["fake.mp4", "fake.mp4'"]


def test_a_folder_gives_a_table_of_verdicts(videos: Path, detector: Judge) -> None:
    judge = VideoJudge(detector)  # type: ignore[arg-type]
    control(judge, "Video").value = str(videos)
    press_enter(judge)
    assert [one.path.name for one in judge.predictions] == ["fake.mp4", "nobody.mp4"]
    assert "2 videos: 1 looks fake, 1 not judged" in text(judge)
    assert len(control(judge, "or pick").options) == 3 and judge.prediction is None
    control(judge, "or pick").value = str(videos / "fake.mp4")
    assert judge.prediction is not None and judge.predictions == []
    control(judge, "Video").value = str(videos.parent / "empty")
    (videos.parent / "empty").mkdir()
    press_enter(judge)
    assert "no videos found" in text(judge)


def test_the_old_answer_goes_before_the_new_one_is_sought(videos: Path, detector: Judge) -> None:
    judge = VideoJudge(detector, videos / "fake.mp4")  # type: ignore[arg-type]
    answers = []
    predict = detector.predict
    detector.predict = lambda path, whole: [answers.append(text(judge)), predict(path, whole=whole)][1]  # type: ignore
    control(judge, "or pick").value = str(videos / "nobody.mp4")
    assert "iframe" not in answers[0] and "finding the faces in nobody.mp4" in answers[0]


@pytest.mark.parametrize("name", ["fake.mp4", "C:\\films\\fake.mp4", "../../fake.mp4"])
def test_an_upload_is_judged_and_deleted_whatever_folders_its_name_holds(
    name: str, videos: Path, detector: Judge
) -> None:
    judge = VideoJudge(detector, videos / "nobody.mp4")  # type: ignore[arg-type]
    upload = {"name": name, "type": "video/mp4", "size": 3, "content": memoryview(b"abc"), "last_modified": NOW}
    control(judge, "or upload one").value = (upload,)
    assert [name for name, _ in detector.asked] == ["nobody.mp4", "fake.mp4"] and "<strong>Fake" in text(judge)
    assert control(judge, "or upload one").value == ()
    assert control(judge, "Video").value == ""  # it would name another file than the verdict


class TestTwoThreads:
    """JupyterLab sends a widget's messages to two threads of its kernel, now to the one, now to the other."""

    @staticmethod
    def overtake(patch: pytest.MonkeyPatch, place: Any, slow: str, first: Callable[[], object]) -> Callable[[], object]:
        """Begin the `first` in a thread that sticks in the function `slow`; what is returned ends it."""
        work, begun, go_on = getattr(place, slow), Event(), Event()

        def stick(*given: Any, **named: Any) -> Any:
            result = work(*given, **named)
            if not begun.is_set():
                begun.set()
                go_on.wait(0.5)  # one that waits for its turn never lets it go on
            return result

        patch.setattr(place, slow, stick)
        thread = Thread(target=first)
        thread.start()
        assert begun.wait(10)
        return lambda: (go_on.set(), thread.join())

    def test_a_page_is_of_one_choice(self, folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
        browser = FaceBrowser(table, folder, page_size=2)
        label = control(browser, "label")
        end = self.overtake(monkeypatch, faces, "_strip", lambda: setattr(label, "value", "REAL"))
        label.value = "FAKE"
        end()
        assert [caption.split()[0] for caption in captions(browser)] == ["FAKE"] * 4

    def test_the_counts_are_those_of_the_threshold(self, scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
        explorer = ThresholdExplorer(scores)
        slider = control(explorer, "threshold")
        end = self.overtake(monkeypatch, explorer, "_render", lambda: setattr(slider, "value", 0.2))
        slider.value = 0.8
        end()
        assert text(explorer) == text(ThresholdExplorer(scores, threshold=0.8))

    def test_an_answer_is_of_the_video_last_asked_for(
        self, videos: Path, detector: Judge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge = VideoJudge(detector, videos / "nobody.mp4")  # type: ignore[arg-type]
        pick, path = control(judge, "or pick"), control(judge, "Video")
        end = self.overtake(monkeypatch, verdict, "describe", lambda: setattr(pick, "value", str(videos / "fake.mp4")))
        path.value = str(videos / "nobody.mp4")
        press_enter(judge)
        end()
        assert "Not judged" in text(judge) and judge.prediction is detector.answers["nobody"]
        assert path.value == str(videos / "nobody.mp4")

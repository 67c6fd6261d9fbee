from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from clips import write_clip
from faces_on_disk import SMALL, flickering_faces
from sklearn import metrics

from dfdc_utils import plots
from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.evaluation import bootstrap_interval
from dfdc_utils.faces import Track, read_faces, write_faces
from dfdc_utils.faces.tracks import CroppedTrack
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots import describe_track

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def track_of(detected: list[bool]) -> Track:
    seen = np.array(detected)
    boxes = np.tile([20.0, 10.0, 40.0, 50.0], (len(seen), 1))
    return Track(boxes=boxes, scores=seen.astype(float), detected=seen, filled=~seen)


def test_a_detected_box_is_whole_and_a_filled_one_dashed() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    track = track_of([True, False])
    detected, filled = (plots.draw_boxes(image, track, index, thickness=2) for index in (0, 1))
    assert not image.any()  # the frame itself stays clean
    top_edge = slice(22, 58)
    assert detected[10, top_edge].any(axis=1).all()
    assert 0.3 < filled[10, top_edge].any(axis=1).mean() < 0.8
    assert tuple(detected[10, 40]) == (0x01, 0x73, 0xB2)
    assert {tuple(pixel) for pixel in filled[10, top_edge] if pixel.any()} == {(0xD5, 0x5E, 0x00)}


def test_a_frame_without_box_is_left_as_it_is() -> None:
    track = Track(np.full((1, 4), np.nan), np.zeros(1), np.zeros(1, bool), np.zeros(1, bool))
    image = np.full((50, 50, 3), 7, np.uint8)
    np.testing.assert_array_equal(plots.draw_boxes(image, track, 0), image)


def write_one(folder: Path, detected: list[bool], people: int = 1, detector: str = "yunet") -> None:
    crops = [np.full((32, 32, 3), 40 * (index % 6 + 1), np.uint8) for index in range(len(detected))]
    config = asdict(SMALL) | {"detector": detector}
    record = {"video": "one", "config": config, "source_bytes": 1, "status": "ok", "error": ""}
    record["frames"] = len(detected)
    people = [CroppedTrack(track_of(detected), list(range(len(crops))), crops)] * people
    write_faces(folder, record, people, np.arange(len(crops)) * 1.0)


def test_a_strip_shows_faces_in_order_and_marks_filled_ones(tmp_path: Path) -> None:
    write_one(tmp_path, [True, False, True])
    strip = plots.face_strip(tmp_path, "one", faces=3, size=48)
    assert strip.shape == (48, 144, 3)
    centres = strip[24, [24, 72, 120]].mean(axis=1)
    assert (np.diff(centres) > 25).all()
    orange = (strip == (0xD5, 0x5E, 0x00)).all(axis=2)
    assert not orange[:, :48].any() and orange[:, 48:96].any() and not orange[:, 96:].any()


def test_a_video_without_faces_gives_a_strip_of_the_same_size(tmp_path: Path) -> None:
    record = {"video": "none", "config": asdict(SMALL), "source_bytes": 1, "status": "no_face", "error": "x"}
    write_faces(tmp_path, record, [], np.empty(0))
    assert plots.face_strip(tmp_path, "none", faces=3, size=48).shape == (48, 144, 3)


def test_a_crop_that_is_gone_is_named(tmp_path: Path) -> None:
    write_one(tmp_path, [True, True])
    (tmp_path / "one" / "0" / "001.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"one: 0/001\.jpg is missing or damaged"):
        plots.face_strip(tmp_path, "one")


def test_a_sheet_shows_videos_without_faces_as_such(tmp_path: Path) -> None:
    rows = [("x", "REAL", "no_face"), ("y", "FAKE", "unreadable")]  # the second has no folder
    table = pd.DataFrame(rows, columns=["video", "label", "status"])
    figure = plots.contact_sheet(tmp_path, table.assign(score=float("nan")))
    assert [axis.get_title() for axis in figure.axes] == ["REAL  x", "FAKE  y"]
    grey, other = (np.asarray(axis.images[0].get_array()) for axis in figure.axes)
    assert (grey != other).any(), "each says what it is"


def test_a_track_is_shown_whole_with_its_times_and_timeline(tmp_path: Path) -> None:
    write_one(tmp_path, [True, False, True])
    *crops, timeline = plots.show_track(tmp_path, "one").axes
    assert [axis.get_xlabel() for axis in crops] == ["0.00 s", "1.00 s", "2.00 s"]
    marked = [(axis.images[0].get_array() == (0xD5, 0x5E, 0x00)).all(axis=2).any() for axis in crops]
    assert marked == [False, True, False]
    assert timeline.figure.get_suptitle() == "one: 2 of 3 faces detected, 1 filled"
    lines = {line.get_label(): line.get_xydata() for line in timeline.lines}
    np.testing.assert_allclose(lines["detected"], [[0, 1], [1, np.nan], [2, 1]])
    np.testing.assert_allclose(lines["filled"], [[1, 0]])
    assert "seconds" in timeline.get_xlabel()


def test_each_person_has_a_timeline_and_long_tracks_have_rows(tmp_path: Path) -> None:
    write_one(tmp_path, [True] * 17, people=2)
    *crops, first, second = plots.show_track(tmp_path, "one", track=1).axes
    assert len(crops) == 17 and crops[16].get_position().y0 < crops[0].get_position().y0
    assert "person 1: 17 of 17 faces detected" in first.get_title()
    assert "person 2" in second.get_title()
    with pytest.raises(ValueError, match="one has 2 tracks, so none numbered 2"):
        plots.show_track(tmp_path, "one", track=2)


def test_no_timeline_of_haar_whose_scores_are_all_one(tmp_path: Path) -> None:
    write_one(tmp_path, [True, True], people=2, detector="haar")
    assert len(plots.show_track(tmp_path, "one").axes) == 2, "crops only"


def test_frames_left_out_are_counted(tmp_path: Path) -> None:
    write_one(tmp_path, [True] * 3)
    record = read_faces(tmp_path, "one") | {"frames": 5}
    assert describe_track(record) == "3 of 5 faces detected, 2 left out"


def test_one_frame_has_a_timeline_too(tmp_path: Path) -> None:
    write_one(tmp_path, [True])
    assert plots.plot_timeline(read_faces(tmp_path, "one")).axes[0].get_xlim() == (0, 0.1)


@pytest.fixture(scope="module")
def grey_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "grey.mp4"
    return write_clip(path, [np.full((120, 160, 3), 128, np.uint8)] * 8, fps=20)


def boxed_record(path: Path, detected: list[bool], people: int = 1, **changes: object) -> dict[str, object]:
    """What `faces.json` would say of a clip of 20 frames a second, all of whose frames were sampled."""
    frames = [
        {"file": "", "time": index / 20, "box": [20.0, 10.0, 40.0, 50.0], "score": float(seen)}
        | {"origin": "detected" if seen else "filled"}
        for index, seen in enumerate(detected)
    ]
    config = asdict(replace(SMALL, frame_count=len(detected), capture_sec=len(detected) / 20))
    record = {"config": config, "source_bytes": path.stat().st_size, "status": "ok", "frames": len(frames)}
    return record | {"tracks": [{"frames": frames}] * people} | changes


def test_frames_show_detected_and_filled_boxes(grey_clip: Path) -> None:
    shown = plots.boxed_frames(boxed_record(grey_clip, [True, True, False, True, True, True, True, True]), grey_clip)
    assert [caption for caption, _ in shown] == [
        "0.00 s, detected",
        "0.10 s, filled",
        "0.20 s, detected",
        "0.35 s, detected",
    ]
    blue, orange = ((0x01, 0x73, 0xB2), (0xD5, 0x5E, 0x00))
    for caption, image in shown:
        colours = {tuple(pixel) for pixel in image[10, 22:58]}
        assert (orange if "filled" in caption else blue) in colours
    small = plots.boxed_frames(boxed_record(grey_clip, [True] * 8), grey_clip, count=2, longest_side=80)
    assert [image.shape for _, image in small] == [(60, 80, 3)] * 2
    assert tuple(small[0][1][5, 20]) == blue, "the box is scaled with its frame"


def test_frames_of_a_video_without_faces_have_no_box(grey_clip: Path) -> None:
    shown = plots.boxed_frames(boxed_record(grey_clip, [True] * 8, tracks=[]), grey_clip, count=3)
    assert [caption.split(", ")[1] for caption, _ in shown] == ["no box"] * 3
    assert all(np.ptp(image.astype(int)) < 12 for _, image in shown)


def test_two_people_are_numbered(grey_clip: Path) -> None:
    one, two = (plots.boxed_frames(boxed_record(grey_clip, [True] * 8, people), grey_clip)[0][1] for people in (1, 2))
    assert (one != two).any()


def test_frames_of_another_file_are_refused(grey_clip: Path, tmp_path: Path) -> None:
    record = boxed_record(grey_clip, [True] * 8)
    with pytest.raises(ValueError, match="has changed since its faces were found"):
        plots.boxed_frames(record | {"source_bytes": 1}, grey_clip)
    with pytest.raises(UnreadableVideo, match="file not found"):
        plots.boxed_frames(record, tmp_path / "gone.mp4")


def test_contact_sheet_tells_real_from_fake_by_more_than_colour(tmp_path: Path) -> None:
    table = flickering_faces(tmp_path, families=2)
    figure = plots.contact_sheet(tmp_path, table.assign(score=0.25), title="sheet")
    frames = {axis.get_title(): axis.patches[0] for axis in figure.axes if axis.patches}
    assert len(frames) == 4
    for title, frame in frames.items():
        assert "score 0.25" in title
        assert frame.get_linestyle() == ("--" if title.startswith("FAKE") else "-")


def test_history_marks_the_epoch_that_was_kept() -> None:
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.7, 0.5, 0.4],
            "accuracy": [0.5, 0.7, 0.9],
            "val_loss": [0.7, 0.45, 0.6],
            "val_accuracy": [0.5, 0.8, 0.7],
        }
    )
    left, right = plots.plot_history(history).axes
    assert "80%" in left.get_title() and "epoch kept, 2" in left.get_title()
    assert "0.45" in right.get_title()
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["original project, training:\n91.2 %, then falling"].get_xydata()[1]) == [8, 0.912]
    assert "original project, training" not in {
        line.get_label() for line in plots.plot_history(history, original=False).axes[0].lines
    }


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = {"label": ["REAL", "REAL", "REAL", "FAKE"], "score": [0.1, 0.2, 0.7, 0.9]}
    return pd.DataFrame({**rows, "original": ["a", "b", "c", "a"]})


def test_titles_state_the_finding(scores: pd.DataFrame) -> None:
    assert plots.plot_confusion(scores).axes[0].get_title() == "3 of 4 right at 0.5"
    assert plots.plot_confusion(scores, threshold=0.8).axes[0].get_title() == "4 of 4 right at 0.8"
    assert plots.plot_roc(scores).axes[0].get_title() == "AUC 1.00 (1.00 to 1.00) over 4 videos"
    title = plots.plot_threshold(scores, threshold=0.8).axes[0].get_title()
    assert title == "Above 0.80: 0 of 3 REAL and 1 of 1 FAKE called fake"


def test_confusion_counts_are_where_they_belong_with_their_interval(scores: pd.DataFrame) -> None:
    texts = [text.get_text().split("\n") for text in plots.plot_confusion(scores).axes[0].texts]
    assert [count for count, _ in texts] == ["2", "1", "0", "1"]  # REAL called REAL and FAKE, then FAKE
    assert [interval for _, interval in texts] == ["9 to 99 %", "1 to 91 %", "0 to 98 %", "3 to 100 %"]


def noisy_scores(groups: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    score = np.clip(np.repeat([0.4, 0.6], groups) + generator.normal(0, 0.2, 2 * groups), 0, 1).round(2)
    originals = [f"o{number}" for number in range(groups)] * 2
    return pd.DataFrame({"label": np.repeat(["REAL", "FAKE"], groups), "score": score, "original": originals})


def test_the_roc_curve_is_sklearns_and_lies_in_a_band_that_narrows() -> None:
    widths = []
    for groups in (10, 200):
        table = noisy_scores(groups)  # with ties
        (axis,) = plots.plot_roc(table).axes
        rates, recalls = {line.get_label(): line for line in axis.lines}["model"].get_data()
        expected = metrics.roc_curve(table["label"] == "FAKE", table["score"], drop_intermediate=False)
        np.testing.assert_allclose([rates, recalls], expected[:2])
        across = axis.collections[0].get_paths()[0].vertices
        middle = across[np.isclose(across[:, 0], 0.3), 1]
        assert middle.min() <= np.interp(0.3, rates, recalls) <= middle.max()
        widths.append(np.ptp(middle))
        plt.close("all")
    assert widths[1] < widths[0] / 2


def test_the_interval_of_the_auc_is_that_of_the_summary() -> None:
    def auc(labels: np.ndarray, scores: np.ndarray) -> float:
        """How often a FAKE lies above a REAL one; sklearn's takes a second for a thousand draws."""
        above = np.subtract.outer(scores[labels == 1], scores[labels == 0])
        return float((np.sign(above) / 2 + 0.5).mean())

    table = noisy_scores(10)
    low, high = bootstrap_interval(table, auc)
    whole = auc((table["label"] == "FAKE").to_numpy(int), table["score"].to_numpy())
    title = plots.plot_roc(table).axes[0].get_title()
    assert title == f"AUC {whole:.2f} ({low:.2f} to {high:.2f}) over 20 videos"


def test_the_threshold_plot_counts_what_lies_above_with_intervals(scores: pd.DataFrame) -> None:
    (axis,) = plots.plot_threshold(scores, threshold=0.15).axes
    lines = {line.get_label(): line for line in axis.lines}
    for name, values in (("false positive rate (REAL)", [0.1, 0.2, 0.7]), ("recall (FAKE)", [0.9])):
        cuts, shares = lines[name].get_data()
        np.testing.assert_allclose(shares, [(np.array(values) > cut).mean() for cut in cuts])
    assert lines["false positive rate (REAL)"].get_linestyle() != lines["recall (FAKE)"].get_linestyle()
    marked = [line.get_xydata().tolist() for line in axis.lines if len(line.get_xydata()) == 1]
    assert marked == [[[0.15, 2 / 3]], [[0.15, 1]]]
    real, fake = (band.get_paths()[0].vertices[:, 1] for band in axis.collections)
    assert real.min() == 0 and real.max() == 1
    assert fake.max() == 1 and np.isclose(fake, binomial_interval(1, 1)[0]).any()
    with pytest.raises(ValueError, match="3 REAL and 0 FAKE"):
        plots.plot_threshold(scores.head(3))


def test_show_frames_keeps_every_image() -> None:
    images = [np.full((20, 30, 3), value, np.uint8) for value in (0, 100, 200)]
    figure = plots.show_frames(images, ["a", "b", "c"], columns=2)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(shown) == 3
    assert [axis.get_title() for axis in figure.axes[:3]] == ["a", "b", "c"]
    assert cv2.countNonZero(shown[0][..., 0]) == 0


def test_pairs_are_an_original_and_one_of_its_fakes() -> None:
    rows = [
        ("f1", "FAKE", "a"),
        ("f2", "FAKE", "a"),
        ("a", "REAL", "a"),
        ("lone", "REAL", "lone"),
        ("g", "FAKE", "gone"),
    ]
    rows += [("b", "REAL", "b"), ("h", "FAKE", "b")]
    table = pd.DataFrame(rows, columns=["video", "label", "original"])
    assert plots.choose_pairs(table)["video"].tolist() == ["a", "f1", "b", "h"]
    assert plots.choose_pairs(table, 1)["video"].tolist() == ["a", "f1"]


def test_calibration_shows_both_scores_by_their_fraction_of_fakes() -> None:
    table = pd.DataFrame({"label": ["REAL", "REAL", "FAKE", "FAKE"], "raw_score": [0.05, 0.1, 0.15, 0.95]})
    (axis,) = plots.plot_calibration(table.assign(score=[0.3, 0.3, 0.3, 0.9])).axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_allclose(lines["raw score"], [[0.1, 1 / 3], [0.95, 1]])
    np.testing.assert_allclose(lines["score"], [[0.3, 1 / 3], [0.9, 1]])
    assert axis.get_title() == "Calibration error 0.21 before, 0.05 after calibration"
    bars = [path.vertices for path in axis.collections[-1].get_paths()]
    np.testing.assert_allclose(
        bars, [[(0.3, low), (0.3, high)] for low, high in [binomial_interval(1, 3)]] + [[(0.9, 0.025), (0.9, 1)]]
    )

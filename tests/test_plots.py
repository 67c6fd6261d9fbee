from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces

from dfdc_utils import plots
from dfdc_utils.storage import Person, write_faces
from dfdc_utils.tracks import Track

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


def write_one(folder: Path, detected: list[bool]) -> None:
    crops = [np.full((32, 32, 3), 40 * (index + 1), np.uint8) for index in range(len(detected))]
    record = {"video": "one", "config": asdict(SMALL), "source_bytes": 1, "status": "ok", "error": ""}
    write_faces(
        folder, record, [Person(track_of(detected), list(range(len(crops))), crops)], np.arange(len(crops)) * 1.0
    )


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
    assert list(lines["original project, training"].get_xydata()[1]) == [8, 0.912]
    assert "original project, training" not in {
        line.get_label() for line in plots.plot_history(history, original=False).axes[0].lines
    }


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame({"label": ["REAL", "REAL", "REAL", "FAKE"], "score": [0.1, 0.2, 0.7, 0.9]})


def test_titles_state_the_finding(scores: pd.DataFrame) -> None:
    assert plots.plot_confusion(scores).axes[0].get_title() == "3 of 4 right at 0.5"
    assert plots.plot_confusion(scores, threshold=0.8).axes[0].get_title() == "4 of 4 right at 0.8"
    assert plots.plot_roc(scores).axes[0].get_title() == "AUC 1.00 over 4 videos"
    assert plots.plot_scores(scores).axes[0].get_title() == "3 of 4 videos on their side of 0.5"


def test_confusion_counts_are_where_they_belong(scores: pd.DataFrame) -> None:
    texts = [text.get_text() for text in plots.plot_confusion(scores).axes[0].texts]
    assert texts == ["2", "1", "0", "1"]  # REAL called REAL, REAL called FAKE, FAKE called REAL, FAKE called FAKE


def test_fill_policies_say_which_comes_closest_and_which_makes_none() -> None:
    overlap = pd.DataFrame({"hold": [0.8, 0.7], "interpolate": [0.9, 0.85], "drop": [0.0, 0.0]}, [0.1, 0.5])
    (axis,) = plots.plot_fill_policies(overlap).axes
    assert axis.get_title() == "interpolate comes closest: IoU 0.90 to 0.85"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["hold", "interpolate", "drop: makes none"]
    assert axis.get_ylim()[0] > 0.5, "the differences are to be seen"


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


def test_calibration_shows_both_scores_by_their_share_of_fakes() -> None:
    table = pd.DataFrame({"label": ["REAL", "REAL", "FAKE", "FAKE"], "raw_score": [0.05, 0.1, 0.15, 0.95]})
    (axis,) = plots.plot_calibration(table.assign(score=[0.3, 0.3, 0.3, 0.9])).axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    np.testing.assert_allclose(lines["raw score"], [[0.1, 1 / 3], [0.95, 1]])
    np.testing.assert_allclose(lines["score"], [[0.3, 1 / 3], [0.9, 1]])
    assert axis.get_title() == "Reliability of 4 videos' scores"


def test_gains_count_what_is_beaten_for_sure() -> None:
    rows = {"scored by": ["model", "constant", "mean"], "gain": [np.nan, 0.4, 0.1], "gain_low": [np.nan, 0.3, -0.1]}
    (axis,) = plots.plot_gains(pd.DataFrame({**rows, "gain_high": [np.nan, 0.5, 0.2]})).axes
    assert axis.get_title() == "The model beats 1 of 2 that know less"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["constant", "mean"]

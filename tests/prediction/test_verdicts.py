from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfdc_utils.models import SAMPLE, Calibration
from dfdc_utils.prediction import Prediction, WindowScore
from dfdc_utils.prediction.verdicts import TrackScore, as_table
from dfdc_utils.prediction.windows import FaceWindow

FITTED = Calibration(threshold=0.6, false_alarms=0.0, false_alarms_at_most=0.34, found=1.0, real=9, fake=9)


def track(*scores: tuple[float, float, float], number: int = 0) -> TrackScore:
    """A person with windows of (score, low, high), two seconds each, one a second."""
    windows = []
    for second, (score, low, high) in enumerate(scores):
        times = np.linspace(second, second + 2, 4)
        faces = FaceWindow(number, times, np.zeros((4, 4)), np.array([True, True, True, False]), (b"",) * 4)
        windows.append(WindowScore(score, low, high, faces))
    return TrackScore(number, tuple(windows))


def prediction(*tracks: TrackScore, status: str = "ok", error: str = "", trained_on: str = SAMPLE) -> Prediction:
    return Prediction(Path("folder/v.mp4"), status, error, 3.0, tracks, FITTED, trained_on)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "verdict", "headline"),
    [
        ((0.9, 0.8, 0.95), "fake", "Looks fake"),
        ((0.2, 0.1, 0.6), "real", "No sign of a fake"),
        ((0.9, 0.5, 0.95), "unsure", "Unsure"),
        ((0.3, 0.2, 0.7), "unsure", "Unsure"),
    ],
)
def test_the_verdict_needs_the_whole_range(scores: tuple[float, float, float], verdict: str, headline: str) -> None:
    one = prediction(track(scores))
    assert (one.verdict, one.headline) == (verdict, headline)
    words = one.in_words()
    assert words.startswith(f"{headline}: score {scores[0]:.2f}, {scores[1]:.2f} to {scores[2]:.2f}")
    assert "threshold 0.60" in words and "up to 34%" in words


def test_a_track_is_the_mean_of_its_windows_and_knows_the_worst() -> None:
    person = track((0.2, 0.1, 0.3), (0.8, 0.7, 0.9))
    assert (person.score, person.low, person.high) == pytest.approx((0.5, 0.4, 0.6))
    assert (person.worst.start, person.worst.end) == (1.0, 3.0)


def test_the_most_suspicious_person_is_named() -> None:
    two = prediction(track((0.9, 0.8, 0.95), number=1), track((0.1, 0.0, 0.2)))
    assert two.score == 0.9
    assert "(person 2 of 2)" in two.in_words()


def test_nothing_is_said_for_sure_of_what_is_unlike_all_that_was_seen() -> None:
    poster, person = (
        TrackScore(number, tuple(replace(window, unlike=unlike) for window in track((0.9, 0.8, 0.95)).windows))
        for number, unlike in ((0, 99.6), (1, 40.0))
    )
    alone = prediction(poster)
    assert alone.verdict == "unsure" and alone.to_row()["unlike"] == 99.6
    assert "above the threshold" in alone.in_words() and "take the score for a guess" in alone.in_words()
    both = prediction(poster, person)
    assert both.verdict == "fake" and "(person 2 of 2)" in both.in_words() and both.to_row()["unlike"] == 40.0
    assert "60% of what it was validated on lies further away" in both.in_words()
    assert [one["unlike"] for one in both.to_dict()["people"]] == [99.6, 40.0]


def test_a_score_never_comes_without_what_the_model_has_seen() -> None:
    assert "on a real video its score means nothing" in prediction(track((0.9, 0.8, 0.95))).in_words()
    words = prediction(track((0.9, 0.8, 0.95)), trained_on="videos in 2 folders (a, b)").in_words()
    assert "trained on videos in 2 folders (a, b)." in words and "means nothing" not in words


def test_without_a_score_there_is_none_anywhere() -> None:
    for status in ("no_face", "unreadable"):
        none = prediction(status=status, error="v.mp4: what is wrong. What to do.")
        assert none.score is None and none.verdict == ""
        words = none.in_words()
        assert words.startswith("No verdict") and words.endswith("v.mp4: what is wrong. What to do.")
        row = json.loads(json.dumps(none.to_dict()))
        assert row["score"] is row["low"] is row["worst_start"] is None and row["people"] == []


def test_a_video_that_breaks_off_says_up_to_where() -> None:
    words = prediction(track((0.9, 0.8, 0.95)), error="v.mp4: reading it failed.").in_words()
    assert "Only the first 3.0 s were looked at. v.mp4: reading it failed." in words


def test_an_unmeasured_threshold_says_so() -> None:
    assert "never measured" in Calibration().in_words()


def test_the_table_has_the_most_suspicious_first_and_the_unscored_last() -> None:
    some = [
        prediction(status="no_face", error="nobody"),
        prediction(track((0.1, 0.0, 0.2))),
        prediction(track((0.9, 0.8, 1.0))),
    ]
    table = as_table(some)
    assert table["verdict"].tolist() == ["fake", "real", ""]
    assert table["status"].tolist() == ["ok", "ok", "no_face"]
    assert table["score"].isna().tolist() == [False, False, True]
    with_windows = some[2].to_dict()["people"][0]["windows"][0]
    assert (with_windows["frames_detected"], with_windows["frames_filled"]) == (3, 1)

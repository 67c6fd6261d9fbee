from __future__ import annotations

import json
from dataclasses import replace

import pytest
from predictions import prediction, track

from dfdc_utils.models import Calibration
from dfdc_utils.prediction import Prediction, predictions_table
from dfdc_utils.prediction.verdicts import TrackScore


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.9, 0.8, 0.95), "fake"),
        ((0.2, 0.1, 0.6), "no sign of a fake"),
        ((0.9, 0.5, 0.95), "unsure"),
        ((0.3, 0.2, 0.7), "unsure"),
    ],
)
def test_the_verdict_needs_the_whole_range(scores: tuple[float, float, float], verdict: str) -> None:
    one = prediction(track(scores))
    assert one.verdict == one.to_row()["verdict"] == verdict and one.headline == verdict.capitalize()
    words = one.in_words()
    assert words.startswith(f"{one.headline}: score {scores[0]:.2f}, {scores[1]:.2f} to {scores[2]:.2f}")
    assert "above 0.60 counts as fake" in words and "at most 34%" in words


def test_a_track_is_the_mean_of_its_windows_and_knows_the_worst() -> None:
    person = track((0.2, 0.1, 0.3), (0.8, 0.7, 0.9))
    assert (person.score, person.low, person.high) == pytest.approx((0.5, 0.4, 0.6))
    assert (person.worst.start, person.worst.end) == (1.0, 3.0)


def test_a_fake_in_a_part_of_a_video_is_not_averaged_away() -> None:
    spliced = prediction(track(*[(0.1, 0.0, 0.2)] * 9, (0.9, 0.8, 0.95)))
    assert spliced.score == pytest.approx(0.18) and spliced.verdict == "unsure"
    assert "1 of 10 windows score above 0.60, the highest 9.0 to 11.0 s." in spliced.in_words()
    assert prediction(track(*[(0.1, 0.0, 0.2)] * 10)).verdict == "no sign of a fake"


def test_the_most_suspicious_person_is_named() -> None:
    two = prediction(track((0.9, 0.8, 0.95), number=1), track((0.1, 0.0, 0.2)))
    assert two.score == 0.9
    assert "(person 2 of 2)" in two.in_words()


def strange(percentile: float, number: int = 0) -> TrackScore:
    windows = track((0.9, 0.8, 0.95), number=number).windows
    return TrackScore(number, tuple(replace(window, ood_percentile=percentile) for window in windows))


def test_out_of_distribution_faces_get_no_sure_verdict() -> None:
    alone = prediction(strange(99.6))
    assert alone.verdict == "unsure" and alone.to_row()["ood_percentile"] == 99.6
    assert "Treat the score as a guess." in alone.in_words()
    both = prediction(strange(99.6), strange(40.0, number=1))
    assert both.verdict == "fake" and "(person 2 of 2)" in both.in_words() and both.to_row()["ood_percentile"] == 40.0
    assert "These faces resemble its training data." in both.in_words()
    assert [one["ood_percentile"] for one in both.to_dict()["people"]] == [99.6, 40.0]
    assert "trust the score less" in prediction(strange(93.0)).in_words()


def test_a_score_comes_with_what_the_model_was_trained_on() -> None:
    drawn, fine_tuned, other = (
        prediction(track((0.9, 0.8, 0.95)), trained_on=data)
        for data in (
            "the embedded synthetic sample",
            "the embedded synthetic sample, begun from a model trained on photographs",
            "videos in 2 folders (a, b)",
        )
    )
    for one in (drawn, fine_tuned):
        assert "must not be used on real videos" in one.in_words()
    assert "trained on videos in 2 folders (a, b)." in other.in_words() and "must not" not in other.in_words()
    assert other.in_words().endswith(other.caveats)


def test_error_rates_claim_nothing_for_other_videos() -> None:
    words = prediction(track((0.9, 0.8, 0.95))).caveats
    assert "How this carries over to other videos is not known." in words
    unmeasured = replace(prediction(track((0.9, 0.8, 0.95))), calibration=Calibration()).caveats
    assert "never measured" in unmeasured and "carries over" not in unmeasured


def test_without_a_score_there_is_none_anywhere() -> None:
    for status, headline in (("no_face", "Not judged: no face found"), ("unreadable", "Not judged: cannot be read")):
        none = prediction(status=status, error="v.mp4: what is wrong. What to do.")
        assert none.score is None and none.verdict == "not judged"
        assert none.in_words() == f"{headline}. v.mp4: what is wrong. What to do."
        row = json.loads(json.dumps(none.to_dict()))
        assert row["score"] is row["low"] is row["ood_percentile"] is row["worst_start"] is None and row["people"] == []


def looked_at(seconds: float, duration: float) -> Prediction:
    return replace(prediction(track((0.9, 0.8, 0.95))), seconds=seconds, duration=duration)


def test_the_words_say_how_much_of_the_video_was_looked_at() -> None:
    assert "Looked at the first 4.8 s of 24.3 s." in looked_at(4.84, 24.3).in_words()
    for whole in (looked_at(4.84, 5.0), looked_at(4.84, 0.0)):  # as good as all, and a length that is not known
        assert "Looked at" not in whole.in_words()
    broken = replace(looked_at(3.0, 24.3), error="v.mp4: reading it failed.").in_words()
    assert "Only the first 3.0 s were looked at. v.mp4: reading it failed." in broken and "24.3" not in broken
    assert looked_at(4.84, 24.3).to_row()["duration"] == 24.3


def test_the_table_has_the_highest_score_first_and_the_unscored_last() -> None:
    some = [
        prediction(status="no_face", error="nobody"),
        prediction(track((0.1, 0.0, 0.2))),
        prediction(track((0.9, 0.8, 1.0))),
    ]
    table = predictions_table(some)
    assert table["verdict"].tolist() == ["fake", "no sign of a fake", "not judged"]
    assert table["status"].tolist() == ["ok", "ok", "no_face"]
    assert table["score"].isna().tolist() == [False, False, True]
    (window,) = some[2].to_dict()["people"][0]["windows"]
    assert (window["frames_detected"], window["frames_filled"], window["start"], window["low"]) == (3, 1, 0.0, 0.8)

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from predictions import FITTED, model_folder, prediction, track

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
    looked = "looking at 0 to 3.0 s of an unknown length"
    assert words.startswith(f"{one.headline}, {looked}: score {scores[0]:.2f}, {scores[1]:.2f} to {scores[2]:.2f}")
    assert "above 0.60 counts as fake" in words and "at most 34%" in words


def test_a_track_is_the_mean_of_its_windows_and_knows_the_worst() -> None:
    person = track((0.2, 0.1, 0.3), (0.8, 0.7, 0.9))
    assert (person.score, person.low, person.high) == pytest.approx((0.5, 0.4, 0.6))
    assert (person.worst.start, person.worst.end) == (1.0, 3.0)


def test_a_fake_in_a_part_of_a_video_is_not_averaged_away() -> None:
    spliced = prediction(track(*[(0.1, 0.0, 0.2)] * 9, (0.9, 0.8, 0.95)))
    assert spliced.score == pytest.approx(0.18) and spliced.verdict == "unsure"
    assert spliced.windows_in_words() == "1 of 10 windows score above 0.60, the highest 9.0 to 11.0 s."
    assert spliced.windows_in_words() in spliced.in_words()
    assert not prediction(track((0.9, 0.8, 0.95), (0.8, 0.7, 0.95))).windows_in_words()  # all of it
    assert prediction(track(*[(0.1, 0.0, 0.2)] * 10)).verdict == "no sign of a fake"


REAL_ONE, SUSPECT, FAKE_ONE = (0.1, 0.05, 0.2), (0.75, 0.7, 0.8), (0.98, 0.95, 0.99)
STRICT = replace(FITTED, highest_real=0.9)


@pytest.mark.parametrize(
    ("windows", "verdict"),
    [
        ([*[REAL_ONE] * 8, FAKE_ONE, FAKE_ONE, *[REAL_ONE] * 8], "fake"),
        ([*[REAL_ONE] * 30, FAKE_ONE, FAKE_ONE, FAKE_ONE], "fake"),
        ([*[REAL_ONE] * 8, FAKE_ONE, REAL_ONE, FAKE_ONE, *[REAL_ONE] * 8], "unsure"),  # not sustained
        ([*[REAL_ONE] * 8, SUSPECT, SUSPECT, *[REAL_ONE] * 8], "unsure"),  # some real windows score as high
        ([*[REAL_ONE] * 8, *[(0.98, 0.85, 0.99)] * 3, *[REAL_ONE] * 8], "unsure"),  # not with its whole range
        ([REAL_ONE] * 20, "no sign of a fake"),
    ],
)
def test_a_fake_that_is_sustained_in_a_part_of_a_long_video_is_one(
    windows: list[tuple[float, float, float]], verdict: str
) -> None:
    seen = prediction(track(*windows), folder=model_folder(STRICT))
    assert seen.verdict == verdict
    bystander = prediction(track(*[(0.5, 0.4, 0.55)] * 20, number=1), track(*windows), folder=model_folder(STRICT))
    if verdict == "fake":
        first = windows.index(FAKE_ONE)
        assert f"From {first:.1f} to" in seen.in_words()
        assert "windows in a row score higher than any of the 9 real validation videos" in seen.in_words()
        assert bystander.decisive and bystander.decisive.number == 0  # though another has the higher mean
    # A model whose highest real score is not known calls no part a fake.
    assert prediction(track(*windows), folder=model_folder(replace(STRICT, highest_real=1.0))).verdict != "fake"


def test_a_single_picture_gets_no_sure_verdict() -> None:
    seen = track((0.99, 0.98, 1.0))
    faces = replace(seen.windows[0].faces, times=np.zeros(4))
    still = prediction(replace(seen, all_windows=(replace(seen.windows[0], faces=faces),)))
    assert still.verdict == "unsure" and "a single picture" in still.in_words()


def test_how_many_were_not_judged_is_said() -> None:
    seen = replace(prediction(track((0.1, 0.1, 0.1))), left_out=3)
    assert "3 more with smaller faces were not judged" in seen.in_words() and seen.to_row()["left_out"] == 3


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
    assert [one["ood_percentile"] for one in both.to_dict()["people"]] == [99.6, 40.0]
    assert "trust the score less" in prediction(strange(93.0)).in_words()


def test_a_model_that_found_no_fake_in_validation_gets_no_sure_verdict() -> None:
    blind = model_folder(replace(FITTED, recall=0.0))
    for score in (0.9, 0.1):
        one = prediction(track((score, score - 0.05, score + 0.05)), folder=blind)
        assert one.verdict == "unsure" and "called none of the fakes fake" in one.in_words()


def test_frames_that_are_further_apart_than_in_training_get_no_sure_verdict() -> None:
    """For a model that sees change over time: the frames of a short video are closer to each other."""
    person = track((0.9, 0.8, 0.95))
    assert person.time_step == pytest.approx(2 / 3)
    for trained, verdict in ((2 / 3, "fake"), (0.6, "fake"), (0.3, "unsure"), (1.4, "unsure"), (0.0, "fake")):
        one = prediction(person, folder=model_folder(time_step=trained))
        assert one.verdict == verdict
        assert ("Its frames are 0.67 s apart" in one.in_words()) == (verdict == "unsure")


def test_who_may_not_decide_is_seen_and_not_judged() -> None:
    toy, person = track((0.95, 0.9, 0.99), number=1, flaw="not one face: it jumps"), track((0.1, 0.0, 0.2))
    both = prediction(toy, person)
    assert both.verdict == "no sign of a fake" and both.score == pytest.approx(0.1)
    assert "Also seen, not judged: person 2, not one face: it jumps." in both.in_words()
    assert [one["flaw"] for one in both.to_dict()["people"]] == ["not one face: it jumps", ""]
    alone = prediction(toy, status="poor_face", error="v.mp4: person 2 is not one face: it jumps. What to do.")
    assert alone.verdict == "not judged" and alone.score is None and alone.tracks == ()
    assert alone.in_words().startswith("Not judged: no face that can be judged. v.mp4: person 2 is")


def test_only_the_windows_in_which_a_face_may_decide_count() -> None:
    windows = (*track((0.9, 0.8, 0.95), flaw="too blurred").windows, *track((0.2, 0.1, 0.3)).windows)
    person = TrackScore(0, windows)
    assert person.score == pytest.approx(0.2) and person.flaw == "" and len(person.windows) == 1


def test_error_rates_are_those_of_what_was_measured() -> None:
    words = prediction(track((0.9, 0.8, 0.95))).in_words()
    assert "How this carries over to other videos is not known." in words
    assert words.endswith("The model was trained on videos in 2 folders (a, b).")
    unmeasured = model_folder(Calibration()).caveats
    assert "never measured" in unmeasured and "carries over" not in unmeasured
    columns = ("fake", "real", "fake_called_fake", "real_called_fake", "real_unsure")
    deepfakes = pd.DataFrame([(10, 20, 6, 1, 2), (5, 0, 1, 0, 0)], columns=columns)
    folder = replace(model_folder(), deepfakes=deepfakes)
    measured = folder.caveats
    seen = prediction(track((0.9, 0.8, 0.95)), folder=folder)
    assert "YuNet" not in seen.in_words() and "with YuNet" in replace(seen, detector="haar").in_words()
    assert "1 of 20 real ones were called fake and 2 unsure; 7 of 15 fakes were called fake." in measured
    assert "carries over" not in measured


def test_without_a_score_there_is_none_anywhere() -> None:
    for status, headline in (("no_face", "Not judged: no face found"), ("unreadable", "Not judged: cannot be read")):
        none = prediction(status=status, error="v.mp4: what is wrong. What to do.")
        assert none.score is None and none.verdict == "not judged"
        assert none.in_words() == f"{headline}. v.mp4: what is wrong. What to do."
        row = json.loads(json.dumps(none.to_dict()))
        assert row["score"] is row["low"] is row["ood_percentile"] is row["worst_start"] is None and row["people"] == []


def looked_at(seconds: float, duration: float) -> Prediction:
    return replace(prediction(track((0.9, 0.8, 0.95))), seconds=seconds, duration=duration)


def test_the_first_sentence_says_how_much_of_the_video_was_looked_at() -> None:
    assert "Fake, looking at 0 to 4.8 s of 24.3 s: score" in looked_at(4.84, 24.3).in_words()
    assert "Fake, looking at 0 to 4.8 s of 5.0 s: score" in looked_at(4.84, 5.0).in_words()
    assert looked_at(4.84, 24.3).is_partial and not looked_at(4.84, 5.0).is_partial
    broken = replace(looked_at(3.0, 24.3), error="v.mp4: reading it failed.").in_words()
    assert "0 to 3.0 s of 24.3 s" in broken and "v.mp4: reading it failed." in broken
    assert looked_at(4.84, 24.3).to_row()["duration"] == 24.3


def test_the_words_say_in_how_many_frames_the_face_is() -> None:
    def seen(looked_at: int) -> Prediction:
        (window,) = track((0.9, 0.8, 1.0)).all_windows  # found in three of its four frames
        return prediction(TrackScore(0, (replace(window, faces=replace(window.faces, looked_at=looked_at)),)))

    assert "This face was found in 3 of 16 frames." in seen(16).in_words()
    assert "This face was found" not in seen(3).in_words()
    (window,) = seen(16).to_dict()["people"][0]["windows"]
    assert (window["frames"], window["frames_detected"], window["frames_filled"]) == (16, 3, 1)


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

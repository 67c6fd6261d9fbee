"""Verdicts of a model that hears: pictures and sound apart and together, and what is not judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_models import open_model
from sounds import SMALL, clicks, sounding

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.models import build_cnn_lstm
from dfdc_utils.prediction import Detector
from dfdc_utils.prediction.windows import FaceWindow, VideoFaces
from dfdc_utils.videos import probe_video

HEARING = replace(SMALL, audio=True)


@pytest.fixture(scope="module")
def detector() -> Detector:
    model = build_cnn_lstm(SMALL.frame_count, SMALL.face_size, audio=True)
    model.get_layer("sync").bias.assign([3.0])  # what cannot be compared would be called fake
    return Detector(open_model(model, HEARING, data_kind="recorded"))


def window(**changes: object) -> FaceWindow:
    import cv2

    rng = np.random.default_rng(0)
    faces = [cv2.imencode(".jpg", rng.integers(0, 255, (32, 32, 3), np.uint8))[1].tobytes() for _ in range(4)]
    sound = rng.integers(-9000, 9000, (4, 3200)).astype(np.int16)
    boxes = np.tile([10.0, 10.0, 80.0, 80.0], (4, 1))
    base = FaceWindow(0, np.arange(4) / 4, boxes, np.ones(4, bool), tuple(faces), looked_at=4, sound=sound)
    return replace(base, **changes)


def judged(detector: Detector, one: FaceWindow):
    return detector._judge(VideoFaces(Path("clip.mp4"), "ok", "", 1.0, (one,), 1.0))


def test_pictures_and_sound_are_scored_apart_and_together(detector: Detector) -> None:
    prediction = judged(detector, window())
    row = prediction.to_row()
    assert 0 < row["pictures"] < row["score"] and row["sound"] > 0.5
    assert np.isclose(row["score"], row["pictures"] + row["sound"] * (1 - row["pictures"]), atol=1e-4)
    assert "Pictures alone" in prediction.in_words() and "fit the mouth" in prediction.in_words()


@pytest.mark.parametrize("flaw", ["it is silent", "the mouth does not move", "more than one person may be speaking"])
def test_a_sound_that_cannot_be_judged_is_no_sign(detector: Detector, flaw: str) -> None:
    prediction = judged(detector, window(sound_flaw=flaw))
    row = prediction.to_row()
    assert row["score"] == row["pictures"] and row["sound"] is None
    assert f"not judged, {flaw}" in prediction.in_words()


def test_a_model_of_pictures_says_nothing_of_sound() -> None:
    prediction = judged(Detector(open_model(data_kind="recorded")), window(sound=None))
    assert "sound" not in prediction.to_row() and "Pictures alone" not in prediction.in_words()


def test_a_model_and_its_settings_must_agree() -> None:
    with pytest.raises(ConfigMismatch, match="does not take sound"):
        Detector(open_model(sequence=HEARING))
    hears = build_cnn_lstm(SMALL.frame_count, SMALL.face_size, audio=True)
    with pytest.raises(ConfigMismatch, match="takes sound"):
        Detector(open_model(hears))


def test_an_explanation_is_that_of_the_pictures(detector: Detector) -> None:
    explanation = detector.explain(judged(detector, window()).people[0].worst)
    assert explanation.heat.shape == (4, 32, 32)


def test_the_header_says_if_there_is_sound(tmp_path: Path) -> None:
    assert probe_video(sounding(tmp_path / "with.mp4", clicks(1.0, 44_100), seconds=1.0)).has_sound
    assert not probe_video(sounding(tmp_path / "without.mp4", None, seconds=1.0)).has_sound

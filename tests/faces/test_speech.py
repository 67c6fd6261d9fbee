"""What is kept of a sound beside the faces, and when it may not be judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sounds import clicks, sounding, talking_faces

from dfdc_utils.faces import Speech, judge_mouth, load_slices
from dfdc_utils.faces.speech import SLICE, measure_mouth
from dfdc_utils.videos import sample_frames

RATE = 16_000


def test_a_slice_is_the_sound_about_its_frame() -> None:
    ramp = np.arange(RATE).astype(np.int16)
    slices = Speech(ramp, start=0.5).slices(np.array([0.7, 1.0, 1.5]))
    assert slices.shape == (3, SLICE)
    for row, time in zip(slices[:2], (0.7, 1.0), strict=True):
        assert row[SLICE // 2] == ramp[round((time - 0.5) * RATE)]
    assert slices[2, : SLICE // 2].any() and not slices[2, SLICE // 2 :].any()  # half of it lies beyond the end
    assert not Speech(ramp).slices(np.array([-5.0, 99.0])).any()


def test_it_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    speech = Speech(np.arange(-500, 500).astype(np.int16), 0.1, -20.0, True, "it is silent")
    back = Speech.load(tmp_path, speech.save(tmp_path))
    np.testing.assert_array_equal(back.samples, speech.samples)
    assert (back.start, back.loudness, back.flaw) == (0.1, -20.0, "it is silent")
    nothing = Speech(np.zeros(0, np.int16))
    assert Speech.load(tmp_path / "none", nothing.save(tmp_path)).flaw == "there is no sound track"


def test_what_cannot_be_compared_with_a_mouth_says_why(tmp_path: Path) -> None:
    seconds = np.arange(2 * 44_100) / 44_100
    tones = {
        "it is silent": 0 * seconds,
        "it is steady, as music or noise": 0.3 * np.sin(2 * np.pi * 440 * seconds),
        "": clicks(2.0, 44_100)[0] + 0.01 * np.sin(2 * np.pi * 200 * seconds),
    }
    for flaw, wave in tones.items():
        path = sounding(tmp_path / "clip.mp4", wave[None].astype(np.float32))
        assert Speech.of(sample_frames(path, 8)).flaw == flaw
    assert Speech.of(sample_frames(sounding(tmp_path / "none.mp4", None), 8)).flaw == "there is no sound track"


def test_a_still_mouth_and_two_people_are_not_judged() -> None:
    assert judge_mouth([0.5]) == "the mouth does not move"
    assert judge_mouth([9.0, 9.0]) == "more than one person may be speaking"
    assert judge_mouth([9.0]) == ""


def test_a_mouth_that_opens_moves_and_changing_light_does_not() -> None:
    rng = np.random.default_rng(0)
    still = [np.clip(120 + rng.normal(0, 5, (96, 96, 3)), 0, 255).astype(np.uint8) for _ in range(8)]
    lit = [np.clip(face.astype(int) + 10 * (number % 2), 0, 255).astype(np.uint8) for number, face in enumerate(still)]
    talking = [face.copy() for face in still]
    for face in talking[::2]:
        face[60:80, 36:60] = 30
    assert measure_mouth(still) < 1 and measure_mouth(lit) < 1.5 < 5 < measure_mouth(talking)


def test_slices_on_disk_and_faces_of_an_earlier_version(tmp_path: Path) -> None:
    video = talking_faces(tmp_path, 1)["video"][0]
    slices, flaw = load_slices(tmp_path, video, 4)
    assert slices.shape == (4, SLICE) and flaw == "" and slices.any()
    record = tmp_path / video / "faces.json"
    record.write_text(record.read_text().replace('"sound"', '"was"'))
    slices, flaw = load_slices(tmp_path, video, 4)
    assert not slices.any() and "process the video again" in flaw
    with pytest.raises(FileNotFoundError):
        load_slices(tmp_path, "nobody", 4)

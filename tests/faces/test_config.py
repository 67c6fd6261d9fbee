from __future__ import annotations

from pathlib import Path

import pytest

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_count": 0},
        {"capture_sec": 0},
        {"capture_sec": -1.0},
        {"capture_sec": float("nan")},
        {"face_size": 15},
        {"margin": 0.9},
        {"margin": float("nan")},
        {"detector": "mtcnn"},
        {"fill_policy": "mean"},
        {"max_tracks": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"{key}={value!r}"):
        SequenceConfig(**wrong)


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = SequenceConfig(2.5, frame_count=9, face_size=64, margin=1.7, detector="yunet", fill_policy="drop")
    config.save(tmp_path / "sequence.json")
    assert SequenceConfig.load(tmp_path / "sequence.json") == config


def test_a_file_is_written_again_only_if_it_differs(tmp_path: Path) -> None:
    """Runs hold a lock on it, which a new file would not have."""
    path = tmp_path / "sequence.json"
    path.write_text("broken")
    SequenceConfig(capture_sec=5).save(path)
    first = path.stat().st_ino
    SequenceConfig(capture_sec=5.0).save(path)
    assert path.stat().st_ino == first
    SequenceConfig(capture_sec=4).save(path)
    assert SequenceConfig.load(path).capture_sec == 4


def test_whole_numbers_and_fractions_are_one_setting(tmp_path: Path) -> None:
    SequenceConfig(capture_sec=5, margin=2).save(tmp_path / "a.json")
    SequenceConfig(capture_sec=5.0, margin=2.0).save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


@pytest.mark.parametrize(
    "content", [None, "", "[1]", "3", '{"frame_count": 0}', '{"unknown": 1}', '{"frame_count": "x"}', "{"]
)
def test_a_configuration_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "sequence.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigMismatch, match=r"sequence\.json is not a sequence configuration .*Run processing again"):
        SequenceConfig.load(path)


def test_require_names_every_field_that_differs() -> None:
    mine = SequenceConfig(detector="haar")
    mine.require(SequenceConfig(detector="haar"), what="never", remedy="needed")
    with pytest.raises(ConfigMismatch) as caught:
        mine.require(SequenceConfig(detector="yunet", margin=1.5), what="x was made", remedy="Do y.")
    assert str(caught.value) == "x was made with margin 1.5 instead of 1.3, detector 'yunet' instead of 'haar'. Do y."

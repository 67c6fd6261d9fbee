from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from dfdc_utils.sequences import augment_sequence, augmentation


def drawn(sequence: np.ndarray, count: int) -> list[np.ndarray]:
    augment = tf.function(augment_sequence)
    return [augment(tf.constant(sequence), tf.constant([seed, 7], tf.int64)).numpy() for seed in range(count)]


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [32, 50])  # 50: JPEG's blocks of 16 would straddle two frames
def test_one_draw_serves_all_frames_of_a_sequence(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCALED", "COMPRESSED", "BLURRED"):
        monkeypatch.setattr(augmentation, name, 0.5)
    frame = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    still = np.stack([frame] * 6)
    sequences = drawn(still, 24)
    for sequence in sequences:
        assert sequence.shape == still.shape and sequence.dtype == np.uint8
        assert (sequence == sequence[:1]).all()
    assert len({sequence.tobytes() for sequence in sequences}) == 24


def test_the_same_draw_does_the_same(frame: np.ndarray) -> None:
    still = np.stack([frame] * 2)
    for one, two in zip(drawn(still, 5), drawn(still, 5), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("way", ["SCALED", "COMPRESSED", "BLURRED"])
def test_each_way_changes_what_it_should(way: str, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all other ways off: what is lost is fine detail, and the brightness stays."""
    smooth = np.full((2, 96, 96, 3), 128, np.uint8) + (cv2.resize(frame, (96, 96)) // 4)
    for name in ("SCALED", "COMPRESSED", "BLURRED", "SHIFT", "GAIN", "CONTRAST"):
        monkeypatch.setattr(augmentation, name, 0)
    flipped = {smooth.tobytes(), smooth[:, :, ::-1].tobytes()}
    assert {sequence.tobytes() for sequence in drawn(smooth, 8)} == flipped  # only mirrored
    monkeypatch.setattr(augmentation, way, 1.0)
    sequences = drawn(smooth, 16)
    assert sum(sequence.tobytes() in flipped for sequence in sequences) <= 6  # a weak draw may change nothing
    assert all(abs(sequence.mean() - smooth.mean()) < 2 for sequence in sequences)

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdc_utils import blending
from dfdc_utils.blending import TYPICAL, find_landmarks, self_blend
from dfdc_utils.faces import Face, YuNetDetector
from dfdc_utils.processing import processing
from dfdc_utils.sequences import load_sequence

SIZE = 64
LANDMARKS = np.stack([TYPICAL * SIZE] * 6)


@pytest.fixture
def still() -> np.ndarray:
    """Six times the same textured picture."""
    coarse = np.random.default_rng(0).integers(60, 200, (12, 12, 3)).astype(np.uint8)
    return np.stack([cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)] * 6)


def blends(sequence: np.ndarray, count: int = 20) -> list[np.ndarray]:
    return [self_blend(sequence, LANDMARKS, np.random.default_rng(seed)) for seed in range(count)]


def test_the_same_state_makes_the_same_fake(still: np.ndarray) -> None:
    once, again = blends(still), blends(still)
    assert len({fake.tobytes() for fake in once}) == 20
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape == still.shape and one.dtype == np.uint8 and (one != still).any()


def test_what_is_drawn_holds_for_all_frames_or_trembles(still: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "JITTERED", 0.0)
    assert all((fake == fake[:1]).all() for fake in blends(still))
    monkeypatch.setattr(blending, "JITTERED", 1.0)
    trembling = blends(still)
    assert all((fake != fake[:1]).any() for fake in trembling)
    steps = [np.abs(np.diff(fake.astype(float), axis=0)).mean() for fake in trembling]
    assert max(steps) < 12  # a tremble, no jump


def test_the_two_halves_meet_at_an_edge_inside(still: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Face and surroundings differ by the change of light: one of them is as it was, the other is not."""
    monkeypatch.setattr(blending, "RATIOS", (1.0,))
    monkeypatch.setattr(blending, "JITTERED", 0.0)
    monkeypatch.setattr(blending, "SHIFT", 0.0)
    monkeypatch.setattr(blending, "SCALE", 0.0)
    corner, middle = np.s_[:, :4, :4], np.s_[:, 36:40, 30:34]
    for fake in blends(still):
        changed = [np.abs(fake[part].astype(int) - still[part]).mean() for part in (corner, middle)]
        assert min(changed) < 2 < max(changed)


class _Blind:
    name = "blind"

    def __init__(self, sees: list[bool]) -> None:
        self._sees = iter(sees)

    def detect(self, image: np.ndarray, *, smallest: float | None = None) -> list[Face]:
        points = TYPICAL.astype(float) * len(image) + 2
        return [Face(np.array([8.0, 8, 40, 40]), 0.9, points)] if next(self._sees) else []


def test_frames_without_landmarks_take_those_of_the_others(still: np.ndarray) -> None:
    found = find_landmarks(still, _Blind([False, True, True, False, True, True]))
    np.testing.assert_allclose(found, np.stack([TYPICAL * SIZE + 2] * 6), rtol=1e-5)
    none = find_landmarks(still, _Blind([False] * 6))
    np.testing.assert_allclose(none, LANDMARKS)


def test_on_real_faces_it_changes_the_face(real_clips: Path, yunet_path: Path, tmp_path: Path) -> None:
    manifest = processing(real_clips, tmp_path, num_vids=4, detector="haar", show_progress=False)
    detector = YuNetDetector(yunet_path)
    for video in manifest["video"]:
        sequence = load_sequence(tmp_path, video)
        landmarks = find_landmarks(sequence, detector)
        assert (landmarks[:, 0, 0] < landmarks[:, 1, 0]).all()  # right eye left in the picture
        assert (landmarks[:, :2, 1].mean() < landmarks[:, 3:, 1]).all()  # eyes above the mouth
        fake = self_blend(sequence, landmarks, np.random.default_rng(0))
        assert 0.5 < np.abs(fake.astype(int) - sequence).mean() < 40

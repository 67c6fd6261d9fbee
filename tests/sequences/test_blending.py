from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdc_utils.faces import Face, YuNetDetector
from dfdc_utils.processing import processing
from dfdc_utils.sequences import TYPICAL, Outline, align, blending, load_sequence, self_blend, swap_face
from dfdc_utils.sequences.blending import find_landmarks

SIZE = 64
LANDMARKS = np.stack([TYPICAL * SIZE] * 6)


@pytest.fixture
def still() -> np.ndarray:
    """Six times the same textured picture."""
    coarse = np.random.default_rng(0).integers(60, 200, (12, 12, 3)).astype(np.uint8)
    return np.stack([cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)] * 6)


def pairs(sequence: np.ndarray, count: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    return [self_blend(sequence, LANDMARKS, np.random.default_rng(seed))[:2] for seed in range(count)]


def test_the_same_state_makes_the_same_pair(still: np.ndarray) -> None:
    once, again = pairs(still), pairs(still)
    assert len({fake.tobytes() for _, fake in once}) == 20
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one[1].shape == still.shape and one[1].dtype == np.uint8 and (one[0] != one[1]).any()


@pytest.mark.parametrize("seed", range(12))
def test_an_oval_lies_where_the_five_landmarks_say_whatever_points_follow_them(seed: int) -> None:
    """A face mesh adds 468 points: their mean is not the mouth's."""
    mesh = np.random.default_rng(seed).uniform(0, SIZE, (468, 2)).astype(np.float32)
    five, more = TYPICAL * SIZE, np.concatenate([TYPICAL * SIZE, mesh])
    drawn = [Outline(np.random.default_rng(seed)).draw(points, SIZE) for points in (five, more)]
    np.testing.assert_array_equal(*drawn)


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


@pytest.mark.slow
def test_on_real_faces_it_changes_the_face(real_clips: Path, yunet_path: Path, tmp_path: Path) -> None:
    manifest = processing(real_clips, tmp_path, num_vids=2, detector="haar", show_progress=False)
    detector = YuNetDetector(yunet_path)
    for video in manifest["video"]:
        sequence = load_sequence(tmp_path, video)
        landmarks = find_landmarks(sequence, detector)
        assert (landmarks[:, 0, 0] < landmarks[:, 1, 0]).all()  # right eye left in the picture
        assert (landmarks[:, :2, 1].mean() < landmarks[:, 3:, 1]).all()  # eyes above the mouth
        real, fake, _ = self_blend(sequence, landmarks, np.random.default_rng(0))
        assert 0.5 < np.abs(fake.astype(int) - real).mean() < 40


def test_a_pair_in_which_nothing_is_blended_is_twice_the_same(
    still: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one is changed and resampled just as what surrounds the blend in its fake."""
    monkeypatch.setattr(blending, "RATIOS", (0.0,))
    for real, fake in pairs(still):
        np.testing.assert_array_equal(real, fake)
        assert (real != still).any()


def test_a_pair_differs_in_the_face_alone(still: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "RATIOS", (1.0,))
    differs = np.mean([np.abs(real.astype(int) - fake).mean(axis=(0, 3)) for real, fake in pairs(still)], axis=0)
    assert differs[:2].max() < 1 < differs[36:40, 30:34].min()


def test_blends_of_pairs_are_constant_drift_or_jitter(still: np.ndarray) -> None:
    """Largest second difference over time against the largest difference: 0 of 0, small, large."""
    constant = drift = jitter = 0
    for _, fake in pairs(still, 60):
        steps = np.abs(np.diff(fake.astype(float), axis=0)).mean()
        assert steps < 12  # no jump
        bends = np.abs(np.diff(fake.astype(float), 2, axis=0)).mean()
        constant += steps == 0
        drift += 0 < bends < 1.2 * steps
        jitter += bends >= 1.2 * steps > 0
    assert constant >= 10 and drift >= 10 and jitter >= 10 and constant + drift + jitter == 60


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.deg2rad(degrees)
    return points @ (scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])) + shift


def test_landmarks_are_aligned_by_turn_scale_and_shift() -> None:
    there = turned(LANDMARKS[0], 20, 1.3, (5, -3))
    placed = align(LANDMARKS[0], there)
    np.testing.assert_allclose(LANDMARKS[0] @ placed[:, :2].T + placed[:, 2], there, atol=1e-4)
    mirrored = align(LANDMARKS[0] * (-1, 1), LANDMARKS[0])
    assert np.linalg.det(mirrored[:, :2]) > 0  # a face is never turned inside out
    assert np.isfinite(align(np.ones((5, 2)), LANDMARKS[0])).all()  # nor is a single point a face


def test_a_swap_lays_the_donors_face_over_the_landmarks(still: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned, larger and of another colour, the donor is the same picture: laid over, hardly anything is left of it."""
    monkeypatch.setattr(blending, "JITTER", 0.0)
    donor = np.clip(still[0] * 0.8 + 20, 0, 255).astype(np.uint8)
    there = turned(LANDMARKS[0], 10, 1.0, (2, 1))
    placed = align(LANDMARKS[0], there)
    donor = cv2.warpAffine(donor, placed, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    away: dict[str, list[float]] = {"placed": [], "misplaced": []}
    for seed in range(20):
        for name, points in (("placed", there), ("misplaced", LANDMARKS[0])):
            real, fake, _ = swap_face(still, LANDMARKS, donor, points.astype(np.float32), np.random.default_rng(seed))
            np.testing.assert_array_equal(real, still)
            away[name].append(np.abs(fake.astype(float) - real)[:, 34:44, 22:42].mean())
    assert np.median(away["placed"]) < 6 and 2 * np.median(away["placed"]) < np.median(away["misplaced"])


def test_a_swap_changes_the_face_alone(still: np.ndarray) -> None:
    donor = np.ascontiguousarray(still[0][::-1])
    swaps = [swap_face(still, LANDMARKS, donor, LANDMARKS[0], np.random.default_rng(seed))[:2] for seed in range(20)]
    differs = np.mean([np.abs(real.astype(int) - fake).mean(axis=(0, 3)) for real, fake in swaps], axis=0)
    assert differs[:2].max() < 1 < 5 < differs[36:40, 30:34].min()
    away = swap_face(still, LANDMARKS - 500, donor, LANDMARKS[0], np.random.default_rng(0))
    np.testing.assert_array_equal(away.real, away.fake)  # a mask outside the picture changes nothing
    assert not away.mask.any()


def test_the_mask_is_where_a_pair_differs(still: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "RATIOS", (1.0,))
    for seed in range(20):
        real, fake, mask = self_blend(still, LANDMARKS, np.random.default_rng(seed))
        differs = (real != fake).any(axis=-1)
        assert mask.shape == differs.shape and mask.min() >= 0 and mask.max() <= 1.001
        assert not differs[mask < 1e-3].any() and differs[mask > 0.5].mean() > 0.8

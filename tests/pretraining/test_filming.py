from __future__ import annotations

import cv2
import numpy as np
import pytest
from photographs import SIDE, draw_photograph

from dfdc_utils.pretraining import filming
from dfdc_utils.pretraining.filming import Encoding, film_together, move_still
from dfdc_utils.sequences import TYPICAL

PICTURE = draw_photograph(np.random.default_rng(0), 160)
LANDMARKS = ((TYPICAL - 0.5) * 1.3 * SIDE + 80).astype(np.float32)


def clip(seed: int, frame_count: int = 8, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return move_still(PICTURE, SIDE, LANDMARKS, frame_count, size, np.random.default_rng(seed))


def test_a_still_is_filmed_with_its_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eyes are drawn dark: wherever the head goes, it is dark where the landmarks say they are."""
    monkeypatch.setattr(filming, "SPEECH", 0.0)
    picture = np.full((160, 160, 3), 200, np.uint8)
    for x, y in LANDMARKS[:2]:
        cv2.circle(picture, (round(float(x)), round(float(y))), 5, (0, 0, 0), -1)
    for seed in range(10):
        frames, points = move_still(picture, SIDE, LANDMARKS, 6, 64, np.random.default_rng(seed))
        assert frames.shape == (6, 64, 64, 3) and points.shape == (6, 5, 2)
        for frame, five in zip(frames, points, strict=True):
            assert all(frame[round(float(y)), round(float(x))].max() < 80 for x, y in five[:2])
            assert five[0, 0] < five[1, 0]  # the right eye is left in the picture, mirrored or not


def test_motion_is_small_slow_and_there() -> None:
    steps = []
    for seed in range(30):
        frames, points = clip(seed)
        moved = np.abs(np.diff(points, axis=0)).max() / 64
        steps.append(moved)
        assert (np.diff(frames.astype(int), axis=0) != 0).any()
    assert max(steps) < 0.08 and np.median(steps) > 0.003


def test_faces_fill_crops_as_the_margins_say() -> None:
    """The distance of the eyes in a crop, against what it is at a margin of 1.3."""
    eyes = [np.linalg.norm(clip(seed, 1)[1][0, 1] - clip(seed, 1)[1][0, 0]) for seed in range(100)]
    usual = np.linalg.norm(TYPICAL[1] - TYPICAL[0]) * 64 * 1.3
    low, high = filming.MARGINS
    assert usual / high * 0.9 < min(eyes) < usual / high * 1.15 and usual / low * 0.85 < max(eyes) < usual / low * 1.15


def clips(frame_count: int = 3) -> np.ndarray:
    """Two people, each filmed twice in the same way."""
    one, two = clip(0, frame_count)[0], clip(1, frame_count)[0]
    return np.stack([np.stack([one, one]), np.stack([two, two])])


@pytest.mark.parametrize("crf", [None, 20, 38])
def test_both_versions_of_a_person_are_treated_alike(crf: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two equal clips come out equal, but for what an encoder borrows from a neighbouring tile."""
    monkeypatch.setattr(filming, "MARGINS", (1.2, 1.5))  # how the clips are cut is not what is tested
    out = film_together(clips(), Encoding(64, crf), 48, np.random.default_rng(0))
    assert out.shape == (2, 2, 3, 48, 48, 3) and out.dtype == np.uint8
    apart = np.abs(out[:, 0].astype(int) - out[:, 1])
    assert apart.mean() < (0 if crf is None else 6) + 1e-9
    between = np.abs(out[0, 0].astype(int) - out[1, 0]).mean()
    assert between > 10  # people differ


def test_a_higher_factor_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHARPENED", "SHRUNK", "DEFOCUSED", "NOISY", "RECOMPRESSED"):
        monkeypatch.setattr(filming, name, 0.0)
    clean = clips(4)

    def loss(crf: int) -> float:
        # The same light for all, so that only the encoder differs.
        return float(np.abs(encoded[None].astype(int) - encoded_at(crf)).mean())

    def encoded_at(crf: int) -> np.ndarray:
        return film_together(clean, Encoding(64, crf), 64, np.random.default_rng(3))

    encoded = encoded_at(1)
    losses = [loss(crf) for crf in (18, 28, 40)]
    assert losses == sorted(losses) and losses[2] > 2 * losses[0] > 0


def test_encodings_are_of_all_sizes_and_qualities() -> None:
    generator = np.random.default_rng(0)
    encodings = [Encoding.sample(generator) for _ in range(400)]
    assert all(
        encoding.size % 2 == 0 and filming.SIZES[0] <= encoding.size <= filming.SIZES[1] for encoding in encodings
    )
    crfs = [encoding.crf for encoding in encodings if encoding.crf is not None]
    assert (min(crfs), max(crfs)) == filming.CRFS
    assert 0.6 < len(crfs) / len(encodings) < 0.8


def test_no_version_has_the_better_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two equal clips none is always what the other is predicted from: a network learns that before any blend."""
    for name in ("SHARPENED", "SHRUNK", "DEFOCUSED", "NOISY", "RECOMPRESSED"):
        monkeypatch.setattr(filming, name, 0.0)
    clean = clips()

    def preference() -> float:
        """How much rougher the first version comes out than the second, in standard errors."""
        differ = []
        for seed in range(60):
            out = film_together(clean, Encoding(64, 30), 64, np.random.default_rng(seed)).astype(float)
            rough = np.abs(np.diff(out, axis=-2)).mean(axis=(2, 3, 4, 5))
            differ.append((rough[:, 0] - rough[:, 1]).mean())
        return abs(float(np.mean(differ) / np.std(differ) * np.sqrt(len(differ))))

    assert preference() < 3
    in_order = type("InOrder", (), {"permutation": staticmethod(np.arange)})()
    encode = filming._encode_side_by_side
    monkeypatch.setattr(filming, "_encode_side_by_side", lambda shown, crf, generator: encode(shown, crf, in_order))
    assert preference() > 4  # the check can fail

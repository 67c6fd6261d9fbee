from __future__ import annotations

import cv2
import numpy as np
import pytest

from dfdc_utils.faces.flicker import BLUR, measure_flicker
from dfdc_utils.videos import Image

SIDE, MARGIN = 112, 1.35


def face(seed: int = 0) -> Image:
    """Smooth random texture, (SIDE, SIDE, 3)."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.repeat(np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def shifted(picture: Image, by: float) -> Image:
    move = np.array([[1, 0, by], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(picture, move, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def spot(picture: Image, x: int, y: int, strength: int = 30) -> Image:
    """The picture with a soft spot of a tenth of the face's width."""
    lit = picture.astype(np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    lit += strength * np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / 4.0**2)[..., None]
    return np.clip(lit, 0, 255).astype(np.uint8)


def test_a_face_that_only_moves_shows_little_that_is_new() -> None:
    still, moving = (measure_flicker([(shifted(face(), -by), face(), shifted(face(), by))], MARGIN) for by in (0, 2))
    assert still[0] == pytest.approx(np.log(0.05), abs=1e-3)
    assert np.exp(moving[0]) < 0.5  # grey levels, of 40
    assert moving[1] == pytest.approx(still[1])  # the texture is the same
    assert np.exp(moving[2]) == pytest.approx(2.05, abs=0.2)  # pixels


def test_what_is_in_one_frame_only_is_new_and_what_lasts_is_not() -> None:
    middle = spot(face(), 50, 60)
    once = measure_flicker([(face(), middle, face())], MARGIN)[0]
    lasts = measure_flicker([(face(), middle, middle)], MARGIN)[0]
    never = measure_flicker([(face(), face(), face())], MARGIN)[0]
    assert once > never + 1
    assert lasts == pytest.approx(never, abs=0.3)


def test_only_the_face_counts_and_fine_grain_does_not() -> None:
    def new(middle: Image) -> float:
        return measure_flicker([(face(), middle, face())], MARGIN)[0]

    grain = np.random.default_rng(1).normal(0, 8, (SIDE, SIDE, 1))
    grainy = np.clip(face() + grain, 0, 255).astype(np.uint8)
    assert new(spot(face(), 8, 8)) < new(spot(face(), 56, 56)) - 1
    assert new(grainy) < np.log(8 / (2 * np.sqrt(np.pi) * BLUR * SIDE / MARGIN))  # what is left of it when blurred


def test_a_clip_has_the_mean_of_its_triples_and_without_neighbours_nothing() -> None:
    triples = [(face(0), spot(face(0), 50, 60), face(0)), (face(1), face(1), face(1))]
    apart = [measure_flicker([one], MARGIN) for one in triples]
    assert measure_flicker(triples, MARGIN) == pytest.approx(np.mean(apart, axis=0), abs=1e-3)
    assert measure_flicker([], MARGIN) == []

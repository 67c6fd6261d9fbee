"""A folder of drawn faces and a detector that finds them: what tests of pretraining run on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dfdc_utils.faces import Face
from dfdc_utils.sequences import TYPICAL

SIDE = 90  # of each face's box, in photographs of 150 pixels


class CentralDetector:
    """Finds one face in the middle of any picture."""

    name = "central"
    enough = np.inf

    def detect(self, image: np.ndarray, *, smallest: float | None = None) -> list[Face]:
        height, width = image.shape[:2]
        side = SIDE / 150 * max(height, width)
        corner = np.array([width, height]) / 2 - side / 2
        # `TYPICAL` is in shares of a crop with a margin of 1.3.
        points = (TYPICAL.astype(float) - 0.5) * 1.3 * side + np.array([width, height]) / 2
        return [Face(np.array([*corner, side, side]), 0.9, points)]


def draw_photograph(generator: np.random.Generator, size: int = 150) -> np.ndarray:
    """Texture at several scales with an oval, two eyes and a mouth."""
    picture = np.zeros((size, size, 3), np.float32)
    for cells in (3, 10, 40):
        noise = generator.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) / 3
    face = np.clip(picture, 0, 255).astype(np.uint8)
    centre = size // 2
    skin = tuple(int(value) for value in generator.integers(90, 220, 3))
    cv2.ellipse(face, (centre, centre), (34, 44), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (-17, 17):
        cv2.circle(face, (centre + x, centre - 8), 5, (20, 20, 30), -1, cv2.LINE_AA)
    cv2.ellipse(face, (centre, centre + 24), (15, 5), 0, 0, 360, (150, 40, 50), -1, cv2.LINE_AA)
    return face


def make_photographs(folder: Path, people: int, *, each: int = 1, seed: int = 0) -> Path:
    """`people` people with `each` photographs, named Person_3_0001.png and so on."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for person in range(people):
        for number in range(each):
            cv2.imwrite(
                str(folder / f"Person_{chr(65 + person // 26)}{chr(65 + person % 26)}_{number:04d}.png"),
                draw_photograph(generator)[..., ::-1],
            )
    return folder

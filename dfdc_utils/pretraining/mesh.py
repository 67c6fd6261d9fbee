"""Outlines of a face and of its parts, drawn from the 468 landmarks of MediaPipe's face mesh: real swaps end at such.

Li et al. 2020 (https://arxiv.org/abs/1912.13458) and Shiohara and Yamasaki 2022 (https://arxiv.org/abs/2204.08376)
blend in hulls of landmarks, too; the parts are ours.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.sequences import Outline, bend, fill_polygon
from dfdc_utils.videos import Image

POINTS = 468
INPUT_SIZE, INPUT_MARGIN = 192, 1.5  # pixels of the network's input; its side in multiples of the face's box
OUTPUT = "conv2d_20"

# Numbers of MediaPipe's landmarks, https://github.com/google-ai-edge/mediapipe (face_mesh_connections.py).
_OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152]
_OVAL += [148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
_JAW = _OVAL[8:29]  # from ear to ear, by the chin
_BROWS = ([46, 53, 52, 65, 55, 70, 63, 105, 66, 107], [276, 283, 282, 295, 285, 300, 293, 334, 296, 336])
_EYES = ([33, 7, 163, 144, 145, 153, 154, 155, 133, 246], [263, 249, 390, 373, 374, 380, 381, 382, 362, 466])
_NOSE = [168, 48, 64, 98, 2, 327, 294, 278]
_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]

# The hulls of each outline, which of YuNet's five landmarks lie in it (for a donor's part to be aligned by), and by how
# much it may grow. The last ones are listed as often as they are wanted.
Hulls = tuple[tuple[list[int], ...], list[int], tuple[float, float]]
WHOLE: list[Hulls] = [
    ((_OVAL,), [0, 1, 2, 3, 4], (0.88, 1.08)),
    (([*_JAW, *_BROWS[0], *_BROWS[1]],), [0, 1, 2, 3, 4], (0.9, 1.05)),  # without the forehead
    (([*_BROWS[0], *_BROWS[1], *_LIPS],), [0, 1, 2, 3, 4], (0.95, 1.3)),  # the inner face
]
PARTS: list[Hulls] = [
    (([98, 327, *_JAW[3:-3]],), [2, 3, 4], (0.85, 1.05)),  # nose to chin
    *[((_LIPS,), [2, 3, 4], (1.1, 2.0))] * 2,
    (tuple([*brow, *eye] for brow, eye in zip(_BROWS, _EYES, strict=True)), [0, 1, 2], (1.0, 1.4)),
    ((_NOSE,), [0, 1, 2], (1.0, 1.4)),
]
BEND = 0.025  # of the picture's side: how far an outline's edge is deformed


class FaceMesh:
    """MediaPipe's face mesh, run by OpenCV in 2 to 6 ms. Raises `FileNotFoundError` if its file is not there."""

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file. It is face_landmark.tflite, a part of MediaPipe.")
        self._network = cv2.dnn.readNetFromTFLite(str(path))

    def find(self, picture: Image, centre: NDArray[np.floating], side: float) -> NDArray[np.float32]:
        """Find the landmarks (468, 2) of a face in RGB (H, W, 3); `centre` (2,) and `side` of its box in pixels."""
        scale = INPUT_SIZE / (INPUT_MARGIN * side)
        move = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
        move[:, 2] = INPUT_SIZE / 2 - scale * np.asarray(centre)
        crop = cv2.warpAffine(picture, move, (INPUT_SIZE,) * 2, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
        self._network.setInput(cv2.dnn.blobFromImage(crop, 1 / 127.5, mean=(127.5, 127.5, 127.5)))
        points = self._network.forward(OUTPUT).reshape(POINTS, 3)[:, :2]
        return np.asarray((points - move[:, 2]) / scale, np.float32)


class MeshOutline(Outline):
    """A deformed hull around the face, or around a `part` of it, for `self_blend` and `swap_face`."""

    def __init__(self, generator: np.random.Generator, *, part: bool) -> None:
        outlines = PARTS if part else WHOLE
        self._hulls, self.anchors, growth = outlines[generator.integers(len(outlines))]
        self._growth = generator.uniform(*growth)
        self._field = generator.uniform(-1, 1, (2, 6, 6)).astype(np.float32)
        self._bend = BEND * generator.uniform(0.2, 1.0) * (0.5 if len(self.anchors) < 5 else 1.0)

    def draw(self, landmarks: NDArray[np.floating], size: int) -> NDArray[np.float32]:
        """The mask, float32 (size, size), 1 inside; `landmarks` (5 + 468, 2) are YuNet's, then the mesh's."""
        mask = np.zeros((size, size), np.float32)
        for hull in self._hulls:
            points = cv2.convexHull(landmarks[5:][hull].astype(np.float32))[:, 0]
            centre = points.mean(axis=0)
            mask = np.maximum(mask, fill_polygon(centre + self._growth * (points - centre), size))
        return np.asarray(bend(mask, self._field, self._bend, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT))

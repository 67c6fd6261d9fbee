"""Face detectors: an image in, faces out. YuNet first; OpenCV's own Haar cascade needs no download."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import Image

log = logging.getLogger(__name__)

YUNET_NAME = "face_detection_yunet_2023mar.onnx"
# OpenCV's model zoo, MIT licence; the hash pins the weights that all figures were measured with.
YUNET_URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_NAME}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

DETECTOR_NAMES = ("auto", "yunet", "haar")


@dataclass(frozen=True)
class Face:
    """One face in one image.

    `box` is float (x, y, width, height) in pixels of that image, `score` the detector's confidence, 0 to 1, and
    `landmarks` (5, 2) pixels: right eye, left eye, nose tip, right and left corner of the mouth; None from Haar.
    """

    box: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64] | None = field(default=None, repr=False)


def largest(faces: Iterable[Face]) -> Face:
    """The face with the largest box. Raises `ValueError` if there is none."""
    return max(faces, key=lambda face: face.box[2] * face.box[3])


class FaceDetector(Protocol):
    """Finds faces. `name` is what a `SequenceConfig` records."""

    name: str

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """Faces in a uint8 RGB image (H, W, 3), the most certain first.

        Faces of fewer than `smallest` pixels need not be found, which may save time.
        """


class YuNetDetector:
    """OpenCV's YuNet, a 75,000-weight network: turned and partly covered faces, five landmarks, 10 ms at 640 px.

    `weights` is the ONNX file; without it `find_yunet` looks for it. Taught in notebook 02.
    Source: Wu et al., "YuNet: A Tiny Millisecond-level Face FaceDetector", 2023, https://doi.org/10.1007/s11633-023-1423-y.
    """

    name = "yunet"

    def __init__(self, weights: str | Path | None = None, *, min_score: float = 0.6) -> None:
        path = find_yunet() if weights is None else _check_yunet(Path(weights))
        # 0.6 keeps turned faces; what is then too much lasts a frame or two, and tracks drop it.
        self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=min_score)

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """As `FaceDetector.detect`; all sizes cost the same here."""
        height, width = image.shape[:2]
        if min(height, width) <= 32:  # one cell of the network's grid: OpenCV then gives what its memory held before
            return []
        self._net.setInputSize((width, height))
        _, found = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))  # OpenCV's networks take BGR
        if found is None:
            return []
        faces = [Face(row[:4].astype(float), float(row[14]), row[4:14].reshape(5, 2).astype(float)) for row in found]
        return sorted(faces, key=lambda face: -face.score)


class HaarDetector:
    """OpenCV's frontal Haar cascade (`alt2`), which ships inside `opencv-python` 4.x. Upright, frontal faces only.

    Source: Viola and Jones 2001; Lienhart and Maydt 2002. Taught in notebook 02.
    """

    name = "haar"

    def __init__(self, *, smallest: float = 0.1) -> None:
        """`smallest`: the smallest face looked for, as a share of the image's shorter side."""
        self._cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")
        self._smallest = smallest

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """As `FaceDetector.detect`."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        least = min(grey.shape) * self._smallest if smallest is None else smallest
        side = max(20, round(least))  # the cascade was trained on 20 x 20 pixels
        # A scale step of 1.1 and three neighbours are OpenCV's own defaults.
        boxes, _, weights = self._cascade.detectMultiScale3(grey, 1.1, 3, minSize=(side, side), outputRejectLevels=True)
        # A weight is the last stage's margin, any number; the logistic function brings it between 0 and 1.
        faces = [
            Face(np.asarray(box, float), float(1 / (1 + np.exp(-weight))))
            for box, weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return sorted(faces, key=lambda face: -face.score)


def load_face_detector(name: str = "auto") -> FaceDetector:
    """The detector called `name`: `yunet`, `haar`, or `auto` for YuNet where its weights can be had, else Haar.

    YuNet's weights come from `DFDC_YUNET` if that names a file, else from the user's cache, else, once, from OpenCV's
    model zoo. Raises `ValueError` for another name, `FileNotFoundError` if `yunet` is asked for and its weights are
    nowhere. Taught in notebook 02.
    """
    if name == "haar":
        return HaarDetector()
    if name == "yunet":
        return YuNetDetector()
    if name != "auto":
        raise ValueError(f"detector {name!r} is not one of {', '.join(DETECTOR_NAMES)}")
    try:
        return YuNetDetector()
    except FileNotFoundError as error:
        if os.environ.get("DFDC_YUNET"):  # asked for by name: a wrong path must not pass for no path
            raise
        log.warning("using the Haar cascade, which misses turned faces: %s", error)
        return HaarDetector()


def find_yunet() -> Path:
    """Path of YuNet's weights: `DFDC_YUNET`, the user's cache, or fetched into that cache with the hash checked.

    Raises `FileNotFoundError` saying what to do if none of these gives the file, `ValueError` if it is another file.
    """
    if local := os.environ.get("DFDC_YUNET"):
        return _check_yunet(Path(local).expanduser())
    import pooch  # here, since only this needs it and importing it takes as long as the rest of this package

    cache = pooch.os_cache("dfdc_utils")
    # One attempt: offline is a normal way to work, and must not cost a minute of retries.
    downloader = pooch.HTTPDownloader(timeout=10)
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(
            pooch.retrieve(YUNET_URL, f"sha256:{YUNET_SHA256}", fname=YUNET_NAME, path=cache, downloader=downloader)
        )
    except ValueError as error:  # pooch: the hash of the downloaded file differs
        raise ValueError(
            f"what {YUNET_URL} gave is not YuNet's weights ({error}). Get {YUNET_NAME} elsewhere and set "
            "DFDC_YUNET to its path."
        ) from error
    except OSError as error:  # every error of the network is one
        raise FileNotFoundError(
            f"YuNet's weights are not in {cache} and cannot be fetched ({type(error).__name__}). Go online once, or "
            f"set DFDC_YUNET to a copy of {YUNET_NAME}."
        ) from error


def _check_yunet(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"YuNet's weights: there is no file {path}. Correct DFDC_YUNET or unset it.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != YUNET_SHA256:
        raise ValueError(f"{path} is not {YUNET_NAME} (its SHA-256 differs). Get the file again from {YUNET_URL}.")
    return path

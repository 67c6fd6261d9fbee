"""Face detectors: YuNet, and OpenCV's Haar cascade, which needs no download."""

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
# From OpenCV's model zoo, MIT licence. The hash is of the weights that all results were measured with.
YUNET_URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{YUNET_NAME}"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

DETECTOR_NAMES = ("auto", "yunet", "haar")


@dataclass(frozen=True)
class Face:
    """One face: `box` is float (x, y, width, height) in pixels of its image, `score` the detector's confidence, 0 to 1.

    `landmarks` is (5, 2) in pixels: right eye, left eye, nose tip, right and left corner of the mouth; None from Haar.
    """

    box: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64] | None = field(default=None, repr=False)


def largest(faces: Iterable[Face]) -> Face | None:
    """Return the face with the largest box; None if there is none."""
    return max(faces, key=lambda face: face.box[2] * face.box[3], default=None)


class FaceDetector(Protocol):
    """Finds faces. Its `name` is stored in the `SequenceConfig`."""

    name: str

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """Find the faces of at least `smallest` pixels in a uint8 RGB image (H, W, 3), the most certain first."""


class YuNetDetector:
    """OpenCV's YuNet. It finds turned and partly covered faces, with five landmarks. `weights` is the ONNX file.

    Source: Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y. Taught in notebook 02.
    """

    name = "yunet"

    def __init__(self, weights: str | Path | None = None) -> None:
        path = find_yunet() if weights is None else _check_yunet(Path(weights))
        # A threshold of 0.6 keeps turned faces. False hits last for a frame or two, and `follow_faces` drops them.
        self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=0.6)

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """Find faces as `FaceDetector.detect` does. `smallest` has no effect: all sizes take the same time."""
        height, width = image.shape[:2]
        if min(height, width) <= 32:  # one cell of the network's grid, for which OpenCV returns uninitialised memory
            return []
        self._net.setInputSize((width, height))
        _, found = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))  # OpenCV's networks take BGR
        rows = np.empty((0, 15)) if found is None else found.astype(float)
        faces = [Face(row[:4], float(row[14]), row[4:14].reshape(5, 2)) for row in rows]
        return sorted(faces, key=lambda face: -face.score)


class HaarDetector:
    """OpenCV's Haar cascade `alt2`, which is part of `opencv-python` 4.x. It finds upright, frontal faces only.

    Source: Viola and Jones 2001; Lienhart and Maydt 2002. Taught in notebook 02.
    """

    name = "haar"

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        """Find faces as `FaceDetector.detect` does, by default from a tenth of the image's shorter side."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        side = max(20, round(min(grey.shape) / 10 if smallest is None else smallest))  # trained on 20 x 20 pixels
        # A scale step of 1.1 and three neighbours are OpenCV's defaults.
        boxes, _, weights = self._cascade.detectMultiScale3(grey, 1.1, 3, minSize=(side, side), outputRejectLevels=True)
        # A weight is the margin of the last stage, any number. The logistic function maps it to 0 to 1.
        scores = 1 / (1 + np.exp(-np.ravel(weights)))
        faces = [Face(np.asarray(box, float), float(score)) for box, score in zip(boxes, scores, strict=True)]
        return sorted(faces, key=lambda face: -face.score)


def load_face_detector(name: str = "auto") -> FaceDetector:
    """Load a detector by its name: `yunet`, `haar`, or `auto` for YuNet if its weights are available, else Haar.

    Raises `ValueError` for another name, and the errors of `find_yunet`. Taught in notebook 02.
    """
    if name not in DETECTOR_NAMES:
        raise ValueError(f"detector {name!r} is not one of {', '.join(DETECTOR_NAMES)}")
    if name != "haar":
        try:
            return YuNetDetector()
        except FileNotFoundError as error:
            if name == "yunet" or os.environ.get("DFDC_YUNET"):  # a wrong path is an error, not a reason for Haar
                raise
            log.warning("using the Haar cascade, which misses turned faces: %s", error)
    return HaarDetector()


def find_yunet() -> Path:
    """Return the path of YuNet's weights: the environment variable `DFDC_YUNET`, else a file in the user's cache.

    They are downloaded there once, from OpenCV's model zoo. Raises `FileNotFoundError`, saying what to do, if they are
    not available, `ValueError` if the file has another hash.
    """
    if local := os.environ.get("DFDC_YUNET"):
        return _check_yunet(Path(local).expanduser())
    import pooch  # only this function needs it, and importing it takes as long as the rest of this package

    cache = pooch.os_cache("dfdc_utils")
    # One attempt: working offline is normal and must not cost a minute of retries.
    once = pooch.HTTPDownloader(timeout=10)
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(YUNET_URL, f"sha256:{YUNET_SHA256}", YUNET_NAME, path=cache, downloader=once))
    except ValueError as error:  # pooch: the hash of the downloaded file differs
        remedy = f"Get {YUNET_NAME} elsewhere and set DFDC_YUNET to its path."
        raise ValueError(f"the file at {YUNET_URL} is not YuNet's weights ({error}). {remedy}") from error
    except OSError as error:  # all network errors are of this kind
        what = f"YuNet's weights are not in {cache} and cannot be downloaded ({type(error).__name__})"
        remedy = f"Go online once, or set DFDC_YUNET to a copy of {YUNET_NAME}."
        raise FileNotFoundError(f"{what}. {remedy}") from error


def _check_yunet(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"YuNet's weights: file not found: {path}. Correct DFDC_YUNET or unset it.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != YUNET_SHA256:
        raise ValueError(f"{path} is not {YUNET_NAME} (its SHA-256 differs). Get it again from {YUNET_URL}.")
    return path

"""Cuts between two sampled frames: a track must not go on from one scene to the next."""

from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import Image

SIDE = 32  # pixels of the thumbnails that are compared
BINS = (8, 4, 4)  # of hue, saturation and value
# Two frames are of two shots if both their pattern and their colours differ. Of 3,000 pairs of frames of two different
# videos (real clips and the sample) that tells 98 % apart; of 244 videos without a cut it cuts none (`bench_cuts.py`).
LEAST_CORRELATION, LEAST_OVERLAP = 0.6, 0.65


class Thumbnail(NamedTuple):
    """What a frame looks like: `pattern`, a unit vector of its pixels minus their mean; `colours`, a histogram."""

    pattern: NDArray[np.float64]
    colours: NDArray[np.float64]

    @classmethod
    def of(cls, image: Image) -> Self:
        """Make it of a frame, uint8 RGB (H, W, 3)."""
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        pattern = small - small.mean(axis=(0, 1))
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        colours = cv2.calcHist([hsv], [0, 1, 2], None, BINS, [0, 180, 0, 256, 0, 256]).ravel()
        return cls(pattern.ravel() / (np.linalg.norm(pattern) or 1.0), colours / colours.sum())

    def is_cut_from(self, before: Self) -> bool:
        """Say if a cut lies between the frame before and this one."""
        overlap = np.minimum(self.colours, before.colours).sum()
        return bool(self.pattern @ before.pattern < LEAST_CORRELATION and overlap < LEAST_OVERLAP)

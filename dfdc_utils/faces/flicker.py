"""Flicker: what a face shows in one frame and neither in the frame before nor in the one after.

A fake is made frame by frame, so its details change from frame to frame, where those of a real face move.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from dfdc_utils.videos import Image

FACE = 0.45  # half the width of what counts as the face, in multiples of its box
# In multiples of the box: finer details are blurred away, since compression changes them from frame to frame, too.
BLUR = 0.024
LEAST = 0.05  # grey levels, or pixels, added before a logarithm


def measure_flicker(triples: Sequence[tuple[Image, Image, Image]], margin: float) -> list[float]:
    """Measure new detail, texture and motion of a face: logarithms, averaged over triples of neighbouring frames.

    A triple holds crops of the same place, uint8 RGB (S, S, 3), `margin` times the face's box. The frames before and
    after are warped onto the middle one along the optical flow (DIS, Kroeger et al. 2016). New detail, in grey levels,
    is what the middle one has more, or less, than both. Of no triples the list is empty.
    """
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = []
    for triple in triples:
        before, middle, after = (cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in triple)
        size = len(middle)
        places = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).astype(np.float32)
        face = np.linalg.norm((places - (size - 1) / 2) * margin / size, axis=-1) < FACE
        missed, moved = [], []
        for other in (before, after):
            motion = flow.calc(middle, other, None)
            warped = cv2.remap(other, places + motion, None, cv2.INTER_CUBIC)
            missed.append(cv2.GaussianBlur(middle.astype(np.float32) - warped, (0, 0), BLUR * size / margin))
            moved.append(np.linalg.norm(motion, axis=-1)[face])
        new = np.where(missed[0] * missed[1] > 0, np.minimum(*np.abs(missed)), 0)[face]
        texture = np.abs(cv2.Laplacian(middle, cv2.CV_32F))[face]
        found.append([float(np.log(np.mean(part) + LEAST)) for part in (new, texture, moved)])
    return [round(float(mean), 4) for mean in np.mean(found, axis=0)] if found else []

"""Heat maps on faces."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import Image

HEAT = cv2.COLORMAP_INFERNO  # rises in lightness, so it also reads in grey


def lay_heat(face: Image, heat: NDArray[np.floating]) -> Image:
    """`heat` (H, W), 0 to 1, over a grey copy of a face, uint8 RGB (H, W, 3): the brighter, the more heat."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), HEAT), cv2.COLOR_BGR2RGB)
    opacity = 0.75 * np.sqrt(heat)[..., None]  # faint heat is visible, and so is the face below the strongest
    return np.asarray((0.6 * grey * (1 - opacity) + colours * opacity).clip(0, 255), np.uint8)

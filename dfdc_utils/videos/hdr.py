"""High dynamic range: PQ and HLG video as standard RGB, as players show it."""

import functools
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc
from numpy.typing import NDArray

HDR_CURVES = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
WHITE = 203.0  # cd/m2: what standard video shows as white (ITU-R BT.2408)
KNEE = 0.8  # of white: brighter light is compressed
# From the primaries of BT.2020 to those of BT.709 (ITU-R BT.2087).
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)


def tone_map(frame: av.VideoFrame, **size: Any) -> NDArray[np.uint8]:
    """Convert a frame with one of `HDR_CURVES` to uint8 RGB (H, W, 3), scaled if `size` says so.

    Light up to `KNEE` keeps its brightness, what is brighter is compressed, and colours outside of BT.709 are clipped.
    """
    space = Colorspace.BT2020 if frame.color_primaries == ColorPrimaries.BT2020 else None
    coded = frame.reformat(format="rgb48le", threads=1, src_colorspace=space, **size).to_ndarray()
    light = _light(frame.color_trc == ColorTrc.ARIB_STD_B67)[coded]  # 1 is white
    if frame.color_trc == ColorTrc.ARIB_STD_B67:  # the system's gamma, for a display of 1000 cd/m2
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (1000 / WHITE * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    if frame.color_primaries == ColorPrimaries.BT2020:
        light = light @ TO_BT709.T
    peak = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    room = 1 - KNEE
    compressed = np.where(peak > KNEE, KNEE + room * (1 - np.exp(-(peak - KNEE) / room)), peak)
    return np.asarray((255 * np.clip(light * (compressed / peak), 0, 1) ** (1 / 2.4)).round(), np.uint8)


@functools.cache
def _light(is_hlg: bool) -> NDArray[np.float32]:
    """Light of each 16-bit code (ITU-R BT.2100): of the display in units of `WHITE` for PQ, of the scene for HLG."""
    code = np.linspace(0, 1, 2**16)
    if is_hlg:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = code ** (1 / m2)
    return (10000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)).astype(np.float32)

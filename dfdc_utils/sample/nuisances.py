"""What happens to any video, real or fake, on its way: blur, noise, changing light, shaking hands, compression.

Originals and fakes draw theirs independently from the same distribution, so that none of it tells them apart.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dfdc_utils.sample.motion import smooth_path


@dataclass(frozen=True)
class Treatment:
    """One clip's way: gains are (T, 3), shifts (T, 2) pixels."""

    shrink: float  # share of the resolution that a poor camera keeps
    blur: float  # pixels
    noise: float  # grey levels
    gains: np.ndarray
    shifts: np.ndarray
    first_crf: int | None  # of an earlier encoding, None if there was none
    crf: int


def draw_treatment(rng: np.random.Generator, frame_count: int) -> Treatment:
    """Draws what happens to one clip of T frames."""
    gains = np.ones((frame_count, 3))
    gains *= rng.normal(1.0, 0.06)
    gains *= 1.0 + rng.normal(0.0, 0.025, 3)
    # Exposure that breathes and a tint that wanders, in every clip but not in every one much. Both are slow: over
    # 0.15 s they change far less than the flicker of a swapped face.
    amount = np.exp(rng.uniform(np.log(0.012), np.log(0.07)))
    gains *= 1.0 + amount * smooth_path(rng, frame_count, 5.0, 1.8)[:, None]
    for colour in range(3):
        gains[:, colour] *= 1.0 + 0.35 * amount * smooth_path(rng, frame_count, 5.0, 1.8)
    shake = rng.uniform(0.3, 3.0) if rng.random() < 0.5 else 0.0
    shifts = shake * np.stack([smooth_path(rng, frame_count, 1.2, 0.35) for _ in range(2)], axis=1)
    return Treatment(
        shrink=float(rng.uniform(0.6, 0.85)) if rng.random() < 0.25 else 1.0,
        blur=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.4 else 0.0,
        noise=float(rng.uniform(0.5, 2.8)),
        gains=gains,
        shifts=shifts,
        first_crf=int(rng.integers(24, 31)) if rng.random() < 0.3 else None,
        # What DFDC's files look like: rate factors of x264 between its default and visible loss.
        crf=int(rng.integers(23, 29)),
    )


class FrameTreatment:
    """Applies a treatment frame by frame; holds one field of noise, read at a random place for each frame."""

    def __init__(self, treatment: Treatment, frame_shape: tuple[int, int], rng: np.random.Generator) -> None:
        self.treatment = treatment
        self.rng = rng
        height, width = frame_shape
        # 32 pixels larger than the frame: a thousand different places to read it from.
        field = rng.standard_normal((height + 32, width + 32, 1), np.float32)
        field = field + 0.5 * rng.standard_normal((height + 32, width + 32, 3), np.float32)
        self.field = np.round(treatment.noise * field).astype(np.int16)

    def apply(self, frame: np.ndarray, index: int) -> np.ndarray:
        """The frame (H, W, 3) uint8 as the camera would have stored it; shifts are left to the renderer."""
        treatment = self.treatment
        height, width = frame.shape[:2]
        if treatment.shrink < 1.0:
            small = (round(width * treatment.shrink), round(height * treatment.shrink))
            frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        if treatment.blur > 0.0:
            frame = cv2.GaussianBlur(frame, (5, 5), treatment.blur)
        levels = np.arange(256)[None, :, None] * treatment.gains[index]  # a table: four times as fast as multiplying
        frame = cv2.LUT(frame, np.clip(levels + 0.5, 0, 255).astype(np.uint8))
        x, y = self.rng.integers(0, 32, 2)
        frame = cv2.add(frame, self.field[y : y + height, x : x + width], dtype=cv2.CV_8U)
        return frame

"""Self-blended images: fakes made from real faces alone, by blending a face with a changed copy of itself.

They show the traces that every face swap leaves (an edge, another light, another sharpness).
Source: Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376; the temporal jitter is ours.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces import FaceDetector, largest
from dfdc_utils.videos import Image

Landmarks = NDArray[np.float32]

SHIFT, SCALE = 0.03, 0.05  # the copy's offset and growth, as fractions of the picture's side
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # how much of the copy is blended in; the paper's values
SWAP_RATIOS = (0.75, 1.0, 1.0, 1.0)  # with less of another person's face it is no swap
HULLS = 0.3  # fraction of the pairs whose mask is the hull of the landmarks
OUTER_IS_CHANGED = 0.35  # fraction of the pairs; below half, since a swap changes the face and not its surroundings
JITTER = 0.012  # of the picture's side, and of the light: how much a swap made frame by frame trembles
FEATHER = (0.004, 0.035)  # of the picture's side: standard deviation of the blur of a mask's edge
RECOLOURED = 0.5  # fraction of the copied parts of a face that get other colours; a whole face always does
BENT = 0.35  # fraction of the copies with another expression
BEND = 0.02  # of the picture's side: how far a changed expression moves a point

# Where YuNet finds right and left eye, nose and corners of the mouth in a crop with a margin of 1.3, as fractions of
# its side: the mean over the faces of the sample. Used where no landmark is found.
TYPICAL = np.array([[0.34, 0.43], [0.65, 0.43], [0.49, 0.60], [0.37, 0.72], [0.62, 0.72]], np.float32)


class Blend(NamedTuple):
    """A pair: the real and the fake sequence, uint8 (T, H, W, 3), and where they differ, float32 (T, H, W), 0 to 1."""

    real: Image
    fake: Image
    mask: NDArray[np.float32]


class Outline:
    """What a blend covers: a deformed oval around the whole face or its lower half, or the hull of the landmarks.

    `anchors` are the numbers of the landmarks that a donor's face is aligned by.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.anchors = [0, 1, 2, 3, 4]
        self._angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        waves = generator.normal(size=(3, 2)) * 0.06  # three slow waves along the edge
        turns = np.outer(np.arange(1, 4), self._angles)
        self._radii = 1 + (waves[:, :1] * np.cos(turns) + waves[:, 1:] * np.sin(turns)).sum(axis=0)
        where = generator.random()
        self._lower, self._hull = where < 0.25, where >= 1 - HULLS
        self._width, self._height = generator.uniform(0.85, 1.15, 2)

    def draw(self, landmarks: NDArray[np.floating], size: int) -> NDArray[np.float32]:
        """Draw the mask, float32 (size, size), 1 inside."""
        if self._hull:  # of eyes and mouth, widened: what a swap of the inner face replaces
            hull = landmarks[[0, 1, 4, 3]]
            centre = hull.mean(axis=0)
            wider = np.array([1.5 * self._width, 1.35 * self._height])  # brows and chin, too
            points = centre + (hull - centre) * wider + np.outer(self._radii[::6] - 1, landmarks[1] - landmarks[0])
            return fill_polygon(cv2.convexHull(points.astype(np.float32))[:, 0], size)
        eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:5].mean(axis=0)
        across = (landmarks[1] - landmarks[0]) / 2  # from between the eyes to one of them
        down = (mouth - eyes) / 2
        if self._lower:  # nose to chin
            centre, across, down = eyes + 1.8 * down, 1.2 * across, 0.95 * down
        else:  # brows to chin, nearly twice as wide as the eyes are apart
            centre, across, down = eyes + 0.95 * down, 1.75 * across, 1.9 * down
        points = centre + np.outer(self._radii * np.cos(self._angles), across * self._width)
        return fill_polygon(points + np.outer(self._radii * np.sin(self._angles), down * self._height), size)


def find_landmarks(sequence: Image, detector: FaceDetector) -> Landmarks:
    """Find five landmarks in each crop of a sequence (T, H, W, 3): float32 (T, 5, 2) in pixels, ordered as in `Face`.

    A frame in which `detector` finds none gets the mean of the others; a sequence without any gets the `TYPICAL` ones.
    """
    frame_count, size = sequence.shape[:2]
    found = np.full((frame_count, 5, 2), np.nan, np.float32)
    for index, crop in enumerate(sequence):
        # The largest one: a bystander at the edge of the crop is smaller.
        if face := largest(face for face in detector.detect(crop) if face.landmarks is not None):
            found[index] = face.landmarks
    missed = np.isnan(found[:, 0, 0])
    found[missed] = TYPICAL * size if missed.all() else found[~missed].mean(axis=0)
    return found


def self_blend(
    sequence: Image, landmarks: Landmarks, generator: np.random.Generator, outline: Outline | None = None
) -> Blend:
    """Make a pair from one real sequence: the real one and its fake, each uint8 (T, H, W, 3), equal outside the mask.

    `landmarks` is float32 (T, K, 2) in pixels, the first five as in `Face`. By default `outline` is an oval around the
    face or its lower half, or the hull of the landmarks. In a third of the pairs each, offset and light stay, drift or
    jitter over time. Both are resampled once and have the same surroundings. Taught in notebook 03.
    """
    size = sequence.shape[1]
    outline = outline or Outline(generator)
    change = _Change(generator, colours=len(outline.anchors) == 5 or generator.random() < RECOLOURED)
    shift = generator.uniform(-SHIFT, SHIFT, 2) * size
    scale = 1 + generator.uniform(-SCALE, SCALE, 2)
    ratio = np.float32(generator.choice(RATIOS))
    feather = generator.uniform(*FEATHER) * size
    outer_shift = generator.uniform(-0.5, 0.5, 2)  # less than a pixel: only the resampling matters
    course = _course(generator, len(sequence))
    outer_is_changed = generator.random() < OUTER_IS_CHANGED
    blend = Blend(np.empty_like(sequence), np.empty_like(sequence), np.empty(sequence.shape[:3], np.float32))
    for index, frame in enumerate(sequence):
        changed = change.apply(frame, light=float(course[index, 2]))
        inner, outer = (frame, changed) if outer_is_changed else (changed, frame)
        blend.real[index] = _resample(outer, np.ones(2), outer_shift)
        # Growth is about the middle of what is covered.
        offset = shift + course[index, :2] * size + landmarks[index, outline.anchors].mean(axis=0) * (1 - scale)
        inner = _resample(inner, scale, offset)
        mask = outline.draw((landmarks[index] + outer_shift) * scale + offset, size)
        _lay_over(blend, index, inner, mask, feather, ratio)
    return blend


def swap_face(
    sequence: Image,
    landmarks: Landmarks,
    donor: Image,
    donor_landmarks: Landmarks,
    generator: np.random.Generator,
    outline: Outline | None = None,
) -> Blend:
    """Make a pair from one real sequence and a picture of another person, `donor` (S, S, 3): the real one and its fake.

    The donor's face is aligned by its landmarks (K, 2), takes the colours of the face that it covers, and is changed as
    in `self_blend`, in half of the pairs in sharpness only.
    """
    size = sequence.shape[1]
    change = _Change(generator, colours=generator.random() < 0.5)
    ratio = np.float32(generator.choice(SWAP_RATIOS))
    outline = outline or Outline(generator)
    feather = generator.uniform(*FEATHER) * size
    course = _course(generator, len(sequence))
    blend = Blend(sequence, np.empty_like(sequence), np.empty(sequence.shape[:3], np.float32))
    match: Any = None
    for index, frame in enumerate(sequence):
        placed = align(donor_landmarks[outline.anchors], landmarks[index, outline.anchors] + course[index, :2] * size)
        inner = cv2.warpAffine(donor, placed, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        mask = outline.draw(landmarks[index], size)
        match = match or _match_colours(inner, frame, mask > 0.5)  # once: it must not follow changes of light
        matched = np.clip(inner * match[0] + match[1], 0, 255).astype(np.uint8)
        _lay_over(blend, index, change.apply(matched, light=float(course[index, 2])), mask, feather, ratio)
    return blend


def _lay_over(
    blend: Blend, index: int, inner: Image, mask: NDArray[np.float32], feather: float, ratio: np.float32
) -> None:
    """Lay `inner` over frame `index` of the real sequence, where `mask` is, with a soft edge."""
    blend.mask[index] = cv2.GaussianBlur(mask, (0, 0), feather)
    real = blend.real[index]
    mixed = real + blend.mask[index][..., None] * ratio * (inner.astype(np.float32) - real)
    blend.fake[index] = np.clip(mixed, 0, 255).round()


def align(landmarks: NDArray[np.floating], to: NDArray[np.floating]) -> NDArray[np.float64]:
    """Find the rotation, scale and shift (2, 3) that bring `landmarks` (K, 2) nearest to others, by least squares."""
    here, there = (points[:, 0] + 1j * points[:, 1] for points in (landmarks.astype(float), to.astype(float)))
    centred = here - here.mean()
    turn = np.vdot(centred, there) / max(np.vdot(centred, centred).real, 1e-6)
    shift = there.mean() - turn * here.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _match_colours(inner: Image, frame: Image, inside: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Find gain and offset (3,) that give `inner` the mean and spread of `frame` in each colour inside the mask."""
    if not inside.any():
        return np.float32(1), np.float32(0)
    here, there = (picture[inside].astype(np.float32) for picture in (inner, frame))
    gain = np.clip(there.std(axis=0) / (here.std(axis=0) + 1), 0.5, 2.0)
    return gain, there.mean(axis=0) - gain * here.mean(axis=0)


def _course(generator: np.random.Generator, frame_count: int) -> NDArray[np.float64]:
    """Change of offset and light of a blend over time, (T, 3): none, a slow drift, or jitter from frame to frame."""
    way = generator.choice(("constant", "drift", "jitter"))
    if way == "constant":
        return np.zeros((frame_count, 3))
    if way == "jitter":
        return JITTER * generator.uniform(0.3, 1.0) * generator.normal(size=(frame_count, 3))
    angles = np.linspace(0, generator.uniform(1, 2 * np.pi), frame_count)[:, None]
    return 2 * JITTER * np.sin(angles + generator.uniform(0, 6, 3))


def _resample(frame: Image, scale: NDArray[np.floating], offset: NDArray[np.floating]) -> Image:
    size = frame.shape[0]
    moved = np.column_stack([np.diag(scale), offset]).astype(np.float32)
    resampled = cv2.warpAffine(frame, moved, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(resampled, np.uint8)


class _Change:
    """How the copy differs: in colour, saturation, contrast, expression, and sharpness, resolution or texture."""

    def __init__(self, generator: np.random.Generator, *, colours: bool) -> None:
        strength = float(colours)
        self._gain = (1 + strength * generator.uniform(-0.1, 0.1, 3)).astype(np.float32)
        self._contrast = np.float32(1 + strength * generator.uniform(-0.15, 0.15))
        self._offset = np.float32(strength * generator.uniform(-12, 12))
        self._saturation = np.float32(1 + strength * generator.uniform(-0.25, 0.25))
        self._way = generator.choice(("sharper", "softer", "softer", "smooth"))
        self._strength = generator.uniform(0.3, 1.0)
        field = generator.uniform(-BEND, BEND, (2, 5, 5)).astype(np.float32)
        self._field = field if generator.random() < BENT else None

    def apply(self, frame: Image, *, light: float) -> Image:
        changed, size, by = frame, len(frame), self._strength
        if self._field is not None:
            changed = bend(changed, self._field, 1.0, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)
        if self._way == "sharper":
            changed = cv2.addWeighted(changed, 1 + by, cv2.GaussianBlur(changed, (0, 0), 1.0), -by, 0)
        elif self._way == "softer":  # as if a network of lower resolution had made it
            small = round(size * (1 - 0.7 * by))
            changed = cv2.resize(changed, (small, small), interpolation=cv2.INTER_AREA)
            changed = cv2.resize(changed, (size, size), interpolation=cv2.INTER_LINEAR)
        elif self._way == "smooth":  # edges stay, texture goes
            changed = cv2.bilateralFilter(changed, 5, float(10 + 40 * by), 2.0)
        lit = changed.astype(np.float32) * self._gain
        grey = lit.mean(axis=-1, keepdims=True)
        lit = (grey + (lit - grey) * self._saturation - 128) * self._contrast + 128 + self._offset + 255 * light
        return np.asarray(np.clip(lit, 0, 255), np.uint8)


def bend(picture: Any, field: NDArray[np.float32], by: float, interpolation: int, border: int) -> Any:
    """Move the points of a square picture along a coarse field (2, N, N): right, then down, by `by` of its side."""
    size = len(picture)
    columns, rows = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    across, down = (cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in field)
    return cv2.remap(picture, columns + size * by * across, rows + size * by * down, interpolation, borderMode=border)


def fill_polygon(points: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Draw a mask, float32 (size, size), 1 inside the polygon of `points` (K, 2)."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    return mask

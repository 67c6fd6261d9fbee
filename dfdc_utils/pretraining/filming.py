"""From a still picture to a short clip and through a codec: simulates what filming does to a face, real or fake.

A real sequence and its blend get the same random motion, light, noise and encoder, so none of these tells them apart.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import Image, encode_and_decode

Points = NDArray[np.float32]

MARGINS = (1.1, 1.6)  # side of the crop in multiples of the box; `processing` uses 1.3, and Haar's boxes differ
CENTRE, ROLL = 0.05, 8.0  # largest error of a detector's centre, as a fraction of the side; tilt of the head in degrees
# Motion of a head over a whole sequence that is left in crops that follow the face (fractions of the side, degrees).
PAN, ZOOM, TURN, SWAY = 0.02, 0.03, 0.04, 3.0
SHAKE = 0.004  # of the side, from frame to frame: the jitter of a detector's boxes that smoothing leaves
SPEECH = 0.02  # of the side: how far a mouth or a brow moves; a real face changes too
# Chosen so that crops are about as sharp as those of real videos: most of these have larger faces, which shrink.
SIZES = (96, 176)  # pixels of a crop when it is filmed
CRFS = (18, 40)  # from light to heavy compression: FaceForensics++ c23 and c40 lie inside
FILMED, SHARPENED, SHRUNK, DEFOCUSED, NOISY, RECOMPRESSED = 0.75, 0.6, 0.15, 0.15, 0.25, 0.35  # probabilities
SHARPEST, NOISE = 1.2, 6.0  # the strongest: added detail as a fraction; standard deviation of 255
EDGE = cv2.BORDER_REFLECT_101


def move_still(
    picture: Image, side: float, landmarks: Points, frame_count: int, size: int, generator: np.random.Generator
) -> tuple[Image, Points]:
    """Make a clip of a still that moves like a head: uint8 (T, size, size, 3), and its landmarks (T, K, 2).

    `picture` (S, S, 3) has the face, `side` pixels across, at its centre. `landmarks` (K, 2) begin as in `Face`.
    """
    width = side * generator.uniform(*MARGINS)  # of the crop, in pixels of the picture
    zoom = size / width
    mirror = generator.choice((-1.0, 1.0))
    centre = np.array([picture.shape[1], picture.shape[0]]) / 2 + generator.uniform(-CENTRE, CENTRE, 2) * width
    roll = generator.uniform(-ROLL, ROLL)
    strength = generator.uniform(0, 1) ** 2  # many hardly move
    pan = strength * PAN * size * _wander(generator, frame_count, 2)
    pan += generator.uniform(0, SHAKE) * size * generator.normal(size=(frame_count, 2))
    scales, turns, sways = (strength * _wander(generator, frame_count, 3)).T
    speech = generator.uniform(0, SPEECH) * size * _wander(generator, frame_count, 2, fastest=5.0)
    speech *= generator.random() < 0.7 and frame_count > 1
    clip = np.empty((frame_count, size, size, 3), np.uint8)
    points = np.empty((frame_count, *landmarks.shape), np.float32)
    columns, rows = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    bumps: tuple[Points, Points] | None = None
    for index in range(frame_count):
        angle = np.deg2rad(roll + SWAY * sways[index])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        scale = zoom * (1 + ZOOM * scales[index])
        linear = turn @ np.diag([mirror * scale * (1 + TURN * turns[index]), scale])
        moved = np.column_stack([linear, size / 2 + pan[index] - linear @ centre])
        points[index] = landmarks @ linear.T + moved[:, 2]
        if mirror < 0:  # the right eye becomes the left one
            points[index, :5] = points[index, [1, 0, 2, 4, 3]]
        if not speech.any():
            clip[index] = cv2.warpAffine(picture, moved, (size, size), flags=cv2.INTER_CUBIC, borderMode=EDGE)
            continue
        bumps = bumps or _bumps(points[index, :5], columns, rows)
        inverse = cv2.invertAffineTransform(moved).astype(np.float32)
        spoken = rows + np.float32(speech[index, 0]) * bumps[0] + np.float32(0.5 * speech[index, 1]) * bumps[1]
        x, y = (row[0] * columns + row[1] * spoken + row[2] for row in inverse)
        clip[index] = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=EDGE)
    return clip, points


class Encoding(NamedTuple):
    """How clips are encoded: their size in pixels, and H.264's constant rate factor (None for no video codec)."""

    size: int
    crf: int | None

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Self:
        """Choose one of `SIZES` and `CRFS` at random."""
        size = int(generator.integers(SIZES[0] // 2, SIZES[1] // 2 + 1)) * 2  # even, as H.264's planes need
        crf = int(generator.integers(CRFS[0], CRFS[1] + 1))
        return cls(size, crf if generator.random() < FILMED else None)


def film_together(clips: Image, encoding: Encoding, face_size: int, generator: np.random.Generator) -> Image:
    """Simulate light, lens, sensor, encoder and crop: (N, K, T, S, S, 3) to (N, K, T, face_size, face_size, 3).

    All K versions of a person get the same random values, and one encoder sees all N · K clips side by side.
    """
    count, versions, frame_count, size = clips.shape[:4]
    shown = np.empty_like(clips)
    crops = np.empty((count, versions, frame_count, face_size, face_size, 3), np.uint8)
    for person in range(count):
        treat = _choose_treatment(generator, frame_count, size)
        for version, index in np.ndindex(versions, frame_count):
            shown[person, version, index] = treat(clips[person, version, index], index)
    if encoding.crf is not None:
        shown = _encode_side_by_side(shown, encoding.crf, generator)
    recompressed = generator.random(count) < (RECOMPRESSED if encoding.crf is not None else 0.8)
    qualities = np.where(recompressed, generator.integers(45, 96, count), 95)  # 95 is how `processing` keeps crops
    method = cv2.INTER_AREA if size > face_size else cv2.INTER_CUBIC  # as `crop_face`
    for place in np.ndindex(count, versions, frame_count):
        crop = cv2.resize(shown[place], (face_size, face_size), interpolation=method)
        quality = int(qualities[place[0]])
        subsampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if quality < 95 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling)
        stored = cv2.imencode(".jpg", crop[..., ::-1], options)[1]  # OpenCV writes BGR, and reads it
        crops[place] = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1]
    return crops


def _choose_treatment(generator: np.random.Generator, frame_count: int, size: int) -> Callable[[Image, int], Image]:
    """Light, lens and sensor, chosen at random once for all versions of one person's clip: a function of a frame."""
    gain = 1 + generator.uniform(-0.12, 0.12, 3)  # a colour cast
    contrast, offset = 1 + generator.uniform(-0.25, 0.2), generator.uniform(-20, 20)
    drift = generator.uniform(0, 8) * _wander(generator, frame_count, 1)[:, 0]  # of 255, over the sequence
    levels = (np.arange(256)[:, None] * gain - 128) * contrast + 128 + offset  # (256, 3)
    tables = [np.clip(levels + light, 0, 255).round().astype(np.uint8)[None] for light in drift]
    scale = generator.uniform(0.4, 0.9)
    small = max(24, round(size * scale)) if generator.random() < SHRUNK else None
    sharper = generator.uniform(0.2, SHARPEST) if generator.random() < SHARPENED else 0.0
    blur = generator.uniform(0.4, 1.4) if generator.random() < DEFOCUSED else 0.0
    noise = generator.uniform(1, NOISE) if generator.random() < NOISY else 0.0
    corners = generator.integers(0, 512 - size, (frame_count, 2))

    def treat(frame: Image, index: int) -> Image:
        lit = cv2.LUT(frame, tables[index])
        if small:
            lit = cv2.resize(lit, (small, small), interpolation=cv2.INTER_AREA)
            lit = cv2.resize(lit, (size, size), interpolation=cv2.INTER_LINEAR)
        if sharper:  # as cameras do
            lit = cv2.addWeighted(lit, 1 + sharper, cv2.GaussianBlur(lit, (0, 0), 1.0), -sharper, 0)
        if blur:
            lit = cv2.GaussianBlur(lit, (0, 0), blur)
        if noise:
            top, left = corners[index]
            grain = _grain()[top : top + size, left : left + size]
            lit = cv2.addWeighted(lit, 1.0, grain, noise, 0.0, dtype=cv2.CV_8U)
        return np.asarray(lit, np.uint8)

    return treat


@functools.cache
def _grain() -> NDArray[np.float32]:
    """Sensor noise of standard deviation 1 to cut from; new noise for every frame would be slow."""
    return np.random.default_rng(0).normal(size=(512, 512, 3)).astype(np.float32)


def _encode_side_by_side(clips: Image, crf: int, generator: np.random.Generator) -> Image:
    """H.264 and back of (N, K, T, S, S, 3), as one large video: opening an encoder takes longer than encoding.

    Places are random: an encoder predicts each tile from those to the left and above, so with fixed places a network
    would learn these instead of blends.
    """
    frame_count, size = clips.shape[2:4]
    tiles = clips.reshape(-1, frame_count, size, size, 3)
    across = int(np.ceil(np.sqrt(len(tiles))))
    down = -(-len(tiles) // across)
    wall = np.zeros((frame_count, down, across, size, size, 3), np.uint8)
    places = generator.permutation(down * across)[: len(tiles)]
    for place, tile in zip(places, tiles, strict=True):
        wall[:, place // across, place % across] = tile
    frames = wall.transpose(0, 1, 3, 2, 4, 5).reshape(frame_count, down * size, across * size, 3)
    decoded = np.stack(list(encode_and_decode(frames, size=(across * size, down * size), crf=crf)))
    wall = decoded.reshape(frame_count, down, size, across, size, 3).transpose(1, 3, 0, 2, 4, 5)
    return np.ascontiguousarray(wall.reshape(-1, frame_count, size, size, 3)[places]).reshape(clips.shape)


def _wander(
    generator: np.random.Generator, frame_count: int, count: int, *, fastest: float = 1.5
) -> NDArray[np.float64]:
    """`count` slow curves (T, count) between -1 and 1: means of two waves of up to `fastest` periods per sequence."""
    time = np.linspace(0, 1, frame_count)[:, None]
    turns, phases = generator.uniform(0.2, fastest, (2, count)), generator.uniform(0, 2 * np.pi, (2, count))
    return np.asarray(np.sin(2 * np.pi * turns[:, None] * time + phases[:, None]).mean(axis=0))


def _bumps(points: Points, columns: Points, rows: Points) -> tuple[Points, Points]:
    """How strongly each pixel follows the mouth, and the brows: two maps (size, size), 1 at their middle."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    reach = float(np.linalg.norm(mouth - eyes))

    def bump(centre: Points, across: float, down: float) -> Points:
        away = ((columns - centre[0]) / across) ** 2 + ((rows - centre[1]) / down) ** 2
        return np.asarray(np.exp(-0.5 * away), np.float32)

    down = (mouth - eyes) / reach
    of_mouth = bump(mouth + 0.2 * reach * down, 0.5 * reach, 0.35 * reach)
    return of_mouth, bump(eyes - 0.3 * reach * down, 0.8 * reach, 0.2 * reach)

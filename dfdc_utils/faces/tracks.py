"""One face through a clip: linking its detections, filling the frames where it was missed, cropping."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces.config import FILL_POLICIES, SequenceConfig
from dfdc_utils.faces.detectors import Face
from dfdc_utils.faces.flicker import measure_flicker
from dfdc_utils.faces.speech import measure_mouth
from dfdc_utils.videos import Clip, FrameView, Image

Boxes = NDArray[np.float64]

# Of the sampled frames. With Haar on 14 real clips false tracks last 1 or 2 of 16 frames, true ones 14 to 16.
MIN_FRACTION = 0.25
# How far a face moves at most between samples that are a third of a second apart, in multiples of its width.
MAX_STEP = 1.5
# The factor by which the sides of one person's box grow or shrink at most from one sampled frame to the next.
MAX_GROWTH = 1.6

# A face decides about a video only if it is at least this wide (pixels; crops of narrower ones are mostly enlarged
# noise) and this fraction of the widest face, is this sharp (variance of the Laplacian at 96 x 96 pixels), and is
# detected in this fraction of its shot. Of 122 real clips and fakes (FaceForensics++, DFDC and others, YuNet) all main
# faces do: the narrowest has 78 pixels, the most blurred a sharpness of 101. Blurred by 1.5 pixels, 95 % are below 33.
LEAST_WIDTH, LEAST_RELATIVE_WIDTH, LEAST_SHARPNESS, LEAST_DETECTED = 40, 0.4, 25, 0.5
SHARPNESS_SIDE = 96
# A step longer than the face is wide: another thing was taken for the face. In these clips the longest is 0.9 widths.
MAX_JUMPS = 0.1  # fraction of the steps


@dataclass(frozen=True)
class Track:
    """One face over the T sampled frames of a clip.

    `boxes` is (T, 4) float (x, y, width, height) in pixels of the full frame, NaN where the face was missed and not
    filled. `scores` (T,) are the detector's, 0 where it found nothing. (T,) bool: `detected`; `filled`, where the box
    was computed from those of other frames; and `in_shot`, the frames of the track's shot: a track ends at a cut.
    """

    boxes: Boxes
    scores: NDArray[np.float64]
    detected: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    in_shot: NDArray[np.bool_] = field(default_factory=lambda: np.array(True))  # by default all are

    @property
    def area(self) -> float:
        """Area of the boxes in square pixels, summed over the frames in which the face was detected."""
        seen = self.boxes[self.detected]
        return float((seen[:, 2] * seen[:, 3]).sum())

    @property
    def width(self) -> float:
        """Median width of the detected boxes, in pixels."""
        return float(np.median(self.boxes[self.detected, 2]))


class CroppedTrack(NamedTuple):
    """One track of a clip with its crops (face_size, face_size, 3); `kept` are the indices of their frames.

    `flaw` comes from `find_flaw`, `mouth` from `measure_mouth`, `flicker` from `measure_flicker`.
    """

    track: Track
    kept: list[int]
    crops: list[Image]
    sharpness: float = float("nan")
    flaw: str = ""
    mouth: float = 0.0
    flicker: Sequence[float] = ()


def follow_faces(detections: list[list[Face]], shots: NDArray[np.intp] | None = None) -> list[Track]:
    """Link the faces of T frames into tracks, one per person, the main person (most area over time) first.

    Each face goes to the track whose last box overlaps it most, else to the nearest one of similar size, else to a new
    one. `shots` (T,) numbers the shot of each frame, by default all are of one; no track goes on after a cut. Tracks in
    fewer than `MIN_FRACTION` of the frames are dropped. Taught in notebook 02.
    """
    frame_count = len(detections)
    shots = np.zeros(frame_count, np.intp) if shots is None else shots
    open_tracks: list[dict[int, Face]] = []
    for index, faces in enumerate(detections):
        pairs = [
            (_affinity(track[max(track)].box, face.box), t, f)
            for t, track in enumerate(open_tracks)
            for f, face in enumerate(faces)
            if shots[max(track)] == shots[index]
        ]
        matched: dict[int, int] = {}  # the track of each face
        for affinity, t, f in sorted(pairs, reverse=True):
            if affinity > 0 and f not in matched and t not in matched.values():
                matched[f] = t
                open_tracks[t][index] = faces[f]
        open_tracks += [{index: face} for f, face in enumerate(faces) if f not in matched]
    lasting = [track for track in open_tracks if len(track) >= max(1, MIN_FRACTION * frame_count)]
    return sorted((_as_track(track, shots) for track in lasting), key=lambda track: -track.area)


def fill_missing_boxes(track: Track, policy: str = "past_mean") -> Track:
    """Fill the frames of the shot in which the face was missed with a box, computed from the boxes that were detected.

    - `past_mean`: the average of all boxes before, as in the project that this one continues;
    - `interpolate`: on the line between the boxes before and after;
    - `hold`: the last box before;
    - `drop`: none. These frames are left out of the sequence.

    Frames before the first detection take its box. Raises `ValueError` for another policy, or for a track without any
    detection. Taught in notebook 02.
    """
    if policy not in FILL_POLICIES:
        raise ValueError(f"fill policy {policy!r} is not one of {', '.join(FILL_POLICIES)}")
    seen, missed = np.flatnonzero(track.detected), np.flatnonzero(track.in_shot & ~track.detected)
    if not len(seen):
        raise ValueError("a track without any detection cannot be filled")
    if policy == "drop":
        return track
    boxes = track.boxes.copy()
    last = np.maximum(np.searchsorted(seen, missed) - 1, 0)  # the last detection before each missed frame, or the first
    if policy == "past_mean":
        boxes[missed] = (np.cumsum(boxes[seen], axis=0) / np.arange(1, len(seen) + 1)[:, None])[last]
    elif policy == "hold":
        boxes[missed] = boxes[seen][last]
    else:
        boxes[missed] = np.transpose([np.interp(missed, seen, side) for side in boxes[seen].T])
    return replace(track, boxes=boxes, filled=track.in_shot & ~track.detected)


def measure_sharpness(crops: list[Image]) -> float:
    """Return the median variance of the Laplacian over face crops, uint8 RGB, at 96 x 96 pixels."""
    grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    if len(grey[0]) > SHARPNESS_SIDE:
        grey = [cv2.resize(crop, (SHARPNESS_SIDE,) * 2, interpolation=cv2.INTER_AREA) for crop in grey]
    return float(np.median([cv2.Laplacian(crop, cv2.CV_64F).var() for crop in grey]))


def find_flaw(track: Track, sharpness: float, *, widest: float) -> str:
    """Say why a face may not decide about its video, for example a small one in the background; empty if it may.

    `widest` is the width of the widest face in the clip, in pixels. Taught in notebook 06.
    """
    seen = track.boxes[track.detected]
    steps = np.linalg.norm(np.diff(seen[:, :2] + seen[:, 2:] / 2, axis=0), axis=1) / seen[:-1, 2]  # of the centres
    if track.width < max(LEAST_WIDTH, LEAST_RELATIVE_WIDTH * widest):
        return f"too small ({track.width:.0f} pixels wide)"
    if sharpness < LEAST_SHARPNESS:
        return "too blurred"
    if track.detected[track.in_shot].mean() < LEAST_DETECTED:
        return "found in too few frames"
    return "not one face: it jumps" if len(steps) and (steps > 1).mean() > MAX_JUMPS else ""


def hide_and_fill(track: Track, fraction: float, policy: str = "past_mean", *, seed: int = 0) -> NDArray[np.float64]:
    """Hide a `fraction` of the detections at random, but never all, fill them, and return the IoU of each.

    The IoU of frames that the policy drops is 0. Taught in notebook 02.
    """
    seen = np.flatnonzero(track.detected)
    hidden = np.random.default_rng(seed).permutation(seen)[: min(round(fraction * len(seen)), len(seen) - 1)]
    detected = track.detected.copy()
    detected[hidden] = False
    boxes = np.where(detected[:, None], track.boxes, np.nan)
    filled = fill_missing_boxes(replace(track, boxes=boxes, detected=detected), policy)
    return np.array([box_overlap(filled.boxes[i], track.boxes[i]) if filled.filled[i] else 0.0 for i in hidden])


def smooth_boxes(boxes: Boxes) -> Boxes:
    """Smooth the boxes (T, 4) of one face over time: Gaussian, sigma 1 sample for the centre and 2 for the size.

    A detector's boxes jitter by some pixels, and crops that jitter with them look like the flicker of a fake.
    """
    corner, size = boxes[:, :2], boxes[:, 2:]
    size_smooth = _gaussian(size, 2.0)
    return np.hstack([_gaussian(corner + size / 2, 1.0) - size_smooth / 2, size_smooth])


def crop_face(image: Image | FrameView, box: Boxes, face_size: int = 96, *, margin: float = 1.3) -> Image:
    """Crop a square of `margin` times the box's longer side from a uint8 RGB image: (face_size, face_size, 3).

    Beyond its border the frame is reflected. Shrinking averages areas, so that fine texture does not alias. Raises
    `ValueError` for a box that is empty or lies outside the image. Taught in notebook 02.
    """
    x, y, width, height = (float(value) for value in box)
    image_height, image_width = image.shape[:2]
    if not (width > 0 and height > 0 and x < image_width and y < image_height and x + width > 0 and y + height > 0):
        raise ValueError(f"box {box!r} is empty or outside the frame of {image_width} x {image_height} pixels")
    side = max(2, round(margin * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    rows, columns = reflect_indices(top, side, image_height), reflect_indices(left, side, image_width)
    square = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    if min(left, top) < 0 or left + side > image_width or top + side > image_height:
        square = square[rows - rows.min()].take(columns - columns.min(), axis=1)
    method = cv2.INTER_AREA if side > face_size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (face_size, face_size), interpolation=method))


def crop_tracks(clip: Clip, tracks: list[Track], config: SequenceConfig) -> list[CroppedTrack]:
    """Crop each person's face from each frame of its shot, along smoothed boxes."""
    widest = max((track.width for track in tracks), default=0.0)
    people = []
    for track in tracks:
        kept = np.flatnonzero(track.detected | track.filled).tolist()
        boxes = smooth_boxes(track.boxes[kept])
        crop = partial(crop_face, face_size=config.face_size, margin=config.margin)
        crops = [crop(clip.view(at), box) for at, box in zip(kept, boxes, strict=True)]
        triples = []
        for middle, at, box in zip(crops, kept, boxes, strict=True):
            if views := clip.views_beside(at):
                triples.append((crop(views[0], box), middle, crop(views[1], box)))
        flicker = measure_flicker(triples, config.margin)
        sharpness = measure_sharpness(crops)
        flaw = find_flaw(track, sharpness, widest=widest)
        people.append(CroppedTrack(track, kept, crops, sharpness, flaw, measure_mouth(crops), flicker))
    return people


def box_overlap(a: Boxes, b: Boxes) -> float:
    """Return the intersection over union of two boxes (x, y, width, height), 0 to 1."""
    corner, far = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.prod(np.clip(far - corner, 0, None)))
    union = float(a[2] * a[3] + b[2] * b[3] - shared)
    return shared / union if union > 0 else 0.0


def reflect_indices(start: int, count: int, length: int) -> NDArray[np.intp]:
    """Return `count` indices from `start` on, reflected at the ends of an axis of `length`: 2 1 0 1 2 3 …"""
    last = length - 1
    return np.abs((np.arange(start, start + count) + last) % max(1, 2 * last) - last)


def _affinity(last: Boxes, box: Boxes) -> float:
    """Rate `box` as the next of a track after `last`: above 1 if they overlap, up to 1 if they are near, else 0."""
    overlap = box_overlap(last, box)
    if max(last[2], box[2]) / max(min(last[2], box[2]), 1e-9) > MAX_GROWTH:
        return 0.0
    if overlap > 0:
        return 1.0 + overlap
    step = float(np.hypot(*(last[:2] + last[2:] / 2 - box[:2] - box[2:] / 2))) / float(max(last[2], box[2]))
    return max(0.0, 1.0 - step / MAX_STEP)


def _as_track(seen: dict[int, Face], shots: NDArray[np.intp]) -> Track:
    frame_count = len(shots)
    boxes, scores = np.full((frame_count, 4), np.nan), np.zeros(frame_count)
    for index, face in seen.items():
        boxes[index], scores[index] = face.box, face.score
    return Track(boxes, scores, ~np.isnan(boxes[:, 0]), np.zeros(frame_count, bool), shots == shots[max(seen)])


def _gaussian(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Smooth (T, C) over T. The weights are normalised at the ends too."""
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps[None, :]) / sigma) ** 2)
    return np.asarray((weights / weights.sum(axis=1, keepdims=True)) @ values)

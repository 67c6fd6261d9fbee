"""One face through a clip: linking detections, filling the frames where it was missed, cropping."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces.detectors import Face
from dfdc_utils.videos import FrameView, Image

Boxes = NDArray[np.float64]

FILL_POLICIES = ("past_mean", "interpolate", "hold", "drop")

# A person is there for at least this share of the sampled frames; what lasts shorter is nearly always a false hit.
# Measured with Haar on 14 real clips: false tracks last 1 or 2 of 16 frames, true ones 14 to 16.
MIN_SHARE = 0.25
# Between samples a third of a second apart a quick turn can carry a face this many of its own widths, not further.
MAX_STEP = 1.5
# One person's box does not change its side by more than this factor from one sampled frame to the next.
MAX_GROWTH = 1.6


@dataclass(frozen=True)
class Track:
    """One face over the T sampled frames of a clip.

    `boxes` is (T, 4) float (x, y, width, height) in pixels of the full frame, NaN where the face was missed and not
    filled; `scores` (T,) the detector's, 0 where it found nothing; `detected` (T,) bool; `filled` (T,) bool: the box
    was made up from others, not seen.
    """

    boxes: Boxes
    scores: NDArray[np.float64]
    detected: NDArray[np.bool_]
    filled: NDArray[np.bool_]

    @property
    def area(self) -> float:
        """Square pixels, summed over the frames in which the face was detected."""
        seen = self.boxes[self.detected]
        return float((seen[:, 2] * seen[:, 3]).sum())


def follow_faces(detections: list[list[Face]], *, min_share: float = MIN_SHARE) -> list[Track]:
    """Link the faces of T frames into tracks, one a person, the main person first (most area over time).

    Frame by frame, each face goes to the track whose last box overlaps it most or, failing overlap, lies nearest and is
    of like size; what is left starts a track. Tracks seen in fewer than `min_share` of the frames are dropped; a clip
    without a lasting face gives an empty list. Taught in notebook 02.
    """
    frame_count = len(detections)
    open_tracks: list[dict[int, Face]] = []
    for index, faces in enumerate(detections):
        pairs = sorted(
            (
                (_affinity(track[max(track)].box, face.box), t, f)
                for t, track in enumerate(open_tracks)
                for f, face in enumerate(faces)
            ),
            reverse=True,
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for affinity, t, f in pairs:
            if affinity > 0 and t not in taken_tracks and f not in taken_faces:
                open_tracks[t][index] = faces[f]
                taken_tracks.add(t)
                taken_faces.add(f)
        open_tracks += [{index: face} for f, face in enumerate(faces) if f not in taken_faces]
    lasting = [track for track in open_tracks if len(track) >= max(1, min_share * frame_count)]
    return sorted((_as_track(track, frame_count) for track in lasting), key=lambda track: -track.area)


def fill_missing_boxes(track: Track, policy: str = "past_mean") -> Track:
    """Give the frames in which the face was missed a box, made from the boxes of frames in which it was seen.

    - `past_mean`: the average of all boxes seen before, as in the project that this one continues;
    - `interpolate`: on the line between the boxes seen before and after;
    - `hold`: the last box seen;
    - `drop`: none; such frames stay out of the sequence.

    Frames before the first sighting have no past: they take its box. `filled` marks what was made up. Raises
    `ValueError` for another policy, or for a track without a single detection. Taught in notebook 02.
    """
    if policy not in FILL_POLICIES:
        raise ValueError(f"fill policy {policy!r} is not one of {', '.join(FILL_POLICIES)}")
    seen = np.flatnonzero(track.detected)
    if not len(seen):
        raise ValueError("a track without any detection has nothing to fill from")
    if policy == "drop":
        return track
    boxes = track.boxes.copy()
    for index in np.flatnonzero(~track.detected):
        before = seen[seen < index]
        if not len(before):
            boxes[index] = track.boxes[seen[0]]
        elif policy == "past_mean":
            boxes[index] = track.boxes[before].mean(axis=0)
        elif policy == "hold" or before[-1] == seen[-1]:
            boxes[index] = track.boxes[before[-1]]
        else:
            boxes[index] = [np.interp(index, seen, track.boxes[seen, side]) for side in range(4)]
    return replace(track, boxes=boxes, filled=~track.detected)


def hide_and_fill(track: Track, share: float, policy: str = "past_mean", *, seed: int = 0) -> NDArray[np.float64]:
    """How well a policy fills: the IoU of each box that it makes up with the one that was seen there.

    Hides `share` (0 to 1) of the detections at random, but never all, and gives the overlaps of the hidden ones, 0 for
    those that the policy leaves out. Taught in notebook 02.
    """
    seen = np.flatnonzero(track.detected)
    count = min(round(share * len(seen)), len(seen) - 1)
    hidden = np.random.default_rng(seed).permutation(seen)[:count]
    detected = track.detected.copy()
    detected[hidden] = False
    boxes = np.where(detected[:, None], track.boxes, np.nan)
    filled = fill_missing_boxes(replace(track, boxes=boxes, detected=detected), policy)
    return np.array([box_overlap(filled.boxes[i], track.boxes[i]) if filled.filled[i] else 0.0 for i in hidden])


def smooth_boxes(boxes: Boxes, *, strength: float = 1.0) -> Boxes:
    """Steady the boxes (T, 4) of one face: Gaussian over time, `strength` samples wide for the centre, twice for size.

    A detector's boxes tremble by some pixels; a crop that trembles with them looks like the flicker of a fake.
    """
    if len(boxes) < 2 or strength <= 0:
        return boxes
    corner, size = boxes[:, :2], boxes[:, 2:]
    size_smooth = _gaussian(size, 2 * strength)
    return np.hstack([_gaussian(corner + size / 2, strength) - size_smooth / 2, size_smooth])


def crop_face(image: Image | FrameView, box: Boxes, face_size: int = 96, *, margin: float = 1.3) -> Image:
    """Cut a square around `box` out of uint8 RGB `image` and scale it to (face_size, face_size, 3).

    The square's side is `margin` times the longer side of the box. Where it reaches beyond the frame, the frame is
    reflected at its border. Shrinking averages areas (`INTER_AREA`), so that fine texture does not alias.
    Raises `ValueError` for a box that is empty or lies wholly outside the image. Taught in notebook 02.
    """
    x, y, width, height = (float(value) for value in box)
    image_height, image_width = image.shape[:2]
    inside = x < image_width and y < image_height and x + width > 0 and y + height > 0
    if not (width > 0 and height > 0 and inside):
        raise ValueError(f"box {box!r} holds nothing of a frame of {image_width} x {image_height} pixels")
    side = max(2, round(margin * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    rows, columns = reflect_indices(top, side, image_height), reflect_indices(left, side, image_width)
    square = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    if min(left, top) < 0 or left + side > image_width or top + side > image_height:
        square = square[(rows - rows.min())[:, None], columns - columns.min()]
    method = cv2.INTER_AREA if side > face_size else cv2.INTER_CUBIC
    crop: Image = cv2.resize(square, (face_size, face_size), interpolation=method)
    return crop


def box_overlap(a: Boxes, b: Boxes) -> float:
    """Intersection over union of two boxes (x, y, width, height), 0 to 1."""
    corner, far = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.prod(np.clip(far - corner, 0, None)))
    union = float(a[2] * a[3] + b[2] * b[3] - shared)
    return shared / union if union > 0 else 0.0


def reflect_indices(start: int, count: int, length: int) -> NDArray[np.intp]:
    """`count` indices from `start` on into an axis of `length`, turning back at its ends: 2 1 0 1 2 3 …"""
    last = length - 1
    return np.abs((np.arange(start, start + count) + last) % max(1, 2 * last) - last)


def _affinity(last: Boxes, box: Boxes) -> float:
    """How well `box` continues a track that ended in `last`: over 1 by overlap, under 1 by nearness, 0 not at all."""
    overlap = box_overlap(last, box)
    growth = max(last[2], box[2]) / max(min(last[2], box[2]), 1e-9)
    if growth > MAX_GROWTH:
        return 0.0
    if overlap > 0:
        return 1.0 + overlap
    step = float(np.hypot(*(last[:2] + last[2:] / 2 - box[:2] - box[2:] / 2))) / float(max(last[2], box[2]))
    return max(0.0, 1.0 - step / MAX_STEP)


def _as_track(seen: dict[int, Face], frame_count: int) -> Track:
    boxes = np.full((frame_count, 4), np.nan)
    scores = np.zeros(frame_count)
    for index, face in seen.items():
        boxes[index] = face.box
        scores[index] = face.score
    detected = np.isin(np.arange(frame_count), list(seen))
    return Track(boxes=boxes, scores=scores, detected=detected, filled=np.zeros(frame_count, bool))


def _gaussian(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Smooth (T, C) over T with weights that sum to one, also at the ends."""
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps[None, :]) / sigma) ** 2)
    smooth: NDArray[np.float64] = (weights / weights.sum(axis=1, keepdims=True)) @ values
    return smooth

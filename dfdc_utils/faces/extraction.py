"""From one video to the faces in it: search, tracks, crops, and the record of how it went."""

import logging
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import NoFaceFound, TookTooLong, UnreadableVideo
from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.faces.detectors import Face, FaceDetector, YuNetDetector, load_face_detector
from dfdc_utils.faces.speech import Speech
from dfdc_utils.faces.storage import find_finished, write_faces
from dfdc_utils.faces.tracks import MAX_GROWTH, Track, box_overlap, crop_tracks, fill_missing_boxes, follow_faces
from dfdc_utils.files import working_on
from dfdc_utils.videos import Clip, Image, sample_frames
from dfdc_utils.workers import check_time, one_thread, time_limited

log = logging.getLogger(__name__)
Status = Literal["ok", "no_face", "unreadable"]

# Pixels, longer side: faces of a tenth of the frame are still 36 px high, enough for either detector.
DETECTION_SIDE = 640
# Seconds between searches of the whole frame. A person who comes in is found at the next of them.
LOOK_AROUND_EVERY = 2.5
# The region that is searched for a face, in multiples of its size. Compared with a search of every whole frame (YuNet,
# 14 real clips) it takes 0.4 of the time and loses no face. The IoU of the smoothed boxes is at least 0.91.
REACH = 1.6
# Pixels, the coarsest grid of YuNet: a region that is cut along it gives the same boxes as the whole image.
GRID = 32
# Pixels, longer side: YuNet follows a face of twice this size at half the scale, one of four times at a quarter. That
# halves the time on clips of 640 x 480 and loses no face; boxes overlap with those before by 0.93 (IoU, 136 clips).
FOLLOWED_SIZE = 64
THUMBNAIL = (32, 32)  # pixels of the two frames between which a cut is looked for
COLOUR_BINS = (8, 4, 4)  # of hue, saturation and value
# Two frames are of two shots if both their pattern and their colours differ. Of 3,000 pairs of frames of two different
# videos (real clips and the sample) that tells 98 % apart; of 244 videos without a cut it cuts none (`bench_cuts.py`).
LEAST_CORRELATION, LEAST_OVERLAP = 0.6, 0.65


@dataclass(frozen=True)
class Job:
    """One video to work on. `weights` are YuNet's; `time_limit` is in seconds; `overwrite` replaces other faces."""

    video: str
    path: Path
    target: Path
    config: SequenceConfig
    weights: Path | None
    time_limit: float
    overwrite: bool = False


def detect_faces(clip: Clip, detector: FaceDetector) -> tuple[list[list[Face]], NDArray[np.intp]]:
    """Find the faces in each frame of a clip, in pixels of the full frame, and number each frame's shot (T,).

    The whole frame is searched every `LOOK_AROUND_EVERY` seconds, after a cut, and in every frame while a face is
    missing, for at most as long. In between, each face is searched for around its last place. Taught in notebook 02.
    """
    found, shots = list[list[Face]](), np.zeros(len(clip), np.intp)
    before: Image | None = None
    expected: list[tuple[Face, float]] = []  # in pixels of the small frame, with the time when it was last seen
    last_look = -np.inf
    for index, moment in enumerate(clip.times):
        check_time()
        small = clip.small_frame(index, DETECTION_SIDE)
        thumbnail = np.asarray(cv2.resize(small, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        if before is not None and is_cut(before, thumbnail):
            shots[index:] += 1
            expected, last_look = [], -np.inf
        before = thumbnail
        is_due = moment - last_look >= LOOK_AROUND_EVERY
        faces = None if is_due else _find_all_again(detector, small, [face for face, _ in expected])
        if faces is None:
            faces, last_look = _look_around(detector, small, expected), moment
        recent = [(face, seen) for face, seen in expected if moment - seen < LOOK_AROUND_EVERY]
        missing = [one for one in recent if not any(box_overlap(one[0].box, other.box) > 0 for other in faces)]
        expected = [(face, moment) for face in faces] + missing
        found.append([_moved(face, scale=clip.view(index).shape[1] / small.shape[1]) for face in faces])
    return found, shots


def is_cut(before: Image, after: Image) -> bool:
    """Say if a cut lies between two frames, uint8 RGB, shrunk to `THUMBNAIL`."""
    one, other = (image - image.mean(axis=(0, 1)) for image in (before, after))
    correlation = (one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other) or 1.0)
    hsv = [cv2.cvtColor(image, cv2.COLOR_RGB2HSV) for image in (before, after)]
    counts = [cv2.calcHist([image], [0, 1, 2], None, COLOUR_BINS, [0, 180, 0, 256, 0, 256]) for image in hsv]
    return bool(correlation < LEAST_CORRELATION and np.minimum(*counts).sum() / counts[0].sum() < LEAST_OVERLAP)


def extract_tracks(
    clip: Clip, detector: FaceDetector, config: SequenceConfig, *, instead: str = "a longer capture_sec"
) -> list[Track]:
    """Find the people in a clip, the main person first, and fill their missing boxes by the policy of `config`.

    Raises `NoFaceFound`, with `instead` as what to try, if no face lasts. Taught in notebook 02.
    """
    detections, shots = detect_faces(clip, detector)
    tracks = follow_faces(detections, shots)
    if not tracks:
        better = "the detector yunet (go online once, or set DFDC_YUNET) or " if detector.name == "haar" else ""
        remedy = f"If you see one, try {better}{instead}."
        found = f"{detector.name} found one in {sum(map(bool, detections))} of {len(clip)} frames"
        raise NoFaceFound(f"{clip.info.path.name}: no face that lasts ({found}). {remedy}")
    return [fill_missing_boxes(track, config.fill_policy) for track in tracks[: config.max_tracks]]


def blank_record(video: str, path: Path, config: SequenceConfig) -> dict[str, Any]:
    """Return the record of a video on which no work has been done yet."""
    size = path.stat().st_size if path.is_file() else -1
    return {"video": video, "config": asdict(config), "source_bytes": size, "status": "ok", "error": ""}


def work_on(job: Job) -> float:
    """Extract one video's faces, write them, and return the seconds that it took.

    What is wrong with the video is written. What stops all videos (no detector, a full disk, other settings) is raised.
    """
    started = time.perf_counter()
    record = blank_record(job.video, job.path, job.config)
    if not find_finished(job.target, record, overwrite=job.overwrite):  # another run may have been quicker
        detector = own_face_detector(job.config.detector, job.weights)
        with working_on(job.target, job.video), one_thread(), time_limited(job.path, job.time_limit):
            times, speech = np.empty(0), None
            try:
                clip = sample_frames(job.path, **job.config.window)
                times, info = clip.times, clip.info
                record |= {"frames": len(clip), "width": info.width, "height": info.height, "fps": round(info.fps, 3)}
                record["is_synthetic"] = info.is_synthetic
                speech = Speech.of(clip)
                people = crop_tracks(clip, extract_tracks(clip, detector, job.config), job.config)
                check_time()
            except Exception as error:  # a batch of thousands must not end because of one video
                people = []
                status, text, retry = describe_failure(job.path, error)
                record |= {"status": status, "error": text} | ({"retry": True} if retry else {})
            write_faces(job.target, record, people, times, speech=speech, overwrite=job.overwrite)
    return time.perf_counter() - started


def describe_failure(path: Path, error: Exception) -> tuple[Status, str, bool]:
    """Return what to record of a video without faces: its status, what is wrong, and if the next run tries again."""
    if isinstance(error, NoFaceFound):
        return "no_face", str(error), False
    if isinstance(error, UnreadableVideo):
        return "unreadable", str(error), isinstance(error, TookTooLong) or isinstance(error.__cause__, OSError)
    log.error("%s: unexpected", path.name, exc_info=error)
    return "unreadable", f"{path.name}: unexpected {type(error).__name__}: {error}. Please report it.", True


def _look_around(detector: FaceDetector, image: Image, expected: list[tuple[Face, float]]) -> list[Face]:
    """Search a whole frame, in a smaller size if all faces that are expected are large and nobody else is there."""
    shrink = min((_shrink(detector, face) for face, _ in expected), default=1)
    faces = _detect(detector, image, shrink)
    strangers = [face for face in faces if not any(box_overlap(face.box, known.box) > 0 for known, _ in expected)]
    if shrink > 1 and (strangers or len(faces) < len(expected)):  # a small picture may show a face where none is
        shrink, faces = 1, _detect(detector, image, 1)
    again = (_shrink(detector, face) != shrink and _find_again(detector, image, face) for face in faces)
    return [found or face for found, face in zip(again, faces, strict=True)]  # at the size it is followed at


def _find_all_again(detector: FaceDetector, image: Image, faces: list[Face]) -> list[Face] | None:
    """Find all of `faces` in the next frame; None if one of them is uncertain, and the whole frame must be searched."""
    again: list[Face] = []
    for face in faces:
        found = _find_again(detector, image, face)
        if found is None or any(box_overlap(found.box, other.box) > 0.5 for other in again):  # two became one
            return None
        again.append(found)
    return again or None


def _shrink(detector: FaceDetector, face: Face) -> int:
    """How many times smaller the picture is in which a face is followed."""
    return 2 ** max(0, int(np.log2(max(face.box[2:]) / FOLLOWED_SIZE))) if detector.name == "yunet" else 1


def _detect(detector: FaceDetector, image: Image, shrink: int, smallest: float | None = None) -> list[Face]:
    size = (image.shape[1] // shrink, image.shape[0] // shrink)
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return [_moved(face, scale=shrink) for face in detector.detect(image, smallest=smallest and smallest / shrink)]


def _find_again(detector: FaceDetector, image: Image, face: Face) -> Face | None:
    (height, width), box, shrink = image.shape[:2], face.box, _shrink(detector, face)
    reach, grid = REACH * max(box[2], box[3]) / 2, GRID * shrink
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    left, top = (int(max(0, start) // grid * grid) for start in (x - reach, y - reach))
    right, bottom = (int(min(side, -(-end // grid) * grid)) for side, end in ((width, x + reach), (height, y + reach)))
    found = _detect(detector, image[top:bottom, left:right], shrink, smallest=max(box[2:]) / MAX_GROWTH)
    faces = [_moved(one, by=(left, top)) for one in found]
    best = max(faces, key=lambda face: box_overlap(face.box, box), default=None)
    if best is None or box_overlap(best.box, box) == 0:
        return None
    # A face at the region's edge may continue beyond it, unless that is the frame's own edge.
    x, y, x_end, y_end = *best.box[:2], *(best.box[:2] + best.box[2:])
    cut = (x <= left + 1 and left > 0) or (y <= top + 1 and top > 0)
    cut |= (x_end >= right - 1 and right < width) or (y_end >= bottom - 1 and bottom < height)
    return None if cut else best


def _moved(face: Face, *, scale: float = 1.0, by: tuple[float, float] = (0.0, 0.0)) -> Face:
    landmarks = None if face.landmarks is None else np.add(face.landmarks, by) * scale
    return replace(face, box=np.add(face.box, (*by, 0, 0)) * scale, landmarks=landmarks)


_own = threading.local()


def own_face_detector(name: str, weights: Path | None) -> FaceDetector:
    """Return this thread's own detector: detectors hold state, and a cluster's workers have several threads."""
    detectors: dict[str, FaceDetector] = _own.__dict__.setdefault("detectors", {})
    if name not in detectors:
        # A worker may have another environment than the process that sent the job, and the weights elsewhere.
        there = name == "yunet" and weights is not None and weights.is_file()
        detectors[name] = YuNetDetector(weights) if there else load_face_detector(name)
    return detectors[name]

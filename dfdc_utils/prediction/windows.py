"""From a video file to the faces of each person in it, window by window, as `processing` would have saved them.

Nothing here needs TensorFlow: it runs in the workers of a pool, and what they send back is small.
"""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dfdc_utils import faces
from dfdc_utils.errors import NoFaceFound, UnreadableVideo
from dfdc_utils.faces import Boxes, CroppedTrack, SequenceConfig, Status
from dfdc_utils.videos import probe_video, sample_frames, sample_windows
from dfdc_utils.workers import allow_more_time, one_thread, time_limited

# IoU over the time that two windows share. Boxes of two people overlap in a few frames only, and by less.
SAME_PERSON = 0.5


@dataclass(frozen=True)
class FaceWindow:
    """One person's faces over one window of a video: a sequence for the model.

    If there are fewer than T frames, some are repeated. `sound` and `sound_flaw` are for a model that hears.
    """

    track: int  # numbers the person, 0 for the largest face
    times: NDArray[np.float64]  # (T,), seconds from the video's start
    boxes: Boxes  # (T, 4), (x, y, width, height) in pixels of the full frame
    detected: NDArray[np.bool_]  # (T,), False where the box was filled
    faces: tuple[bytes, ...] = field(repr=False)  # the T crops as JPEG files
    flaw: str = ""  # why this face may not decide about the video (see `find_flaw`); empty if it may
    looked_at: int = 0  # how many frames of the window were searched, in this shot and in others
    flicker: tuple[float, ...] = ()  # of `measure_flicker`; empty without neighbouring frames
    sound: NDArray[np.int16] | None = field(default=None, repr=False)  # (T, 3200), what is heard about each frame
    sound_flaw: str = ""  # why the sound cannot be compared with the mouth

    @property
    def found(self) -> int:
        """In how many of the frames the face was found."""
        return len(np.unique(self.times[self.detected]))

    @property
    def time_step(self) -> float:
        """Median time between two frames, in seconds."""
        steps = np.diff(np.unique(self.times))
        return float(np.median(steps)) if len(steps) else 0.0

    def overlap(self, other: Self) -> float:
        """Mean IoU of the boxes, 0 to 1, over the time that both windows cover; 0 if they do not overlap in time."""
        shared = (self.times >= other.times[0]) & (self.times <= other.times[-1])
        there = [np.interp(self.times[shared], other.times, other.boxes[:, side]) for side in range(4)]
        overlaps = [faces.box_overlap(*pair) for pair in zip(self.boxes[shared], np.transpose(there), strict=True)]
        return float(np.mean(overlaps)) if overlaps else 0.0


@dataclass(frozen=True)
class Look:
    path: Path
    config: SequenceConfig
    weights: Path | None = None  # YuNet's, None for Haar
    whole: bool = False  # look at all of it, not only at its first seconds
    time_limit: float = 60.0  # seconds; a whole video has twice its own length on top
    max_people: int = 8  # those with the largest faces


@dataclass(frozen=True)
class VideoFaces:
    path: Path
    status: Status
    error: str  # what is wrong and what to do; with status `ok`, that the file breaks off
    seconds: float  # it was looked at from its start to here
    windows: tuple[FaceWindow, ...]
    duration: float = 0.0  # in seconds, 0 if unknown
    is_synthetic: bool = False  # whether it is a clip of the embedded sample
    left_out: int = 0  # people who were too many to look at, in the window with most
    detector: str = ""  # that found the faces


def find_faces(look: Look) -> VideoFaces:
    """Find the faces in a video. A fault of the video is recorded; a missing face detector is raised."""
    detector = faces.own_face_detector(look.config.detector, look.weights)
    windows, last = list[FaceWindow](), list[FaceWindow]()
    status: Status = "no_face"
    error, seconds, duration, drawn, left_out = "", 0.0, 0.0, False, 0
    everyone = replace(look.config, max_tracks=10**6)
    how = look.config.window
    try:
        limit = look.time_limit + (2 * probe_video(look.path).duration if look.whole else 0.0)
        with one_thread(), time_limited(look.path, limit):
            for clip in sample_windows(look.path, **how) if look.whole else [sample_frames(look.path, **how)]:
                if look.whole and not clip.info.duration:
                    allow_more_time(2 * (float(clip.times[-1]) - seconds))
                seconds, drawn = float(clip.times[-1]), clip.info.is_synthetic
                duration = clip.info.duration and max(clip.info.duration, seconds)  # a joined file may say less
                rest = "a larger version" if look.whole or 0 < 0.9 * duration < seconds else "all of it (whole=True)"
                try:
                    tracks = faces.extract_tracks(clip, detector, everyone, instead=rest)
                except NoFaceFound as nobody:
                    last, error = [], error if windows else str(nobody)
                    continue
                left_out = max(left_out, len(tracks) - look.max_people)
                people = faces.crop_tracks(clip, tracks[: look.max_people], look.config)
                seen = [_as_window(clip.times, person, look.config.frame_count) for person in people]
                if look.config.audio:
                    speech = faces.Speech.of(clip)
                    flaw = speech.flaw or faces.judge_mouth([person.mouth for person in people if not person.flaw])
                    seen = [replace(one, sound=speech.slices(one.times), sound_flaw=flaw) for one in seen]
                last = _recognise(seen, last, newcomer=1 + max((window.track for window in windows), default=-1))
                windows += last
                status, error = "ok", ""
    except Exception as failure:  # one video must not end a call for thousands
        why, error, _ = faces.describe_failure(look.path, failure)
        if not (windows and isinstance(failure, UnreadableVideo)):  # else what came before the break is kept
            windows, status = [], why
    return VideoFaces(look.path, status, error, seconds, tuple(windows), duration, drawn, left_out, detector.name)


def _as_window(times: NDArray[np.float64], person: CroppedTrack, frame_count: int) -> FaceWindow:
    frames = np.array(faces.spread_evenly(person.kept, frame_count))
    crops = tuple(faces.spread_evenly([faces.encode_face(crop) for crop in person.crops], frame_count))
    boxes, detected = person.track.boxes[frames], person.track.detected[frames]
    return FaceWindow(-1, times[frames], boxes, detected, crops, person.flaw, len(times), tuple(person.flicker))


def _recognise(seen: list[FaceWindow], before: list[FaceWindow], newcomer: int) -> list[FaceWindow]:
    """Give the people of a window the numbers that they have in the one before; number new ones from `newcomer`."""
    pairs = ((window.overlap(old), index, old.track) for index, window in enumerate(seen) for old in before)
    names: dict[int, int] = {}
    for overlap, index, track in sorted(pairs, reverse=True):
        if overlap >= SAME_PERSON and index not in names and track not in names.values():
            names[index] = track
    new = itertools.count(newcomer)
    return [replace(window, track=names[i] if i in names else next(new)) for i, window in enumerate(seen)]

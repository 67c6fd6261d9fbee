"""The faces of one video on disk: written completely or not at all, by any number of processes and machines at once."""

import contextlib
import errno
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.faces.speech import SLICE, Speech, judge_mouth
from dfdc_utils.faces.tracks import CroppedTrack
from dfdc_utils.files import partial_path, remove, working_on
from dfdc_utils.videos import Image

# Compression destroys the traces that a fake leaves, and halving the colour planes blurs its edges.
JPEG_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
# The errors of a rename onto something that exists: a folder that is not empty, or a file.
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def read_faces(save_path: str | Path, video: str) -> dict[str, Any]:
    """Read the `faces.json` of one video. Raises `FileNotFoundError` if the video was not processed."""
    path = Path(save_path) / video / "faces.json"
    if not path.is_file():
        raise FileNotFoundError(f"{video}: no faces in {save_path}. Run processing on its folder first.")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def find_finished(save_path: str | Path, wanted: dict[str, Any], *, overwrite: bool = False) -> dict[str, Any] | None:
    """Return the record of a video's faces if they are there as `wanted`, a `blank_record`, asks for; else None.

    Faces of a file that has changed, and failures to try again, do not count. Raises `ConfigMismatch` for faces that
    were made with other settings; with `overwrite` these do not count either.
    """
    try:
        record = read_faces(save_path, wanted["video"])
        made_with = SequenceConfig(**record["config"])
        unchanged = record["source_bytes"] == wanted["source_bytes"] and {"status", "error", "tracks"} <= record.keys()
        unchanged &= all("mouth" in track for track in record["tracks"])  # else of an earlier version of this package
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not written by this package
        return None
    config = SequenceConfig(**wanted["config"])
    if unchanged and not overwrite:
        remedy = "Use the same settings, another save_path, or overwrite=True to make the faces again."
        config.require(made_with, what=f"{wanted['video']} in {save_path} was made", remedy=remedy)
    return record if unchanged and made_with == config and not record.get("retry") else None


def sequence_paths(save_path: str | Path, video: str, frame_count: int, *, track: int = 0) -> list[str]:
    """Return the paths of the `frame_count` crops that make one video's sequence, in order of time.

    They are spread evenly over the frames that exist; of fewer than `frame_count` some are repeated. Raises
    `FileNotFoundError` if the video was not processed, `ValueError` if it has no such track. Taught in notebook 03.
    """
    tracks = read_faces(save_path, video)["tracks"]
    if track >= len(tracks):
        raise ValueError(f"{video} has {len(tracks)} tracks and none numbered {track}. Choose rows whose status is ok.")
    frames = spread_evenly(tracks[track]["frames"], frame_count)
    return [str(Path(save_path) / video / frame["file"]) for frame in frames]


def load_slices(
    save_path: str | Path, video: str, frame_count: int, *, track: int = 0
) -> tuple[NDArray[np.int16], str]:
    """Load the sound about each frame of a sequence, int16 (T, 3200) at 16 kHz, and why it may not be judged."""
    record = read_faces(save_path, video)
    times = np.array([frame["time"] for frame in spread_evenly(record["tracks"][track]["frames"], frame_count)])
    if "sound" not in record:
        return np.zeros((frame_count, SLICE), np.int16), "the faces were made without sound: process the video again"
    speech = Speech.load(Path(save_path) / video, record["sound"])
    mouths = [record["tracks"][number]["mouth"] for number in deciding_tracks(save_path, video)]
    return speech.slices(times), speech.flaw or judge_mouth(mouths)


def median_time_step(save_path: str | Path, videos: Iterable[str]) -> float:
    """Return the median time between two frames of the main person's faces, in seconds."""
    times = ([one["time"] for one in read_faces(save_path, video)["tracks"][0]["frames"]] for video in videos)
    return round(float(np.median([step for of_video in times for step in np.diff(of_video)] or [0.0])), 4)


def deciding_tracks(save_path: str | Path, video: str) -> list[int]:
    """Return the numbers of the tracks that may decide about a video; that of the main person if none may."""
    tracks = read_faces(save_path, video)["tracks"]
    return [number for number, track in enumerate(tracks) if not track.get("flaw")] or [0]


def spread_evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of some items, evenly spaced; some of them are repeated if there are fewer."""
    return [items[round(index)] for index in np.linspace(0, len(items) - 1, count)]


def write_faces(
    target: Path,
    record: dict[str, Any],
    people: list[CroppedTrack],
    times: NDArray[np.float64],
    *,
    speech: Speech | None = None,
    overwrite: bool = False,
) -> None:
    """Write one video's folder beside its place, `faces.json` last, and rename it into place.

    If another run has finished the video with the same settings, its faces stay. They also stay on `ConfigMismatch`
    (other settings, unless `overwrite`) and `OSError` (it cannot be written), which are raised.
    """
    with working_on(target, record["video"]) as partial:
        record |= {"sound": speech.save(partial)} if speech else {}
        record["tracks"] = [_write_track(partial, number, person, times) for number, person in enumerate(people)]
        (partial / "faces.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        _put_in_place(partial, target / record["video"], record, overwrite=overwrite)


def _write_track(folder: Path, number: int, person: CroppedTrack, times: NDArray[np.float64]) -> dict[str, Any]:
    track, kept, crops, sharpness, flaw, mouth, flicker = person
    (folder / str(number)).mkdir()
    frames: list[dict[str, Any]] = []
    for index, crop in zip(kept, crops, strict=True):
        frame: dict[str, Any] = {"file": f"{number}/{index:03d}.jpg", "time": round(float(times[index]), 4)}
        (folder / frame["file"]).write_bytes(encode_face(crop))
        frame["box"] = [round(float(value), 1) for value in track.boxes[index]]
        frame["score"] = round(float(track.scores[index]), 4)
        frame["origin"] = "detected" if track.detected[index] else "filled"
        frames.append(frame)
    return {"sharpness": round(sharpness, 1), "flaw": flaw, "mouth": mouth, "flicker": flicker, "frames": frames}


def _put_in_place(partial: Path, final: Path, record: dict[str, Any], *, overwrite: bool) -> None:
    """Rename `partial` to `final`. What is there gives way, unless another run has done the same work."""
    old = partial_path(final)
    try:
        while True:
            try:
                partial.rename(final)
                return
            except OSError as error:
                if error.errno not in OCCUPIED:
                    with contextlib.suppress(OSError):  # there was nothing, or another run has put something there
                        old.rename(final)
                    raise
            if find_finished(final.parent, record, overwrite=overwrite):
                return
            remove(old)
            with contextlib.suppress(FileNotFoundError):  # another run has just moved it
                final.rename(old)
    finally:
        remove(old)


def encode_face(crop: Image) -> bytes:
    """Encode a face crop, uint8 RGB (H, W, 3), as the JPEG that is stored."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), JPEG_OPTIONS)[1])

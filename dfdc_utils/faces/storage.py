"""The faces of one video on disk: written whole or not at all, by any number of processes and machines at once."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces.tracks import Track
from dfdc_utils.files import cannot_write, partial_path, remove, working_on
from dfdc_utils.videos import Image

# Compression destroys the traces that a fake leaves, and halving the colour planes blurs its edges.
JPEG_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


# What a rename says when there is something already: a folder that is not empty, or a file.
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class CroppedTrack(NamedTuple):
    """One track of a clip with its crops (face_size, face_size, 3); `kept` numbers the frames that they are of."""

    track: Track
    kept: list[int]
    crops: list[Image]


def read_faces(save_path: str | Path, video: str) -> dict[str, Any]:
    """What `faces.json` says of one video. Raises `FileNotFoundError` if the video was not processed."""
    path = Path(save_path) / video / "faces.json"
    if not path.is_file():
        raise FileNotFoundError(f"{video}: no faces in {save_path}. Run processing on its folder first.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sequence_paths(save_path: str | Path, video: str, frame_count: int, *, track: int = 0) -> list[str]:
    """The `frame_count` files that make one video's sequence, in order of time.

    They are spread evenly over the frames that exist. Where there are fewer than `frame_count`, some stand twice: the
    length is fixed, so that no mask is needed. Raises `FileNotFoundError` if the video was not processed, `ValueError`
    if it has no such track. Taught in notebook 03.
    """
    tracks = read_faces(save_path, video)["tracks"]
    if track >= len(tracks):
        raise ValueError(f"{video} has {len(tracks)} tracks, so none numbered {track}: choose rows whose status is ok.")
    files = [frame["file"] for frame in tracks[track]["frames"]]
    return [str(Path(save_path) / video / files[index]) for index in spread_evenly(len(files), frame_count)]


def spread_evenly(count: int, frame_count: int) -> list[int]:
    """Which of `count` frames make a sequence of `frame_count`: evenly spread, some twice where there are fewer."""
    spread: list[int] = np.linspace(0, count - 1, frame_count).round().astype(int).tolist()
    return spread


def write_faces(
    target: Path,
    record: dict[str, Any],
    people: list[CroppedTrack],
    times: NDArray[np.float64],
    *,
    overwrite: bool = False,
) -> None:
    """Write one video's folder beside its place, `faces.json` last, and rename it into place.

    Of two runs that finish a video at once with the same settings, the first counts. Raises `ConfigMismatch` if it was
    made with other settings meanwhile (unless `overwrite`), `OSError` if it cannot be written; what was there before is
    then still there.
    """
    with working_on(target, record["video"]) as partial:
        try:
            record["tracks"] = [_write_track(partial, number, person, times) for number, person in enumerate(people)]
            (partial / "faces.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            _put_in_place(partial, target / record["video"], record, overwrite=overwrite)
        except OSError as error:
            raise cannot_write(target, error, what="faces") from error


def _write_track(folder: Path, number: int, person: CroppedTrack, times: NDArray[np.float64]) -> dict[str, Any]:
    track, kept, crops = person
    (folder / str(number)).mkdir()
    frames = []
    for index, crop in zip(kept, crops, strict=True):
        file = f"{number}/{index:03d}.jpg"
        (folder / file).write_bytes(encode_face(crop))
        frames.append(
            {
                "file": file,
                "time": round(float(times[index]), 4),
                "box": [round(float(value), 1) for value in track.boxes[index]],
                "score": round(float(track.scores[index]), 4),
                "origin": "detected" if track.detected[index] else "filled",
            }
        )
    sharpness = [cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for crop in crops]
    return {"sharpness": round(float(np.median(sharpness)), 1), "frames": frames}


def is_same_work(record: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are of the same file, prepared alike, and the first need not be tried again."""
    same = record["source_bytes"] == other["source_bytes"] and _same_settings(record, other)
    return same and not record.get("retry", False)


def _same_settings(record: dict[str, Any], other: dict[str, Any]) -> bool:
    """Settings that an older version of this package did not have are no other settings."""
    return all(record["config"].get(key, value) == value for key, value in other["config"].items())


def _put_in_place(partial: Path, final: Path, record: dict[str, Any], *, overwrite: bool) -> None:
    while True:
        try:
            partial.rename(final)
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
        else:
            return
        there = _committed(final)
        if there is not None and is_same_work(there, record):
            return  # another run was quicker
        same_file = there is not None and there["source_bytes"] == record["source_bytes"]
        if there is not None and same_file and not overwrite and not _same_settings(there, record):
            raise ConfigMismatch(
                f"{final.name} in {final.parent} has just been made with other settings by another run. Use another "
                "save_path, or the same settings."
            )
        old = partial_path(final.with_name(f"{final.name}.old"))
        try:
            final.rename(old)
        except FileNotFoundError:  # another run has just done so
            continue
        try:
            partial.rename(final)
        except OSError as error:
            if error.errno not in OCCUPIED:
                old.rename(final)
                raise
        else:
            remove(old)
            return
        remove(old)


def _committed(folder: Path) -> dict[str, Any] | None:
    """The record in a video's folder, if it is one of ours."""
    try:
        record: dict[str, Any] = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
        ours = isinstance(record["config"], dict) and isinstance(record["source_bytes"], int)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if ours else None


def encode_face(crop: Image) -> bytes:
    """A face crop, uint8 RGB (H, W, 3), as the JPEG file that is stored. Raises `ValueError` for another shape."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), JPEG_OPTIONS)
    if not done:
        raise ValueError(f"OpenCV cannot encode a JPEG of shape {crop.shape}")
    return bytes(data)

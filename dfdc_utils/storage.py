"""The faces of one video on disk: written whole or not at all, by any number of processes at once."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.tracks import Track
from dfdc_utils.video import Image

# Compression destroys the traces that a fake leaves, and halving the colour planes blurs its edges.
JPEG_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


class Person(NamedTuple):
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


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # Paths that are not UTF-8 hold lone surrogates, which pass through unchanged.
    partial.write_text(text, encoding="utf-8", errors="surrogatepass")
    partial.replace(path)


def write_faces(target: Path, record: dict[str, Any], people: list[Person], times: NDArray[np.float64]) -> None:
    """Write one video's folder beside its place, `faces.json` last, and rename it into place."""
    final = target / record["video"]
    partial = target / f".{record['video']}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        record["tracks"] = []
        for number, (track, kept, crops) in enumerate(people):
            (partial / str(number)).mkdir()
            frames = []
            for index, crop in zip(kept, crops, strict=True):
                file = f"{number}/{index:03d}.jpg"
                _write_jpeg(partial / file, crop)
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
            record["tracks"].append({"sharpness": round(float(np.median(sharpness)), 1), "frames": frames})
        (partial / "faces.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        if final.exists():
            (final / "faces.json").unlink(missing_ok=True)  # uncommit before taking it apart
            shutil.rmtree(final)
        partial.rename(final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _cannot_write(target, error) from error


def _write_jpeg(path: Path, image: Image) -> None:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), JPEG_OPTIONS)
    if not done:
        raise ValueError(f"{path.name}: OpenCV cannot encode a JPEG of shape {image.shape}")
    path.write_bytes(data.tobytes())


def prepare_target(target: Path) -> Path:
    """Make the folder, clear what killed runs left in it, and check that it can be written. Raises `OSError` if not."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        for leftover in target.glob(".*.partial"):  # of runs that were killed
            owner = leftover.suffixes[-2].lstrip(".") if len(leftover.suffixes) > 1 else ""
            if owner.isdigit() and not _is_running(int(owner)):
                shutil.rmtree(leftover, ignore_errors=True)
                leftover.unlink(missing_ok=True)
        write_atomically(target / ".writable", "")
        (target / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(target, error) from error
    return target


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _cannot_write(target: Path, error: OSError) -> OSError:
    remedy = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose a save_path you may write to"
    return OSError(
        error.errno,
        f"faces cannot be written ({error.strerror}). {remedy} and run it again: what is finished is kept",
        str(target),
    )

"""The faces of one video on disk: written whole or not at all, by any number of processes and machines at once.

What is being written is named `.<what>.<machine>.<process>.partial` and lies beside its place. A video's folder of that
name is made before work on it begins: after a crash it tells on which video.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.frames import Image
from dfdc_utils.tracks import Track

# Compression destroys the traces that a fake leaves, and halving the colour planes blurs its edges.
JPEG_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


# A video takes seconds: what another machine has left unfinished for a day, a process that died there has left.
STALE_SEC = 86_400


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
    partial = _partial(path)
    # Paths that are not UTF-8 hold lone surrogates, which pass through unchanged.
    partial.write_text(text, encoding="utf-8", errors="surrogatepass")
    partial.replace(path)


def begin_video(target: Path, video: str) -> Path:
    """Make the folder that a video's faces are written to, and that says that this process works on it."""
    partial = _partial(target / video)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as error:
        raise _cannot_write(target, error) from error
    return partial


def died_working(target: Path) -> Counter[str]:
    """How many processes that are gone have begun each video and not finished it. Other machines' count as gone."""
    left = (path.name.rsplit(".", 3)[0] for path in target.glob(".*.partial") if _owner_of(path) is not True)
    return Counter(name.removeprefix(".") for name in left)


def write_faces(
    target: Path,
    record: dict[str, Any],
    people: list[Person],
    times: NDArray[np.float64],
    *,
    overwrite: bool = False,
) -> None:
    """Write one video's folder beside its place, `faces.json` last, and rename it into place.

    Of two runs that finish a video at once with the same settings, the first counts. Raises `ConfigMismatch` if it was
    made with other settings meanwhile (unless `overwrite`), `OSError` if it cannot be written; what was there before is
    then still there.
    """
    partial = begin_video(target, record["video"])
    try:
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
        _put_in_place(partial, target / record["video"], record, overwrite=overwrite)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_same_work(record: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are of the same file, prepared alike, and the first need not be tried again."""
    same = all(record[key] == other[key] for key in ("config", "source_bytes"))
    return same and not record.get("retry", False)


def _put_in_place(partial: Path, final: Path, record: dict[str, Any], *, overwrite: bool) -> None:
    while True:
        try:
            partial.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return
        there = _committed(final)
        if there is not None and is_same_work(there, record):
            return  # another run was quicker
        if there is not None and there["source_bytes"] == record["source_bytes"] and not overwrite:
            # Settings that an older version of this package did not have are no other settings.
            differ = any(there["config"].get(key, value) != value for key, value in record["config"].items())
        else:
            differ = False
        if differ:
            raise ConfigMismatch(
                f"{final.name} in {final.parent} has just been made with other settings by another run. Use another "
                "save_path, or the same settings."
            )
        old = _partial(final.with_name(f"{final.name}.old"))
        with contextlib.suppress(FileNotFoundError):  # another run has just done so
            final.rename(old)
            _remove(old)


def _committed(folder: Path) -> dict[str, Any] | None:
    """The record in a video's folder, if it is one of ours."""
    try:
        record: dict[str, Any] = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
        ours = isinstance(record["config"], dict) and isinstance(record["source_bytes"], int)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if ours else None


def _remove(path: Path) -> None:
    """Remove a folder, or a file, or a link without what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _write_jpeg(path: Path, image: Image) -> None:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), JPEG_OPTIONS)
    if not done:
        raise ValueError(f"{path.name}: OpenCV cannot encode a JPEG of shape {image.shape}")
    path.write_bytes(data.tobytes())


def clear_leftovers(target: Path) -> None:
    """Remove what processes that are gone have left unfinished."""
    for leftover in target.glob(".*.partial"):
        owner = _owner_of(leftover)
        with contextlib.suppress(OSError):  # another run has just done so
            if owner is False or (owner is None and leftover.stat().st_mtime < time.time() - STALE_SEC):
                _remove(leftover)


def prepare_target(target: Path) -> Path:
    """Make the folder, clear what killed runs left in it, and check that it can be written. Raises `OSError` if not."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target)
        write_atomically(target / ".writable", "")
        (target / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(target, error) from error
    return target


@functools.cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.partial")


def _owner_of(partial: Path) -> bool | None:
    """Whether the process that is writing `partial` runs; None if it is another machine's."""
    *_, machine, process, _ = ("", "", *partial.name.rsplit(".", 3))
    if machine != _machine() or not process.isdigit():
        return None
    try:
        os.kill(int(process), 0)
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

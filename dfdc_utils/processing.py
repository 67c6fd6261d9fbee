"""A folder of videos → the faces in them, on disk, and a manifest that accounts for every video.

Layout below `save_path`:

- `<video>/<track>/000.jpg …`: the face crops of one person, in order of time;
- `<video>/faces.json`: per frame its time, box, score, and whether the box was detected or filled. It is written last
  and the folder renamed into place whole: a video is there completely or not at all, and is not done twice;
- `manifest.csv`: a row a video; `sequence.json`: the `SequenceConfig` that all rows were made with.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dfdc_utils.catalog import balance_classes, read_catalog
from dfdc_utils.errors import ConfigMismatch, NoFaceFound, UnreadableVideo
from dfdc_utils.faces import DETECTOR_NAMES, Detector, load_detector
from dfdc_utils.storage import Person, prepare_target, read_faces, write_atomically, write_faces
from dfdc_utils.tracks import FILL_POLICIES, Track, crop_face, fill_missing_boxes, follow_faces, smooth_boxes
from dfdc_utils.video import Clip, sample_frames

log = logging.getLogger(__name__)

DETECTION_SIDE = (
    640  # pixels, longer side: faces of a tenth of the frame are still 36 px high, enough for either detector
)
STATUSES = ("ok", "no_face", "unreadable")


@dataclass(frozen=True)
class SequenceConfig:
    """How a video becomes a sequence. It travels with the faces and with the model, and the two must agree.

    `capture_sec` in seconds, `face_size` in pixels (crops are square), `margin` in multiples of the box's longer side.
    """

    capture_sec: float = 5.0
    frame_count: int = 16
    face_size: int = 96
    margin: float = 1.3
    detector: str = "auto"
    fill_policy: str = "past_mean"

    def __post_init__(self) -> None:
        # 5 and 5.0 are one setting, and must be one in JSON too.
        object.__setattr__(self, "capture_sec", float(self.capture_sec))
        object.__setattr__(self, "margin", float(self.margin))
        if not (self.frame_count >= 1 and self.capture_sec > 0 and self.face_size >= 16 and self.margin >= 1):
            raise ValueError(f"{self}: frame_count and capture_sec must be positive, face_size ≥ 16, margin ≥ 1")
        if self.detector not in DETECTOR_NAMES or self.fill_policy not in FILL_POLICIES:
            raise ValueError(f"{self}: detector is one of {DETECTOR_NAMES}, fill_policy one of {FILL_POLICIES}")

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_atomically(Path(path), json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: str | Path) -> SequenceConfig:
        """Read it from JSON. Raises `ConfigMismatch` if the file is not one."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ConfigMismatch(f"{path} is not a sequence configuration ({error}). Run processing again.") from error

    def require(self, other: SequenceConfig, *, what: str, remedy: str) -> None:
        """Raise `ConfigMismatch`, naming each field that differs, unless `other` equals this one."""
        mine, others = asdict(self), asdict(other)
        differ = [f"{key} {others[key]!r} instead of {mine[key]!r}" for key in mine if mine[key] != others[key]]
        if differ:
            raise ConfigMismatch(f"{what} with {', '.join(differ)}. {remedy}")


def processing(
    location: str | Path,
    save_path: str | Path,
    *,
    capture_sec: float = 5.0,
    num_vids: int | None = 500,
    frame_count: int = 16,
    face_size: int = 96,
    margin: float = 1.3,
    detector: str = "auto",
    fill_policy: str = "past_mean",
    max_tracks: int = 2,
    workers: int | None = None,
    overwrite: bool = False,
    seed: int = 0,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Extract the faces of up to `num_vids` videos below `location` into `save_path`; return the manifest.

    A folder with more videos gives `num_vids` of them, half REAL and half FAKE (`balance_classes` with `seed`); `None`
    takes all. Videos are worked on side by side in `workers` processes, one a core by default. What an earlier run has
    finished is kept, so a broken run is continued by calling it again, with `detector="auto"` by the same detector.
    `max_tracks` people a video are saved.

    The manifest holds a row for each video: the catalog's columns, `status` (`ok`, `no_face`, `unreadable`), `error`,
    `frames` sampled, `faces_detected` and `faces_filled` of the main person, `tracks`, `width`, `height` (pixels),
    `fps`, `face_height` (median, pixels), `sharpness` (median variance of the Laplacian over the crops), and `seconds`
    spent (empty where the faces were there already).

    Raises `BrokenCatalog` for a folder without videos, `ConfigMismatch` if `save_path` holds faces of these videos made
    with other settings (unless `overwrite`), `OSError` if it cannot be written. Taught in notebook 02.
    """
    config = SequenceConfig(capture_sec, frame_count, face_size, margin, detector, fill_policy)
    if max_tracks < 1:
        raise ValueError(f"max_tracks={max_tracks}: at least the main person is saved")
    catalog = read_catalog(location)
    if num_vids is not None and num_vids < len(catalog):
        catalog = balance_classes(catalog, num_vids, seed=seed)
    target = prepare_target(Path(save_path))
    if config.detector == "auto":
        # A run goes on with the detector it was begun with, whether or not the other can be had by now.
        so_far = None if overwrite else _detector_so_far(catalog, target)
        config = replace(config, detector=so_far or load_detector().name)
    finished = _find_finished(catalog, target, config, overwrite=overwrite)
    config.save(target / "sequence.json")

    todo = [row for row in catalog.to_dict("records") if row["video"] not in finished and row["path"]]
    jobs = (joblib.delayed(_process_row)(row, target, config, max_tracks) for row in todo)
    pool = joblib.Parallel(
        n_jobs=min(workers or joblib.cpu_count(), max(1, len(todo))), return_as="generator_unordered"
    )
    seconds: dict[str, float] = {}
    progress = tqdm(total=len(catalog), desc="extracting faces", unit="video", disable=not show_progress)
    with progress:
        progress.update(len(catalog) - len(todo))
        for video, spent in pool(jobs):
            seconds[video] = spent
            progress.update()

    manifest = pd.DataFrame([_manifest_row(row, target, seconds) for row in catalog.to_dict("records")])
    write_atomically(target / "manifest.csv", manifest.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))
    counts = manifest["status"].value_counts()
    log.info("%d videos: %s", len(manifest), ", ".join(f"{counts.get(status, 0)} {status}" for status in STATUSES))
    return manifest


def read_manifest(save_path: str | Path) -> pd.DataFrame:
    """The manifest that `processing` left in `save_path`. Raises `FileNotFoundError` saying how to make one."""
    path = Path(save_path) / "manifest.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run processing(location, {str(save_path)!r}) first.")
    text = dict.fromkeys(("video", "path", "label", "original", "part", "problem", "status", "error"), str)
    return pd.read_csv(
        path,
        dtype=text,
        keep_default_na=False,
        na_values={"seconds": [""], "sharpness": [""]},
        encoding_errors="surrogatepass",
    )


def extract_tracks(clip: Clip, detector: Detector, config: SequenceConfig, *, max_tracks: int = 2) -> list[Track]:
    """The people in a clip, the main one first, their missing boxes filled by the policy of `config`.

    Raises `NoFaceFound` if no face lasts. Taught in notebook 02.
    """
    detections = []
    for index in range(len(clip)):
        small = clip.small_frame(index, DETECTION_SIDE)
        scale = clip.info.width / small.shape[1]
        detections.append([replace(face, box=face.box * scale) for face in detector.detect(small)])
    tracks = follow_faces(detections)
    if not tracks:
        hits = sum(map(bool, detections))
        raise NoFaceFound(
            f"{clip.info.path.name}: no lasting face ({detector.name} found one in {hits} of {len(clip)} frames). If "
            "you see one, try the other detector or a longer capture_sec."
        )
    return [fill_missing_boxes(track, config.fill_policy) for track in tracks[:max_tracks]]


def crop_track(clip: Clip, track: Track, config: SequenceConfig) -> Person:
    """Cut one person's face out of the clip, along smoothed boxes."""
    kept = np.flatnonzero(track.detected | track.filled).tolist()
    boxes = smooth_boxes(track.boxes[kept])
    crops = [
        crop_face(clip.frame(index), box, config.face_size, margin=config.margin)
        for index, box in zip(kept, boxes, strict=True)
    ]
    return Person(track, kept, crops)


def _process_row(row: dict[str, Any], target: Path, config: SequenceConfig, max_tracks: int) -> tuple[str, float]:
    """Work on one video in a worker process. Whatever is wrong with the video is recorded, not raised."""
    cv2.setNumThreads(1)  # videos run side by side, one core each
    started = time.perf_counter()
    path = Path(row["path"])
    record: dict[str, Any] = {
        "video": row["video"],
        "config": asdict(config),
        "source_bytes": _size(path),
        "status": "ok",
        "error": "",
    }
    people: list[Person] = []
    times = np.empty(0)
    try:
        clip = sample_frames(path, config.frame_count, capture_sec=config.capture_sec)
        times, info = clip.times, clip.info
        record |= {"frames": len(clip), "width": info.width, "height": info.height, "fps": round(info.fps, 3)}
        tracks = extract_tracks(clip, _worker_detector(config.detector), config, max_tracks=max_tracks)
        people = [crop_track(clip, track, config) for track in tracks]
    except UnreadableVideo as error:
        record |= {"status": "unreadable", "error": str(error)}
    except NoFaceFound as error:
        record |= {"status": "no_face", "error": str(error)}
    except Exception as error:  # a batch of thousands must not end at one video's surprise
        log.exception("%s: unexpected", row["video"])
        record |= {"status": "unreadable", "error": f"{path.name}: unexpected {type(error).__name__}: {error}"}
    write_faces(target, record, people, times)
    return row["video"], time.perf_counter() - started


@functools.cache
def _worker_detector(name: str) -> Detector:
    return load_detector(name)


def _detector_so_far(catalog: pd.DataFrame, target: Path) -> str | None:
    """The detector that has found faces of these videos in `target` already, if any has."""
    for video in catalog["video"]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return SequenceConfig(**read_faces(target, video)["config"]).detector
    return None


def _find_finished(catalog: pd.DataFrame, target: Path, config: SequenceConfig, *, overwrite: bool) -> set[str]:
    """Videos whose faces are there, made with `config` from the file as it is now."""
    finished = set()
    for row in catalog.itertuples():
        try:
            record = read_faces(target, row.video)
            made_with, size = SequenceConfig(**record["config"]), record["source_bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, or not what we wrote: done again
        if size != _size(Path(row.path)):
            continue
        if made_with == config:
            finished.add(row.video)
        elif not overwrite:
            config.require(
                made_with,
                what=f"{row.video} in {target} was made",
                remedy="Use the same settings, another save_path, or overwrite=True to make the faces again.",
            )
    return finished


def _manifest_row(row: dict[str, Any], target: Path, seconds: dict[str, float]) -> dict[str, Any]:
    if row["path"]:
        record = read_faces(target, row["video"])
    else:
        record = {"status": "unreadable", "error": row["problem"], "tracks": []}
    missing = bool(row["problem"]) and record["status"] == "unreadable"
    main: dict[str, Any] = record["tracks"][0] if record["tracks"] else {"frames": [], "sharpness": np.nan}
    detected = [frame for frame in main["frames"] if frame["origin"] == "detected"]
    return row | {
        "status": record["status"],
        "error": row["problem"] if missing else record["error"],
        "frames": record.get("frames", 0),
        "faces_detected": len(detected),
        "faces_filled": len(main["frames"]) - len(detected),
        "tracks": len(record["tracks"]),
        "width": record.get("width", 0),
        "height": record.get("height", 0),
        "fps": record.get("fps", 0.0),
        "face_height": round(float(np.median([frame["box"][3] for frame in detected])), 1) if detected else 0.0,
        "sharpness": main["sharpness"],
        "seconds": round(seconds[row["video"]], 3) if row["video"] in seconds else np.nan,
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1

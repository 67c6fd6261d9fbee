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
import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dfdc_utils.faces import (
    Job,
    Outcome,
    SequenceConfig,
    blank_record,
    find_yunet,
    load_face_detector,
    read_faces,
    work_on,
    write_faces,
)
from dfdc_utils.files import clear_leftovers, died_working, prepare_target, write_atomically
from dfdc_utils.videos import balance_classes, read_catalog
from dfdc_utils.workers import WorkerDied, each_whatever_dies

__all__ = ["STATUSES", "SequenceConfig", "processing", "read_manifest"]

log = logging.getLogger(__name__)

STATUSES = ("ok", "no_face", "unreadable")
TIME_LIMIT = 60.0  # seconds a video: a hundred times what one of DFDC's takes
# Time limits in which nothing at all is done, after which a pool is taken for dead: joblib does not hear of it when a
# worker of Dask dies for good.
PATIENCE = 3


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
    cluster: str | Any | None = None,
    time_limit: float = TIME_LIMIT,
    overwrite: bool = False,
    seed: int = 0,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Extract the faces of up to `num_vids` videos below `location` into `save_path`; return the manifest.

    A folder with more videos gives `num_vids` of them, half REAL and half FAKE (`balance_classes` with `seed`); `None`
    takes all. Videos are worked on side by side in `workers` processes, one a core by default (1 works in this process,
    for debugging), or by the workers of a Dask `cluster`, given as its scheduler's address or a client; these must see
    both folders under the same paths. What an earlier run has finished is kept, so a broken run is continued by calling
    it again, with `detector="auto"` by the same detector, and several runs may share one folder. `max_tracks` people a
    video are saved.

    The manifest holds a row for each video: the catalog's columns, `status` (`ok`, `no_face`, `unreadable`), `error`,
    `frames` sampled, `faces_detected` and `faces_filled` of the main person, `fraction_detected` of the frames, `tracks`,
    `width`, `height` (pixels), `fps`, `face_height` (median, pixels), `sharpness` (median variance of the Laplacian
    over the crops), and `seconds` spent (empty where the faces were there already). A video that takes more than
    `time_limit` seconds, or brings its process down, is `unreadable`; the next run tries it again.

    Raises `BrokenCatalog` for a folder without videos, `ConfigMismatch` if `save_path` holds faces of these videos made
    with other settings (unless `overwrite`), `OSError` if it cannot be written, `WorkerDied` if processes end that have
    not even begun a video. Taught in notebook 02.
    """
    config = SequenceConfig(capture_sec, frame_count, face_size, margin, detector, fill_policy, max_tracks)
    if not time_limit > 0:  # put so that NaN fails too
        raise ValueError(f"time_limit={time_limit} must be positive")
    catalog = read_catalog(location)
    if num_vids is not None and num_vids < len(catalog):
        catalog = balance_classes(catalog, num_vids, seed=seed)
    target = prepare_target(Path(save_path))
    if config.detector == "auto":
        # A run goes on with the detector it was begun with, whether or not the other can be had by now.
        so_far = None if overwrite else _detector_so_far(catalog, target)
        config = replace(config, detector=so_far or load_face_detector().name)
    rows, todo = _find_work(catalog, target, config, overwrite=overwrite)
    weights = find_yunet() if todo and config.detector == "yunet" else None
    # Whole paths, since the workers of a cluster may have been started elsewhere.
    settings = (target.absolute(), config, weights, time_limit, overwrite)
    jobs = {video: Job(video, path.absolute(), *settings) for video, path in todo.items()}
    config.save(target / "sequence.json")

    there = len(catalog) - len(jobs)
    with tqdm(
        total=len(catalog),
        initial=there,
        desc="extracting faces" if jobs else f"{there} of {len(catalog)} videos were there already",
        unit="video",
        bar_format=None if jobs else "{desc}",  # without a bar there is no rate to show
        disable=not show_progress,
    ) as progress:
        seconds: dict[str, float] = {}
        for outcome in _work_through(jobs, workers, cluster):
            seconds[outcome.video] = outcome.seconds
            progress.update()

    for row in catalog.to_dict("records"):
        if row["video"] not in rows:
            record = read_faces(target, row["video"])
            # Another run may have made it since.
            _require(config, SequenceConfig(**record["config"]), row["video"], target)
            rows[row["video"]] = _manifest_row(row, record, seconds[row["video"]])
    manifest = pd.DataFrame([rows[video] for video in catalog["video"]])
    clear_leftovers(target)
    config.save(target / "sequence.json")
    write_atomically(target / "manifest.csv", manifest.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))
    counts = manifest["status"].value_counts()
    log.info("%d videos: %s", len(manifest), ", ".join(f"{counts.get(status, 0)} {status}" for status in STATUSES))
    return manifest


def read_manifest(save_path: str | Path) -> pd.DataFrame:
    """The manifest that `processing` left in `save_path`. Raises `FileNotFoundError` saying how to make one."""
    path = Path(save_path) / "manifest.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run processing(location, {str(save_path)!r}) first.")
    text = dict.fromkeys(("video", "path", "label", "original", "person", "part", "problem", "status", "error"), str)
    return pd.read_csv(
        path,
        dtype=text,
        keep_default_na=False,
        na_values={"seconds": [""], "sharpness": [""]},
        encoding_errors="surrogatepass",
    )


def _detector_so_far(catalog: pd.DataFrame, target: Path) -> str | None:
    """The detector that has found faces of these videos in `target` already, if any has."""
    for video in catalog["video"]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return SequenceConfig(**read_faces(target, video)["config"]).detector
    return None


def _find_work(
    catalog: pd.DataFrame, target: Path, config: SequenceConfig, *, overwrite: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """The manifest's rows of what is finished already or has no file, and the paths of what is to be done."""
    rows: dict[str, dict[str, Any]] = {}
    todo: dict[str, Path] = {}
    for row in catalog.to_dict("records"):
        video = row["video"]
        if not row["path"]:
            rows[video] = _manifest_row(row, {"status": "unreadable", "error": row["problem"], "tracks": []})
            continue
        path = Path(row["path"])
        now = blank_record(video, path, config)
        try:
            record = read_faces(target, video)
            made_with, there = SequenceConfig(**record["config"]), _manifest_row(row, record)
            changed = record["source_bytes"] != now["source_bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            todo[video] = path  # not there, or not what we wrote
            continue
        if not changed and not overwrite:
            _require(config, made_with, video, target)
        if made_with == config and not changed and not record.get("retry"):
            rows[video] = there
        else:
            todo[video] = path
    return rows, todo


def _require(config: SequenceConfig, made_with: SequenceConfig, video: str, target: Path) -> None:
    remedy = "Use the same settings, another save_path, or overwrite=True to make the faces again."
    config.require(made_with, what=f"{video} in {target} was made", remedy=remedy)


def _work_through(jobs: dict[str, Job], workers: int | None, cluster: str | Any | None) -> Iterator[Outcome]:
    """Do all jobs, whichever processes die on the way; raise what keeps any video from being worked on."""
    if not jobs:
        return
    order = list(jobs)
    start = random.randrange(len(order))  # so that runs that share a folder meet late
    shuffled = {video: jobs[video] for video in order[start:] + order[:start]}
    target, time_limit = shuffled[order[start]].target, shuffled[order[start]].time_limit
    # Two processes even for one video, unless one is asked for: a decoder that crashes takes its process along.
    workers = 1 if workers == 1 else max(2, min(workers or joblib.cpu_count(), len(jobs)))
    settings: dict[str, Any] = {"workers": workers, "cluster": cluster, "patience": PATIENCE * time_limit}
    for video, outcome in each_whatever_dies(work_on, shuffled, begun=lambda: died_working(target), **settings):
        if isinstance(outcome, WorkerDied):
            log.warning("%s: a worker died (%s)", video, outcome)
            _record_death(jobs[video])
            outcome = Outcome(video, float("nan"))
        elif outcome.error is not None:
            raise outcome.error
        yield outcome
    clear_leftovers(target)


def _record_death(job: Job) -> None:
    what = f"the process that worked on it ended, or hung for more than {2 * job.time_limit:g} s"
    remedy = "The next run tries again, perhaps with fewer workers and more memory for each; or leave it out."
    record = blank_record(job.video, job.path, job.config) | {"status": "unreadable", "retry": True}
    record["error"] = f"{job.path.name}: {what}. {remedy}"
    write_faces(job.target, record, [], np.empty(0), overwrite=job.overwrite)


def _manifest_row(row: dict[str, Any], record: dict[str, Any], seconds: float = np.nan) -> dict[str, Any]:
    missing = bool(row["problem"]) and record["status"] == "unreadable"
    main: dict[str, Any] = record["tracks"][0] if record["tracks"] else {"frames": [], "sharpness": np.nan}
    detected = [frame for frame in main["frames"] if frame["origin"] == "detected"]
    frames = record.get("frames", 0)
    return row | {
        "status": record["status"],
        "error": row["problem"] if missing else record["error"],
        "frames": frames,
        "faces_detected": len(detected),
        "faces_filled": len(main["frames"]) - len(detected),
        "fraction_detected": round(len(detected) / frames, 3) if frames else 0.0,
        "tracks": len(record["tracks"]),
        "width": record.get("width", 0),
        "height": record.get("height", 0),
        "fps": record.get("fps", 0.0),
        "face_height": round(float(np.median([frame["box"][3] for frame in detected])), 1) if detected else 0.0,
        "sharpness": main["sharpness"],
        "seconds": round(seconds, 3),
    }

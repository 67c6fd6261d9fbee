"""From a folder of videos to the faces in them, on disk, and a manifest that accounts for every video.

Below `save_path` lie `<video>/<track>/000.jpg …`, the face crops of one person in order of time; `<video>/faces.json`,
with time, box, score and origin of each frame; `<video>/audio.wav`, the sound of the same time, mono, 16 kHz;
`manifest.csv`, with one row per video; and `sequence.json`, the `SequenceConfig` that all of them were made with.
"""

import contextlib
import csv
import logging
import random
from collections.abc import Collection, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dfdc_utils import faces
from dfdc_utils.faces import Job, SequenceConfig, find_yunet, load_face_detector, work_on
from dfdc_utils.files import clear_leftovers, died_working, locked, prepare_target, write_atomically
from dfdc_utils.videos import balance_classes, read_catalog
from dfdc_utils.workers import WorkerDied, each_whatever_dies

log = logging.getLogger(__name__)
Row = dict[str, Any]  # of the catalog or the manifest
# A pool in which nothing is done for this many time limits is dead: joblib does not notice when a Dask worker dies.
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
    flicker: bool = False,
    workers: int | None = None,
    cluster: str | Any | None = None,
    time_limit: float = 60.0,  # a hundred times what a video of DFDC takes
    overwrite: bool = False,
    labels: str | Path | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Extract the faces of up to `num_vids` videos below `location` into `save_path`; return one row for each of them.

    Of more than `num_vids` videos, half of those chosen are REAL and half FAKE; `None` takes all. `labels` is as in
    `read_catalog`, the settings from `capture_sec` to `flicker` are those of `SequenceConfig`. `workers` processes
    work side by side, or the workers of a Dask `cluster`, given as its scheduler's address or a client.

    What earlier runs have finished is kept, so call it again to continue a run that was interrupted. `detector="auto"`
    then takes the detector that the folder was begun with. Several runs may share a folder, at the same time too.

    The table holds the catalog's columns, `status` (`ok`, `no_face`, `unreadable`), `error`, and numbers: `width`,
    `height` and `face_height` in pixels, `sharpness` as the median variance of the Laplacian over the main person's
    crops, `loudness` as the root mean square in dB below full scale, `seconds` spent (empty if the faces were there
    already). A video that takes more than `time_limit` seconds, or that ends its process, is `unreadable`, and the next
    run tries it again. `manifest.csv` also keeps the rows of earlier calls, as long as their faces are there.

    Raises `BrokenCatalog` for a folder without videos, `ConfigMismatch` if `save_path` holds faces made with other
    settings (with `overwrite`, if other videos were), `OSError` if it cannot be written, `WorkerDied` if processes end
    before they begin a video. Taught in notebook 02.
    """
    settings = (capture_sec, frame_count, face_size, margin, detector, fill_policy, max_tracks)
    config = SequenceConfig(*settings, flicker=flicker)
    if not time_limit > 0:  # this way round it refuses NaN too
        raise ValueError(f"time_limit={time_limit} must be positive")
    catalog = read_catalog(location, labels=labels)
    if len(reasons := catalog.loc[catalog["label"] == "", "problem"]):
        why = next(filter(None, reasons), "give a metadata.json as in DFDC, or a table (see data/README.md)")
        log.warning("%s: %d of %d videos have no label: %s", location, len(reasons), len(catalog), why)
    if num_vids is not None and num_vids < len(catalog):
        catalog = balance_classes(catalog, num_vids, seed=seed)
    target = prepare_target(Path(save_path))
    if config.detector == "auto":
        # Continue with the same detector, even if the other one is available by now.
        begun = None if overwrite else _settings_in(target)
        config = replace(config, detector=begun.detector if begun else load_face_detector().name)
    if others := _settings_in(target, but=set(catalog["video"])):
        remedy = "Use the same settings or another save_path."
        config.require(others, what=f"other videos in {target} were made", remedy=remedy)

    todo: dict[str, Row] = {row["video"]: row for row in catalog.to_dict("records")}
    records = {video: _find_record(row, target, config, overwrite=overwrite) for video, row in todo.items()}
    rows = {video: _manifest_row(todo.pop(video), record) for video, record in records.items() if record}
    weights = find_yunet() if todo and config.detector == "yunet" else None
    # Whole paths, since the workers of a cluster may have been started elsewhere.
    how = (target.absolute(), config, weights, time_limit, overwrite)
    jobs = {video: Job(video, Path(row["path"]).absolute(), *how) for video, row in todo.items()}

    config.save(target / "sequence.json")
    there = f"{len(rows)} of {len(catalog)} videos were there already"
    bar: dict[str, Any] = {"desc": "extracting faces", "unit": "video", "disable": not show_progress}
    bar |= {} if jobs else {"desc": there, "bar_format": "{desc}"}  # without work there is no rate to show
    try:
        with (
            tqdm(total=len(catalog), initial=len(rows), **bar) as progress,
            contextlib.closing(_work_through(jobs, workers, cluster)) as finished,
        ):
            for video, seconds in finished:
                record = _find_record(todo[video], target, config) or faces.read_faces(target, video)
                rows[video] = _manifest_row(todo[video], record, seconds)
                progress.update()
        config.save(target / "sequence.json")
        _add_to_manifest(target, rows)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"{len(rows)} of {len(catalog)} videos are done") from interrupt
    finally:
        clear_leftovers(target)
    return pd.DataFrame([rows[video] for video in catalog["video"]])


def read_manifest(save_path: str | Path) -> pd.DataFrame:
    """Read the manifest of all videos in `save_path`. Raises `FileNotFoundError`, saying how to make it."""
    path = Path(save_path) / "manifest.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run processing(location, {str(save_path)!r}) first.")
    text = dict.fromkeys(("video", "path", "label", "original", "person", "part", "problem", "status", "error"), str)
    missing = {"seconds": [""], "sharpness": [""], "loudness": [""]}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing, encoding_errors="surrogatepass")


def _add_to_manifest(target: Path, rows: dict[str, Row]) -> None:
    """Write `rows` to the manifest; keep those of other videos whose faces, or whose problem, are still there."""
    with locked(target / "sequence.json"):  # runs with other videos may end at the same time
        others: list[Row] = []
        with contextlib.suppress(OSError, ValueError, KeyError):  # not there, or not written by this package
            others = [row for row in read_manifest(target).to_dict("records") if row["video"] not in rows]
        kept = [row for row in others if row["problem"] or (target / row["video"] / "faces.json").is_file()]
        table = pd.DataFrame(sorted([*kept, *rows.values()], key=lambda row: row["video"]))
        write_atomically(target / "manifest.csv", table.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))


def _settings_in(target: Path, but: Collection[str] = ()) -> SequenceConfig | None:
    """Return what the videos in `target` were made with, those in `but` left out; None if there is none."""
    for folder in target.glob("[!.]*"):
        if folder.name not in but:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return SequenceConfig(**faces.read_faces(target, folder.name)["config"])
    return None


def _find_record(row: Row, target: Path, config: SequenceConfig, *, overwrite: bool = False) -> dict[str, Any] | None:
    """Return the record of a video that is finished or has no file; None if there is work to do."""
    if row["problem"] and not Path(row["path"]).is_file():
        return {"status": "unreadable", "error": row["problem"], "tracks": []}
    return faces.find_finished(target, faces.blank_record(row["video"], Path(row["path"]), config), overwrite=overwrite)


def _work_through(
    jobs: dict[str, Job], workers: int | None, cluster: str | Any | None
) -> Generator[tuple[str, float], None, None]:
    """Do all jobs, even if processes die on the way. Give each video with the seconds that it took."""
    if not jobs:
        return
    order = list(jobs)
    start = random.randrange(len(order))  # so that runs that share a folder seldom work on the same video
    turned = {video: jobs[video] for video in order[start:] + order[:start]}
    target, patience = jobs[order[0]].target, PATIENCE * jobs[order[0]].time_limit
    # Two processes even for one video, unless one is asked for: a decoder that crashes takes its process along.
    workers = 1 if workers == 1 else max(2, min(workers or joblib.cpu_count(), len(jobs)))
    settings: dict[str, Any] = {"workers": workers, "cluster": cluster, "patience": patience}
    results = each_whatever_dies(work_on, turned, begun=lambda: died_working(target), **settings)
    with contextlib.closing(results):
        for video, seconds in results:
            if isinstance(seconds, WorkerDied):
                log.warning("%s: a worker died (%s)", video, seconds)
                _record_death(jobs[video])
                seconds = float("nan")
            yield video, seconds


def _record_death(job: Job) -> None:
    what = f"the process that worked on it ended, or hung for more than {2 * job.time_limit:g} s"
    record = faces.blank_record(job.video, job.path, job.config) | {"status": "unreadable", "retry": True}
    remedy = "The next run tries it again. If it fails again, use fewer workers, or leave it out."
    record["error"] = f"{job.path.name}: {what}. {remedy}"
    faces.write_faces(job.target, record, [], np.empty(0), overwrite=job.overwrite)


def _manifest_row(row: Row, record: dict[str, Any], seconds: float = np.nan) -> Row:
    main: dict[str, Any] = record["tracks"][0] if record["tracks"] else {"frames": [], "sharpness": np.nan}
    heights = [frame["box"][3] for frame in main["frames"] if frame["origin"] == "detected"]
    seen = {"frames": 0, "width": 0, "height": 0, "fps": 0.0, "is_synthetic": False} | record
    heard = {"has_audio": False, "loudness": np.nan} | record.get("sound", {})
    return row | {
        "status": record["status"],
        "error": record["error"],
        "frames": seen["frames"],
        "faces_detected": len(heights),
        "faces_filled": len(main["frames"]) - len(heights),
        "fraction_detected": round(len(heights) / seen["frames"], 3) if seen["frames"] else 0.0,
        "tracks": len(record["tracks"]),
        **{name: seen[name] for name in ("width", "height", "fps", "is_synthetic")},
        "face_height": round(float(np.median(heights)), 1) if heights else 0.0,
        "sharpness": main["sharpness"],
        **{name: heard[name] for name in ("has_audio", "loudness")},
        "seconds": round(seconds, 3),
    }

"""Frames in a grid, face crops side by side, boxes on frames, and the scores of the face detector."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfdc_utils.faces import SequenceConfig, Track, read_faces, spread_evenly
from dfdc_utils.plots.theme import COLOURS, FILLED, REAL, SMALL, rgb
from dfdc_utils.videos import Image, sample_frames

STATUS_WORDS = {"ok": "no faces", "no_face": "no face found", "unreadable": "cannot be read"}
CROPS_PER_ROW = 16  # the default length of a sequence
SUPTITLE: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "x": 0.01, "ha": "left"}


def show_frames(images: list[Image], titles: list[str] | None = None, *, columns: int = 4, width: float = 10) -> Figure:
    """Show uint8 RGB images in a grid, `columns` wide; `width` in inches."""
    rows, (height, across) = -(-len(images) // columns), images[0].shape[:2]
    size = (width, rows * (width / columns * height / across + 0.3))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles or [""] * len(images), strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=SMALL, fontweight="normal")
    return figure


def face_cells(save_path: str | Path, video: str, frames: list[dict[str, Any]], *, size: int = 72) -> list[Image]:
    """The crops of `frames`, uint8 RGB (size, size, 3), filled ones with a dashed border; or `FileNotFoundError`."""
    cells = []
    for frame in frames:
        crop = cv2.imread(str(Path(save_path) / video / frame["file"]))
        if crop is None:
            raise FileNotFoundError(f"{video}: {frame['file']} is missing or damaged. Process it again with overwrite.")
        cell = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), (size, size), interpolation=cv2.INTER_AREA)
        if frame["origin"] == "filled":
            cell = _draw_box(cell, (1, 1, size - 2, size - 2), 3, is_filled=True)
        cells.append(cell)
    return cells


def face_strip(save_path: str | Path, video: str, *, track: int = 0, faces: int = 8, size: int = 72) -> Image:
    """`faces` crops of one video side by side, uint8 RGB (size, faces · size, 3), evenly spread over time.

    Filled ones have a dashed orange border. For a video without faces, it is a grey strip that says so.
    """
    record = read_faces(save_path, video)
    if track >= len(record["tracks"]):
        return _strip_without_faces(record["status"], faces, size)
    chosen = spread_evenly(record["tracks"][track]["frames"], faces)
    return np.hstack(face_cells(save_path, video, chosen, size=size))


def contact_sheet(save_path: str | Path, table: pd.DataFrame, *, faces: int = 8, title: str = "") -> Figure:
    """A strip of faces for each row of `table` (`video`, `label`, and `score` if it is there), in two columns.

    REAL strips have a solid blue frame, FAKE ones a dashed orange one. Rows whose `status` is not `ok` say why.
    """
    rows = -(-len(table) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, rows * 0.95 + 0.3), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, table.to_dict("records"), strict=False):
        ok = row.get("status", "ok") == "ok"  # a file that was not there has no folder of faces either
        strip = face_strip(save_path, row["video"], faces=faces) if ok else _strip_without_faces(row["status"], faces)
        axis.imshow(strip)
        score = f"   score {row['score']:.2f}" if pd.notna(row.get("score")) else ""
        axis.set_title(f"{row['label']}  {row['video']}{score}", fontsize=SMALL, fontweight="normal")
        height, width = strip.shape[:2]
        style = {"ec": COLOURS[row["label"]], "ls": "--" if row["label"] == "FAKE" else "-", "lw": 2}
        axis.add_patch(plt.Rectangle((-1, -1), width + 1, height + 1, fill=False, clip_on=False, **style))
    figure.suptitle(title, **SUPTITLE)
    return figure


def choose_pairs(table: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """The first `count` originals of `table` with a fake in it, each followed by one of its fakes."""
    ordered = table.sort_values(["original", "label", "video"], ascending=[True, False, True])
    one_each = ordered.drop_duplicates(["original", "label"])
    return one_each[one_each.groupby("original")["label"].transform("nunique") == 2].head(2 * count)


def _strip_without_faces(status: str, faces: int, size: int = 72) -> Image:
    strip = np.full((size, size * faces, 3), 225, np.uint8)
    text = STATUS_WORDS.get(status, status)
    cv2.putText(strip, text, (8, size // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (90, 90, 90), 1, cv2.LINE_AA)
    return strip


def draw_boxes(image: Image, track: Track, index: int, *, thickness: int | None = None) -> Image:
    """A copy of frame `index` with the track's box: solid blue where detected, dashed orange where filled."""
    if not (track.detected[index] or track.filled[index]):
        return image.copy()
    thickness = thickness or max(2, image.shape[1] // 250)
    return _draw_box(image, track.boxes[index], thickness, is_filled=bool(track.filled[index]))


def _draw_box(image: Image, box: Iterable[float], thickness: int, *, is_filled: bool, label: str = "") -> Image:
    """A copy of an image with a box (x, y, width, height) below a label: solid blue, or dashed orange if filled."""
    x, y, width, height = (round(float(value)) for value in box)
    colour = rgb(FILLED if is_filled else REAL)
    boxed = cv2.rectangle(image.copy(), (x, y, width, height), colour, thickness)
    gaps = np.indices(image.shape[:2]).sum(axis=0) // (3 * thickness) % 2 == 1  # stripes across the image
    drawn = np.where(gaps[..., None] & is_filled, image, boxed)
    cv2.putText(drawn, label, (x, max(12, y - 5)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 2, cv2.LINE_AA)
    return drawn


def describe_track(record: dict[str, Any], number: int = 0) -> str:
    """Count the frames in which the face was detected, filled or left out: "14 of 16 faces detected, 2 filled"."""
    origins = [frame["origin"] for frame in record["tracks"][number]["frames"]]
    counts = {"filled": origins.count("filled"), "left out": record["frames"] - len(origins)}
    rest = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{origins.count('detected')} of {record['frames']} faces detected{rest}"


def boxed_frames(
    record: dict[str, Any], path: str | Path, *, count: int = 4, longest_side: int = 320
) -> list[tuple[str, Image]]:
    """`count` frames of a processed video with the boxes of all its people, each with its time as caption.

    `record` is what `read_faces` gives and `path` the video's file. If there are enough, half of the frames are ones in
    which the main person's box was filled. No side is longer than `longest_side` pixels. Raises `UnreadableVideo` if
    the file is missing or cannot be read, `ValueError` if it has changed since.
    """
    file, config = Path(path), SequenceConfig(**record["config"])
    if file.is_file() and file.stat().st_size != record["source_bytes"]:
        raise ValueError(f"{file.name}: the file has changed since its faces were found. Process it again.")
    clip = sample_frames(file, config.frame_count, capture_sec=config.capture_sec)
    seen: list[dict[int, Any]] = [{} for _ in clip.times]  # of each frame: the people in it, by number
    for number, track in enumerate(record["tracks"]):
        for face in track["frames"]:
            seen[np.abs(clip.times - face["time"]).argmin()][number] = face
    how = [people[0]["origin"] if 0 in people else "no box" for people in seen]
    filled = [at for at, what in enumerate(how) if what == "filled"]
    others = [at for at, what in enumerate(how) if what != "filled"]
    chosen = spread_evenly(filled, min(count // 2, len(filled)))
    chosen += spread_evenly(others, min(count - len(chosen), len(others)))
    drawn = []
    for index in sorted(chosen):
        image = clip.small_frame(index, longest_side)
        for number, face in seen[index].items():
            box = np.multiply(face["box"], image.shape[1] / clip.info.width)
            label = f"{number + 1}" if len(record["tracks"]) > 1 else ""
            image = _draw_box(image, box, 2, is_filled=face["origin"] == "filled", label=label)
        drawn.append((f"{clip.times[index]:.2f} s, {how[index]}", image))
    return drawn


def show_track(save_path: str | Path, video: str, *, track: int = 0) -> Figure:
    """All crops of one face in order of time, filled ones with a dashed orange border; below, everyone's scores.

    Haar has no score worth a plot: it is always 1. Raises `FileNotFoundError` if the video was not processed,
    `ValueError` if it has no such track. Taught in notebook 02.
    """
    record = read_faces(save_path, video)
    people = len(record["tracks"])
    if track >= people:
        raise ValueError(f"{video} has {people} tracks, so none numbered {track}: choose rows that are ok.")
    frames = record["tracks"][track]["frames"]
    rows = -(-len(frames) // CROPS_PER_ROW)
    timelines = 0 if record["config"]["detector"] == "haar" else people
    heights = [0.9] * rows + [1.4] * timelines  # inches
    figure = plt.figure(figsize=(11, sum(heights) + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows + timelines, CROPS_PER_ROW, height_ratios=heights)
    cells = face_cells(save_path, video, frames, size=48)  # as large as they are shown, or the dashes blur
    for index, (frame, cell) in enumerate(zip(frames, cells, strict=True)):
        axis = figure.add_subplot(grid[divmod(index, CROPS_PER_ROW)])
        axis.imshow(cell)
        axis.set(xticks=[], yticks=[], frame_on=False)
        axis.set_xlabel(f"{frame['time']:.2f} s", fontsize=SMALL)
    for number in range(timelines):
        plot_timeline(record, number, axis=figure.add_subplot(grid[rows + number, :]))
    who = f", person {track + 1}" if people > 1 else ""
    figure.suptitle(f"{video}{who}: {describe_track(record, track)}", **SUPTITLE)
    return figure


def plot_timeline(record: dict[str, Any], number: int = 0, *, axis: Axes | None = None) -> Figure:
    """The detector's score of one face of a `read_faces` record over time; a filled box is a square at 0."""
    axis = axis or plt.subplots(figsize=(11, 1.8), layout="constrained")[1]
    frames = pd.DataFrame(record["tracks"][number]["frames"])
    times, is_filled = frames["time"], frames["origin"] == "filled"
    # No line crosses a frame without a detection.
    axis.plot(times, frames["score"].mask(is_filled), "o-", color=REAL, lw=1, ms=6, label="detected")
    if is_filled.any():
        axis.plot(times[is_filled], 0 * times[is_filled], "s", mfc="white", mec=FILLED, ms=6, label="filled")
    axis.set(xlabel="seconds from the start", ylabel="score", ylim=(-0.12, 1.12))
    axis.set_xlim(0, max(times.min() + times.max(), 0.1))  # as far after the last frame as the first is from the start
    who = f", person {number + 1}" if len(record["tracks"]) > 1 else ""
    title = f"Score of the detector ({record['config']['detector']}){who}: {describe_track(record, number)}"
    axis.set_title(title, fontsize=SMALL, fontweight="normal")
    axis.legend(fontsize=SMALL, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return axis.figure

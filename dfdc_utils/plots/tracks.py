"""A face over time: boxes on frames, all crops, what the detector said, and how well what it missed is filled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.faces.storage import read_faces
from dfdc_utils.faces.tracks import Track
from dfdc_utils.plots.faces import face_cells
from dfdc_utils.plots.theme import FILLED, REAL, figure_of, rgb
from dfdc_utils.videos.frames import Image
from dfdc_utils.videos.sampling import sample_frames

COLUMNS = 16  # crops in a row: the default length of a sequence


def draw_boxes(image: Image, track: Track, index: int, *, thickness: int | None = None) -> Image:
    """A copy of frame `index` with the track's box: solid blue where detected, dashed orange where filled."""
    drawn = image.copy()
    if not (track.detected[index] or track.filled[index]):
        return drawn
    thickness = thickness or max(2, image.shape[1] // 250)
    x, y, width, height = (round(float(value)) for value in track.boxes[index])
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    if track.detected[index]:
        cv2.polylines(drawn, [np.array(corners)], True, rgb(REAL), thickness)
        return drawn
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        # Dashes and gaps of at least four line widths, so that rounded ends leave a gap; at most eight a side.
        dashes = int(np.clip(np.hypot(*np.subtract(end, start)) / (8 * thickness), 2, 8))
        points = np.linspace(start, end, 2 * dashes + 1).astype(int)
        for dash in range(0, 2 * dashes, 2):
            cv2.line(drawn, tuple(points[dash].tolist()), tuple(points[dash + 1].tolist()), rgb(FILLED), thickness)
    return drawn


def track_of(record: dict[str, Any], number: int = 0) -> tuple[Track, NDArray[np.float64]]:
    """Track `number` of what `read_faces` gives, over the frames that have a crop, and their times in seconds."""
    frames = record["tracks"][number]["frames"]
    detected = np.array([frame["origin"] == "detected" for frame in frames], bool)
    boxes = np.array([frame["box"] for frame in frames], float).reshape(-1, 4)
    track = Track(boxes, np.array([frame["score"] for frame in frames], float), detected, ~detected)
    return track, np.array([frame["time"] for frame in frames], float)


def describe_track(record: dict[str, Any], number: int = 0) -> str:
    """In how many frames the face was detected, filled and left out: "14 of 16 faces detected, 2 filled"."""
    track, _ = track_of(record, number)
    counts = {"filled": int(track.filled.sum()), "left out": record["frames"] - len(track.filled)}
    rest = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{track.detected.sum()} of {record['frames']} faces detected{rest}"


def boxed_frames(
    record: dict[str, Any], path: str | Path, *, count: int = 4, longest_side: int = 320
) -> list[tuple[str, Image]]:
    """`count` frames of a processed video with the boxes of all its people, each with a caption: its time, and how.

    `record` is what `read_faces` gives and `path` the file that it was made from. Half the frames are such in which the
    main person's box was filled, where there are that many. No side is over `longest_side` pixels.

    Raises `UnreadableVideo` if the file is gone or cannot be read, `ValueError` if it is not the same any more.
    """
    file, config = Path(path), SequenceConfig(**record["config"])
    if file.is_file() and file.stat().st_size != record["source_bytes"]:
        raise ValueError(f"{file.name}: the file is another than that the faces are from. Process it again.")
    clip = sample_frames(file, config.frame_count, capture_sec=config.capture_sec)
    people = [track_of(record, number) for number in range(len(record["tracks"]))]
    filled = _nearest(clip.times, people[0][1][people[0][0].filled]) if people else []
    chosen = set(_spread(filled, count // 2))
    chosen |= set(_spread([index for index in range(len(clip)) if index not in filled], count - len(chosen)))
    drawn = []
    for index in sorted(chosen):
        image = clip.small_frame(index, longest_side)
        scale = image.shape[1] / clip.view(index).shape[1]
        how = ""
        for number, (track, times) in enumerate(people):
            for at in np.flatnonzero(np.array(_nearest(clip.times, times)) == index):
                scaled = replace(track, boxes=track.boxes * scale)
                image = draw_boxes(image, scaled, int(at), thickness=2)
                if len(people) > 1:
                    _number_box(image, scaled, int(at), number + 1)
                if number == 0:
                    how = ", detected" if track.detected[at] else ", filled"
        drawn.append((f"{clip.times[index]:.2f} s{how or ', no box'}", image))
    return drawn


def show_track(save_path: str | Path, video: str, *, track: int = 0) -> Figure:
    """All crops of one face in order of time, filled ones with a dashed orange edge, and the detector's score below.

    The timeline shows the other people of the video too. Raises `FileNotFoundError` if the video was not processed,
    `ValueError` if it has no such track. Taught in notebook 02.
    """
    record = read_faces(save_path, video)
    if track >= len(record["tracks"]):
        raise ValueError(
            f"{video} has {len(record['tracks'])} tracks, so none numbered {track}: choose rows that are ok."
        )
    frames = record["tracks"][track]["frames"]
    rows, people = -(-len(frames) // COLUMNS), len(record["tracks"])
    heights = [0.9] * rows + [1.4] * people  # inches
    figure = plt.figure(figsize=(11, sum(heights) + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows + people, COLUMNS, height_ratios=heights)
    cells = face_cells(save_path, video, frames, size=48)  # as large as they are shown, or the dashes blur
    for index, (frame, cell) in enumerate(zip(frames, cells, strict=True)):
        axis = figure.add_subplot(grid[divmod(index, COLUMNS)])
        axis.imshow(cell)
        axis.set(xticks=[], yticks=[], frame_on=False)
        axis.set_xlabel(f"{frame['time']:.2f} s", fontsize=8)
    for number in range(people):
        plot_timeline(record, number, axis=figure.add_subplot(grid[rows + number, :]))
    figure.suptitle(f"{video}: {describe_track(record, track)}", fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def plot_timeline(record: dict[str, Any], number: int = 0, *, axis: Axes | None = None) -> Figure:
    """The detector's score of one face over time; where it found nothing and the box was filled, a square at 0.

    `record` is what `read_faces` gives.
    """
    axis = axis or plt.subplots(figsize=(11, 1.8))[1]
    track, times = track_of(record, number)
    seen = np.where(track.detected, track.scores, np.nan)  # so that no line crosses a frame without a hit
    axis.plot(times, seen, "o-", color=REAL, lw=1, ms=6, label="detected")
    if track.filled.any():
        made_up = times[track.filled]
        axis.plot(made_up, np.zeros(len(made_up)), "s", mfc="white", mec=FILLED, ms=6, label="filled")
    axis.set(xlabel="seconds from the start", ylabel="score", ylim=(-0.12, 1.12))
    axis.set_xlim(0, max(times[0] + times[-1], 0.1))  # as far after the last frame as the first is from the start
    axis.set_title(_timeline_title(record, number), fontsize=9, fontweight="normal")
    axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return figure_of(axis)


def plot_fill_policies(overlap: pd.DataFrame) -> Figure:
    """Mean IoU of made-up boxes with the hidden ones; a row for each share hidden, a column for each policy."""
    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    made = overlap.loc[:, (overlap > 0).any()]
    for policy, style in zip(made, ("o-", "s--", "^:", "x-."), strict=False):
        axis.plot(made.index, made[policy], style, label=policy)
    for policy in overlap.columns.difference(made.columns):
        axis.plot([], [], " ", label=f"{policy}: makes none")
    best = made.mean().idxmax()
    axis.set(xlabel="share of detections hidden", ylabel="IoU with the hidden boxes", ylim=(None, 1))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_title(f"{best} comes closest: IoU {made[best].iloc[0]:.2f} to {made[best].iloc[-1]:.2f}")
    axis.legend(fontsize=8, title="policy", ncols=2)
    return figure


def _timeline_title(record: dict[str, Any], number: int) -> str:
    who = f", person {number + 1}: {describe_track(record, number)}" if len(record["tracks"]) > 1 else ""
    return f"Score of the detector ({record['config']['detector']}){who}"


def _nearest(times: NDArray[np.float64], targets: NDArray[np.float64]) -> list[int]:
    return [int(np.abs(times - target).argmin()) for target in targets]


def _spread(indices: list[int], count: int) -> list[int]:
    """At most `count` of `indices`, evenly spread."""
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return [indices[at] for at in chosen]


def _number_box(image: Image, track: Track, at: int, number: int) -> None:
    x, y = track.boxes[at, :2]
    colour = rgb(REAL if track.detected[at] else FILLED)
    place = (round(float(x)), max(12, round(float(y)) - 5))
    cv2.putText(image, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 2, cv2.LINE_AA)

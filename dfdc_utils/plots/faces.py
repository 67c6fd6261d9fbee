"""Pictures: frames in a grid, faces of a video side by side, a sheet of many videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfdc_utils.faces.storage import read_faces
from dfdc_utils.plots.theme import COLOURS, FILLED, rgb
from dfdc_utils.videos.frames import Image

STATUS_WORDS = {"ok": "no faces", "no_face": "no face found", "unreadable": "cannot be read"}


def show_frames(images: list[Image], titles: list[str] | None = None, *, columns: int = 4, width: float = 10) -> Figure:
    """Show uint8 RGB images in a grid, `columns` wide; `width` in inches."""
    rows = -(-len(images) // columns)
    cell = width / columns
    height, across = images[0].shape[:2]
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * (cell * height / across + 0.3)), squeeze=False, layout="constrained"
    )
    for index, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if index < len(images):
            axis.imshow(images[index])
            if titles:
                axis.set_title(titles[index], fontsize=9, fontweight="normal")
    return figure


def face_cells(save_path: str | Path, video: str, frames: list[dict[str, Any]], *, size: int = 72) -> list[Image]:
    """The crops of `frames` (of a track in `faces.json`), uint8 RGB (size, size, 3); filled ones have a dashed edge.

    Raises `FileNotFoundError` if a crop is not there any more, or damaged.
    """
    cells = []
    for frame in frames:
        crop = cv2.imread(str(Path(save_path) / video / frame["file"]))
        if crop is None:
            raise FileNotFoundError(f"{video}: {frame['file']} is gone or damaged. Process it again with overwrite.")
        cell = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), (size, size), interpolation=cv2.INTER_AREA)
        if frame["origin"] == "filled":
            for start in range(0, size, 12):  # a dash of 6 pixels in every 12
                for near, far in ((0, 3), (size - 3, size)):
                    cell[start : start + 6, near:far] = cell[near:far, start : start + 6] = rgb(FILLED)
        cells.append(cell)
    return cells


def face_strip(save_path: str | Path, video: str, *, track: int = 0, faces: int = 8, size: int = 72) -> Image:
    """`faces` crops of one video side by side, evenly spread over time; filled ones have a dashed orange edge.

    uint8 RGB (size, faces · size, 3); a video without faces gives a grey strip that says so.
    """
    record = read_faces(save_path, video)
    if track >= len(record["tracks"]):
        return _strip_without_faces(record["status"], faces, size)
    frames = record["tracks"][track]["frames"]
    spread = np.linspace(0, len(frames) - 1, faces).round().astype(int)
    return np.hstack(face_cells(save_path, video, [frames[index] for index in spread], size=size))


def contact_sheet(save_path: str | Path, table: pd.DataFrame, *, faces: int = 8, title: str = "") -> Figure:
    """A strip of faces for each row of `table` (`video`, `label`, and `score` if it is there), in two columns.

    REAL strips are framed blue with a solid line, FAKE ones orange with a dashed line. Rows whose `status` is not `ok`
    say what it is instead.
    """
    rows = -(-len(table) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, rows * 0.95 + 0.3), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, table.to_dict("records"), strict=False):
        status = row.get("status", "ok")
        without = status != "ok"  # a file that was not there has no folder of faces either
        strip = _strip_without_faces(status, faces) if without else face_strip(save_path, row["video"], faces=faces)
        axis.imshow(strip)
        score = f"   score {row['score']:.2f}" if pd.notna(row.get("score")) else ""
        axis.set_title(f"{row['label']}  {row['video']}{score}", fontsize=8, fontweight="normal")
        colour, line = COLOURS[row["label"]], "--" if row["label"] == "FAKE" else "-"
        height, width = strip.shape[:2]
        axis.add_patch(
            plt.Rectangle((-1, -1), width + 1, height + 1, fill=False, ec=colour, ls=line, lw=2, clip_on=False)
        )
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def choose_pairs(table: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """The first `count` originals of `table` that have a fake in it, each row followed by that of one of its fakes."""
    ordered = table.sort_values(["original", "label", "video"], ascending=[True, False, True])
    one_each = ordered.drop_duplicates(["original", "label"])
    return one_each[one_each.groupby("original")["label"].transform("nunique") == 2].head(2 * count)


def _strip_without_faces(status: str, faces: int, size: int = 72) -> Image:
    strip = np.full((size, size * faces, 3), 225, np.uint8)
    text = STATUS_WORDS.get(status, status)
    cv2.putText(strip, text, (8, size // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (90, 90, 90), 1, cv2.LINE_AA)
    return strip

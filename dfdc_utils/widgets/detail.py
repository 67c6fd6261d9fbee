"""All that is known of one video, as HTML: every crop, its boxes on a few frames, the detector's score over time."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfdc_utils.faces.storage import read_faces
from dfdc_utils.plots.faces import STATUS_WORDS, face_cells
from dfdc_utils.plots.markup import FAINT, note, pictures
from dfdc_utils.plots.theme import FILLED, REAL
from dfdc_utils.plots.tracks import boxed_frames, describe_track, track_of

CELL, FRAME = 60, 250  # pixels: sixteen crops, or four frames, are a notebook's usual width
WIDTH, HEIGHT, LEFT = 640, 90, 28  # pixels: of a timeline, and where its axis begins
ACROSS, TOP, FLOOR = WIDTH - LEFT - 20, 10, 66  # its length, and where scores of 1 and 0 lie
KEY = "Dashed orange: filled, since the detector missed the face there."


def name_of(row: dict[str, Any]) -> str:
    """Label, id and score of a row in one line."""
    score = "" if pd.isna(row.get("score")) else f", score {row['score']:.2f}"
    return f"{row['label']} {row['video']}".strip() + score


def why_not(row: dict[str, Any]) -> str:
    """Why a row has no faces, in words; empty where its status is `ok`, or not in the table."""
    status = row.get("status", "ok")
    if status == "ok":
        return ""
    return f"{STATUS_WORDS.get(status, status)}: {row.get('error') or 'no reason was recorded'}"


def clip_detail(save_path: str | Path, row: dict[str, Any]) -> str:
    """The main face's crops, frames with all boxes, and a timeline a person; what is not there says why.

    The video itself is read from `path` in the row, as its faces were.
    """
    parts = [f"<strong>{escape(name_of(row))}</strong>"]
    if reason := why_not(row):
        parts.append(note(reason))
    try:
        record = read_faces(save_path, row["video"])
    except FileNotFoundError as error:
        return _pane([*parts, *([] if reason else [note(str(error))])])
    if record["tracks"]:
        parts += [f": {describe_track(record)}.", _crops(save_path, row["video"], record)]
    if record["status"] != "unreadable":  # which might hang once more
        parts.append(_frames(record, row.get("path", "")))
    parts += [_timeline(record, number) for number in range(len(record["tracks"]))]
    return _pane(parts)


def _pane(parts: list[str]) -> str:
    return f'<div style="line-height:1.4;padding:4px">{"".join(parts)}</div>'


def _crops(save_path: str | Path, video: str, record: dict[str, Any]) -> str:
    frames = record["tracks"][0]["frames"]
    try:
        cells = face_cells(save_path, video, frames, size=CELL)
    except FileNotFoundError as error:
        return note(str(error))
    captions = [f"{frame['time']:.2f} s" + (" filled" if frame["origin"] == "filled" else "") for frame in frames]
    filled = any(frame["origin"] == "filled" for frame in frames)
    key = f'<div style="color:{FAINT};font-size:12px">{KEY}</div>' if filled else ""
    return pictures(list(zip(captions, cells, strict=True)), what="face") + key


def _frames(record: dict[str, Any], path: str) -> str:
    if not path:
        return note("the table has no path to the video, so its frames cannot be shown")
    try:
        return pictures(boxed_frames(record, path, longest_side=FRAME), what="frame")
    except ValueError as error:
        return note(str(error))


def _timeline(record: dict[str, Any], number: int) -> str:
    """Scores as circles, filled frames as squares at 0, in an SVG that takes its text's colour from around it."""
    track, times = track_of(record, number)
    end = max(times[0] + times[-1], 0.1)
    across = LEFT + ACROSS * times / end
    down = FLOOR - (FLOOR - TOP) * track.scores
    marks = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{REAL}"/>'
        if detected
        else f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="none" stroke="{FILLED}" '
        'stroke-width="2" stroke-dasharray="3 2"/>'
        for x, y, detected in zip(across, down, track.detected, strict=True)
    ]
    axis = f'<path d="M{LEFT} {TOP}h{ACROSS}M{LEFT} {FLOOR}h{ACROSS}" stroke="currentColor" opacity=".3"/>'
    seconds = np.linspace(0, end, 5)
    text = "".join(
        f'<text x="{x:.1f}" y="{FLOOR + 16}" text-anchor="middle">{second:.2f} s</text>'
        for x, second in zip(LEFT + ACROSS * seconds / end, seconds, strict=True)
    )
    for score, y in ((1, TOP), (0, FLOOR)):
        text += f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{score}</text>'
    who = f"person {number + 1} of {len(record['tracks'])}: " if len(record["tracks"]) > 1 else ""
    title = f"Score of the detector ({record['config']['detector']}), {who}{describe_track(record, number)}"
    return (
        f'<div style="margin-top:6px">{escape(title)}</div><svg role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="width:100%;max-width:{WIDTH}px;display:block" font-size="11" '
        f'fill="currentColor">{axis}{text}{"".join(marks)}</svg>'
    )

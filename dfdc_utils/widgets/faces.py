"""A browser for the faces of videos: an original beside its fakes, page by page, and all that is known of one video."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ui
import numpy as np
import pandas as pd

from dfdc_utils.faces import read_faces
from dfdc_utils.plots import (
    COLOURS,
    FAINT,
    FILLED,
    REAL,
    STATUS_WORDS,
    boxed_frames,
    describe_track,
    face_cells,
    face_strip,
    image_tag,
    note,
    pictures,
    track_of,
)

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


Row = dict[str, Any]

ANY = "any"  # neither a status nor a label; ipywidgets takes None for no choice at all

# Each needs its first column to be in the table; the flag says whether what is small comes first.
ORDERS = {
    "by name": (["original", "video"], True),
    "worst first": (["mistake"], False),
    "highest score": (["score"], False),
    "fewest faces detected": (["faces_detected"], True),
}


class FaceBrowser(ui.VBox):  # type: ignore[misc]
    """Pages of face strips, each original (left) beside a fake made from it (right); open one to see all of it.

    `table` holds the rows to show, whatever their status, with `video`, `label`, `original`. With `status` and `error`
    (a manifest) a video without faces says why; with `score` and `mistake` (from `score_videos`) the worst come first;
    with `path` an opened video shows frames too. Tick rows to pick them: `browser.picked` gives them back as a table.
    Where all rows that match are of one label, they fill both columns. A page holds `page_size` pairs of `faces` crops;
    nothing is kept of pages not shown. Taught in notebook 02.
    """

    def __init__(self, table: pd.DataFrame, save_path: str | Path, *, page_size: int = 4, faces: int = 8) -> None:
        self._table = table.reset_index(drop=True)
        self._save_path, self._faces = Path(save_path), faces
        self._picked: set[str] = set()
        self._filters = _Filters(self._table, self._restart)
        self._page = ui.IntSlider(min=1, max=1, description="page", continuous_update=False)
        self._page.observe(self._draw, names="value")
        self._where = ui.HTML()
        # Made once and filled anew for each page: what has the focus keeps it, and no page leaves widgets behind.
        self._tiles = [(_Tile(self._pick, self._open), _Tile(self._pick, self._open)) for _ in range(page_size)]
        self._rows = ui.VBox([ui.HBox(pair) for pair in self._tiles])
        self._detail = ui.HTML()
        self._close = _button("close", "back to the page", self._close_detail)
        self._opened = ui.VBox([self._close, self._detail], layout=ui.Layout(display="none"))
        self._came_from: _Tile | None = None
        turn = [_button(word, f"{word} page", self._turn(step)) for word, step in (("previous", -1), ("next", 1))]
        super().__init__(
            [
                self._filters,
                ui.HBox([*turn, self._page, self._where]),
                # A block, since what is in a flex box would shrink to its height instead of being scrolled.
                ui.Box(
                    [self._rows, self._opened], layout=ui.Layout(display="block", max_height="640px", overflow="auto")
                ),
            ]
        )
        self._restart()

    def __repr__(self) -> str:
        return f"FaceBrowser({len(self._table)} videos, {self._page.max} pages)"

    @property
    def picked(self) -> pd.DataFrame:
        """The rows whose boxes are ticked, on whatever page."""
        return self._table[self._table["video"].isin(self._picked)]

    def _restart(self, _change: object = None) -> None:
        """Go to the first page of what matches now."""
        self._pairs = _pair(self._filters.matching())
        self._page.unobserve(self._draw, names="value")
        self._page.value, self._page.max = 1, max(1, -(-len(self._pairs) // len(self._tiles)))
        self._page.observe(self._draw, names="value")
        self._draw()

    def _turn(self, step: int) -> Callable[[object], None]:
        def turn(_button: object) -> None:
            self._page.value = min(max(self._page.value + step, 1), self._page.max)

        return turn

    def _draw(self, _change: object = None) -> None:
        self._show_opened(False)
        first = (self._page.value - 1) * len(self._tiles)
        shown = self._pairs.iloc[first : first + len(self._tiles)].to_numpy()
        for number, (box, tiles) in enumerate(zip(self._rows.children, self._tiles, strict=True)):
            box.layout.display = None if number < len(shown) else "none"
            for tile, index in zip(tiles, shown[number] if number < len(shown) else (np.nan, np.nan), strict=True):
                row = None if np.isnan(index) else self._table.loc[int(index)].to_dict()
                tile.show(
                    row, self._picture(row) if row else "", picked=row is not None and row["video"] in self._picked
                )
        count = int(self._pairs.notna().to_numpy().sum())
        found = f"page {self._page.value} of {self._page.max}, {count} videos" if count else "no video matches"
        self._where.value = f'<span role="status">{found}</span>'

    def _picture(self, row: Row) -> str:
        if reason := why_not(row):
            return note(reason)
        try:
            strip = face_strip(self._save_path, row["video"], faces=self._faces, size=56)
        except FileNotFoundError as error:
            return note(str(error))
        return image_tag(strip, f"{self._faces} faces of {name_of(row)}, in order of time")

    def _pick(self, row: Row, ticked: bool) -> None:
        (self._picked.add if ticked else self._picked.discard)(row["video"])

    def _open(self, tile: _Tile) -> None:
        assert tile.row is not None  # an empty tile is not shown
        self._came_from, self._detail.value = tile, clip_detail(self._save_path, tile.row)
        self._show_opened(True)
        self._close.focus()

    def _close_detail(self, _button: object) -> None:
        self._show_opened(False)
        if self._came_from is not None:
            self._came_from.opener.focus()

    def _show_opened(self, opened: bool) -> None:
        self._rows.layout.display, self._opened.layout.display = ("none", None) if opened else (None, "none")
        if not opened:
            self._detail.value = ""


class _Filters(ui.HBox):  # type: ignore[misc]
    """Which rows of a table, in which order; a control is there only where there is something to choose."""

    def __init__(self, table: pd.DataFrame, changed: Callable[[object], None]) -> None:
        self._table = table
        orders = [name for name, (columns, _) in ORDERS.items() if columns[0] in table]
        first = "worst first" if "mistake" in table else "by name"
        self._order = ui.Dropdown(options=orders, value=first, description="order")
        self._choices = {column: _choice(table[column], column) for column in ("status", "label") if column in table}
        self._score = ui.FloatRangeSlider(value=(0, 1), min=0, max=1, step=0.01, description="score")
        self._search = ui.Text(placeholder="part of a video's id", description="find", continuous_update=False)
        controls = [self._order, *(box for box in self._choices.values() if len(box.options) > 2)]
        controls += [self._score, self._search] if "score" in table else [self._search]
        self._score.continuous_update = False
        for control in controls:
            control.observe(changed, names="value")
            control.style.description_width = "initial"
            control.layout.width = "220px" if control is self._score else "auto"
        super().__init__(controls, layout=ui.Layout(flex_flow="row wrap"))

    def matching(self) -> pd.DataFrame:
        """What is searched for brings its whole family along; the other filters apply to each video."""
        rows = self._table
        if self._search.value:
            found = rows["video"].str.contains(self._search.value, case=False, regex=False)
            rows = rows[rows["original"].isin(rows.loc[found, "original"])]
        for column, choice in self._choices.items():
            if choice.value != ANY:
                rows = rows[rows[column] == choice.value]
        if self._score.value != (0, 1):  # all of it lets videos without a score pass
            rows = rows[rows["score"].between(*self._score.value)]
        columns, ascending = ORDERS[self._order.value]
        return rows.sort_values(columns, ascending=ascending, kind="stable")


class _Tile(ui.VBox):  # type: ignore[misc]
    """One video on a page: a box to tick, a button to open it, its faces."""

    def __init__(self, picked: Callable[[Row, bool], None], opened: Callable[[_Tile], None]) -> None:
        self.row: Row | None = None
        self.opener = _button("open", "", lambda _button: opened(self))
        self._tick = ui.Checkbox(indent=False, layout=ui.Layout(width="auto", flex="1"))
        self._tick.observe(lambda change: self.row and picked(self.row, change["new"]), names="value")
        self._picture = ui.HTML()
        super().__init__(
            [ui.HBox([self._tick, self.opener]), self._picture],
            layout=ui.Layout(width="50%", margin="2px", padding="2px"),
        )

    def show(self, row: Row | None, picture: str, *, picked: bool) -> None:
        """Show another row, or with None nothing, in the same place."""
        self.row = row
        self._tick.value, self._picture.value = picked, picture
        self.layout.visibility = "visible" if row else "hidden"
        if row:
            self._tick.description = name_of(row)
            self.opener.tooltip = f"open {row['video']}: all its faces, its boxes, its timeline"
            line = "dashed" if row["label"] == "FAKE" else "solid"
            self.layout.border = f"2px {line} {COLOURS.get(row['label'], COLOURS[''])}"


def _button(word: str, tooltip: str, clicked: Callable[[object], None]) -> ui.Button:
    button = ui.Button(description=word, tooltip=tooltip, layout=ui.Layout(width="auto", align_self="flex-start"))
    button.on_click(clicked)
    return button


def _choice(values: pd.Series, column: str) -> ui.Dropdown:
    options = [(f"{value or 'none'} ({count})", value) for value, count in values.value_counts().sort_index().items()]
    return ui.Dropdown(options=[(ANY, ANY), *options], description=column)


def _pair(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a pair, holding indices of `rows`: an original in column 0, one of its fakes in 1, NaN for a missing side.

    Families, and the videos of one, keep the order of `rows`.
    """
    alone = np.arange(len(rows))
    if rows["label"].nunique() == 1:
        family, place, side = alone // 2, 0, alone % 2
    else:
        side = (rows["label"] == "FAKE").to_numpy(int)
        family = rows.groupby("original", sort=False).ngroup().to_numpy()
        place = rows.groupby(["original", side]).cumcount().to_numpy()
    places = pd.DataFrame({"family": family, "place": place, "side": side, "row": rows.index})
    return places.pivot(index=["family", "place"], columns="side", values="row").reindex(columns=[0, 1])

"""A browser for the faces of videos: originals beside their fakes, page by page, and all that is known of one video."""

from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ipywidgets as ui
import pandas as pd

from dfdc_utils import plots
from dfdc_utils.faces import read_faces
from dfdc_utils.widgets.twin import TEMPLATES, HasTwin, one_at_a_time

CELL, FRAME = 60, 250  # pixels: sixteen crops, or four frames, are as wide as a notebook usually is
ANY = "any"  # neither a status nor a label; ipywidgets takes None for no choice at all
# Each needs its first column in the table; the flag says whether low values come first.
ORDERS = {
    "by name": (["original", "video"], True),
    "worst first": (["mistake"], False),
    "highest score": (["score"], False),
    "fewest faces detected": (["faces_detected"], True),
}

Row = dict[str, Any]


def clip_detail(save_path: str | Path, row: Row) -> str:
    """HTML with each person's crops, frames with all boxes, and the detector's scores; what is missing says why.

    The video itself is read from `path` in the row. Haar's scores are left out: they are always 1.
    """
    reason, record = _why_not(row), None
    try:
        record = read_faces(save_path, row["video"])
    except FileNotFoundError as error:
        reason = reason or str(error)
    shown = {"name": _name_of(row), "reason": reason, "record": record, "row": row, "save_path": save_path}
    how = {"plots": plots, "or_note": _or_note, "crops": _crops, "frames": _frames}
    return TEMPLATES.get_template("detail.html").render(shown, **how)


def _name_of(row: Row) -> str:
    """Label, id and score of a row in one line."""
    score = "" if pd.isna(row.get("score")) else f", score {row['score']:.2f}"
    return f"{row['label']} {row['video']}".strip() + score


def _why_not(row: Row) -> str:
    """Why a row has no faces, in words; empty if its status is `ok` or not in the table."""
    status = row.get("status", "ok")
    if status == "ok":
        return ""
    return f"{plots.STATUS_WORDS.get(status, status)}: {row.get('error') or 'no reason was recorded'}"


def _or_note(show: Callable[..., str], *given: Any) -> str:
    """The HTML that `show` returns, or what is wrong."""
    try:
        return show(*given)
    except (FileNotFoundError, ValueError) as error:
        return plots.note(str(error))


def _crops(save_path: str | Path, video: str, frames: list[dict[str, Any]]) -> str:
    cells = plots.face_cells(save_path, video, frames, size=CELL)
    captions = [f"{frame['time']:.2f} s{' filled' * (frame['origin'] == 'filled')}" for frame in frames]
    is_filled = any("filled" in caption for caption in captions)
    key = "Dashed orange: filled, since the detector missed the face there." if is_filled else ""
    return plots.pictures(list(zip(captions, cells, strict=True)), what="face", key=key)


def _frames(record: dict[str, Any], path: str) -> str:
    if not path:
        raise ValueError("The table has no path to the video, so its frames cannot be shown.")
    return plots.pictures(plots.boxed_frames(record, path, longest_side=FRAME), what="frame")


def _strip(save_path: str | Path, row: Row, faces: int) -> str:
    if reason := _why_not(row):
        raise ValueError(reason)
    strip = plots.face_strip(save_path, row["video"], faces=faces, size=56)
    return plots.image_tag(strip, f"{faces} faces of {_name_of(row)}, in order of time")


class FaceBrowser(HasTwin, ui.VBox):  # type: ignore[misc]
    """Pages of face strips, each original (left) beside one of its fakes (right); open one to see its details.

    `table` holds the rows to show, with `video`, `label`, `original`. With `status` and `error` (a manifest), a video
    without faces says why; with `score` and `mistake` (from `score_videos`), the worst come first; with `path`, an
    opened video shows frames too. Tick rows to pick them: `browser.picked` returns them as a table. If all matching
    rows have one label, they fill both columns. A page holds `page_size` pairs of `faces` crops. Taught in notebook 02.
    """

    def __init__(self, table: pd.DataFrame, save_path: str | Path, *, page_size: int = 4, faces: int = 8) -> None:
        self._table = table.reset_index(drop=True)
        self._save_path, self._faces = Path(save_path), faces
        self._picked: set[str] = set()
        self._filters = _Filters(self._table, self._restart)
        self._page = ui.IntSlider(min=1, max=1, description="page", continuous_update=False)
        self._page.observe(self._draw, names="value")
        self._where = ui.HTML()
        # Made once and filled again for each page, so that the focus stays and no widgets are left behind.
        self._tiles = [(_Tile(self._pick, self._open), _Tile(self._pick, self._open)) for _ in range(page_size)]
        self._rows = ui.VBox([ui.HBox(pair) for pair in self._tiles])
        self._detail = ui.HTML()
        self._close = _button("close", "back to the page", self._close_detail)
        self._opened = ui.VBox([self._close, self._detail], layout=ui.Layout(display="none"))
        turn = [_button(to, f"{to} page", partial(self._turn, by)) for to, by in (("previous", -1), ("next", 1))]
        # A block, since the content of a flex box would shrink to its height instead of being scrolled.
        scrolled = ui.Layout(display="block", max_height="640px", overflow="auto")
        page = ui.Box([self._rows, self._opened], layout=scrolled)
        super().__init__([self._filters, ui.HBox([*turn, self._page, self._where]), page])
        self._restart()

    def __repr__(self) -> str:
        return f"FaceBrowser({len(self._table)} videos, {self._page.max} pages)"

    @property
    def picked(self) -> pd.DataFrame:
        """The ticked rows, of all pages."""
        return self._table[self._table["video"].isin(self._picked)]

    def as_html(self) -> str:
        """The page that is shown, without its controls."""
        shown = {"where": self._where.value, "pairs": self._tiles, "name_of": _name_of}
        return TEMPLATES.get_template("browser.html").render(shown)

    @one_at_a_time
    def _restart(self, _change: object = None) -> None:
        """Go to the first page of the rows that match now."""
        self._pairs = _pair(self._filters.matching())
        self._page.unobserve(self._draw, names="value")
        self._page.value, self._page.max = 1, max(1, -(-len(self._pairs) // len(self._tiles)))
        self._page.observe(self._draw, names="value")
        self._draw()

    @one_at_a_time
    def _turn(self, step: int, _button: object) -> None:
        self._page.value += step  # stays between the first page and the last

    @one_at_a_time
    def _draw(self, _change: object = None) -> None:
        self._show_detail("")
        first = (self._page.value - 1) * len(self._tiles)
        shown = self._pairs[first : first + len(self._tiles)]
        for box, tiles, pair in zip_longest(self._rows.children, self._tiles, shown):
            box.layout.display = None if pair else "none"
            for tile, index in zip(tiles, pair or (None, None), strict=True):
                row = None if index is None else self._table.loc[index].to_dict()
                picture = _or_note(_strip, self._save_path, row, self._faces) if row else ""
                tile.show(row, picture, picked=row is not None and row["video"] in self._picked)
        count = sum(index is not None for pair in self._pairs for index in pair)
        videos = f"{count} video{'s' if count > 1 else ''}"
        self._found = f"page {self._page.value} of {self._page.max}, {videos}" if count else "no video matches"
        self._say_where()

    def _say_where(self) -> None:
        picked = f", {len(self._picked)} picked" if self._picked else ""
        self._where.value = f'<span role="status">{self._found}{picked}</span>'

    @one_at_a_time
    def _pick(self, row: Row, ticked: bool) -> None:
        (self._picked.add if ticked else self._picked.discard)(row["video"])
        self._say_where()

    @one_at_a_time
    def _open(self, tile: "_Tile") -> None:
        assert tile.row is not None  # an empty tile is not shown
        self._came_from = tile
        self._show_detail(clip_detail(self._save_path, tile.row))
        self._close.focus()

    @one_at_a_time
    def _close_detail(self, _button: object) -> None:
        self._show_detail("")
        self._came_from.opener.focus()

    def _show_detail(self, detail: str) -> None:
        self._detail.value = detail
        self._rows.layout.display, self._opened.layout.display = ("none", None) if detail else (None, "none")


class _Filters(ui.HBox):  # type: ignore[misc]
    """Which rows of a table to show, and in which order; controls without a choice are left out."""

    def __init__(self, table: pd.DataFrame, changed: Callable[[object], None]) -> None:
        self._table = table
        orders = [name for name, (columns, _) in ORDERS.items() if columns[0] in table]
        first = "worst first" if "mistake" in table else "by name"
        self._order = ui.Dropdown(options=orders, value=first, description="order")
        self._choices = {column: _choice(table[column], column) for column in ("status", "label") if column in table}
        how = {"description": "score", "continuous_update": False}
        self._score = ui.FloatRangeSlider(value=(0, 1), min=0, max=1, step=0.01, **how)
        self._search = ui.Text(placeholder="part of a video's id", description="find", continuous_update=False)
        controls = [self._order, *(box for box in self._choices.values() if len(box.options) > 2)]
        controls += [self._score, self._search] if "score" in table else [self._search]
        for control in controls:
            control.observe(changed, names="value")
            control.style.description_width = "initial"
            control.layout.width = "280px" if control is self._score else "auto"
        super().__init__(controls, layout=ui.Layout(flex_flow="row wrap"))

    def matching(self) -> pd.DataFrame:
        """The rows to show. A search finds whole source groups; the other filters apply to each video."""
        rows = self._table
        if self._search.value:
            found = rows["video"].str.contains(self._search.value, case=False, regex=False)
            rows = rows[rows["original"].isin(rows.loc[found, "original"])]
        for column, choice in self._choices.items():
            if choice.value != ANY:
                rows = rows[rows[column] == choice.value]
        if self._score.value != (0, 1):  # the full range also lets videos without a score pass
            rows = rows[rows["score"].between(*self._score.value)]
        columns, ascending = ORDERS[self._order.value]
        return rows.sort_values(columns, ascending=ascending, kind="stable")


class _Tile(ui.VBox):  # type: ignore[misc]
    """One video on a page: a box to tick, a button to open it, its faces."""

    def __init__(self, picked: Callable[[Row, bool], None], opened: Callable[["_Tile"], None]) -> None:
        self.row: Row | None = None
        self.opener = _button("open", "", lambda _button: opened(self))
        self._tick = ui.Checkbox(indent=False, layout=ui.Layout(width="auto", flex="1"))
        self._tick.observe(lambda change: self.row and picked(self.row, change["new"]), names="value")
        self.picture = ui.HTML()
        half = ui.Layout(width="50%", margin="2px", padding="2px")
        super().__init__([ui.HBox([self._tick, self.opener]), self.picture], layout=half)

    def show(self, row: Row | None, picture: str, *, picked: bool) -> None:
        """Show another row in the same place, or nothing for None."""
        self.row = row
        self._tick.value, self.picture.value = picked, picture
        self.layout.visibility = "visible" if row else "hidden"
        if row:
            self._tick.description = _name_of(row)
            self.opener.tooltip = f"open {row['video']}: all its faces, frames with boxes, scores"
            line = "dashed" if row["label"] == "FAKE" else "solid"
            self.layout.border = f"2px {line} {plots.COLOURS.get(row['label'], plots.COLOURS[''])}"


def _button(word: str, tooltip: str, clicked: Callable[[object], None]) -> ui.Button:
    button = ui.Button(description=word, tooltip=tooltip, layout=ui.Layout(width="auto", align_self="flex-start"))
    button.on_click(clicked)
    return button


def _choice(values: pd.Series, column: str) -> ui.Dropdown:
    options = [(f"{value or 'none'} ({count})", value) for value, count in values.value_counts().sort_index().items()]
    return ui.Dropdown(options=[(ANY, ANY), *options], description=column)


def _pair(rows: pd.DataFrame) -> list[tuple[Any, Any]]:
    """Pair the indices of `rows`: an original and one of its fakes, None if one is missing.

    Source groups, and the videos of each, keep the order of `rows`.
    """
    if rows["label"].nunique() == 1:
        return list(zip_longest(rows.index[::2], rows.index[1::2]))
    groups: dict[str, tuple[list[Any], list[Any]]] = {}
    for index, original, label in zip(rows.index, rows["original"], rows["label"], strict=True):
        groups.setdefault(original, ([], []))[label == "FAKE"].append(index)
    return [pair for sides in groups.values() for pair in zip_longest(*sides)]

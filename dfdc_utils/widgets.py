"""What one can page through in a notebook: the faces of any video, an original beside its fakes."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import ipywidgets as ui
import pandas as pd

from dfdc_utils.frames import Image
from dfdc_utils.plots import COLOURS, face_strip

ORDERS = {"by name": ["original", "video"], "worst first": ["mistake"], "fewest faces detected": ["faces_detected"]}


class FaceBrowser(ui.VBox):  # type: ignore[misc]
    """Pages of face strips, each original (left) beside a fake made from it (right).

    `table` holds the rows to show, with `video`, `label`, `original`; with a `mistake` column (from `score_videos`) the
    worst come first. Tick rows to pick them: `browser.picked` gives them back as a table. Pages hold `page_size` pairs,
    so a page is drawn at once however long the table is. Taught in notebook 02.
    """

    def __init__(self, table: pd.DataFrame, save_path: str | Path, *, page_size: int = 4, faces: int = 8) -> None:
        self._table = table.reset_index(drop=True)
        self._save_path, self._page_size, self._faces = Path(save_path), page_size, faces
        self._picked: set[str] = set()
        orders = [name for name, columns in ORDERS.items() if columns[0] in table]
        self._order = ui.Dropdown(options=orders, value="worst first" if "mistake" in table else "by name")
        self._search = ui.Text(placeholder="part of a video's id", continuous_update=False)
        self._page = ui.IntSlider(min=1, max=1, description="page", continuous_update=False)
        self._rows = ui.VBox(layout=ui.Layout(max_height="640px", overflow="auto"))
        for control in (self._order, self._search):
            control.observe(self._restart, names="value")
        self._page.observe(self._draw, names="value")
        super().__init__([ui.HBox([self._order, self._search, self._page]), self._rows])
        self._restart()

    @property
    def picked(self) -> pd.DataFrame:
        """The rows whose boxes are ticked, on whatever page."""
        return self._table[self._table["video"].isin(self._picked)]

    def _restart(self, _change: object = None) -> None:
        rows = self._table
        if self._search.value:
            found = rows["video"].str.contains(self._search.value, case=False, regex=False)
            rows = rows[rows["original"].isin(rows.loc[found, "original"])]
        column = ORDERS[self._order.value]
        rows = rows.sort_values(column, ascending=column != ["mistake"], kind="stable")
        self._pairs = _pair(rows)
        self._page.max = max(1, -(-len(self._pairs) // self._page_size))
        if self._page.value == 1:
            self._draw()
        else:
            self._page.value = 1

    def _draw(self, _change: object = None) -> None:
        first = (self._page.value - 1) * self._page_size
        shown = self._pairs[first : first + self._page_size]
        self._rows.children = [ui.HBox([self._cell(row) for row in pair]) for pair in shown] or [
            ui.HTML("<i>no video matches</i>")
        ]

    def _cell(self, row: dict[str, object] | None) -> ui.Widget:
        if row is None:
            return ui.Box(layout=ui.Layout(width="50%"))
        video, label = str(row["video"]), str(row["label"])
        score = f", score {row['score']:.2f}" if "score" in row else ""
        tick = ui.Checkbox(
            value=video in self._picked,
            description=f"{label} {video}{score}",
            indent=False,
            layout=ui.Layout(width="auto"),
        )

        def pick(change: dict[str, bool]) -> None:
            (self._picked.add if change["new"] else self._picked.discard)(video)

        tick.observe(pick, names="value")
        strip = face_strip(self._save_path, video, faces=self._faces, size=56)
        image = ui.Image(value=_jpeg(strip), format="jpeg", layout=ui.Layout(width="100%"))
        border = f"2px {'dashed' if label == 'FAKE' else 'solid'} {COLOURS.get(label, COLOURS[''])}"
        return ui.VBox([tick, image], layout=ui.Layout(width="50%", border=border, margin="2px", padding="2px"))


def _pair(rows: pd.DataFrame) -> list[tuple[dict[str, object] | None, dict[str, object] | None]]:
    """An original on the left, one of its fakes on the right; where one is missing its side stays empty."""
    pairs: list[tuple[dict[str, object] | None, dict[str, object] | None]] = []
    for _, family in rows.groupby("original", sort=False):
        fakes = family[family["label"] == "FAKE"].to_dict("records")
        others = family[family["label"] != "FAKE"].to_dict("records")
        pairs += itertools.zip_longest(others, fakes)
    return pairs


def _jpeg(image: Image) -> bytes:
    data: bytes = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 85))[
        1
    ].tobytes()
    return data

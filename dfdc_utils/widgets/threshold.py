"""A slider for the threshold: what it costs in REAL videos called fake, and what it finds."""

from urllib.parse import quote

import ipywidgets as ui
import numpy as np
import pandas as pd

from dfdc_utils.evaluation import REAL_PER_FAKE, count_calls, weigh_precision
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots import COLOURS, FAINT, LINE
from dfdc_utils.widgets.twin import HasTwin

PICTURE_WIDTH, ZERO_AT = 560, 44  # pixels: of the picture of all scores, and where it has a score of 0
ONE_AT = PICTURE_WIDTH - 12  # where it has a score of 1
TOPS = {"REAL": 4, "FAKE": 30}  # of each label's ticks
TABLE_STYLE = (
    f".counts {{ border-collapse: collapse; margin: 6px 0 }} .counts small {{ color: {FAINT} }}"
    f".counts td, .counts th {{ border: 1px solid {LINE}; padding: 4px 14px; text-align: center }}"
)


class ThresholdExplorer(HasTwin, ui.VBox):  # type: ignore[misc]
    """Move the threshold: the confusion matrix, false positive rate and recall with 95 % intervals, and precision.

    `scores` has `label` and `score` (from `score_videos`). The intervals are exact for independent videos.
    `explorer.threshold` and `explorer.counts` return its state. Raises like `count_calls`. Taught in notebook 05.
    """

    def __init__(self, scores: pd.DataFrame, *, threshold: float = 0.5) -> None:
        count_calls(scores, threshold)  # raises for tables that cannot be counted
        self._scores = scores[["label", "score"]]
        self._ticks = "".join(_ticks(self._scores, label) for label in TOPS)
        wide = ui.Layout(width="560px")
        self._slider = ui.FloatSlider(value=threshold, min=0, max=1, step=0.01, description="threshold", layout=wide)
        self._slider.observe(self._draw, names="value")
        self._shown = ui.HTML()
        super().__init__([self._slider, self._shown])
        self._draw()

    def __repr__(self) -> str:
        return f"ThresholdExplorer({len(self._scores)} videos)"

    def as_html(self) -> str:
        """The picture, as an image since viewers remove SVG, and the counts at this threshold."""
        svg = quote(self._picture().replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
        style = f'style="width:{PICTURE_WIDTH}px;background:white"'
        picture = f'<img src="data:image/svg+xml,{svg}" alt="scores of all videos and the threshold" {style}>'
        return f"Threshold: {self.threshold:.2f}{_show(picture, self.counts)}"

    @property
    def threshold(self) -> float:
        """Where the slider stands, 0 to 1."""
        return float(self._slider.value)

    @property
    def counts(self) -> pd.DataFrame:
        """The table of `count_calls` at this threshold."""
        return count_calls(self._scores, self.threshold)

    def _draw(self, _change: object = None) -> None:
        self._shown.value = f'<div style="line-height:1.5">{_show(self._picture(), self.counts)}</div>'

    def _picture(self) -> str:
        names = "".join(f'<text x="0" y="{top + 16}">{label}</text>' for label, top in TOPS.items())
        below = 'y="70" text-anchor="middle"'
        ends = "".join(f'<text x="{_across(score):.0f}" {below}>{score:g}</text>' for score in (0, 0.5, 1))
        return (
            f'<svg role="img" aria-label="scores of all videos, and the threshold at {self.threshold:.2f}" '
            f'viewBox="0 0 {PICTURE_WIDTH} 74" style="width:100%;max-width:{PICTURE_WIDTH}px;display:block" '
            f'font-size="12" fill="currentColor">{self._ticks}{names}{ends}'
            f'<path d="M{_across(self.threshold):.1f} 0V58" stroke="currentColor" stroke-dasharray="5 3"/></svg>'
        )


def _across(score: float) -> float:
    return ZERO_AT + (ONE_AT - ZERO_AT) * score


def _ticks(scores: pd.DataFrame, label: str) -> str:
    """A tick for each score of one label, rounded to three digits: at most a thousand, for any number of videos."""
    values = np.unique(scores.loc[scores["label"] == label, "score"].to_numpy(float).round(3))
    path = "".join(f"M{_across(value):.1f} {TOPS[label]}v22" for value in values)
    return f'<path d="{path}" stroke="{COLOURS[label]}" stroke-width="1.5" fill="none"/>'


def _show(picture: str, counts: pd.DataFrame) -> str:
    """The picture, the confusion matrix, both rates with their intervals, and the precision where fakes are rare."""
    words = np.array([["cleared", "false positives"], ["missed", "found"]])
    cells = "<strong>" + counts.astype(str) + "</strong><br><small>" + words + "</small>"
    matrix = cells.to_html(classes="counts", escape=False, border=0)
    (false_positives, found), totals = counts["called fake"], counts.sum(axis=1)
    lines = [
        f"False positive rate: {_rate(false_positives, totals['REAL'])} of the REAL videos are called fake.",
        f"Recall: {_rate(found, totals['FAKE'])} of the FAKE videos are called fake.",
    ]
    rates = (false_positives / totals["REAL"], binomial_interval(false_positives, totals["REAL"])[1])
    precision, at_least = (100 * weigh_precision(found / totals["FAKE"], rate) for rate in rates)
    if false_positives + found == 0:
        lines.append("Nothing is called fake.")
    else:
        lines.append(
            f"With {REAL_PER_FAKE} REAL videos for each FAKE one, {precision:.1f} % of those called fake would be fake "
            f"({at_least:.1f} % at the upper end of the false positive rate's interval)."
        )
    return f'<style>{TABLE_STYLE}</style>{picture}{matrix}<div role="status">{"<br>".join(lines)}</div>'


def _rate(count: int, total: int) -> str:
    low, high = binomial_interval(count, total)
    interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    return f"<strong>{100 * count / total:.0f} %</strong> ({count} of {total}; {interval})"

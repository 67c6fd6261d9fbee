"""What a threshold costs and what it finds, as one moves it."""

from __future__ import annotations

import ipywidgets as ui
import numpy as np
import pandas as pd

from dfdc_utils.evaluation import REAL_PER_FAKE, count_calls, weigh_precision
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots import COLOURS, FAINT, LINE

WIDTH, LEFT = 560, 44  # pixels: of the picture of all scores, and where a score of 0 lies
ACROSS = WIDTH - LEFT - 12  # from a score of 0 to one of 1
TOPS = {"REAL": 4, "FAKE": 30}  # of each label's ticks


class ThresholdExplorer(ui.VBox):  # type: ignore[misc]
    """Move the threshold: the confusion matrix, false alarms and fakes found with their 95 % intervals, and precision.

    `scores` is a table with `label` and `score` (from `score_videos`); scores above the threshold are called fake.
    Intervals are exact and hold for videos that are independent. `explorer.threshold` and `explorer.counts` give back
    where it stands. Raises `ValueError` as `count_calls` does: if a column, a label, a score or a class is missing.
    Taught in notebook 05.
    """

    def __init__(self, scores: pd.DataFrame, *, threshold: float = 0.5) -> None:
        count_calls(scores, threshold)  # raises for tables that cannot be counted
        self._scores = scores[["label", "score"]]
        self._ticks = "".join(_ticks(self._scores, label) for label in TOPS)
        self._slider = ui.FloatSlider(
            value=threshold, min=0, max=1, step=0.01, description="threshold", layout=ui.Layout(width="560px")
        )
        self._slider.observe(self._draw, names="value")
        self._shown = ui.HTML()
        super().__init__([self._slider, self._shown])
        self._draw()

    def __repr__(self) -> str:
        return f"ThresholdExplorer({len(self._scores)} videos, threshold {self.threshold:.2f})"

    @property
    def threshold(self) -> float:
        """Where the slider stands, 0 to 1."""
        return float(self._slider.value)

    @property
    def counts(self) -> pd.DataFrame:
        """How many REAL and FAKE videos are called what at this threshold, as from `count_calls`."""
        return count_calls(self._scores, self.threshold)

    def _draw(self, _change: object = None) -> None:
        counts = self.counts
        self._shown.value = f'<div style="line-height:1.5">{self._picture()}{_matrix(counts)}{_reading(counts)}</div>'

    def _picture(self) -> str:
        at = LEFT + ACROSS * self.threshold
        names = "".join(f'<text x="0" y="{top + 16}">{label}</text>' for label, top in TOPS.items())
        ends = "".join(
            f'<text x="{LEFT + ACROSS * score:.0f}" y="70" text-anchor="middle">{score:g}</text>'
            for score in (0, 0.5, 1)
        )
        return (
            f'<svg role="img" aria-label="scores of all videos, and the threshold at {self.threshold:.2f}" '
            f'viewBox="0 0 {WIDTH} 74" style="width:100%;max-width:{WIDTH}px;display:block" font-size="12" '
            'fill="currentColor">'
            f'{self._ticks}{names}{ends}<path d="M{at:.1f} 0V58" stroke="currentColor" stroke-dasharray="5 3"/></svg>'
        )


def _ticks(scores: pd.DataFrame, label: str) -> str:
    """A tick for each score of one label, to three digits: at most a thousand, however many videos there are."""
    values = np.unique(scores.loc[scores["label"] == label, "score"].to_numpy(float).round(3))
    path = "".join(f"M{LEFT + ACROSS * value:.1f} {TOPS[label]}v22" for value in values)
    return f'<path d="{path}" stroke="{COLOURS[label]}" stroke-width="1.5" fill="none"/>'


def _matrix(counts: pd.DataFrame) -> str:
    words = {"REAL": ("cleared", "false alarms"), "FAKE": ("missed", "found")}
    cell = f"border:1px solid {LINE};padding:4px 14px;text-align:center"
    head = "".join(f'<th scope="col" style="{cell}">{column}</th>' for column in counts)
    rows = "".join(
        f'<tr><th scope="row" style="{cell};border-left:4px solid {COLOURS[label]}">{label}</th>'
        + "".join(
            f'<td style="{cell}"><strong style="font-size:18px">{count}</strong><br>'
            f'<span style="color:{FAINT}">{word}</span></td>'
            for count, word in zip(counts.loc[label], words[label], strict=True)
        )
        + "</tr>"
        for label in counts.index
    )
    return f'<table style="border-collapse:collapse;margin:6px 0"><tr><td></td>{head}</tr>{rows}</table>'


def _reading(counts: pd.DataFrame) -> str:
    """The two shares with their intervals, and what they come to where fakes are rare."""
    (false_alarms, found), totals = counts["called fake"], counts.sum(axis=1)
    at_most = binomial_interval(false_alarms, totals["REAL"])[1]
    lines = [
        f"False alarms: {_share(false_alarms, totals['REAL'])} of the REAL videos are called fake.",
        f"Fakes found: {_share(found, totals['FAKE'])} of the FAKE videos are called fake.",
    ]
    share = found / totals["FAKE"]
    precision, at_least = (weigh_precision(share, alarms) for alarms in (false_alarms / totals["REAL"], at_most))
    if false_alarms + found == 0:
        lines.append("Nothing is called fake.")
    else:
        lines.append(
            f"With {REAL_PER_FAKE} REAL videos to each FAKE one, {100 * precision:.1f} % of those called fake would be "
            f"fake; with as many false alarms as the interval allows, {100 * at_least:.1f} %."
        )
    return f'<div role="status">{"<br>".join(lines)}</div>'


def _share(count: int, total: int) -> str:
    low, high = binomial_interval(count, total)
    interval = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    return f"<strong>{100 * count / total:.0f} %</strong> ({count} of {total}; {interval})"

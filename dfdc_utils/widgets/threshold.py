"""A slider for the threshold: what it costs in REAL videos called fake, and what it finds."""

import ipywidgets as ui
import numpy as np
import pandas as pd

from dfdc_utils.evaluation import REAL_PER_FAKE, count_calls, weigh_precision
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots import COLOURS
from dfdc_utils.widgets.twin import TEMPLATES, HasTwin, one_at_a_time


class ThresholdExplorer(HasTwin, ui.VBox):  # type: ignore[misc]
    """Move the threshold: the confusion matrix, false positive rate and recall with 95 % intervals, and precision.

    `scores` has `label` and `score` (from `score_videos`). The intervals are exact for independent videos.
    `explorer.threshold` and `explorer.counts` return its state. Raises like `count_calls`. Taught in notebook 05.
    """

    def __init__(self, scores: pd.DataFrame, *, threshold: float = 0.5) -> None:
        count_calls(scores, threshold)  # raises for tables that cannot be counted
        self._scores = scores[["label", "score"]]
        # To three digits: a picture has at most a thousand ticks of each label, for any number of videos.
        self._ticks = self._scores["score"].astype(float).round(3).groupby(scores["label"]).agg(np.unique)
        wide = ui.Layout(width="560px")
        self._slider = ui.FloatSlider(value=threshold, min=0, max=1, step=0.01, description="threshold", layout=wide)
        self._slider.observe(self._draw, names="value")
        self._shown = ui.HTML()
        super().__init__([self._slider, self._shown])
        self._draw()

    def __repr__(self) -> str:
        return f"ThresholdExplorer({len(self._scores)} videos)"

    def as_html(self) -> str:
        """The picture, and the counts at this threshold."""
        return self._render(is_stored=True)

    @property
    def threshold(self) -> float:
        """Where the slider stands, 0 to 1."""
        return float(self._slider.value)

    @property
    def counts(self) -> pd.DataFrame:
        """The table of `count_calls` at this threshold."""
        return count_calls(self._scores, self.threshold)

    @one_at_a_time
    def _draw(self, _change: object = None) -> None:
        self._shown.value = self._render(is_stored=False)

    def _render(self, *, is_stored: bool) -> str:
        state = {"threshold": self.threshold, "counts": self.counts, "scores": self._ticks, "is_stored": is_stored}
        how = {"interval": binomial_interval, "precision": weigh_precision, "real_per_fake": REAL_PER_FAKE}
        return TEMPLATES.get_template("threshold.html").render(**state, **how, colours=COLOURS)

"""A training curve that grows while a model is trained."""

import time
from typing import Any

import ipywidgets as ui
import pandas as pd
from IPython.display import display

from dfdc_utils.plots import figure_tag, plot_history
from dfdc_utils.quiet import keras

DRAWING = 0.03  # of the time may go into drawing


class TrainingCurve(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback for `train`: accuracy and loss up to this epoch, the best one marked, and the time that is left.

    The text is new after each epoch, the picture as often as it takes at most 3 % of the time. When training
    ends, one line of text remains. An interrupted training shows the epochs since it went on. Taught in notebook 04.
    """

    def on_train_begin(self, logs: object = None) -> None:
        self._rows: list[dict[str, float]] = []
        self._started, self._shown = time.monotonic(), ui.HTML()
        self._picture, self._next = "", 0.0
        display(self._shown)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._rows.append(dict(logs or {}))
        left = (time.monotonic() - self._started) / len(self._rows) * (self.params["epochs"] - epoch - 1)
        text = f"{self._summary(epoch + 1)}; at most {left:.0f} s left"
        if (started := time.monotonic()) >= self._next:
            self._picture = figure_tag(plot_history(pd.DataFrame(self._rows), original=False), text)
            self._next = time.monotonic() + (time.monotonic() - started) / DRAWING
        self._shown.value = f'<div role="status">{text}</div>{self._picture}'

    def on_train_end(self, logs: object = None) -> None:
        self._shown.close()
        if self._rows:
            print(f"{self._summary(int(self._rows[-1]['epoch']))}; {time.monotonic() - self._started:.0f} s")

    def _summary(self, epoch: int) -> str:
        best = min(self._rows, key=lambda row: row["val_loss"])
        lowest = f"best: epoch {best['epoch']:.0f}, validation log loss {best['val_loss']:.3f}"
        return f"epoch {epoch} of at most {self.params['epochs']}; {lowest}"

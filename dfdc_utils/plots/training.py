"""The course of a training."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfdc_utils.plots.theme import TRAINING, VALIDATION

# What the project that this one continues reported: training accuracy at epoch 1 and at its best, then falling.
ORIGINAL_COURSE = {1: 0.778, 8: 0.912}


def plot_history(history: pd.DataFrame, *, original: bool = True) -> Figure:
    """Accuracy and loss an epoch, training solid and validation dashed; the epoch whose weights were kept is marked.

    `original` adds the course reported by the project that this one continues (on its own data).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    best = history.loc[history["val_loss"].idxmin()]
    for axis, name in ((left, "accuracy"), (right, "loss")):
        axis.plot(history["epoch"], history[name], "-", color=TRAINING, label="training")
        axis.plot(history["epoch"], history[f"val_{name}"], "--", color=VALIDATION, label="validation")
        axis.axvline(best["epoch"], color="#444444", lw=1, ls=":")
        axis.plot(best["epoch"], best[f"val_{name}"], "o", color=VALIDATION, ms=7, label="weights kept")
        axis.set(xlabel="epoch", ylabel=name)
    if original:
        name = "original project, training:\n91.2 %, then falling"
        left.plot(*zip(*ORIGINAL_COURSE.items(), strict=True), "^:", color="#555555", label=name)
    right.axhline(np.log(2), color="#888888", lw=1)
    right.annotate(
        "constant 0.5: 0.693",
        (history["epoch"].max(), np.log(2)),
        (0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    left.set_title(f"Validation accuracy {best['val_accuracy']:.0%} at the epoch kept, {best['epoch']:.0f}")
    right.set_title(f"Validation log loss falls to {best['val_loss']:.2f}")
    left.legend(fontsize=8, loc="lower right")
    return figure

"""Training curves, and how good scores are: ROC, thresholds, counts, calibration, gains over baselines."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dfdc_utils.evaluation import calibration_error, count_calls, resample_groups, roc_points
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots.theme import CHANCE, COLOURS, MODEL, SMALL, TRAINING, VALIDATION

# Training accuracy that the project which this one continues reported, at epoch 1 and at its best; it fell afterwards.
ORIGINAL_COURSE = {1: 0.778, 8: 0.912}


def plot_roc(scores: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """The ROC curve of scored videos with its 95 % band, and the diagonal that chance gives.

    At each false positive rate, the band holds 95 % of the recalls of 1000 resamples. Raises like `resample_groups`.
    """
    axis = axis or plt.subplots(figsize=(4.6, 4.0))[1]
    labels, values = (scores["label"] == "FAKE").to_numpy(), scores["score"].to_numpy()
    grid = np.linspace(0, 1, 201)
    curves = [roc_points(labels[rows], values[rows]) for rows in resample_groups(scores, 1000)]
    # The highest recall at no more than each false positive rate.
    recalls = np.array([recall[np.searchsorted(rate, grid, "right") - 1] for rate, recall in curves])
    low, high = np.quantile([np.trapezoid(recall, rate) for rate, recall in curves], (0.025, 0.975))
    band = np.quantile(recalls, (0.025, 0.975), axis=0)
    axis.fill_between(grid, *band, color=MODEL, alpha=0.15, lw=0, label="95 % of resamples")
    rate, recall = roc_points(labels, values)
    axis.plot(rate, recall, "-", color=MODEL, label="model")
    axis.plot([0, 1], [0, 1], ":", color=CHANCE, label="chance")
    axis.set(xlabel="false positive rate (REAL called fake)", ylabel="recall (FAKE called fake)", aspect="equal")
    axis.set_title(f"AUC {np.trapezoid(recall, rate):.2f} ({low:.2f} to {high:.2f}) over {len(scores)} videos")
    axis.legend(fontsize=SMALL, loc="lower right")
    return axis.figure


def plot_threshold(scores: pd.DataFrame, *, threshold: float = 0.5, axis: Axes | None = None) -> Figure:
    """False positive rate and recall against the threshold, each with its exact 95 % interval as a band.

    The intervals hold for independent videos. Raises `ValueError` like `count_calls`. Taught in notebook 05.
    """
    axis = axis or plt.subplots(figsize=(6.4, 3.8))[1]
    counts = count_calls(scores, threshold)
    cuts = np.linspace(0, 1, 501)
    for label, name, line, mark in (("REAL", "false positive rate", "-", "o"), ("FAKE", "recall", "--", "X")):
        ranked = np.sort(scores.loc[scores["label"] == label, "score"])
        above = len(ranked) - np.searchsorted(ranked, cuts, "right")
        style = {"color": COLOURS[label], "step": "post"}
        axis.fill_between(cuts, *binomial_interval(above, len(ranked)), alpha=0.18, lw=0, **style)
        axis.step(cuts, above / len(ranked), line, color=COLOURS[label], where="post", label=f"{name} ({label})")
        axis.plot(threshold, counts.loc[label, "called fake"] / len(ranked), mark, color=COLOURS[label], ms=8)
    axis.axvline(threshold, color=MODEL, lw=1, ls=":")
    axis.set(xlabel="threshold (score)", ylabel="called fake", xlim=(0, 1), ylim=(-0.03, 1.03))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    called = [f"{row['called fake']} of {row.sum()} {label}" for label, row in counts.iterrows()]
    axis.set_title(f"Above {threshold:.2f}: {' and '.join(called)} called fake")
    # Between the curves of any good model.
    axis.legend(fontsize=SMALL, title="shaded: 95 % intervals", title_fontsize=SMALL, loc=(0.52, 0.42))
    return axis.figure


def plot_confusion(scores: pd.DataFrame, *, threshold: float = 0.5, axis: Axes | None = None) -> Figure:
    """The confusion matrix when scores above `threshold` count as fake.

    Below each count stands the exact 95 % interval of its fraction of the row. Raises `ValueError` like `count_calls`.
    """
    axis = axis or plt.subplots(figsize=(4.2, 3.6))[1]
    counts = count_calls(scores, threshold).to_numpy()
    low, high = binomial_interval(counts, counts.sum(axis=1, keepdims=True))
    cells = zip(counts.flat, low.flat, high.flat, strict=True)
    notes = [f"{count}\n{100 * least:.0f} to {100 * most:.0f} %" for count, least, most in cells]
    style = {"fmt": "", "cmap": "Blues", "cbar": False, "square": True}
    names = ["REAL", "FAKE"]
    sns.heatmap(counts, annot=np.reshape(notes, (2, 2)), xticklabels=names, yticklabels=names, ax=axis, **style)
    axis.set(xlabel="called (below: 95 % interval of the row's fraction)", ylabel="is")
    axis.set_title(f"{np.trace(counts)} of {counts.sum()} right at {threshold:g}")
    return axis.figure


def plot_calibration(scores: pd.DataFrame, *, bins: int = 5, axis: Axes | None = None) -> Figure:
    """The fraction of FAKE against the mean score, before (`raw_score`) and after (`score`) calibration.

    `bins` are equally wide; a point's size is its number of videos, its bar the exact 95 % interval of the fraction.
    """
    axis = axis or plt.subplots(figsize=(4.8, 4.2))[1]
    labels = (scores["label"] == "FAKE").to_numpy(float)
    for column, style, colour in (("raw_score", "s:", CHANCE), ("score", "o-", MODEL)):
        values = scores[column].to_numpy()
        number = np.minimum((values * bins).astype(int), bins - 1)
        groups = pd.DataFrame({"score": values, "fake": labels}).groupby(number)
        mean, count = groups.mean(), groups.size()
        axis.plot(mean["score"], mean["fake"], style, color=colour, ms=3, label=column.replace("_", " "))
        axis.scatter(mean["score"], mean["fake"], s=12 * count, color=colour, alpha=0.4, marker=style[0])
        if column == "score":
            axis.vlines(mean["score"], *binomial_interval(groups["fake"].sum(), count), color=colour, lw=1.5)
    axis.plot([0, 1], [0, 1], "--", color=CHANCE, lw=1, label="calibrated")
    axis.set(xlabel="mean score", ylabel="fraction of FAKE", aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    before, after = (calibration_error(labels, scores[column]) for column in ("raw_score", "score"))
    axis.set_title(f"Calibration error {before:.2f} before, {after:.2f} after calibration")
    axis.legend(fontsize=SMALL, loc="upper left")
    return axis.figure


def plot_history(history: pd.DataFrame, *, original: bool = True) -> Figure:
    """Accuracy and loss per epoch, training solid and validation dashed; a dot marks the epoch whose weights were kept.

    `original` adds the training accuracy that the project which this one continues reported, on its own data.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    best = history.loc[history["val_loss"].idxmin()]
    for axis, name in ((left, "accuracy"), (right, "loss")):
        axis.plot(history["epoch"], history[name], "-", color=TRAINING, label="training")
        axis.plot(history["epoch"], history[f"val_{name}"], "--", color=VALIDATION, label="validation")
        axis.axvline(best["epoch"], color=MODEL, lw=1, ls=":")
        axis.plot(best["epoch"], best[f"val_{name}"], "o", color=VALIDATION, ms=7, label="weights kept")
        axis.set(xlabel="epoch", ylabel=name)
    if original:
        name = "original project, training:\n91.2 %, then falling"
        left.plot(*zip(*ORIGINAL_COURSE.items(), strict=True), "^:", color=CHANCE, label=name)
    right.axhline(np.log(2), color=CHANCE, lw=1)
    place = {"xytext": (0, -11), "textcoords": "offset points", "ha": "right", "fontsize": SMALL}
    behind = {"fc": "white", "ec": "none", "pad": 0.5}  # hides the line of the epoch kept
    right.annotate("constant 0.5: 0.693", (history["epoch"].max(), np.log(2)), bbox=behind, **place)
    left.set_title(f"Validation accuracy {best['val_accuracy']:.0%} at the epoch kept, {best['epoch']:.0f}")
    right.set_title(f"Validation log loss falls to {best['val_loss']:.2f}")
    left.legend(fontsize=SMALL, loc="lower right")
    return figure

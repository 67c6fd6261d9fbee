"""A training's course, and how good scores are: ROC, thresholds, counts, calibration, gains over baselines."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from dfdc_utils.evaluation import calibration_error, count_calls, resample_groups
from dfdc_utils.models import binomial_interval
from dfdc_utils.plots.theme import CHANCE, COLOURS, MODEL, TRAINING, VALIDATION, figure_of


def plot_roc(scores: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """The ROC curve of scored videos with its 95 % band, and the diagonal that chance gives.

    The band holds, at each share of false alarms, the share of fakes found in 95 % of a thousand draws of whole
    families (`resample_groups`). Raises `ValueError` if `scores` lacks a class or has one family only.
    """
    axis = axis or plt.subplots(figsize=(4.6, 4.0))[1]
    labels, values = (scores["label"] == "FAKE").to_numpy(), scores["score"].to_numpy()
    grid = np.linspace(0, 1, 201)
    drawn = [_roc(labels[draw], values[draw]) for draw in resample_groups(scores, 1000)]
    # The most that is found with no more than so many false alarms.
    found = np.array([hits[np.searchsorted(alarms, grid, "right") - 1] for alarms, hits in drawn])
    low, high = np.quantile([np.trapezoid(hits, alarms) for alarms, hits in drawn], (0.025, 0.975))
    axis.fill_between(
        grid, *np.quantile(found, (0.025, 0.975), axis=0), color=MODEL, alpha=0.15, lw=0, label="95 % of draws"
    )
    alarms, hits = _roc(labels, values)
    axis.plot(alarms, hits, "-", color=MODEL, label="model")
    axis.plot([0, 1], [0, 1], ":", color=CHANCE, label="chance")
    axis.set(xlabel="share of REAL called fake", ylabel="share of FAKE found", aspect="equal")
    axis.set_title(f"AUC {np.trapezoid(hits, alarms):.2f} ({low:.2f} to {high:.2f}) over {len(scores)} videos")
    axis.legend(fontsize=8, loc="lower right")
    return figure_of(axis)


def plot_threshold(scores: pd.DataFrame, *, threshold: float = 0.5, axis: Axes | None = None) -> Figure:
    """False alarms and fakes found against the threshold, with the exact 95 % interval of each share as a band.

    Scores above the threshold count as fake; the intervals hold for videos that are independent. Raises `ValueError` as
    `count_calls` does. Taught in notebook 05.
    """
    axis = axis or plt.subplots(figsize=(6.4, 3.8))[1]
    counts = count_calls(scores, threshold)
    cuts = np.linspace(0, 1, 501)
    for label, name, line, mark in (("REAL", "false alarms", "-", "o"), ("FAKE", "fakes found", "--", "X")):
        ranked = np.sort(scores.loc[scores["label"] == label, "score"])
        above = len(ranked) - np.searchsorted(ranked, cuts, "right")
        style = {"color": COLOURS[label], "step": "post"}
        axis.fill_between(cuts, *binomial_interval(above, len(ranked)), alpha=0.18, lw=0, **style)
        axis.step(cuts, above / len(ranked), line, color=COLOURS[label], where="post", label=f"{name} ({label})")
        axis.plot(threshold, counts.loc[label, "called fake"] / len(ranked), mark, color=COLOURS[label], ms=8)
    axis.axvline(threshold, color=MODEL, lw=1, ls=":")
    axis.set(xlabel="threshold (score)", ylabel="share called fake", xlim=(0, 1), ylim=(-0.03, 1.03))
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shares = [f"{row['called fake']} of {row.sum()} {label}" for label, row in counts.iterrows()]
    axis.set_title(f"Above {threshold:.2f}: {shares[0]} called fake, {shares[1]} found")
    # Between the curves of any good model.
    axis.legend(fontsize=8, title="shaded: 95 % intervals", title_fontsize=8, loc=(0.52, 0.42))
    return figure_of(axis)


def plot_confusion(scores: pd.DataFrame, *, threshold: float = 0.5, axis: Axes | None = None) -> Figure:
    """How many REAL and FAKE videos are called what when scores above `threshold` count as fake.

    Below each count stands the exact 95 % interval of its share of the row. Raises `ValueError` as `count_calls` does.
    """
    axis = axis or plt.subplots(figsize=(4.2, 3.6))[1]
    counts = count_calls(scores, threshold).to_numpy()
    low, high = binomial_interval(counts, counts.sum(axis=1, keepdims=True))
    notes = [
        f"{count}\n{100 * least:.0f} to {100 * most:.0f} %"
        for count, least, most in zip(counts.flat, low.flat, high.flat, strict=True)
    ]
    names = ["REAL", "FAKE"]
    sns.heatmap(
        counts,
        annot=np.reshape(notes, (2, 2)),
        fmt="",
        cmap="Blues",
        cbar=False,
        square=True,
        ax=axis,
        xticklabels=names,
        yticklabels=names,
    )
    axis.set(xlabel="called (below: 95 % interval of the row's share)", ylabel="is")
    axis.set_title(f"{np.trace(counts)} of {counts.sum()} right at {threshold:g}")
    return figure_of(axis)


def plot_scores(scores: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """Each video's score, REAL (circles) beside FAKE (crosses)."""
    axis = axis or plt.subplots(figsize=(6, 2.4))[1]
    generator = np.random.default_rng(0)  # spread over the height only so that points do not hide each other
    for height, (label, mark) in enumerate((("REAL", "o"), ("FAKE", "x"))):
        chosen = scores.loc[scores["label"] == label, "score"]
        axis.scatter(
            chosen, height + generator.uniform(-0.2, 0.2, len(chosen)), marker=mark, color=COLOURS[label], s=30
        )
    axis.axvline(0.5, color=CHANCE, lw=1, ls=":")
    right = ((scores["score"] > 0.5) == (scores["label"] == "FAKE")).sum()
    axis.set_title(f"{right} of {len(scores)} videos on their side of 0.5")
    axis.set(yticks=[0, 1], yticklabels=["REAL", "FAKE"], xlim=(-0.02, 1.02), ylim=(-0.5, 1.5), xlabel="score")
    return figure_of(axis)


def plot_calibration(scores: pd.DataFrame, *, bins: int = 5, axis: Axes | None = None) -> Figure:
    """The share of FAKE among videos of like score, before (`raw_score`) and after (`score`) calibration.

    `bins` are equally wide; a point's size is the number of videos in it, and the bar the exact 95 % interval of its
    share. Few videos scatter widely about the diagonal also when the scores are right.
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
    axis.plot([0, 1], [0, 1], "--", color=CHANCE, lw=1, label="right")
    axis.set(xlabel="mean score", ylabel="share of FAKE", aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    before, after = (calibration_error(labels, scores[column]) for column in ("raw_score", "score"))
    axis.set_title(f"Calibration error {before:.2f} raw, {after:.2f} calibrated")
    axis.legend(fontsize=8, loc="upper left")
    return figure_of(axis)


def plot_gains(comparison: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """How far the model's AUC lies above that of each baseline, with its interval: a row a baseline of `compare`."""
    axis = axis or plt.subplots(figsize=(6.4, 2.4))[1]
    rows = comparison.dropna(subset="gain")
    errors = [rows["gain"] - rows["gain_low"], rows["gain_high"] - rows["gain"]]
    axis.errorbar(rows["gain"], range(len(rows)), xerr=errors, fmt="o", color=MODEL, capsize=4)
    axis.axvline(0, color=CHANCE, lw=1, ls=":")
    axis.set(yticks=range(len(rows)), yticklabels=rows["scored by"], ylim=(len(rows) - 0.5, -0.5))
    axis.set_xlabel("AUC of the model less that of the baseline, 95 % interval")
    beaten = int((rows["gain_low"] > 0).sum())
    axis.set_title(f"The model beats {beaten} of {len(rows)} that know less")
    return figure_of(axis)


def _roc(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False alarms and fakes found, both rising from 0 to 1, at every threshold; 20 times as quick as sklearn's."""
    order = np.argsort(-scores)
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]  # of each run of equal scores
    found, alarms = (np.r_[0, np.cumsum(kind[order])[last]] for kind in (labels, ~labels))
    return alarms / alarms[-1], found / found[-1]


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

"""Figures: one theme, colours that colour-blind readers can tell apart, and a second channel beside colour."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn import metrics

from dfdc_utils.frames import Image
from dfdc_utils.storage import read_faces
from dfdc_utils.tracks import Track

# Blue, orange and vermilion of seaborn's colour-blind palette. REAL is always blue, FAKE always orange.
REAL, FAKE, FILLED = "#0173b2", "#de8f05", "#d55e00"
COLOURS = {"REAL": REAL, "FAKE": FAKE, "": "#949494"}
DPI = 80  # figures are stored in the notebooks; at 80 dots an inch the five of them take 1 MB

TRAINING, VALIDATION = "#029e73", "#cc78bc"  # green and purple, so that neither is taken for a class

# What the project that this one continues reported: training accuracy at epoch 1 and at its best, then falling.
ORIGINAL_COURSE = {1: 0.778, 8: 0.912}


def use_theme() -> None:
    """Set seaborn's theme for all figures of a notebook. White ground, so that they read in dark notebooks too."""
    sns.set_theme(
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "figure.facecolor": "white",
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
        },
    )
    with contextlib.suppress(ImportError):  # outside of notebooks
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        if get_ipython() is not None:
            # Most figures are photographs: a quarter of the bytes of PNG in every stored notebook.
            set_matplotlib_formats("jpeg", pil_kwargs={"quality": 90})


def show_frames(images: list[Image], titles: list[str] | None = None, *, columns: int = 4, width: float = 10) -> Figure:
    """Show uint8 RGB images in a grid, `columns` wide; `width` in inches."""
    rows = -(-len(images) // columns)
    cell = width / columns
    height, across = images[0].shape[:2]
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * (cell * height / across + 0.3)), squeeze=False, layout="constrained"
    )
    for index, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if index < len(images):
            axis.imshow(images[index])
            if titles:
                axis.set_title(titles[index], fontsize=9, fontweight="normal")
    return figure


def draw_boxes(image: Image, track: Track, index: int, *, thickness: int | None = None) -> Image:
    """A copy of frame `index` with the track's box: solid blue where detected, dashed orange where filled."""
    drawn = image.copy()
    if not (track.detected[index] or track.filled[index]):
        return drawn
    thickness = thickness or max(2, image.shape[1] // 250)
    x, y, width, height = (round(float(value)) for value in track.boxes[index])
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    if track.detected[index]:
        cv2.polylines(drawn, [np.array(corners)], True, _rgb(REAL), thickness)
        return drawn
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        # Dashes and gaps of at least four line widths, so that rounded ends leave a gap; at most eight a side.
        dashes = int(np.clip(np.hypot(*np.subtract(end, start)) / (8 * thickness), 2, 8))
        points = np.linspace(start, end, 2 * dashes + 1).astype(int)
        for dash in range(0, 2 * dashes, 2):
            cv2.line(drawn, tuple(points[dash].tolist()), tuple(points[dash + 1].tolist()), _rgb(FILLED), thickness)
    return drawn


def face_strip(save_path: str | Path, video: str, *, track: int = 0, faces: int = 8, size: int = 72) -> Image:
    """`faces` crops of one video side by side, evenly spread over time; filled ones have a dashed orange edge.

    uint8 RGB (size, faces · size, 3); a video without faces gives a grey strip that says so.
    """
    tracks = read_faces(save_path, video)["tracks"]
    if track >= len(tracks):
        strip = np.full((size, size * faces, 3), 225, np.uint8)
        cv2.putText(strip, "no faces", (8, size // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (90, 90, 90), 1, cv2.LINE_AA)
        return strip
    frames = tracks[track]["frames"]
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, faces).round().astype(int)]
    cells = []
    for frame in chosen:
        crop = cv2.cvtColor(cv2.imread(str(Path(save_path) / video / frame["file"])), cv2.COLOR_BGR2RGB)
        cell = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        if frame["origin"] == "filled":
            for start in range(0, size, 12):  # a dash of 6 pixels in every 12
                for near, far in ((0, 3), (size - 3, size)):
                    cell[start : start + 6, near:far] = cell[near:far, start : start + 6] = _rgb(FILLED)
        cells.append(cell)
    return np.hstack(cells)


def contact_sheet(save_path: str | Path, table: pd.DataFrame, *, faces: int = 8, title: str = "") -> Figure:
    """A strip of faces for each row of `table` (`video`, `label`, and `score` if it is there), in two columns.

    REAL strips are framed blue with a solid line, FAKE ones orange with a dashed line.
    """
    rows = -(-len(table) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(11, rows * 0.95 + 0.3), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, table.to_dict("records"), strict=False):
        strip = face_strip(save_path, row["video"], faces=faces)
        axis.imshow(strip)
        score = f"   score {row['score']:.2f}" if "score" in row else ""
        axis.set_title(f"{row['label']}  {row['video']}{score}", fontsize=8, fontweight="normal")
        colour, line = COLOURS[row["label"]], "--" if row["label"] == "FAKE" else "-"
        height, width = strip.shape[:2]
        axis.add_patch(
            plt.Rectangle((-1, -1), width + 1, height + 1, fill=False, ec=colour, ls=line, lw=2, clip_on=False)
        )
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def choose_pairs(table: pd.DataFrame, count: int = 4) -> pd.DataFrame:
    """The first `count` originals of `table` that have a fake in it, each row followed by that of one of its fakes."""
    ordered = table.sort_values(["original", "label", "video"], ascending=[True, False, True])
    one_each = ordered.drop_duplicates(["original", "label"])
    return one_each[one_each.groupby("original")["label"].transform("nunique") == 2].head(2 * count)


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
        left.plot(
            *zip(*ORIGINAL_COURSE.items(), strict=True), "^:", color="#555555", label="original project, training"
        )
        left.annotate("91.2 %, then falling", (8, 0.912), (14, -52), textcoords="offset points", fontsize=8)
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


def plot_fill_policies(overlap: pd.DataFrame) -> Figure:
    """Mean IoU of made-up boxes with the hidden ones; a row for each share hidden, a column for each policy."""
    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    made = overlap.loc[:, (overlap > 0).any()]
    for policy, style in zip(made, ("o-", "s--", "^:", "x-."), strict=False):
        axis.plot(made.index, made[policy], style, label=policy)
    for policy in overlap.columns.difference(made.columns):
        axis.plot([], [], " ", label=f"{policy}: makes none")
    best = made.mean().idxmax()
    axis.set(xlabel="share of detections hidden", ylabel="IoU with the hidden boxes", ylim=(None, 1))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_title(f"{best} comes closest: IoU {made[best].iloc[0]:.2f} to {made[best].iloc[-1]:.2f}")
    axis.legend(fontsize=8, title="policy", ncols=2)
    return figure


def plot_roc(scores: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """The ROC curve of scored videos, with the diagonal that chance gives."""
    axis = axis or plt.subplots(figsize=(4.2, 3.8))[1]
    labels = scores["label"] == "FAKE"
    false_alarms, hits, _ = metrics.roc_curve(labels, scores["score"])
    axis.plot(false_alarms, hits, "-", color=REAL, label="model")
    axis.plot([0, 1], [0, 1], ":", color="#888888", label="chance")
    axis.set(xlabel="share of REAL called fake", ylabel="share of FAKE found", aspect="equal")
    axis.set_title(f"AUC {metrics.roc_auc_score(labels, scores['score']):.2f} over {len(scores)} videos")
    axis.legend(fontsize=8, loc="lower right")
    return _figure_of(axis)


def plot_confusion(scores: pd.DataFrame, *, threshold: float = 0.5, axis: Axes | None = None) -> Figure:
    """How many REAL and FAKE videos are called what when scores above `threshold` count as fake."""
    axis = axis or plt.subplots(figsize=(3.8, 3.4))[1]
    counts = metrics.confusion_matrix(scores["label"] == "FAKE", scores["score"] > threshold, labels=[False, True])
    names = ["REAL", "FAKE"]
    sns.heatmap(
        counts,
        annot=True,
        fmt="d",
        cmap="Blues",
        cbar=False,
        square=True,
        ax=axis,
        xticklabels=names,
        yticklabels=names,
    )
    axis.set(xlabel="called", ylabel="is")
    axis.set_title(f"{np.trace(counts)} of {counts.sum()} right at {threshold:g}")
    return _figure_of(axis)


def plot_scores(scores: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """Each video's score, REAL (circles) beside FAKE (crosses)."""
    axis = axis or plt.subplots(figsize=(6, 2.4))[1]
    generator = np.random.default_rng(0)  # spread over the height only so that points do not hide each other
    for height, (label, mark) in enumerate((("REAL", "o"), ("FAKE", "x"))):
        chosen = scores.loc[scores["label"] == label, "score"]
        axis.scatter(
            chosen, height + generator.uniform(-0.2, 0.2, len(chosen)), marker=mark, color=COLOURS[label], s=30
        )
    axis.axvline(0.5, color="#888888", lw=1, ls=":")
    right = ((scores["score"] > 0.5) == (scores["label"] == "FAKE")).sum()
    axis.set_title(f"{right} of {len(scores)} videos on their side of 0.5")
    axis.set(yticks=[0, 1], yticklabels=["REAL", "FAKE"], xlim=(-0.02, 1.02), ylim=(-0.5, 1.5), xlabel="score")
    return _figure_of(axis)


def plot_calibration(scores: pd.DataFrame, *, bins: int = 5, axis: Axes | None = None) -> Figure:
    """The share of FAKE among videos of like score, before (`raw_score`) and after (`score`) calibration.

    `bins` are equally wide; a point's size is the number of videos in it. Few videos scatter widely about the diagonal
    also when the scores are right.
    """
    axis = axis or plt.subplots(figsize=(4.2, 3.8))[1]
    labels = (scores["label"] == "FAKE").to_numpy(float)
    for column, style, colour in (("raw_score", "s:", "#949494"), ("score", "o-", REAL)):
        values = scores[column].to_numpy()
        number = np.minimum((values * bins).astype(int), bins - 1)
        groups = pd.DataFrame({"score": values, "fake": labels}).groupby(number)
        mean, count = groups.mean(), groups.size()
        axis.plot(mean["score"], mean["fake"], style, color=colour, ms=3, label=column.replace("_", " "))
        axis.scatter(mean["score"], mean["fake"], s=12 * count, color=colour, alpha=0.5, marker=style[0])
    axis.plot([0, 1], [0, 1], "--", color="#888888", lw=1, label="right")
    axis.set(xlabel="mean score", ylabel="share of FAKE", aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axis.set_title(f"Reliability of {len(scores)} videos' scores")
    axis.legend(fontsize=8, loc="upper left")
    return _figure_of(axis)


def plot_gains(comparison: pd.DataFrame, *, axis: Axes | None = None) -> Figure:
    """How far the model's AUC lies above that of each baseline, with its interval: a row a baseline of `compare`."""
    axis = axis or plt.subplots(figsize=(6.4, 2.4))[1]
    rows = comparison.dropna(subset="gain")
    errors = [rows["gain"] - rows["gain_low"], rows["gain_high"] - rows["gain"]]
    axis.errorbar(rows["gain"], range(len(rows)), xerr=errors, fmt="o", color=REAL, capsize=4)
    axis.axvline(0, color="#444444", lw=1, ls=":")
    axis.set(yticks=range(len(rows)), yticklabels=rows["scored by"], ylim=(len(rows) - 0.5, -0.5))
    axis.set_xlabel("AUC of the model less that of the baseline, 95 % interval")
    beaten = int((rows["gain_low"] > 0).sum())
    axis.set_title(f"The model beats {beaten} of {len(rows)} that know less")
    return _figure_of(axis)


def _figure_of(axis: Axes) -> Figure:
    figure: Any = axis.get_figure()
    return figure


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)

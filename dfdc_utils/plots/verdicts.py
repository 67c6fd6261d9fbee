"""A verdict in figures: the score over time, and where and when in the faces the model sees a fake."""

from __future__ import annotations

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dfdc_utils.plots.theme import CHANCE, FAKE, MODEL, REAL, figure_of
from dfdc_utils.prediction import Explanation, Prediction, WindowScore
from dfdc_utils.videos import Image

LINES = ("-", "--", ":", "-.")  # of the first four people, who can be told apart without colour
HEAT = cv2.COLORMAP_INFERNO  # rises in lightness, so it also reads in grey


def plot_score_over_time(prediction: Prediction, *, axis: Axes | None = None) -> Figure:
    """Each person's score in each window, with its range, and the threshold: seconds against scores.

    Raises `ValueError` for a video without a score.
    """
    person = prediction.decisive
    if person is None:
        raise ValueError(f"{prediction.path.name} has no score to plot: {prediction.error}")
    axis = axis or plt.subplots(figsize=(6.4, 2.6), layout="constrained")[1]
    threshold = prediction.calibration.threshold
    for place, track in enumerate(prediction.tracks):
        colour, line = (FAKE if track.score > threshold else REAL), LINES[place % len(LINES)]
        for number, window in enumerate(track.windows):
            span = (window.start, window.end)
            axis.fill_between(span, window.low, window.high, color=colour, alpha=0.25, lw=0)
            name = f"person {track.number + 1}" if number == 0 else None
            axis.plot(span, (window.score, window.score), line, color=colour, lw=2, label=name)
    axis.axhline(threshold, color=CHANCE, lw=1.2, ls=(0, (1, 1)))
    axis.annotate(f"threshold {threshold:.2f}", (0, threshold), (2, 2), textcoords="offset points", fontsize=8)
    end = max(prediction.seconds, prediction.duration, 0.1)
    axis.axvspan(prediction.seconds, end, color=CHANCE, alpha=0.15, lw=0)
    axis.set(xlabel="seconds (grey: not looked at)", ylabel="score, 1 = fake", ylim=(-0.03, 1.03), xlim=(0, end))
    windows = person.windows
    above = sum(window.score > threshold for window in windows)
    where = f", above the threshold in {above} of {len(windows)} windows" if len(windows) > 1 else ""
    axis.set_title(f"{prediction.headline}: score {person.score:.2f}{where}")
    if len(prediction.tracks) > 1:
        axis.legend(fontsize=8, loc="center right")
    return figure_of(axis)


def lay_heat(face: Image, heat: NDArray[np.floating]) -> Image:
    """`heat` (H, W), 0 to 1, over a grey copy of a face, uint8 RGB (H, W, 3): the brighter, the more heat."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), HEAT), cv2.COLOR_BGR2RGB)
    opacity = 0.75 * np.sqrt(heat)[..., None]  # faint heat is visible, and so is the face below the strongest
    laid: Image = (0.6 * grey * (1 - opacity) + colours * opacity).clip(0, 255).astype(np.uint8)
    return laid


def show_evidence(sequence: Image, explanation: Explanation, window: WindowScore) -> Figure:
    """The faces of a window, where in them the model sees a fake, and how much the logit falls without each frame.

    `sequence` is uint8 RGB (T, H, W, 3), the faces as the model saw them.
    """
    figure, (faces, heat, bars) = plt.subplots(3, 1, figsize=(11, 3.4), height_ratios=(1, 1, 1.3), layout="constrained")
    count = len(sequence)
    laid = [lay_heat(face, where) for face, where in zip(sequence, explanation.heat, strict=True)]
    for axis, images, name in ((faces, sequence, "faces"), (heat, laid, "heat")):
        axis.imshow(np.hstack(list(images)), extent=(-0.5, count - 0.5, 0, 1), aspect="auto")
        axis.set(xticks=[], yticks=[], ylabel=name)
        axis.grid(False)
    pushes = explanation.importance > 0
    bars.bar(range(count), explanation.importance, color=np.where(pushes, FAKE, MODEL), width=0.8)
    for hatched in np.flatnonzero(~pushes):
        bars.patches[hatched].set_hatch("//")
    bars.axhline(0, color=CHANCE, lw=1)
    bars.set(xlim=(-0.5, count - 0.5), xlabel="seconds", ylabel="logit: fake (+),\nreal (−)")
    bars.set_xticks(range(count), [f"{time:.1f}" for time in window.faces.times], fontsize=8)
    bars.grid(axis="x", visible=False)
    strongest = window.faces.times[int(np.argmax(explanation.importance))]
    area = _area_of_half(explanation.heat)
    figure.suptitle(
        f"Score {window.score:.2f}: the frame at {strongest:.1f} s adds most; half the heat in {area:.0%} of the area",
        fontsize=11,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    return figure


def _area_of_half(heat: NDArray[np.floating]) -> float:
    """The smallest fraction of all pixels that holds half of the heat; 1 if there is no heat."""
    ranked = np.sort(heat.ravel())[::-1].cumsum()
    return float((np.searchsorted(ranked, ranked[-1] / 2) + 1) / len(ranked)) if ranked[-1] > 0 else 1.0

"""A verdict in figures: the score over time, and heat maps on faces."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dfdc_utils.plots.theme import CHANCE, FAKE, REAL, figure_of
from dfdc_utils.prediction import Prediction
from dfdc_utils.videos import Image

LINES = ("-", "--", ":", "-.")  # of the first four people: a second channel beside colour
HEAT = cv2.COLORMAP_INFERNO  # rises in lightness, so it also reads in grey


def plot_score_over_time(prediction: Prediction, *, axis: Axes | None = None) -> Figure:
    """Each person's score in each window, with its range, and the threshold: seconds against scores.

    Raises `ValueError` for a video without a score.
    """
    person = prediction.decisive
    if person is None:
        raise ValueError(f"{prediction.path.name} has no score to plot: {prediction.error}")
    axis = axis or plt.subplots(figsize=(6.4, 2.6), layout="constrained")[1]
    threshold = prediction.threshold
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
    if prediction.is_partial:
        axis.axvspan(prediction.seconds, end, color=CHANCE, alpha=0.15, lw=0)
    unseen = " (grey: not looked at)" if prediction.is_partial else ""
    axis.set(xlabel=f"seconds{unseen}", ylabel="score, 1 = fake", ylim=(-0.03, 1.03), xlim=(0, end))
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
    return np.asarray((0.6 * grey * (1 - opacity) + colours * opacity).clip(0, 255), np.uint8)

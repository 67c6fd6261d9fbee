"""One theme for all figures, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import contextlib
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Blue, orange and vermilion of seaborn's colour-blind palette. REAL is always blue, FAKE always orange.
REAL, FAKE, FILLED = "#0173b2", "#de8f05", "#d55e00"
COLOURS = {"REAL": REAL, "FAKE": FAKE, "": "#949494"}
TRAINING, VALIDATION = "#029e73", "#cc78bc"  # green and purple, so that neither is taken for a class
MODEL, CHANCE = "#333333", "#888888"  # nor are these: what is said of a model, and what knowing nothing would give
DPI = 80  # figures are stored in the notebooks; at 80 dots an inch the five of them take 1 MB


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


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers, for drawing into uint8 RGB images."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def figure_of(axis: Axes) -> Figure:
    """The figure that an axis stands in."""
    figure: Any = axis.get_figure()
    return figure

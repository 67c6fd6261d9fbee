"""One theme for all figures, and colours that colour-blind readers can tell apart."""

import contextlib

import seaborn as sns
from matplotlib.figure import Figure

# Blue, orange and vermilion of seaborn's colour-blind palette. REAL is always blue, FAKE always orange.
REAL, FAKE, FILLED = "#0173b2", "#de8f05", "#d55e00"
COLOURS = {"REAL": REAL, "FAKE": FAKE, "": "#949494"}
TRAINING, VALIDATION = "#029e73", "#cc78bc"  # green and purple, since blue and orange mean classes
MODEL, CHANCE = "#333333", "#888888"  # greys for a model, and for references such as chance
DPI = 100  # dots per inch; a notebook's figures are stored in it and take up to 1 MB
SMALL = 9  # points: no text in a figure is smaller


def use_theme() -> None:
    """Set one theme for all figures, on white for dark notebooks; a notebook stores titles as alternative text."""
    rc = {"figure.constrained_layout.use": True, "figure.dpi": DPI, "savefig.dpi": DPI, "figure.facecolor": "white"}
    rc |= {"axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlesize": 11}
    sns.set_theme(style="whitegrid", palette="colorblind", rc=rc)
    with contextlib.suppress(ImportError):  # outside of notebooks
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        if (shell := get_ipython()) is not None:
            # Most figures hold photographs, for which JPEG takes a quarter of PNG's bytes.
            set_matplotlib_formats("jpeg", pil_kwargs={"quality": 90})
            formatter = shell.display_formatter.formatters["image/jpeg"]
            draw = formatter.lookup_by_type(Figure)
            formatter.for_type(Figure, lambda figure: (draw(figure), {"alt": titles_of(figure)}))


def titles_of(figure: Figure) -> str:
    """The titles in a figure, as its alternative text."""
    titles = [figure.get_suptitle(), *(axis.get_title(loc) for axis in figure.axes for loc in ("left", "center"))]
    return "; ".join(" ".join(title.split()) for title in titles if title)


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers, to draw with into uint8 RGB images."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)

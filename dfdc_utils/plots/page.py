"""Verdicts as one HTML page that needs no network, and pieces of HTML that widgets use too."""

import base64
import functools
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import dfdc_utils
from dfdc_utils.files import write_atomically
from dfdc_utils.plots.card import box_faces, draw_still, lay_heat, read_media
from dfdc_utils.prediction import MOST_EXPLAINED, Explanation, Prediction
from dfdc_utils.videos import Image

Evidence = tuple[Image, Explanation]  # the faces of a window, uint8 RGB (T, H, W, 3), and why they have their score
# JupyterLab's own colours, which change with its theme; elsewhere those of the surrounding text.
FAINT = "var(--jp-ui-font-color2, inherit)"
LINE = "var(--jp-border-color1, #9e9e9e)"
JPEG_QUALITY = 85  # for images that are only looked at: half the bytes of 95


def write_page(path: str | Path, predictions: Sequence[Prediction], evidence: Mapping[Path, Evidence]) -> Path:
    """Write one page about some videos, those with the highest scores first, and return its path.

    It plays what was looked at: it reads the videos again. `evidence` is what `Detector.gather_evidence` gives. After
    `MOST_EXPLAINED` videos the others have a row of the table only: a page of thousands could not be opened. Raises
    `OSError` if it cannot be written. Taught in notebook 06.
    """
    text, _ = _render(predictions, evidence)
    write_atomically(Path(path), text.encode("utf-8", "backslashreplace").decode())  # names that are not UTF-8
    return Path(path)


def describe(prediction: Prediction, evidence: Evidence | None = None) -> str:
    """The page of one verdict for a notebook, in a frame; where that is not shown, a picture and words."""
    page, (card,) = _render([prediction], {prediction.path: evidence} if evidence else {})
    gauge = _data_uri(_template("gauge.svg").render(card=card).encode(), "image/svg+xml") if card["person"] else ""
    return _template("frame.html").render(page=page, card=card, gauge=gauge)


def list_verdicts(predictions: Sequence[Prediction]) -> str:
    """The table of the page for a notebook, in a frame."""
    return _template("frame.html").render(page=_render(predictions, None)[0])


def _render(
    predictions: Sequence[Prediction], evidence: Mapping[Path, Evidence] | None
) -> tuple[str, list[dict[str, Any]]]:
    """The page, and what card.html shows of each video: nothing without `evidence`, which may be empty."""
    ordered = sorted(predictions, key=lambda one: (one.score is None, -(one.score or 0), one.path))
    shown = ordered[:MOST_EXPLAINED] if evidence is not None else []
    cards = []
    for one, media in zip(shown, read_media(shown), strict=True):
        why, preview = (evidence or {}).get(one.path), media.preview
        card: dict[str, Any] = {"one": one, "person": one.decisive, "media": media, "evidence": why}
        if preview:
            people = box_faces(one, preview, why[1] if why else None)
            player = {"start": preview.start, "end": preview.end, "length": max(one.seconds, preview.end)}
            card["player"] = player | {"threshold": one.threshold, "people": people}
            card["still"] = draw_still(preview, people, one.threshold)
        cards.append(card)
    common = os.path.commonpath([one.path.absolute().parent for one in ordered])
    rows = [(os.path.relpath(one.path, common), one) for one in ordered]
    about = {"counts": Counter(one.verdict for one in ordered), "now": datetime.now(UTC)}
    return _template("page.html").render(about, rows=rows, cards=cards, version=dfdc_utils.__version__), cards


@functools.cache
def _template(name: str) -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    templates = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.globals |= {"data_uri": _data_uri, "jpeg_uri": _jpeg_uri, "lay_heat": lay_heat, "zip": zip}
    return templates.get_template(name)


def figure_tag(figure: Figure, alt: str) -> str:
    """A figure as an `<img>` of SVG on white, with alternative text; closes the figure."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    plt.close(figure)
    style = "display:block;max-width:100%;background:white"
    return f'<img src="{_data_uri(content.getvalue(), "image/svg+xml")}" alt="{escape(alt)}" style="{style}">'


def image_tag(image: Image, alt: str) -> str:
    """A uint8 RGB image as an `<img>` as wide as its place, with alternative text."""
    return f'<img src="{_jpeg_uri(image)}" alt="{escape(alt)}" style="display:block;width:100%">'


def _jpeg_uri(image: Image) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return _data_uri(bytes(data), "image/jpeg")


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def note(text: str) -> str:
    """A paragraph in a frame, for example why there is no picture."""
    style = f"border:1px solid {LINE};padding:8px;margin:0;overflow-wrap:anywhere"
    return f'<p style="line-height:1.4;{style}">{escape(text)}</p>'


def pictures(captioned: list[tuple[str, Image]], *, what: str) -> str:
    """Images in rows, in their own size, each with its caption below; the alternative text is `what` at the caption."""
    return _template("pictures.html").render(captioned=captioned, what=what)

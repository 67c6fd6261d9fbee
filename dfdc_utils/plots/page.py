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
import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit

import dfdc_utils
from dfdc_utils.files import write_atomically
from dfdc_utils.plots.card import Media, box_faces, draw_still, read_media
from dfdc_utils.plots.verdicts import lay_heat
from dfdc_utils.prediction import MOST_EXPLAINED, Explanation, Prediction
from dfdc_utils.videos import Image

Evidence = tuple[Image, Explanation]  # the faces of a window, uint8 RGB (T, H, W, 3), and why they have their score
CELL = 72  # pixels of a face in the details
# Of each verdict: its class in style.css, and how one or more videos of it are counted.
KINDS = {
    "fake": ("fake", "looks fake", "look fake"),
    "unsure": ("unsure", "unsure", "unsure"),
    "no sign of a fake": ("clear", "no sign", "no sign"),
    "not judged": ("none", "not judged", "not judged"),
}
# JupyterLab's own colours, which change with its theme; elsewhere those of the surrounding text.
FAINT = "var(--jp-ui-font-color2, inherit)"
LINE = "var(--jp-border-color1, #9e9e9e)"
JPEG_QUALITY = 85  # for images that are only looked at: half the bytes of 95


def write_page(
    path: str | Path,
    predictions: Sequence[Prediction],
    evidence: Mapping[Path, Evidence],
    *,
    show_progress: bool = False,
) -> Path:
    """Write one page about some videos, those with the highest scores first, and return its path.

    It plays what was looked at of each video with the faces boxed, so it reads the files once more. `evidence` is what
    `Detector.gather_evidence` gives. The first `MOST_EXPLAINED` videos have a section of their own, the others a row of
    the table only: a page of thousands could not be opened. Raises `OSError` if it cannot be written. Taught in
    notebook 06.
    """
    cards = _make_cards(_order(predictions)[:MOST_EXPLAINED], evidence, show_progress=show_progress)
    text = _render(predictions, cards)
    write_atomically(Path(path), text.encode("utf-8", "backslashreplace").decode())  # names that are not UTF-8
    return Path(path)


def describe(prediction: Prediction, evidence: Evidence | None = None) -> str:
    """The page of one verdict for a notebook, in a frame; where that is not shown, a picture and words."""
    (card,) = _make_cards([prediction], {prediction.path: evidence} if evidence else {})
    gauge = _data_uri(_template("gauge.svg").render(card=card).encode(), "image/svg+xml") if card["person"] else ""
    return _template("frame.html").render(page=_render([prediction], [card]), card=card, gauge=gauge)


def list_verdicts(predictions: Sequence[Prediction]) -> str:
    """The table of the page for a notebook, in a frame."""
    return _template("frame.html").render(page=_render(predictions, []))


def _order(predictions: Sequence[Prediction]) -> list[Prediction]:
    return sorted(predictions, key=lambda one: (one.score is None, -(one.score or 0), one.path))


def _render(predictions: Sequence[Prediction], cards: Sequence[dict[str, Any]]) -> str:
    counts = Counter[str](one.verdict for one in predictions)
    words = [f"{counts[name]} {kind[1 + (counts[name] > 1)]}" for name, kind in KINDS.items() if counts[name]]
    ordered = _order(predictions)
    common = os.path.commonpath([one.path.absolute().parent for one in ordered])
    rows = [(os.path.relpath(one.path, common), one) for one in ordered]
    made = {"date": datetime.now(UTC), "version": dfdc_utils.__version__, "folder": ordered[0].folder}
    return _template("page.html").render(counts=", ".join(words), rows=rows, cards=cards, made=made)


def _make_cards(
    predictions: Sequence[Prediction], evidence: Mapping[Path, Evidence], *, show_progress: bool = False
) -> list[dict[str, Any]]:
    media = read_media(predictions, show_progress=show_progress)
    return [_make_card(one, evidence.get(one.path), media[one.path]) for one in predictions]


def _make_card(prediction: Prediction, evidence: Evidence | None, media: Media) -> dict[str, Any]:
    """What card.html shows of one prediction."""
    person, preview = prediction.decisive, media.preview
    card: dict[str, Any] = {"one": prediction, "person": person, "media": media}
    if person and evidence:
        sequence, explanation = evidence
        cells = [
            cv2.resize(np.vstack([face, lay_heat(face, heat)]), (CELL, 2 * CELL), interpolation=cv2.INTER_AREA)
            for face, heat in zip(sequence, explanation.heat, strict=True)
        ]
        captions = [f"{time:.2f} s" for time in person.worst.faces.times]
        card |= {"strongest": captions[int(np.argmax(explanation.contributions))], "explanation": explanation}
        if explanation.frame_logits is not None:
            scores = prediction.folder.calibration.apply(expit(explanation.frame_logits))
            captions = [f"{caption}: {score:.2f}" for caption, score in zip(captions, scores, strict=True)]
        card["strips"] = pictures(list(zip(captions, cells, strict=True)), what="Face and heat map")
    if preview:
        people = box_faces(prediction, preview, evidence[1] if evidence else None)
        player = {"start": preview.start, "end": preview.end, "threshold": prediction.threshold, "people": people}
        still = draw_still(preview, people, preview.still_at, prediction.threshold)
        card |= {"still": _data_uri(_jpeg(still), "image/jpeg"), "video": _data_uri(preview.mp4, "video/mp4")}
        card["player"] = player | {"length": max(prediction.seconds, preview.end)}
    return card


@functools.cache
def _template(name: str) -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    templates = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.globals["kinds"] = KINDS
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
    source = _data_uri(_jpeg(image), "image/jpeg")
    return f'<img src="{source}" alt="{escape(alt)}" style="display:block;width:100%">'


def _jpeg(image: Image) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return bytes(data)


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def note(text: str) -> str:
    """A paragraph in a frame, for example why there is no picture."""
    style = f"border:1px solid {LINE};padding:8px;margin:0;overflow-wrap:anywhere"
    return f'<p style="line-height:1.4;{style}">{escape(text)}</p>'


def pictures(captioned: list[tuple[str, Image]], *, what: str) -> str:
    """Images in rows, in their own size, each with its caption below; the alternative text is `what` at the caption."""
    figures = [
        f'<figure style="margin:0;width:{image.shape[1]}px">{image_tag(image, f"{what} at {caption}")}'
        f'<figcaption style="font-size:11px;text-align:center">{escape(caption)}</figcaption></figure>'
        for caption, image in captioned
    ]
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px;margin:6px 0">{"".join(figures)}</div>'

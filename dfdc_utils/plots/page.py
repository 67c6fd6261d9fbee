"""Verdicts as a self-contained HTML page that needs no network, and pieces of HTML that widgets use too."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfdc_utils.files import write_atomically
from dfdc_utils.plots.verdicts import lay_heat, plot_score_over_time
from dfdc_utils.prediction import Explanation, Prediction, WindowScore, predictions_table
from dfdc_utils.videos import Image

MOST_SECTIONS = 50  # a section takes 0.2 MB
SIZE = 72  # pixels of a face in a strip: sixteen fit the page
COLUMNS = {"video": "video", "status": "status", "verdict": "verdict", "score": "score", "low": "from", "high": "to"}
STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
td { border-top: 1px solid #9e9e9e } section { margin-top: 2.5rem }
""".strip()


def write_page(
    path: str | Path,
    predictions: Sequence[Prediction],
    evidence: Mapping[Path, tuple[Image, Explanation]],
) -> Path:
    """Write one page about some videos and return its path; `evidence` holds what there is to show of their faces.

    `evidence` maps a prediction's `path` to the sequence of its most suspicious window, uint8 RGB (T, H, W, 3), and its
    explanation. The first `MOST_SECTIONS` videos have a section of their own, the others a row of the table only: a
    page of thousands could not be opened. Raises `OSError` if it cannot be written. Taught in notebook 06.
    """
    table = predictions_table(predictions)
    place = {path: number for number, path in enumerate(table["path"])}
    ordered = sorted(predictions, key=lambda prediction: place[str(prediction.path)])
    more = "" if len(ordered) <= MOST_SECTIONS else note(f"{len(ordered) - MOST_SECTIONS} more are in the table only.")
    sections = [describe(one, evidence.get(one.path)) for one in ordered[:MOST_SECTIONS]]
    body = "".join(f"<section>{section}</section>" for section in sections)
    title = f"{len(ordered)} videos" if len(ordered) > 1 else escape(ordered[0].path.name)
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}: verdicts</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{_summary(table) if len(ordered) > 1 else ''}{body}{more}</body></html>\n"
    )
    target = Path(path)
    write_atomically(target, page)
    return target


def describe(prediction: Prediction, evidence: tuple[Image, Explanation] | None = None) -> str:
    """A verdict as HTML for a page or a notebook: words, the score over time, faces with the heat on them."""
    words = (
        f"<h2>{escape(prediction.path.name)}: {escape(prediction.headline)}</h2><p>{escape(prediction.in_words())}</p>"
    )
    person = prediction.decisive
    if person is None:
        return words
    alt = "; ".join(f"{window.start:.1f} to {window.end:.1f} s: {window.score:.2f}" for window in person.windows)
    chart = figure_tag(plot_score_over_time(prediction), f"Score over time, person of the verdict. {alt}")
    return words + chart + ("" if evidence is None else _strips(person.worst, *evidence))


def figure_tag(figure: Figure, alt: str) -> str:
    """A figure as an `<img>` of SVG, with its text; closes the figure."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    plt.close(figure)
    source = data_uri(content.getvalue(), "image/svg+xml")
    return f'<img src="{source}" alt="{escape(alt)}" style="display:block;max-width:100%;background:white">'


def _strips(window: WindowScore, sequence: Image, explanation: Explanation) -> str:
    when = f"{window.start:.1f} to {window.end:.1f} s"
    laid = np.hstack([lay_heat(face, heat) for face, heat in zip(sequence, explanation.heat, strict=True)])
    images = [
        image_tag(np.hstack(list(sequence)), f"{len(sequence)} face crops, {when}"),
        image_tag(laid, f"Heat maps of the same faces, {when}"),
    ]
    strongest = int(np.argmax(explanation.importance))
    frames = "".join(
        f"<tr><td>{time:.2f} s</td><td>{'detected' if seen else 'filled from others'}</td><td>{share:+.2f}</td></tr>"
        for time, seen, share in zip(window.faces.times, window.faces.detected, explanation.importance, strict=True)
    )
    return (
        f"<h3>Why: the most suspicious window, {when}</h3>"
        f"<p>Faces as the model saw them; below, brighter where it sees a fake. The frame at "
        f"{window.faces.times[strongest]:.2f} s adds most to the score.</p>"
        f'<div style="max-width:{SIZE * len(sequence)}px">{"".join(images)}</div>'
        f'<details style="border-top:1px solid {LINE}"><summary>Each frame</summary><table><tr><th>time</th>'
        f"<th>face</th><th>adds to the score's logit</th></tr>{frames}</table></details>"
    )


def _summary(table: pd.DataFrame) -> str:
    rows = table[list(COLUMNS)].rename(columns=COLUMNS)
    return str(rows.to_html(index=False, na_rep="", float_format=lambda value: f"{value:.2f}", border=0))


# JupyterLab's own colours, which change with its theme; elsewhere what is around.
FAINT = "var(--jp-ui-font-color2, inherit)"
LINE = "var(--jp-border-color1, #9e9e9e)"
QUALITY = 85  # of a JPEG that is only looked at: half the bytes of 95


def image_tag(image: Image, alt: str) -> str:
    """A uint8 RGB image as `<img>`, as wide as what it stands in, with its text for those who do not see it."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    source = data_uri(data.tobytes(), "image/jpeg")
    return f'<img src="{source}" alt="{escape(alt)}" style="display:block;width:100%">'


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as an address, so that a page needs nothing beside itself. `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def note(text: str) -> str:
    """A paragraph in a frame: why there is no picture."""
    style = f"border:1px solid {LINE};padding:8px;margin:0;overflow-wrap:anywhere"
    return f'<p style="line-height:1.4;{style}">{escape(text)}</p>'


def pictures(captioned: list[tuple[str, Image]], *, what: str) -> str:
    """Images in rows as large as they are, each with its caption below, which with `what` is its text too."""
    figures = [
        f'<figure style="margin:0;width:{image.shape[1]}px">{image_tag(image, f"{what} at {caption}")}'
        f'<figcaption style="font-size:11px;text-align:center">{escape(caption)}</figcaption></figure>'
        for caption, image in captioned
    ]
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px;margin:6px 0">{"".join(figures)}</div>'

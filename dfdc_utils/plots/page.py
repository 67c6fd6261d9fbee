"""Verdicts as one HTML page that needs no network, and pieces of HTML that widgets use too."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dfdc_utils.files import write_atomically
from dfdc_utils.plots.verdicts import lay_heat, plot_score_over_time
from dfdc_utils.prediction import MOST_EXPLAINED, Explanation, Prediction, WindowScore, predictions_table
from dfdc_utils.videos import Image

SIZE = 72  # pixels of a face in a strip: sixteen fit the page
PAGE_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
td { border-top: 1px solid #9e9e9e } section { margin-top: 2.5rem } img { break-inside: avoid }
""".strip()
# JupyterLab's own colours, which change with its theme; elsewhere those of the surrounding text.
FAINT = "var(--jp-ui-font-color2, inherit)"
LINE = "var(--jp-border-color1, #9e9e9e)"
JPEG_QUALITY = 85  # for images that are only looked at: half the bytes of 95


def write_page(
    path: str | Path, predictions: Sequence[Prediction], evidence: Mapping[Path, tuple[Image, Explanation]]
) -> Path:
    """Write one page about some videos, those with the highest scores first, and return its path.

    `evidence` is what `Detector.gather_evidence` gives: by path, the faces of the worst window, uint8 RGB (T, H, W, 3),
    and their explanation. The first `MOST_EXPLAINED` videos have a section of their own, the others a row of the table
    only: a page of thousands could not be opened. Raises `OSError` if it cannot be written. Taught in notebook 06.
    """
    table = predictions_table(predictions)
    by_path = {str(one.path): one for one in predictions}
    ordered = [by_path[path] for path in table["path"]]
    body = "".join(f"<section>{describe(one, evidence.get(one.path))}</section>" for one in ordered[:MOST_EXPLAINED])
    title = escape(ordered[0].path.name)
    if len(ordered) > 1:
        counts = Counter(one.verdict for one in ordered)
        title = f"{len(ordered)} videos: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}"
        summary = table[["video", "verdict", "score", "low", "high"]]
        body = summary.to_html(index=False, na_rep="", float_format="{:.2f}".format, border=0) + body
    if len(ordered) > MOST_EXPLAINED:
        body += note(f"{len(ordered) - MOST_EXPLAINED} more are in the table only.")
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Verdicts: {title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{PAGE_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )
    write_atomically(Path(path), page.encode("utf-8", "backslashreplace").decode())  # names that are not UTF-8
    return Path(path)


def describe(prediction: Prediction, evidence: tuple[Image, Explanation] | None = None) -> str:
    """A verdict as HTML for a page or a notebook: words, the score over time, faces with heat maps."""
    title, text = f"{prediction.path.name}: {prediction.headline}", prediction.in_words()
    words = f"<h2>{escape(title)}</h2><p>{escape(text)}</p>"
    person = prediction.decisive
    if person is None:
        return words
    alt = "; ".join(f"{window.start:.1f} to {window.end:.1f} s: {window.score:.2f}" for window in person.windows)
    chart = figure_tag(plot_score_over_time(prediction), f"Score over time, person of the verdict. {alt}")
    return words + chart + ("" if evidence is None else _strips(person.worst, *evidence))


def _strips(window: WindowScore, sequence: Image, explanation: Explanation) -> str:
    when = f"{window.start:.1f} to {window.end:.1f} s"
    laid = np.hstack([lay_heat(face, heat) for face, heat in zip(sequence, explanation.heat, strict=True)])
    faces = image_tag(np.hstack(list(sequence)), f"{len(sequence)} faces, {when}")
    maps = image_tag(laid, f"Heat maps of the same faces, {when}")
    added, most = explanation.contributions, int(np.argmax(explanation.contributions))
    at = f"{window.faces.times[most]:.2f} s"
    strongest = f" The frame at {at} adds most, {added[most]:+.1f} of {added.sum():+.1f} in logits."
    return (
        f"<h3>What looked most suspicious ({when})</h3>"
        f"<p>Top: the faces the model saw. Bottom: the brighter, the more that spot raised the score."
        f"{strongest if added[most] > 0 else ''}</p>"
        f'<div style="max-width:{SIZE * len(sequence)}px">{faces}{maps}</div>'
    )


def figure_tag(figure: Figure, alt: str) -> str:
    """A figure as an `<img>` of SVG on white, with alternative text; closes the figure."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    plt.close(figure)
    style = "display:block;max-width:100%;background:white"
    return f'<img src="{_data_uri(content.getvalue(), "image/svg+xml")}" alt="{escape(alt)}" style="{style}">'


def image_tag(image: Image, alt: str) -> str:
    """A uint8 RGB image as an `<img>` as wide as its place, with alternative text."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    source = _data_uri(data.tobytes(), "image/jpeg")
    return f'<img src="{source}" alt="{escape(alt)}" style="display:block;width:100%">'


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

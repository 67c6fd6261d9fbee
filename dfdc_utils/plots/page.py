"""Verdicts as one HTML page that plays the videos, faces boxed, and needs no network; pieces of HTML for widgets."""

import base64
import contextlib
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jinja2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit
from tqdm.auto import tqdm

import dfdc_utils
from dfdc_utils.files import write_atomically
from dfdc_utils.plots.theme import CHANCE, FAKE, REAL, rgb
from dfdc_utils.prediction import MOST_EXPLAINED, RARE, Explanation, Prediction
from dfdc_utils.videos import Image, Preview, make_preview
from dfdc_utils.workers import WorkerDied, each_whatever_dies, time_limited

Card = dict[str, Any]  # what card.html shows of one video
Evidence = tuple[Image, Explanation]  # the faces of a window, uint8 RGB (T, H, W, 3), and why they have their score
JPEG_QUALITY = 85  # for images that are only looked at: half the bytes of 95
# Of a video in a page: a minute takes up to 3 MB. Many videos share five minutes: fifty have six seconds each.
MAX_SECONDS, ALL_SECONDS = 60.0, 300.0
BEFORE_WORST = 10.0  # seconds that a part of a long video begins before its most suspicious window
TIME_LIMIT, FONT = 120.0, cv2.FONT_HERSHEY_SIMPLEX  # seconds for a preview; of the numbers on its still


class Media(NamedTuple):
    """A video's file: a part of it to play, or the `problem` why there is none; `digest` is the file's SHA-256."""

    preview: Preview | None = None
    digest: str = ""
    problem: str = ""


def read_media(predictions: Sequence[Prediction]) -> list[Media]:
    """Encode what was looked at of each video, side by side. A file that cannot be read is a `problem`, no error."""
    seconds = min(MAX_SECONDS, ALL_SECONDS / (len(predictions) or 1))
    parts = {str(one.path): (one.path, *_choose_part(one, seconds)) for one in predictions}
    with contextlib.closing(each_whatever_dies(_read, parts, workers=1 if len(parts) < 2 else None)) as results:
        # No bar for one video, and none in a log file.
        bar = tqdm(results, desc="encoding videos", unit="video", total=len(parts), disable=len(parts) < 2 or None)
        read = {name: Media(problem=str(one)) if isinstance(one, WorkerDied) else one for name, one in bar}
    return [read[str(one.path)] for one in predictions]


def _choose_part(prediction: Prediction, seconds: float) -> tuple[float, float, float]:
    """Start and end of the part to show, and the time of the still: the middle of the most suspicious window."""
    end = prediction.seconds + 0.2  # the last frame that was looked at stands for a little more
    if not (people := prediction.people):
        return 0.0, min(end, seconds), 0.0
    worst = (prediction.decisive or people[0]).worst
    start = max(0.0, min(worst.start - BEFORE_WORST, end - seconds))
    return start, min(end, start + seconds), float(np.median(worst.faces.times))


def _read(part: tuple[Path, float, float, float]) -> Media:
    path, start, end, still_at = part
    digest = ""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with time_limited(path, TIME_LIMIT):
            return Media(make_preview(path, start=start, end=end, still_at=still_at), digest)
    except (OSError, ValueError) as error:
        return Media(None, digest, str(error))


def write_page(path: str | Path, predictions: Sequence[Prediction], evidence: Mapping[Path, Evidence]) -> Path:
    """Write one page about some videos, which it reads again, those with the highest scores first; return its path.

    `evidence` is what `Detector.gather_evidence` gives. After `MOST_EXPLAINED` videos the others have a row of the
    table only: a page of thousands could not be opened. Raises `OSError`. Taught in notebook 06.
    """
    text, _ = _render(predictions, evidence)
    write_atomically(Path(path), text, errors="backslashreplace")  # names that are not UTF-8
    return Path(path)


def describe(prediction: Prediction, evidence: Evidence | None = None) -> str:
    """The page of one verdict for a notebook, in a frame; where that is not shown, a picture and words."""
    page, (card,) = _render([prediction], {prediction.path: evidence} if evidence else {})
    gauge = _data_uri(_template("gauge.svg").render(card=card).encode(), "image/svg+xml") if card["person"] else ""
    return _template("frame.html").render(page=page, card=card, gauge=gauge)


def list_verdicts(predictions: Sequence[Prediction]) -> str:
    """The table of the page for a notebook, in a frame."""
    return _template("frame.html").render(page=_render(predictions, None)[0])


def _render(predictions: Sequence[Prediction], evidence: Mapping[Path, Evidence] | None) -> tuple[str, list[Card]]:
    """The page and its cards: none without `evidence`, which may be empty."""
    ordered = sorted(predictions, key=lambda one: (one.score is None, -(one.score or 0), one.path))
    shown = ordered[:MOST_EXPLAINED] if evidence is not None else []
    cards = []
    for one, media in zip(shown, read_media(shown), strict=True):
        why, preview = (evidence or {}).get(one.path), media.preview
        card: Card = {"one": one, "person": one.decisive, "media": media, "evidence": why}
        if preview:
            people = list(box_faces(one, preview, why[1] if why else None))
            player = {"start": preview.start, "end": preview.end, "length": max(one.seconds, preview.end)}
            card["player"] = player | {"threshold": one.threshold, "people": people}
            card["still"] = draw_still(preview, people, one.threshold)
        cards.append(card)
    common = os.path.commonpath([one.path.absolute().parent for one in ordered])
    rows = [(os.path.relpath(one.path, common), one) for one in ordered]
    about = {"counts": Counter(one.verdict for one in ordered), "now": datetime.now(UTC)}
    return _template("page.html").render(about, rows=rows, cards=cards, version=dfdc_utils.__version__), cards


def box_faces(prediction: Prediction, preview: Preview, explanation: Explanation | None) -> Iterator[dict[str, Any]]:
    """Each person's boxes, as fractions of the frame, and scores by time, for the player; None where not judged.

    Scores of overlapping windows are averaged. A video's only window has those of its frames, if the model gives them.
    """
    size = [preview.width, preview.height] * 2
    for person in prediction.people:
        faces, decides = [window.faces for window in person.windows], person is prediction.decisive
        scores = np.repeat([window.score for window in person.windows], len(faces[0].times))
        if decides and len(faces) == 1 and explanation and explanation.frame_logits is not None:
            scores = prediction.folder.calibration.apply(expit(explanation.frame_logits))
        all_times = np.concatenate([one.times for one in faces]).round(3)
        times, first, which = np.unique(all_times, return_index=True, return_inverse=True)
        mean = (np.bincount(which, scores) / np.bincount(which)).round(3).tolist()
        yield {
            "number": person.number + 1,
            "decides": decides,
            "step": person.time_step,
            "times": times.tolist(),
            "boxes": (np.concatenate([one.boxes for one in faces])[first] / size).round(4).tolist(),
            "found": np.concatenate([one.detected for one in faces])[first].tolist(),
            "scores": mean if person in prediction.tracks else [None] * len(times),
        }


def draw_still(preview: Preview, people: list[dict[str, Any]], threshold: float) -> Image:
    """The preview's still with each person's box, orange above the threshold; that of the verdict's person is thick."""
    drawn = preview.still.copy()
    height, width = drawn.shape[:2]
    for person in people:
        index = int(np.argmin(np.abs(np.array(person["times"]) - preview.still_at)))
        if abs(person["times"][index] - preview.still_at) > 2 * person["step"]:
            continue  # not there
        box = (np.array(person["boxes"][index]) * [width, height, width, height]).round().astype(int).tolist()
        score, thick = person["scores"][index], 3 if person["decides"] else 2
        cv2.rectangle(drawn, box, (0, 0, 0), thick + 2)  # a dark rim shows on any background
        cv2.rectangle(drawn, box, rgb(CHANCE if score is None else FAKE if score > threshold else REAL), thick)
        for colour, thick in (((0, 0, 0), 5), ((255, 255, 255), 2)) if len(people) > 1 else ():
            cv2.putText(drawn, f"{person['number']}", (box[0] + 6, box[1] + 20), FONT, 0.6, colour, thick)
    return drawn


def lay_heat(face: Image, heat: NDArray[np.floating]) -> Image:
    """`heat` (H, W), 0 to 1, over a grey copy of a face, uint8 RGB (H, W, 3): the brighter, the more heat."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    # Inferno rises in lightness, so it also reads in grey.
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = 0.75 * np.sqrt(heat)[..., None]  # faint heat is visible, and so is the face below the strongest
    return np.asarray((0.6 * grey * (1 - opacity) + colours * opacity).clip(0, 255), np.uint8)


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
    return _template("note.html").render(text=text)


def pictures(captioned: list[tuple[str, Image]], *, what: str, key: str = "") -> str:
    """Images in rows, each with its caption below, then a `key`; the alternative text is `what` at the caption."""
    return _template("pictures.html").render(captioned=captioned, what=what, key=key)


_folder = jinja2.PackageLoader("dfdc_utils.plots")
_templates = jinja2.Environment(loader=_folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
_templates.globals |= {"data_uri": _data_uri, "jpeg_uri": _jpeg_uri, "lay_heat": lay_heat, "zip": zip, "rare": RARE}
_template = _templates.get_template

"""What a page shows of one video: what was looked at, playing, with each face boxed in the colour of its score."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from tqdm.auto import tqdm

from dfdc_utils.plots.theme import CHANCE, FAKE, REAL, rgb
from dfdc_utils.prediction import Explanation, Prediction
from dfdc_utils.videos import Image, Preview, make_preview
from dfdc_utils.workers import WorkerDied, each_whatever_dies, time_limited

# Of a video in a page: a minute takes up to 3 MB. Many videos share five minutes: fifty have six seconds each.
MAX_SECONDS, ALL_SECONDS = 60.0, 300.0
BEFORE_WORST = 10.0  # seconds that a part of a long video begins before its most suspicious window
TIME_LIMIT = 120.0  # seconds for a preview


@dataclass(frozen=True)
class Media:
    """A video's file: a part of it to play, or the `problem` why there is none; `digest` is the file's SHA-256."""

    preview: Preview | None = None
    digest: str = ""
    problem: str = ""


def read_media(predictions: Sequence[Prediction]) -> list[Media]:
    """Encode what was looked at of each video, side by side. A file that cannot be read is a `problem`, no error."""
    seconds = min(MAX_SECONDS, ALL_SECONDS / (len(predictions) or 1))
    parts = {str(one.path): (one.path, *_choose_part(one, seconds)) for one in predictions}
    # No bar for one video, and none in a log file.
    bar = partial(tqdm, desc="encoding videos", unit="video", total=len(parts), disable=len(parts) < 2 or None)
    with contextlib.closing(each_whatever_dies(_read, parts, workers=1 if len(parts) < 2 else None)) as results:
        read = {name: Media(problem=str(one)) if isinstance(one, WorkerDied) else one for name, one in bar(results)}
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


def box_faces(prediction: Prediction, preview: Preview, explanation: Explanation | None) -> list[dict[str, Any]]:
    """Each person's boxes, as fractions of the frame, and scores by time, for the player; None where not judged.

    Scores of overlapping windows are averaged. A video's only window has those of its frames, if the model gives them.
    """
    people, size = [], [preview.width, preview.height] * 2
    for person in prediction.people:
        faces, decides = [window.faces for window in person.windows], person is prediction.decisive
        scores = np.repeat([window.score for window in person.windows], len(faces[0].times))
        if decides and len(faces) == 1 and explanation and explanation.frame_logits is not None:
            scores = prediction.folder.calibration.apply(expit(explanation.frame_logits))
        all_times = np.concatenate([one.times for one in faces]).round(3)
        times, first, which = np.unique(all_times, return_index=True, return_inverse=True)
        mean = (np.bincount(which, scores) / np.bincount(which)).round(3).tolist()
        people.append(
            {
                "number": person.number + 1,
                "decides": decides,
                "step": person.time_step,
                "times": times.tolist(),
                "boxes": (np.concatenate([one.boxes for one in faces])[first] / size).round(4).tolist(),
                "found": np.concatenate([one.detected for one in faces])[first].tolist(),
                "scores": mean if person in prediction.tracks else [None] * len(times),
            }
        )
    return people


def draw_still(preview: Preview, people: list[dict[str, Any]], threshold: float) -> Image:
    """The preview's still with each person's box, orange above the threshold; that of the verdict's person is thick."""
    drawn = preview.still.copy()
    height, width = drawn.shape[:2]
    for person in people:
        index = int(np.argmin(np.abs(np.array(person["times"]) - preview.still_at)))
        if abs(person["times"][index] - preview.still_at) > 2 * person["step"]:
            continue  # not there
        box = (np.array(person["boxes"][index]) * [width, height, width, height]).round().astype(int).tolist()
        score, thick = person["scores"][index], 3 if person["decides"] else 1
        cv2.rectangle(drawn, box, (0, 0, 0), thick + 2)  # a dark rim shows on any background
        cv2.rectangle(drawn, box, rgb(CHANCE if score is None else FAKE if score > threshold else REAL), thick)
    return drawn


def lay_heat(face: Image, heat: NDArray[np.floating]) -> Image:
    """`heat` (H, W), 0 to 1, over a grey copy of a face, uint8 RGB (H, W, 3): the brighter, the more heat."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    # Inferno rises in lightness, so it also reads in grey.
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = 0.75 * np.sqrt(heat)[..., None]  # faint heat is visible, and so is the face below the strongest
    return np.asarray((0.6 * grey * (1 - opacity) + colours * opacity).clip(0, 255), np.uint8)

"""What a page shows of one video: what was looked at, playing, with each face boxed in the colour of its score."""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
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
BETWEEN = (215, 215, 215)  # the colour of a score at the threshold


@dataclass(frozen=True)
class Media:
    """A video's file: a part of it to play, or the `problem` why there is none; `digest` is the file's SHA-256."""

    preview: Preview | None = None
    digest: str = ""
    problem: str = ""


def read_media(predictions: Sequence[Prediction], *, show_progress: bool = False) -> dict[Path, Media]:
    """Encode what was looked at of each video, side by side. A file that cannot be read is a `problem`, no error."""
    seconds = min(MAX_SECONDS, ALL_SECONDS / max(1, len(predictions)))
    parts = {str(one.path): (one.path, *_choose_part(one, seconds)) for one in predictions}
    workers = 1 if len(parts) == 1 else None
    with contextlib.closing(each_whatever_dies(_read, parts, workers=workers)) as results:
        read = tqdm(results, total=len(parts), desc="encoding videos", unit="video", disable=not show_progress)
        return {Path(name): Media(problem=str(one)) if isinstance(one, WorkerDied) else one for name, one in read}


def _choose_part(prediction: Prediction, seconds: float) -> tuple[float, float, float]:
    """Start and end of the part to show, and the time of the still: the middle of the most suspicious window."""
    end = prediction.seconds + 0.2  # the last frame that was looked at stands for a little more
    if not (people := prediction.people):
        return 0.0, min(end, seconds), 0.0
    worst = (prediction.decisive or people[0]).worst
    start = max(0.0, min(worst.start - BEFORE_WORST, end - seconds)) if end > seconds else 0.0
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
    """Each person's boxes, as fractions of the frame, and scores by time, for the player.

    Scores of overlapping windows are averaged. A video's only window has those of its frames, if the model gives them.
    A person who is not judged has none.
    """
    size = np.array([preview.width, preview.height] * 2)
    people = []
    for person in prediction.people:
        judged, decides = person in prediction.tracks, person is prediction.decisive
        seen = defaultdict[float, list[tuple[Any, bool, float]]](list)
        for window in person.windows:
            scores = np.full(len(window.faces.times), window.score)
            if decides and len(person.windows) == 1 and explanation and explanation.frame_logits is not None:
                scores = prediction.folder.calibration.apply(expit(explanation.frame_logits))
            faces = zip(window.faces.boxes / size, window.faces.detected.tolist(), scores.tolist(), strict=True)
            for time, face in zip(window.faces.times, faces, strict=True):
                seen[round(float(time), 3)].append(face)
        frames = [(time, *seen[time][0][:2], fmean(face[2] for face in seen[time])) for time in sorted(seen)]
        people.append(
            {
                "number": person.number + 1,
                "decides": decides,
                "step": person.time_step,
                "times": [time for time, *_ in frames],
                "boxes": [box.round(4).tolist() for _, box, *_ in frames],
                "found": [found for *_, found, _ in frames],
                "scores": [round(score, 3) if judged else None for *_, score in frames],
            }
        )
    return people


def draw_still(preview: Preview, people: list[dict[str, Any]], time: float, threshold: float) -> Image:
    """The preview's still with each person's box; that of the verdict's person is thick."""
    drawn = preview.still.copy()
    for person in people:
        index = int(np.argmin(np.abs(np.array(person["times"]) - time)))
        if abs(person["times"][index] - time) <= 2 * person["step"]:
            height, width = drawn.shape[:2]
            box = (np.array(person["boxes"][index]) * [width, height, width, height]).round().astype(int).tolist()
            thick = 3 if person["decides"] else 1
            cv2.rectangle(drawn, box, (0, 0, 0), thick + 2)  # a dark rim shows on any background
            cv2.rectangle(drawn, box, colour_of(person["scores"][index], threshold), thick)
    return drawn


def colour_of(score: float | None, threshold: float) -> tuple[int, int, int]:
    """The colour of a score: blue at 0, light grey at the threshold, orange at 1; grey for none. As in player.js."""
    if score is None:
        return rgb(CHANCE)
    end = FAKE if score > threshold else REAL
    part = (score - threshold) / (1 - threshold) if score > threshold else 1 - score / threshold
    red, green, blue = np.round(np.add(BETWEEN, part * np.subtract(rgb(end), BETWEEN))).astype(int).tolist()
    return red, green, blue

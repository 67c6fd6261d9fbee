"""What a model says of one video: figures, and words that claim no more than the figures do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces import Status
from dfdc_utils.models import Calibration, OOD_PERCENTILE, SAMPLE
from dfdc_utils.prediction.windows import FaceWindow

RARE = 90.0  # percentile of what a model was validated on, from which on it is said to have seen few such faces

Float = NDArray[np.floating[Any]]
Verdict = Literal["fake", "real", "unsure", ""]


@dataclass(frozen=True)
class WindowScore:
    """One person over one window: `score` is calibrated, 0 real to 1 fake.

    `low` to `high` is the range of scores when the same faces are shown mirrored and moved by some pixels, which makes
    no video more or less fake. `faces` is what the model saw. `ood_percentile` is how far that lies from all it was trained on,
    as a percentile of what its own validation has; None if the model does not know.
    """

    score: float
    low: float
    high: float
    faces: FaceWindow
    ood_percentile: float | None = None

    @property
    def start(self) -> float:
        """Seconds."""
        return float(self.faces.times[0])

    @property
    def end(self) -> float:
        """Seconds."""
        return float(self.faces.times[-1])


@dataclass(frozen=True)
class Explanation:
    """Why a window was scored as it was: `heat` (T, H, W), 0 to 1, is where in its faces the model sees a fake, and
    `importance` (T,) how much each frame adds to the score's logit.
    """

    heat: Float = field(repr=False)
    importance: Float


@dataclass(frozen=True)
class TrackScore:
    """One person through a video. `score`, `low`, `high` and `ood_percentile` are means over the person's windows."""

    number: int
    windows: tuple[WindowScore, ...]

    @property
    def score(self) -> float:
        return _mean(window.score for window in self.windows)

    @property
    def low(self) -> float:
        return _mean(window.low for window in self.windows)

    @property
    def high(self) -> float:
        return _mean(window.high for window in self.windows)

    @property
    def ood_percentile(self) -> float | None:
        known = [window.ood_percentile for window in self.windows if window.ood_percentile is not None]
        return _mean(known) if known else None

    @property
    def out_of_distribution(self) -> bool:
        """Whether the model knows that it was trained on nothing like this person."""
        return self.ood_percentile is not None and self.ood_percentile >= OOD_PERCENTILE

    @property
    def worst(self) -> WindowScore:
        """The window that looks most like a fake."""
        return max(self.windows, key=lambda window: window.score)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one video.

    `status` is `ok`, `no_face` or `unreadable`; without `ok` there is no score, and `error` says why and what to do.
    `tracks` are its people, the most suspicious first. `seconds` is up to where the video was looked at.
    `calibration` and `trained_on` are the model's.
    """

    path: Path
    status: Status
    error: str
    seconds: float
    tracks: tuple[TrackScore, ...]
    calibration: Calibration = field(repr=False)
    trained_on: str

    @property
    def score(self) -> float | None:
        """That of the person whom the verdict is about; None if there is nobody to score."""
        return self.decisive.score if self.decisive else None

    @property
    def decisive(self) -> TrackScore | None:
        """The person that the verdict is about: the most suspicious one, or the first that is fake beyond doubt."""
        beyond = (one for one in self.tracks if one.low > self.calibration.threshold and not one.out_of_distribution)
        return next(beyond, self.tracks[0] if self.tracks else None)

    @property
    def verdict(self) -> Verdict:
        """`fake` or `real` where the whole range of scores lies on one side of the threshold, else `unsure`.

        `unsure` also where the model was trained on nothing like it.
        """
        person = self.decisive
        if person is None:
            return ""
        if person.out_of_distribution:
            return "unsure"
        if person.low > self.calibration.threshold:
            return "fake"
        return "real" if person.high <= self.calibration.threshold else "unsure"

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if self.status != "ok":
            return {"no_face": "No verdict: no face found", "unreadable": "No verdict: not readable"}[self.status]
        return {"fake": "Looks fake", "real": "No sign of a fake", "unsure": "Unsure"}[self.verdict]

    def in_words(self) -> str:
        """The verdict with its figures, how sure it is, and what the model knows."""
        person, fitted = self.decisive, self.calibration
        if person is None:
            return f"{self.headline}. {self.error}"
        side = "above" if person.low > fitted.threshold else "below"
        side = "on both sides of" if person.low <= fitted.threshold < person.high else side
        who = f" (person {person.number + 1} of {len(self.tracks)})" if len(self.tracks) > 1 else ""
        sentences = [
            f"{self.headline}{who}: score {person.score:.2f}, {person.low:.2f} to {person.high:.2f} when the faces "
            f"are mirrored and moved, {side} the threshold {fitted.threshold:.2f}.",
            fitted.in_words(),
            f"The model was trained on {self.trained_on}.",
        ]
        if self.trained_on == SAMPLE:
            sentences[-1] += " It has only seen drawn faces: on a real video its score means nothing."
        if person.ood_percentile is not None:
            sentences.append(_describe_ood(person.ood_percentile))
        if self.error:
            sentences.append(f"Only the first {self.seconds:.1f} s were looked at. {self.error}")
        return " ".join(sentences)

    def to_row(self) -> dict[str, Any]:
        """One row of a table."""
        person = self.decisive
        return {
            "video": self.path.stem,
            "path": str(self.path),
            "status": self.status,
            "verdict": self.verdict,
            "score": person.score if person else None,
            "low": person.low if person else None,
            "high": person.high if person else None,
            "threshold": self.calibration.threshold,
            "ood_percentile": person.ood_percentile if person else None,
            "tracks": len(self.tracks),
            "worst_start": person.worst.start if person else None,
            "worst_end": person.worst.end if person else None,
            "seconds": self.seconds,
            "trained_on": self.trained_on,
            "error": self.error,
        }

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON: those of `to_row`, and a list of people, each with a list of windows."""
        people = [
            {
                "track": person.number,
                "score": person.score,
                "low": person.low,
                "high": person.high,
                "ood_percentile": person.ood_percentile,
                "windows": [_describe(window) for window in person.windows],
            }
            for person in self.tracks
        ]
        return self.to_row() | {"in_words": self.in_words(), "people": people}


def predictions_table(predictions: Iterable[Prediction]) -> pd.DataFrame:
    """A row a video, those that look most like fakes first, those without a score last. Taught in notebook 06."""
    rows = pd.DataFrame([prediction.to_row() for prediction in predictions])
    return rows.sort_values(["score", "video"], ascending=[False, True], na_position="last", ignore_index=True)


def _describe(window: WindowScore) -> dict[str, Any]:
    faces = window.faces
    return {
        "start": window.start,
        "end": window.end,
        "score": window.score,
        "low": window.low,
        "high": window.high,
        "ood_percentile": window.ood_percentile,
        "frames_detected": int(faces.detected.sum()),
        "frames_filled": int((~faces.detected).sum()),
    }


def _describe_ood(percentile: float) -> str:
    if percentile >= OOD_PERCENTILE:
        return (
            "These faces are ood_percentile anything that it was trained on, further from it than "
            f"{percentile:.0f}% of what it was validated on: take the score for a guess."
        )
    seen = "Faces like these it has seen" if percentile < RARE else "Few faces like these has it seen"
    return f"{seen}: {100 - percentile:.0f}% of what it was validated on lies further away."


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)

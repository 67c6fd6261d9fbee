"""What a model says about one video: numbers, and words that claim no more than the numbers do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces import Status
from dfdc_utils.models import OOD_PERCENTILE, SAMPLE, Calibration
from dfdc_utils.prediction.windows import FaceWindow

RARE = 90.0  # from this percentile of its validation data on, the words say that the model has seen few such faces
NUMBERS = ("score", "low", "high", "ood_percentile")  # of a window, and of a person

Verdict = Literal["fake", "no sign of a fake", "unsure", "not judged"]


@dataclass(frozen=True)
class WindowScore:
    """The score of one person over one window, calibrated: 0 real to 1 fake.

    `low` to `high` is the range of scores when the same faces are mirrored or shifted by some pixels, which makes no
    video more or less fake. `faces` is what the model saw. `ood_percentile` says how far that lies from the training
    data, as a percentile of the validation data; None for a model without an out-of-distribution detector.
    """

    score: float
    low: float
    high: float
    faces: FaceWindow
    ood_percentile: float | None = None

    @property
    def start(self) -> float:
        """Time of the first frame, in seconds."""
        return float(self.faces.times[0])

    @property
    def end(self) -> float:
        """Time of the last frame, in seconds."""
        return float(self.faces.times[-1])


@dataclass(frozen=True)
class Explanation:
    """Why a window has its score: `heat` (T, H, W), 0 to 1, is where in the faces the model sees a fake; `importance`
    (T,) is how much the score's logit falls when each frame is hidden.
    """

    heat: NDArray[np.floating[Any]] = field(repr=False)
    importance: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TrackScore:
    """The scores of one person. `score`, `low`, `high` and `ood_percentile` are means over the person's windows."""

    number: int
    windows: tuple[WindowScore, ...]

    @property
    def score(self) -> float:
        return fmean(window.score for window in self.windows)

    @property
    def low(self) -> float:
        return fmean(window.low for window in self.windows)

    @property
    def high(self) -> float:
        return fmean(window.high for window in self.windows)

    @property
    def ood_percentile(self) -> float | None:
        known = [window.ood_percentile for window in self.windows if window.ood_percentile is not None]
        return fmean(known) if known else None

    @property
    def out_of_distribution(self) -> bool:
        """Whether these faces lie beyond `OOD_PERCENTILE` of the validation data."""
        return self.ood_percentile is not None and self.ood_percentile >= OOD_PERCENTILE

    @property
    def worst(self) -> WindowScore:
        """The window with the highest score."""
        return max(self.windows, key=lambda window: window.score)


@dataclass(frozen=True)
class Prediction:
    """What a model says about one video.

    `status` is `ok`, `no_face` or `unreadable`; without `ok` there is no score, and `error` says why and what to do.
    The video was looked at from its start to `seconds`; `duration` is its length (0 if unknown). `tracks` are its
    people, the highest score first. `calibration` and `trained_on` are the model's.
    """

    path: Path
    status: Status
    error: str
    seconds: float
    tracks: tuple[TrackScore, ...]
    calibration: Calibration = field(repr=False)
    trained_on: str
    duration: float = 0.0

    @property
    def score(self) -> float | None:
        """The score of the person whom the verdict is about; None if nobody was scored."""
        return self.decisive.score if self.decisive else None

    @property
    def decisive(self) -> TrackScore | None:
        """The person whom the verdict is about: the first one called fake, else the one with the highest score."""
        fake = (one for one in self.tracks if one.low > self.calibration.threshold and not one.out_of_distribution)
        return next(fake, self.tracks[0] if self.tracks else None)

    @property
    def verdict(self) -> Verdict:
        """`fake` or `no sign of a fake` where the whole range of scores lies on one side of the threshold.

        `unsure` where it does not, where the faces are out of distribution, and where a single window of a whole video
        is above the threshold though the mean is not; `not judged` where there is no score.
        """
        person, threshold = self.decisive, self.calibration.threshold
        if person is None:
            return "not judged"
        if person.out_of_distribution:
            return "unsure"
        if person.low > threshold:
            return "fake"
        surely_fake = any(window.low > threshold for window in person.windows)
        return "unsure" if surely_fake or person.high > threshold else "no sign of a fake"

    @property
    def is_partial(self) -> bool:
        """Whether more than a tenth of the video was not looked at; the last frames never are."""
        return self.seconds < 0.9 * self.duration

    @property
    def headline(self) -> str:
        """The verdict, with the reason if there is none."""
        reasons = {"ok": "", "no_face": ": no face found", "unreadable": ": cannot be read"}
        return f"{self.verdict.capitalize()}{reasons[self.status]}"

    @property
    def caveats(self) -> str:
        """What holds for every video that this model scores: its error rates, and what it was trained on."""
        fitted = self.calibration
        sentences = [fitted.in_words(), f"The model was trained on {self.trained_on}."]
        if fitted.real:
            sentences.insert(1, "How this carries over to other videos is not known.")
        if self.trained_on.startswith(SAMPLE):
            sentences.append("A model trained on drawn fakes must not be used on real videos.")
        return " ".join(sentences)

    def in_words(self) -> str:
        """The verdict in words: the score and its range, what was looked at, and the `caveats`."""
        person, threshold = self.decisive, self.calibration.threshold
        if person is None:
            return f"{self.headline}. {self.error}"
        who = f" (person {person.number + 1} of {len(self.tracks)})" if len(self.tracks) > 1 else ""
        sentences = [
            f"{self.headline}{who}: score {person.score:.2f}, {person.low:.2f} to {person.high:.2f} when the faces are "
            f"mirrored or shifted; above {threshold:.2f} counts as fake."
        ]
        if len(person.windows) > 1 and (above := sum(window.score > threshold for window in person.windows)):
            sentences.append(
                f"{above} of {len(person.windows)} windows score above {threshold:.2f}, the highest "
                f"{person.worst.start:.1f} to {person.worst.end:.1f} s."
            )
        if self.error:
            sentences.append(f"Only the first {self.seconds:.1f} s were looked at. {self.error}")
        elif self.is_partial:
            sentences.append(f"Looked at the first {self.seconds:.1f} s of {self.duration:.1f} s.")
        if person.ood_percentile is not None:
            sentences.append(_describe_ood(person.ood_percentile))
        return " ".join([*sentences, self.caveats])

    def to_row(self) -> dict[str, Any]:
        """One row of a table."""
        person = self.decisive
        return {
            "video": self.path.stem,
            "path": str(self.path),
            "status": self.status,
            "verdict": self.verdict,
            **{name: getattr(person, name, None) for name in NUMBERS},
            "threshold": self.calibration.threshold,
            "tracks": len(self.tracks),
            "worst_start": person.worst.start if person else None,
            "worst_end": person.worst.end if person else None,
            "seconds": self.seconds,
            "duration": self.duration,
            "trained_on": self.trained_on,
            "error": self.error,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON: `to_row`, `in_words`, and a list of `people`, each with a list of `windows`."""
        people = [
            {
                "track": person.number,
                **{name: getattr(person, name) for name in NUMBERS},
                "windows": [
                    {name: getattr(window, name) for name in ("start", "end", *NUMBERS)}
                    | {
                        "frames_detected": int(window.faces.detected.sum()),
                        "frames_filled": int((~window.faces.detected).sum()),
                    }
                    for window in person.windows
                ],
            }
            for person in self.tracks
        ]
        return self.to_row() | {"in_words": self.in_words(), "people": people}


def predictions_table(predictions: Iterable[Prediction]) -> pd.DataFrame:
    """One row per video, highest score first, those without a score last. Taught in notebook 06."""
    rows = pd.DataFrame([prediction.to_row() for prediction in predictions])
    return rows.sort_values(["score", "video"], ascending=[False, True], na_position="last", ignore_index=True)


def _describe_ood(percentile: float) -> str:
    if percentile >= OOD_PERCENTILE:
        return "It was trained on nothing like these faces. Treat the score as a guess."
    if percentile >= RARE:
        return "It has seen few faces like these, so trust the score less."
    return "These faces resemble its training data."

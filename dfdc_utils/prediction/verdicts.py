"""What a model says about one video: numbers, and words that claim no more than the numbers do."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import dfdc_utils
from dfdc_utils.faces import Status
from dfdc_utils.models import OOD_PERCENTILE, ModelFolder
from dfdc_utils.prediction.windows import FaceWindow

RARE = 90.0  # from this percentile of its validation data on, the words say that the model has seen few such faces
NUMBERS = ("score", "low", "high", "ood_percentile", "flicker")  # of a window, and of a person
HEARD = ("pictures", "sound")  # the same, for a model that hears
# A model that sees change over time judges frames that are as far apart as in its training, within this factor. On the
# sample, frames twice as close lowered the mean score of a fake from 0.98 to 0.71 (measured at commit 46b82a9).
MAX_TIME_FACTOR = 1.25

TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("dfdc_utils.prediction", ""), trim_blocks=True)
Verdict = Literal["fake", "no sign of a fake", "unsure", "not judged"]
REASONS = {
    "ok": "",
    "no_face": ": no face found",
    "poor_face": ": no face that can be judged",
    "other_kind": ": not the kind of video that this model was trained on",
    "unreadable": ": cannot be read",
}


@dataclass(frozen=True)
class WindowScore:
    """The score of one person over one window, calibrated: 0 real to 1 fake."""

    score: float
    low: float  #: the lowest score when the same faces are mirrored or shifted by some pixels
    high: float  #: the highest
    faces: FaceWindow  #: what the model saw
    ood_percentile: float | None = None  #: distance from the training data, as a percentile of validation, if known
    pictures: float | None = None  #: of a model that hears: the score of the pictures alone
    sound: float | None = None  #: that sound and mouth do not belong together; None if `faces.sound_flaw` says why
    flicker: float | None = None  #: how much more the face flickers than real ones, in standard deviations, if known

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
    """Why a window has its score. The contributions add up to the logit minus that of a window without any evidence."""

    heat: NDArray[np.float32] = field(repr=False)  #: (T, H, W), 0 to 1: where in the faces the model sees a fake
    contributions: NDArray[np.float32]  #: (T,): what each frame adds to the logit
    logit: float  #: of the score
    frame_logits: NDArray[np.float32] | None = None  #: (T,), of single frames, if the model scores them


def _mean_of(name: str) -> Any:
    """A property of `TrackScore`: the mean of a number over the windows that have it; None if none has."""

    def mean(person: "TrackScore") -> float | None:
        known = [number for window in person.windows if (number := getattr(window, name)) is not None]
        return fmean(known) if known else None

    return property(mean)


@dataclass(frozen=True)
class TrackScore:
    """The scores of one person: each number is the mean over the person's windows.

    A window counts only if the face in it may decide about the video. If none may, `flaw` says why of the first one.
    """

    number: int
    all_windows: tuple[WindowScore, ...]

    score, low, high = _mean_of("score"), _mean_of("low"), _mean_of("high")
    ood_percentile, pictures, sound = _mean_of("ood_percentile"), _mean_of("pictures"), _mean_of("sound")
    flicker = _mean_of("flicker")

    @property
    def windows(self) -> tuple[WindowScore, ...]:
        """The windows that count, or all of them if none does."""
        return tuple(window for window in self.all_windows if not window.faces.flaw) or self.all_windows

    @property
    def flaw(self) -> str:
        return self.windows[0].faces.flaw

    @property
    def time_step(self) -> float:
        """Median time between two frames, in seconds."""
        return float(np.median([window.faces.time_step for window in self.windows]))

    @property
    def worst(self) -> WindowScore:
        """The window with the highest score."""
        return max(self.windows, key=lambda window: window.score)


@dataclass(frozen=True)
class Prediction:
    """What a model says about one video.

    `status` is `ok`, `no_face`, `unreadable`, `poor_face` (none of the faces may decide) or `other_kind` (a recorded
    video and a model trained on synthetic ones, or the reverse); without `ok` there is no verdict.
    """

    path: Path
    status: Status | Literal["poor_face", "other_kind"]
    error: str  #: why there is no verdict, and what to do
    seconds: float  #: the video was looked at from its start to here
    people: tuple[TrackScore, ...]  #: all that were scored, the highest score first
    folder: ModelFolder = field(repr=False)  #: the model's
    duration: float = 0.0  #: of the video, in seconds; 0 if unknown
    left_out: int = 0  #: how many people more were not scored
    detector: str = ""  #: that found the faces

    def __repr__(self) -> str:
        return f"<Prediction {self.path.name}: {self.headline}>"

    @property
    def threshold(self) -> float:
        """The calibrated score above which a video counts as fake."""
        return self.folder.calibration.threshold

    @property
    def tracks(self) -> tuple[TrackScore, ...]:
        """The people who may decide, the highest score first; none without a verdict."""
        return tuple(one for one in self.people if not one.flaw) if self.status == "ok" else ()

    @property
    def score(self) -> float | None:
        """The score of the person whom the verdict is about; None without a verdict."""
        return self.decisive.score if self.decisive else None

    @property
    def decisive(self) -> TrackScore | None:
        """The person whom the verdict is about: the first one called fake, else the one with the highest score."""
        fake = (one for one in self.tracks if self._is_fake(one) and not self.doubt(one))
        return next(fake, self.tracks[0] if self.tracks else None)

    def _is_fake(self, person: TrackScore) -> bool:
        return person.low > self.threshold or bool(self.fake_part(person))

    def fake_part(self, person: TrackScore) -> tuple[WindowScore, ...]:
        """The longest series of windows of a person, two at least, that all score higher than any REAL validation one.

        A fake in a part of a long video does not raise the mean. One window above the threshold is no sign, as a tenth
        of real ones may be; two in a row above the highest real score are.
        """
        windows = sorted(person.windows, key=lambda window: window.start)
        highest = max(self.threshold, self.folder.calibration.highest_real)
        series = itertools.groupby(windows, key=lambda window: window.low > highest)
        longest = max((tuple(run) for is_above, run in series if is_above), key=len, default=())
        return longest if len(longest) > 1 else ()

    def doubt(self, person: TrackScore) -> str:
        """Say why the score of a person must not be relied on, whatever it is; empty if nothing speaks against it."""
        step, trained = person.time_step, self.folder.sequence.time_step
        if all(len(set(window.faces.times)) == 1 for window in person.windows):
            return "This is a single picture, and the model was trained and measured on videos."
        if person.ood_percentile is not None and person.ood_percentile >= OOD_PERCENTILE:
            return "The model was trained on nothing like these faces."
        if self.folder.calibration.recall == 0:
            return "The model called none of the fakes fake that it was validated on: train on more videos."
        if trained and step and not 1 / MAX_TIME_FACTOR <= step / trained <= MAX_TIME_FACTOR:
            return f"Its frames are {step:.2f} s apart; the model was trained on frames that are {trained:.2f} s apart."
        return ""

    @property
    def verdict(self) -> Verdict:
        """`fake` or `no sign of a fake` where the whole range of scores lies on one side of the threshold.

        `fake`, too, with a `fake_part`. `unsure` otherwise, where the score is in `doubt`, and where a single window is
        above the threshold though the mean is not; `not judged` without a score.
        """
        person, threshold = self.decisive, self.threshold
        if person is None:
            return "not judged"
        if self.doubt(person):
            return "unsure"
        if self._is_fake(person):
            return "fake"
        is_above = person.high > threshold or any(window.low > threshold for window in person.windows)
        return "unsure" if is_above else "no sign of a fake"

    @property
    def is_partial(self) -> bool:
        """Whether more than a tenth of the video was not looked at; the last frames never are."""
        return self.seconds < 0.9 * self.duration

    @property
    def headline(self) -> str:
        """The verdict, with the reason if there is none."""
        return f"{self.verdict.capitalize()}{REASONS[self.status]}"

    def in_words(self) -> str:
        """The verdict in words: what was looked at, the score and its range, and the model's `caveats`."""
        words = TEMPLATES.get_template("in_words.txt.j2").render(one=self, person=self.decisive, rare=RARE)
        return " ".join(filter(None, words.split("\n")))

    def windows_in_words(self) -> str:
        """Which windows score high, if some do and some do not; empty without a verdict."""
        return TEMPLATES.get_template("windows.txt.j2").render(one=self, person=self.decisive).strip()

    def _repr_html_(self) -> str:
        """The verdict with its video, as a notebook shows it."""
        return str(dfdc_utils.plots.describe(self))  # by its public name: that folder is above this one

    def heard(self) -> str:
        """What pictures and sound say apart; empty without a verdict, or for a model that does not hear."""
        return TEMPLATES.get_template("heard.txt.j2").render(person=self.decisive).strip()

    def to_row(self) -> dict[str, Any]:
        """One row of a table."""
        person, numbers = self.decisive, NUMBERS + (HEARD if self.folder.sequence.audio else ())
        return {
            "video": self.path.stem,
            "path": str(self.path),
            "status": self.status,
            "verdict": self.verdict,
            **{name: getattr(person, name, None) for name in numbers},
            "threshold": self.threshold,
            "tracks": len(self.people),
            "left_out": self.left_out,
            "worst_start": person.worst.start if person else None,
            "worst_end": person.worst.end if person else None,
            "seconds": self.seconds,
            "duration": self.duration,
            "trained_on": self.folder.data,
            "error": self.error,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON: `to_row`, `in_words`, and a list of `people`, each with a list of `windows`."""

        def describe(window: WindowScore) -> dict[str, Any]:
            faces, numbers = window.faces, {name: getattr(window, name) for name in ("start", "end", *NUMBERS)}
            filled = len(np.unique(faces.times)) - faces.found
            counts = {"frames": faces.looked_at, "frames_detected": faces.found, "frames_filled": filled}
            return numbers | {"flaw": faces.flaw} | counts

        people = [
            {"track": person.number, "flaw": person.flaw}
            | {name: getattr(person, name) for name in NUMBERS}
            | {"windows": [describe(window) for window in person.all_windows]}
            for person in self.people
        ]
        return self.to_row() | {"in_words": self.in_words(), "people": people}


def predictions_table(predictions: Iterable[Prediction]) -> pd.DataFrame:
    """One row per video, highest score first, those without a score last. Taught in notebook 06."""
    rows = pd.DataFrame([prediction.to_row() for prediction in predictions])
    return rows.sort_values(["score", "video"], ascending=[False, True], na_position="last", ignore_index=True)

"""From a score to a probability and a verdict: a temperature and a threshold, both fitted on validation videos."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from dfdc_utils.evaluation.intervals import share_interval

log = logging.getLogger(__name__)

Scores = NDArray[np.float64]

FALSE_ALARMS = 0.1  # the share of REAL videos that may be called fake at the operating threshold
# How far the logarithm of a temperature is expected to lie from 0 before anything was seen (a normal distribution's
# standard deviation). A dozen videos that are all scored right would otherwise ask for certainty.
PRIOR = 0.3
BINS = 10  # of the calibration error, equally wide
REAL_PER_FAKE = 100  # in the world that precision is weighed for, as in the DFDC preview paper


@dataclass(frozen=True)
class Calibration:
    """How a model's scores are to be read.

    `temperature` divides the score's logit; `threshold` is the calibrated score above which a video is called fake.
    `false_alarms` and `found` are the shares of the `real` REAL and `fake` FAKE validation videos above it, and
    `false_alarms_at_most` the upper end of the first one's 95 % interval (Clopper and Pearson 1934): few videos promise
    little. `counted` says what these were.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    false_alarms: float = float("nan")
    false_alarms_at_most: float = 1.0
    found: float = float("nan")
    real: int = 0
    fake: int = 0
    counted: str = "validation videos"

    def apply(self, scores: Any) -> Scores:
        """Calibrated scores, 0 real to 1 fake, of a model's own."""
        logits = _logits(scores) / self.temperature
        calibrated: Scores = 1 / (1 + np.exp(-logits))
        return calibrated

    def in_words(self) -> str:
        """What is to be expected at the threshold, as far as the validation videos can tell."""
        if not self.real:
            return "How often it calls a real video fake was never measured."
        return (
            f"Of {self.real} real {self.counted} {self.false_alarms:.0%} lay above it (with so many, up to "
            f"{self.false_alarms_at_most:.0%} cannot be ruled out), of {self.fake} fake ones {self.found:.0%}."
        )

    def to_json(self) -> str:
        """What `load` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read it from JSON. Raises `FileNotFoundError` if there is none, `ValueError` if the file is not one."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: the model is not calibrated. Finish its training first.") from error
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a calibration ({error}). Train again.") from error


def calibration_of(model_path: str | Path) -> Calibration:
    """The `calibration.json` of a model's folder. Where there is none, scores are used as they are, and a line says so.

    Raises `ValueError` if the file is not one.
    """
    try:
        return Calibration.load(Path(model_path) / "calibration.json")
    except FileNotFoundError:
        log.warning("%s has no calibration.json: its scores are used as they are", model_path)
        return Calibration()


def calibrate(labels: Any, scores: Any, *, false_alarms: float = FALSE_ALARMS) -> Calibration:
    """Fit temperature and threshold on validation videos: `labels` (N,) 1 for FAKE, `scores` (N,) the model's own.

    The temperature is that of the least log loss, drawn towards 1 by a prior that a hundred videos outweigh. The
    threshold is the lowest at which no more than `false_alarms` of the REAL ones are called fake, and never below 0.5.

    Raises `ValueError` if a class is missing.
    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599; the prior is ours. Taught in notebook 05.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    real, fake = int((~labels).sum()), int(labels.sum())
    if not real or not fake:
        raise ValueError(f"{real} REAL and {fake} FAKE videos cannot calibrate a model: both are needed")
    logits = _logits(scores)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.sum(np.logaddexp(0, scaled) - labels * scaled) + 0.5 * (log_temperature / PRIOR) ** 2)

    fitted = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    draft = Calibration(temperature=float(np.exp(fitted.x)))
    calibrated = draft.apply(scores)
    ranked = np.sort(calibrated[~labels])[::-1]
    threshold = max(0.5, float(ranked[int(false_alarms * real)]))  # so many of them may lie above it
    alarms, found = int((calibrated[~labels] > threshold).sum()), int((calibrated[labels] > threshold).sum())
    at_most = float(share_interval(alarms, real)[1])
    return Calibration(draft.temperature, threshold, alarms / real, at_most, found / fake, real, fake)


def calibration_error(labels: Any, scores: Any) -> float:
    """Expected calibration error: how far the share of FAKE lies from the mean score, over ten equally wide bins.

    Bins count by the videos in them. Source: Naeini, Cooper and Hauskrecht 2015. Taught in notebook 05.
    """
    labels, scores = np.asarray(labels, float), np.asarray(scores, float)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, scores - labels, BINS)  # in each bin, videos times the gap
    return float(np.abs(gaps).sum() / len(scores))


def count_calls(scores: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """How many videos are called what if those scored above `threshold` are called fake: the confusion matrix.

    A row for REAL and one for FAKE, columns `called real` and `called fake`. Raises `ValueError` unless each row of
    `scores` has a label and a score, and both labels occur. Taught in notebook 05.
    """
    if missing := {"label", "score"} - set(scores):
        raise ValueError(f"a table without {' and '.join(sorted(missing))} counts nothing: use that of score_videos")
    fake = (scores["label"] == "FAKE").to_numpy()
    unusable = scores[~scores["label"].isin(("REAL", "FAKE")) | scores["score"].isna()]
    if len(unusable):
        raise ValueError(f"{len(unusable)} of {len(scores)} videos lack a label or a score: leave them out first")
    if fake.all() or not fake.any():
        raise ValueError(f"{(~fake).sum()} REAL and {fake.sum()} FAKE videos: a threshold parts two classes")
    called = (scores["score"] > threshold).to_numpy()
    counts = [[int((is_fake & (called == call)).sum()) for call in (False, True)] for is_fake in (~fake, fake)]
    return pd.DataFrame(counts, index=["REAL", "FAKE"], columns=["called real", "called fake"])


def weigh_precision(found: float, false_alarms: float) -> float:
    """How many of the videos called fake are fake, in a world of 100 REAL ones for each FAKE: a share, 0 to 1.

    `found` is the share of FAKE called fake, `false_alarms` that of REAL; NaN where nothing is called fake.
    Source: Dolhansky et al. 2019, https://arxiv.org/abs/1910.08854. Taught in notebook 05.
    """
    called = found + REAL_PER_FAKE * false_alarms
    return found / called if called else float("nan")


def _logits(scores: Any) -> Scores:
    # float32 scores reach 0 and 1 exactly; no 64-bit logit is needed beyond 16.
    clipped = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    logits: Scores = np.log(clipped) - np.log1p(-clipped)
    return logits

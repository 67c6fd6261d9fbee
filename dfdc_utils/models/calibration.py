"""From a score to a probability and a verdict: a temperature and a threshold, both fitted on validation videos."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

FALSE_POSITIVE_RATE = 0.1  # fraction of REAL videos that may be called fake at the operating threshold
# Standard deviation of the temperature's logarithm, normal about 0: else a dozen videos, all right, push it towards 0.
PRIOR = 0.3


@dataclass(frozen=True)
class Calibration:
    """How a model's scores are read. The score of a video is the highest of the people in it.

    `temperature` divides the score's logit; `threshold` is the calibrated score above which a video is called fake, and
    `highest_real` the highest of the REAL ones. `false_positive_rate` and `recall` are the fractions of `real` REAL and
    `fake` FAKE ones above the threshold; `false_positive_rate_upper` is the upper end of the 95 % interval of the
    first. `counted` says what the real ones are, `fakes` what the fake ones are.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    false_positive_rate: float = float("nan")
    false_positive_rate_upper: float = 1.0
    recall: float = float("nan")
    real: int = 0
    fake: int = 0
    counted: str = "validation videos"
    fakes: str = "fake ones"
    highest_real: float = 1.0

    def apply(self, scores: Any) -> Scores:
        """Calibrate a model's own scores, 0 real to 1 fake."""
        return np.asarray(1 / (1 + np.exp(-_logits(scores) / self.temperature)))

    def in_words(self) -> str:
        """Say what was measured at the threshold, on which data."""
        if not self.real:
            return "Its false positive rate was never measured."
        most = f"at most {self.false_positive_rate_upper:.0%} with 95 % confidence"
        real = f"On {self.real} real {self.counted}, {self.false_positive_rate:.0%} were called fake ({most})"
        return f"{real}; of {self.fake} {self.fakes}, {self.recall:.0%}."

    def to_json(self) -> str:
        """Give the text that `load` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it from JSON. Raises `FileNotFoundError` if there is none, `ValueError` if the file is not one."""
        try:
            read = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            if 0 <= read.threshold <= 1 and 0 < read.temperature < np.inf:
                return read
            raise ValueError("the threshold is not from 0 to 1, or the temperature not positive")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: the model is not calibrated. Finish its training first.") from error
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a calibration ({error}). Train again.") from error


def calibrate(labels: Any, scores: Any, *, false_positive_rate: float = FALSE_POSITIVE_RATE) -> Calibration:
    """Fit temperature and threshold on validation videos: `labels` (N,) 1 for FAKE, `scores` (N,) the model's own.

    The temperature minimises the log loss, with a prior that keeps it near 1 for few videos; a hundred outweigh it. The
    threshold is at least 0.5, and as high as needed to call at most `false_positive_rate` of the REAL videos fake.

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

    from scipy.optimize import minimize_scalar  # here, since importing it takes longer than opening a model

    draft = Calibration(temperature=float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x)))
    calibrated = draft.apply(scores)
    ranked = np.sort(calibrated[~labels])[::-1]
    threshold = max(0.5, float(ranked[int(false_positive_rate * real)]))  # that many may lie above it
    false_positives, hits = int((calibrated[~labels] > threshold).sum()), int((calibrated[labels] > threshold).sum())
    rates = (false_positives / real, float(binomial_interval(false_positives, real)[1]), hits / fake, real, fake)
    return Calibration(draft.temperature, threshold, *rates, highest_real=float(ranked[0]))


def binomial_interval(count: Any, total: Any, *, level: float = 0.95) -> tuple[Any, Any]:
    """The exact interval of a fraction, `count` of `total`: low and high, floats or arrays of the arguments' shape.

    It covers the true fraction at least as often as `level` says if videos are independent. Raises `ValueError` unless
    0 ≤ count ≤ total and total > 0. Source: Clopper and Pearson 1934. Taught in notebook 05.
    """
    count, total = np.asarray(count, float), np.asarray(total, float)
    if not np.all((count >= 0) & (count <= total) & (total > 0)):
        raise ValueError(f"{count} of {total} is no fraction: a count lies between 0 and its total, which is positive")
    from scipy.stats import beta  # here, as above

    outside = (1 - level) / 2
    # The beta distribution is not defined for a count of 0 (low end: 0), nor for all of the total (high end: 1).
    low = np.where(count > 0, beta.ppf(outside, np.maximum(count, 1), total - count + 1), 0.0)
    return low[()], np.where(count < total, beta.ppf(1 - outside, count + 1, np.maximum(total - count, 1)), 1.0)[()]


def _logits(scores: Any) -> Scores:
    # float32 scores can be exactly 0 or 1; this keeps their logits within ±16.
    clipped = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))

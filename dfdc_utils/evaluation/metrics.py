"""Metrics of scored videos: what each number is, and how scores become counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

THRESHOLD = 0.5  # a calibrated score above it is more likely fake than not
BINS = 10  # of the calibration error, equally wide
REAL_PER_FAKE = 100  # in the world that precision is weighed for, as in the DFDC preview paper

Metric = Callable[[Any, Any], float]


def _accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.accuracy_score(labels, scores > THRESHOLD))


def _balanced_accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.balanced_accuracy_score(labels, scores > THRESHOLD))


def _log_loss(labels: Any, scores: Any) -> float:
    return float(metrics.log_loss(labels, scores, labels=[0, 1]))


def _auc(labels: Any, scores: Any) -> float:
    return float(metrics.roc_auc_score(labels, scores))


def weighted_precision(labels: Any, scores: Any, recall: float) -> float:
    """Precision at a recall in a world of 100 REAL videos for each FAKE one: recall / (recall + 100 · false alarms).

    Of the thresholds that find at least `recall` of the fakes the highest counts. Few REAL videos say little: none of
    18 called fake gives 1. Source: Dolhansky et al. 2019, https://arxiv.org/abs/1910.08854. Taught in notebook 05.
    """
    false_alarms, found, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    first = int(np.argmax(found >= recall))
    return weigh_precision(float(found[first]), float(false_alarms[first]))


def _weighted_precision_at(recall: float) -> Metric:
    return lambda labels, scores: weighted_precision(labels, scores, recall)


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


# Each takes labels and scores (N,). Log loss is what the DFDC challenge was ranked by.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced accuracy": _balanced_accuracy,
    "log loss": _log_loss,
    "AUC": _auc,
    "calibration error": calibration_error,
    **{f"weighted precision at recall {recall}": _weighted_precision_at(recall) for recall in (0.1, 0.5, 0.9)},
}

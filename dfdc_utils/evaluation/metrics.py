"""Metrics of scored videos, the counts behind them, and how uncertain they are."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

THRESHOLD = 0.5  # a calibrated score above it is more likely fake than not
LEVEL = 0.95  # of intervals
BINS = 10  # of the calibration error, equally wide
REAL_PER_FAKE = 100  # the class ratio that weighted precision assumes, as in the DFDC preview paper

Metric = Callable[[Any, Any], float]  # from labels (N,), 1 for FAKE, and scores (N,)


def roc_points(labels: Any, scores: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve: false positive rates and recalls at every threshold, both rising from 0 to 1.

    The same points as scikit-learn's `roc_curve`, 20 times as fast: bootstrapping needs thousands of curves.
    """
    labels, scores = np.asarray(labels, bool), np.asarray(scores)
    order = np.argsort(-scores)
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]  # of each run of equal scores
    recall, false_positive_rate = (np.r_[0, np.cumsum(kind[order])[last]] / kind.sum() for kind in (labels, ~labels))
    return false_positive_rate, recall


def weigh_precision(recall: float, false_positive_rate: float) -> float:
    """Precision where there are 100 REAL videos for each FAKE one, 0 to 1; NaN where nothing is called fake.

    Source: Dolhansky et al. 2019, https://arxiv.org/abs/1910.08854. Taught in notebook 05.
    """
    called = recall + REAL_PER_FAKE * false_positive_rate
    return recall / called if called else float("nan")


def weighted_precision_at(recall: float, labels: Any, scores: Any) -> float:
    """`weigh_precision` at the highest threshold that finds at least `recall` of the fakes."""
    false_positive_rates, recalls = roc_points(labels, scores)
    first = int(np.argmax(recalls >= recall))
    return weigh_precision(float(recalls[first]), float(false_positive_rates[first]))


def calibration_error(labels: Any, scores: Any) -> float:
    """Expected calibration error: mean distance of the fraction of FAKE from the mean score, over ten equal bins.

    With few videos, calibrated scores have one above 0, too. Source: Naeini et al. 2015. Taught in notebook 05.
    """
    labels, scores = np.asarray(labels, float), np.asarray(scores, float)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, scores - labels, BINS)).sum() / len(scores))


def count_calls(scores: pd.DataFrame, threshold: float = THRESHOLD) -> pd.DataFrame:
    """Count the confusion matrix: videos scored above `threshold` are called fake.

    Raises `ValueError` unless all rows have a label and a score, and both labels occur. Taught in notebook 05.
    """
    if missing := {"label", "score"} - set(scores):
        raise ValueError(f"a table without {' and '.join(sorted(missing))} counts nothing: use that of score_videos")
    unusable = ~scores["label"].isin(("REAL", "FAKE")) | scores["score"].isna()
    if unusable.any():
        raise ValueError(f"{unusable.sum()} of {len(scores)} videos lack a label or a score: leave them out first")
    fake = (scores["label"] == "FAKE").to_numpy()
    if fake.all() or not fake.any():
        raise ValueError(f"{(~fake).sum()} REAL and {fake.sum()} FAKE videos: both classes are needed")
    called = (scores["score"] > threshold).to_numpy()
    counts = [[int((kind & (called == call)).sum()) for call in (False, True)] for kind in (~fake, fake)]
    return pd.DataFrame(counts, index=["REAL", "FAKE"], columns=["called real", "called fake"])


def _accuracy(labels: Any, scores: Any) -> float:
    return float(np.mean((scores > THRESHOLD) == labels))


# scikit-learn has all but the last, 10 to 50 times slower for the few videos of a resample.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced accuracy": lambda labels, scores: sum(_accuracy(kind, scores[labels == kind]) for kind in (0, 1)) / 2,
    # The DFDC challenge was ranked by it.
    "log loss": lambda labels, scores: -np.log(np.where(labels, scores, 1 - scores).clip(np.finfo(float).eps)).mean(),
    "AUC": lambda labels, scores: float(np.trapezoid(*roc_points(labels, scores)[::-1])),
    **{f"weighted precision at recall {recall}": partial(weighted_precision_at, recall) for recall in (0.1, 0.5, 0.9)},
}


def bootstrap_interval(scores: pd.DataFrame, metric: Metric, *, resamples: int = 1000) -> tuple[float, float]:
    """The 95 % percentile interval of `metric`, had other source videos been chosen.

    Whole source groups are resampled: their videos are not independent, so resampling single ones would give too narrow
    an interval. Raises like `resample_groups`. Source: Efron and Tibshirani 1993, chapter 13. Taught in notebook 05.
    """
    labels, values = (scores["label"] == "FAKE").to_numpy(np.int64), scores["score"].to_numpy()
    found = [metric(labels[rows], values[rows]) for rows in resample_groups(scores, resamples)]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resample_groups(scores: pd.DataFrame, resamples: int) -> Iterator[NDArray[np.intp]]:
    """Resample whole source groups with replacement: row numbers of each of `resamples` tables, always the same.

    The groups are those of the split (column `group`), else originals with their fakes. Each resample has both classes.
    Raises `ValueError` if `scores` lacks a class or has one source group only.
    """
    groups = list(scores.groupby("group" if "group" in scores else "original").indices.values())
    fake = (scores["label"] == "FAKE").to_numpy()
    if len(groups) < 2 or len(set(fake)) < 2:
        raise ValueError(f"{len(groups)} source groups with {len(set(fake))} classes are too few to resample")
    generator = np.random.default_rng(0)
    while resamples > 0:
        rows = np.concatenate([groups[index] for index in generator.integers(len(groups), size=len(groups))])
        if fake[rows].any() and not fake[rows].all():
            yield rows
            resamples -= 1

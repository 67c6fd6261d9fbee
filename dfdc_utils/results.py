"""Scores → figures one can trust: each with its interval, and beside it what a model that knows nothing would get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from dfdc_utils.config import SequenceConfig
from dfdc_utils.models import load_model
from dfdc_utils.sequences import make_dataset

THRESHOLD = 0.5  # a score above it counts as fake

Metric = Callable[[Any, Any], float]


def _accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.accuracy_score(labels, scores > THRESHOLD))


def _balanced_accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.balanced_accuracy_score(labels, scores > THRESHOLD))


def _log_loss(labels: Any, scores: Any) -> float:
    return float(metrics.log_loss(labels, scores, labels=[0, 1]))


def _auc(labels: Any, scores: Any) -> float:
    return float(metrics.roc_auc_score(labels, scores))


# Each takes labels and scores (N,). Log loss is what the DFDC challenge was ranked by.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced accuracy": _balanced_accuracy,
    "log loss": _log_loss,
    "AUC": _auc,
}


def score_videos(
    table: pd.DataFrame, save_path: str | Path, model_path: str | Path = "data/model", *, batch_size: int = 16
) -> pd.DataFrame:
    """Score each video of `table` with the model in `model_path`; add `score` (0 real to 1 fake) and `mistake`.

    `mistake` is how far the score lies from the label, 0 to 1. Raises `ConfigMismatch` if the faces in `save_path` were
    prepared otherwise than those the model was trained on. Taught in notebook 05.
    """
    model = load_model(model_path)
    SequenceConfig.load(Path(model_path) / "sequence.json").require(
        SequenceConfig.load(Path(save_path) / "sequence.json"),
        what=f"the faces in {save_path} were made",
        remedy="Process the videos with the model's own settings, or train again.",
    )
    dataset = make_dataset(table, save_path, batch_size=batch_size, cache=False)
    scores = model.predict(dataset, verbose=0).ravel().astype(float)
    return table.assign(score=scores, mistake=np.abs(scores - _labels(table)))


def summarise(scores: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Each metric over a table of scored videos, with its 95 % interval and what a constant score of 0.5 gets.

    A row a metric: `metric`, `value`, `low`, `high`, `constant`. Intervals are those of `bootstrap_interval`.
    Taught in notebook 05.
    """
    labels, values = _labels(scores), scores["score"].to_numpy()
    constant = np.full(len(values), 0.5)
    rows = []
    for name, metric in METRICS.items():
        low, high = bootstrap_interval(scores, metric, resamples=resamples, seed=seed)
        rows.append(
            {
                "metric": name,
                "value": metric(labels, values),
                "low": low,
                "high": high,
                "constant": metric(labels, constant),
            }
        )
    return pd.DataFrame(rows)


def bootstrap_interval(
    scores: pd.DataFrame, metric: Metric, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of `metric` when other source videos might have been drawn.

    Whole families (an original with its fakes) are drawn with replacement, since videos of one source are not
    independent; drawing single videos would give an interval that is too narrow. Draws that lack a class are drawn
    again. Raises `ValueError` if `scores` lacks a class or has one family only.
    Source: Efron and Tibshirani 1993, chapter 13. Taught in notebook 05.
    """
    families = list(scores.reset_index(drop=True).groupby("original").indices.values())
    labels, values = _labels(scores), scores["score"].to_numpy()
    if len(families) < 2 or len(set(labels)) < 2:
        raise ValueError(f"{len(families)} originals with {len(set(labels))} classes are too few to resample")
    generator = np.random.default_rng(seed)
    figures: list[float] = []
    while len(figures) < resamples:
        draw = np.concatenate([families[index] for index in generator.integers(len(families), size=len(families))])
        if len(set(labels[draw])) == 2:
            figures.append(metric(labels[draw], values[draw]))
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _labels(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels: np.ndarray[Any, np.dtype[np.int64]] = (table["label"] == "FAKE").to_numpy(np.int64)
    return labels

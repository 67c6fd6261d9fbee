"""Scores → figures one can trust: each with its interval, and beside it what models that know less would get."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics

from dfdc_utils.calibration import Calibration
from dfdc_utils.config import SequenceConfig
from dfdc_utils.models import load_model
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import make_dataset
from dfdc_utils.training import MEAN_BASELINE

with quiet_import():
    import tensorflow as tf

log = logging.getLogger(__name__)

THRESHOLD = 0.5  # a calibrated score above it is more likely fake than not
REAL_PER_FAKE = 100  # in the world that weighted precision is for, as in the DFDC preview paper
BINS = 10  # of the calibration error, equally wide

Metric = Callable[[Any, Any], float]


def _accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.accuracy_score(labels, scores > THRESHOLD))


def _balanced_accuracy(labels: Any, scores: Any) -> float:
    return float(metrics.balanced_accuracy_score(labels, scores > THRESHOLD))


def _log_loss(labels: Any, scores: Any) -> float:
    return float(metrics.log_loss(labels, scores, labels=[0, 1]))


def _auc(labels: Any, scores: Any) -> float:
    return float(metrics.roc_auc_score(labels, scores))


def calibration_error(labels: Any, scores: Any) -> float:
    """Expected calibration error: how far the share of FAKE lies from the mean score, over ten equally wide bins.

    Bins count by the videos in them. Source: Naeini, Cooper and Hauskrecht 2015. Taught in notebook 05.
    """
    labels, scores = np.asarray(labels, float), np.asarray(scores, float)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, scores - labels, BINS)  # in each bin, videos times the gap
    return float(np.abs(gaps).sum() / len(scores))


def weighted_precision(labels: Any, scores: Any, recall: float) -> float:
    """Precision at a recall in a world of 100 REAL videos for each FAKE one: recall / (recall + 100 · false alarms).

    Of the thresholds that find at least `recall` of the fakes the highest counts. Few REAL videos say little: none of
    18 called fake gives 1. Source: Dolhansky et al. 2019, https://arxiv.org/abs/1910.08854. Taught in notebook 05.
    """
    false_alarms, found, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    first = int(np.argmax(found >= recall))
    return float(found[first] / (found[first] + REAL_PER_FAKE * false_alarms[first]))


def _weighted_precision_at(recall: float) -> Metric:
    return lambda labels, scores: weighted_precision(labels, scores, recall)


# Each takes labels and scores (N,). Log loss is what the DFDC challenge was ranked by.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced accuracy": _balanced_accuracy,
    "log loss": _log_loss,
    "AUC": _auc,
    "calibration error": calibration_error,
    **{f"weighted precision at recall {recall}": _weighted_precision_at(recall) for recall in (0.1, 0.5, 0.9)},
}


def score_videos(
    table: pd.DataFrame,
    save_path: str | Path,
    model_path: str | Path = "data/model",
    *,
    batch_size: int = 16,
    shuffle_frames: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Score each video of `table` with the model in `model_path`; add `raw_score`, `score` and `mistake`.

    `raw_score` is the model's own, `score` (0 real to 1 fake) the same after the temperature in `calibration.json`, and
    `mistake` how far that lies from the label, 0 to 1. `shuffle_frames` shows each video's frames in a random order,
    the same for the same `seed`: what is left is what the model knows without time.

    Raises `ConfigMismatch` if the faces in `save_path` were prepared otherwise than those the model was trained on,
    `ValueError` for videos without a label. Taught in notebook 05.
    """
    model = load_model(model_path)
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    SequenceConfig.load(Path(model_path) / "sequence.json").require(
        sequence,
        what=f"the faces in {save_path} were made",
        remedy="Process the videos with the model's own settings, or train again.",
    )
    dataset = make_dataset(table, save_path, batch_size=batch_size, cache=False)
    if shuffle_frames:
        order = tf.constant(np.random.default_rng(seed).permutation(sequence.frame_count))
        dataset = dataset.map(lambda sequences, labels: (tf.gather(sequences, order, axis=1), labels))
    raw = model.predict(dataset, verbose=0).ravel().astype(float)
    scores = _calibration_of(model_path).apply(raw)
    return table.assign(raw_score=raw, score=scores, mistake=np.abs(scores - _labels(table)))


def score_baselines(
    scores: pd.DataFrame, save_path: str | Path, model_path: str | Path = "data/model", *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """What models that know less say of the same videos: a name and scores (N,) for each.

    A constant 0.5; always fake; the model itself with the frames shuffled in time; and, where `model_path` holds one in
    `mean_over_frames`, the same network trained to score each frame by itself. Taught in notebook 05.
    """
    shuffled = score_videos(scores, save_path, model_path, shuffle_frames=True, seed=seed)
    baselines = {
        "constant 0.5": np.full(len(scores), 0.5),
        "always fake": np.ones(len(scores)),
        "frames shuffled in time": shuffled["score"].to_numpy(),
    }
    mean = Path(model_path) / MEAN_BASELINE
    if (mean / "model.keras").is_file():
        baselines["mean over frames"] = score_videos(scores, save_path, mean)["score"].to_numpy()
    return baselines


def compare(scores: pd.DataFrame, baselines: dict[str, NDArray[np.float64]], *, resamples: int = 1000) -> pd.DataFrame:
    """The model in the first row, then its baselines: `AUC`, `log loss`, `accuracy`, and what the model has over each.

    `gain` is the model's AUC less the baseline's, `gain_low` to `gain_high` its 95 % interval, from the same draws of
    families for both. Taught in notebook 05.
    """
    labels = _labels(scores)
    rows: list[dict[str, Any]] = []
    for name, values in {"model": scores["score"].to_numpy(), **baselines}.items():
        row = {
            "scored by": name,
            **{metric: METRICS[metric](labels, values) for metric in ("AUC", "log loss", "accuracy")},
        }
        if name != "model":
            gains = [
                _auc(labels[draw], scores["score"].to_numpy()[draw]) - _auc(labels[draw], values[draw])
                for draw in _draws(scores, resamples, seed=0)
            ]
            low, high = np.quantile(gains, (0.025, 0.975))
            row |= {"gain": rows[0]["AUC"] - row["AUC"], "gain_low": float(low), "gain_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def judge(comparison: pd.DataFrame, baseline: str = "mean over frames") -> str:
    """Whether the model beats a baseline, in a sentence: only if the whole interval of its gain lies above 0."""
    row = comparison.set_index("scored by").loc[baseline]
    gain = f"AUC {row['gain']:+.2f}, from {row['gain_low']:+.2f} to {row['gain_high']:+.2f}"
    if row["gain_low"] > 0:
        return f"The model beats {baseline} ({gain})."
    return f"The model does NOT beat {baseline} ({gain}): on these videos there is no sign that it uses more."


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
    labels, values = _labels(scores), scores["score"].to_numpy()
    figures = [metric(labels[draw], values[draw]) for draw in _draws(scores, resamples, seed)]
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(scores: pd.DataFrame, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers of `resamples` draws of whole families with replacement, each with both classes in it."""
    families = list(scores.reset_index(drop=True).groupby("original").indices.values())
    labels = _labels(scores)
    if len(families) < 2 or len(set(labels)) < 2:
        raise ValueError(f"{len(families)} originals with {len(set(labels))} classes are too few to resample")
    generator = np.random.default_rng(seed)
    given = 0
    while given < resamples:
        draw = np.concatenate([families[index] for index in generator.integers(len(families), size=len(families))])
        if len(set(labels[draw])) == 2:
            yield draw
            given += 1


def _calibration_of(model_path: str | Path) -> Calibration:
    try:
        return Calibration.load(Path(model_path) / "calibration.json")
    except FileNotFoundError:
        log.warning("%s has no calibration.json: its scores are used as they are", model_path)
        return Calibration()


def _labels(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels: np.ndarray[Any, np.dtype[np.int64]] = (table["label"] == "FAKE").to_numpy(np.int64)
    return labels

"""Scores → figures one can trust: each with its interval, and beside it what models that know less would get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics

from dfdc_utils.evaluation.intervals import bootstrap_interval, draw_families
from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.models.calibration import calibration_error, calibration_of, weigh_precision
from dfdc_utils.models.folder import load_model, model_folder, read_note, read_split
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences.dataset import make_dataset
from dfdc_utils.training.fit import MEAN_BASELINE

with quiet_import():
    import tensorflow as tf

THRESHOLD = 0.5  # a calibrated score above it is more likely fake than not

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


# Each takes labels and scores (N,). Log loss is what the DFDC challenge was ranked by.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced accuracy": _balanced_accuracy,
    "log loss": _log_loss,
    "AUC": _auc,
    "calibration error": calibration_error,
    **{f"weighted precision at recall {recall}": _weighted_precision_at(recall) for recall in (0.1, 0.5, 0.9)},
}


def choose_videos(manifest: pd.DataFrame, save_path: str | Path, model_path: str | Path) -> pd.DataFrame:
    """The videos of `manifest`, of faces in `save_path`, that figures of a model may come from: none that it has seen.

    These are its own test split; of a model that was trained on photographs all videos that are labelled. Raises
    `FileNotFoundError` if `model_path` holds no finished model, `ValueError` if videos of the split are missing, or if
    those that are labelled are of one class or of one original.
    """
    folder = model_folder(model_path)
    if not read_note(folder):
        raise FileNotFoundError(f"{folder} holds no finished model: run python -m dfdc_utils train first")
    split = read_split(folder)
    if split is not None:
        test = split.loc[split["split"] == "test", ["video", "split"]]
        table = manifest.merge(test, on="video")
        if len(table) < len(test):
            raise ValueError(f"{len(test) - len(table)} of the model's test videos are not in {save_path}")
        return table
    table = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")].reset_index(drop=True)
    if table["label"].nunique() < 2 or table["original"].nunique() < 2:
        raise ValueError(f"{save_path}: figures need REAL and FAKE videos, of two originals or more")
    return table


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

    `model_path` is a folder or `"pretrained"`. `raw_score` is the model's own, `score` (0 real to 1 fake) the same
    after the temperature in `calibration.json`, and `mistake` how far that is from the label, 0 to 1. `shuffle_frames`
    shows each video's frames in a random order, the same for the same `seed`: what is left is what the model knows
    without time.

    Raises `ConfigMismatch` if the faces in `save_path` were prepared otherwise than those the model was trained on,
    `ValueError` for videos without a label. Taught in notebook 05.
    """
    folder = model_folder(model_path)
    model = load_model(folder)
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    SequenceConfig.load(folder / "sequence.json").require(
        sequence,
        what=f"the faces in {save_path} were made",
        remedy="Process the videos with the model's own settings, or train again.",
    )
    dataset = make_dataset(table, save_path, batch_size=batch_size, cache=False)
    if shuffle_frames:
        order = tf.constant(np.random.default_rng(seed).permutation(sequence.frame_count))
        dataset = dataset.map(lambda sequences, labels: (tf.gather(sequences, order, axis=1), labels))
    raw = model.predict(dataset, verbose=0).ravel().astype(float)
    scores = calibration_of(folder).apply(raw)
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
                for draw in draw_families(scores, resamples)
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


def compare_parts(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """The AUC within each folder of videos, for data sets or qualities that lie in folders of their own.

    A row a `part`: `part`, `real`, `fake` (how many), `AUC`, `low`, `high` (95 %, families drawn with replacement). The
    three are empty where a part lacks a class or has one family only.
    """
    rows = []
    for part, group in scores.groupby("part"):
        labels = _labels(group)
        row: dict[str, Any] = {"part": part, "real": int((labels == 0).sum()), "fake": int(labels.sum())}
        if row["real"] and row["fake"] and group["original"].nunique() > 1:
            low, high = bootstrap_interval(group, _auc, resamples=resamples)
            row |= {"AUC": _auc(labels, group["score"]), "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=["part", "real", "fake", "AUC", "low", "high"])


def _labels(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels: np.ndarray[Any, np.dtype[np.int64]] = (table["label"] == "FAKE").to_numpy(np.int64)
    return labels

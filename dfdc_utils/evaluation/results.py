"""Scores → figures one can trust: each with its interval, and beside it what models that know less would get."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.evaluation.intervals import bootstrap_interval, resample_groups
from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.files import prepare_target, write_atomically
from dfdc_utils.models import ModelFolder, write_card
from dfdc_utils.processing import read_manifest
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import make_dataset, report_leaks

with quiet_import():
    import tensorflow as tf


@dataclass(frozen=True)
class Evaluation:
    """Scores of videos that a model was not trained on, and the tables made of them.

    `scores` is the table of `score_videos`; `summary` that of `summarise`, `comparison` of `compare`, `parts` of
    `compare_parts` (None for videos of one folder), `leaks` of `report_leaks` (None for a model without a split).
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    comparison: pd.DataFrame
    parts: pd.DataFrame | None
    leaks: pd.DataFrame | None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables that there are, by name."""
        named = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: table for name, table in named.items() if table is not None}

    def save(self, results: str | Path) -> Path:
        """Write each table as CSV into the folder `results`. Raises `OSError`."""
        folder = prepare_target(Path(results), what="the results")
        for name, table in self.tables.items():
            write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
        return folder


def evaluate(folder: ModelFolder, save_path: str | Path, *, resamples: int = 1000) -> Evaluation:
    """Score the videos that `choose_videos` gives, compare with baselines, and write the card of a trained model.

    Faces are those that `processing` left in `save_path`. The card is written only for a model that has a split: none
    is written into the package. Raises like `choose_videos` and `score_videos`. Taught in notebook 05.
    """
    table = choose_videos(read_manifest(save_path), save_path, folder)
    scores = score_videos(table, save_path, folder)
    summary = summarise(scores, resamples=resamples)
    comparison = compare(scores, score_baselines(scores, save_path, folder), resamples=resamples)
    parts = compare_parts(scores, resamples=resamples) if table["part"].nunique() > 1 else None
    leaks = None
    if folder.split is not None:
        leaks = report_leaks(folder.split)
        write_card(folder, summary=summary, comparison=comparison, leaks=leaks)
    return Evaluation(scores, summary, comparison, parts, leaks)


def choose_videos(manifest: pd.DataFrame, save_path: str | Path, folder: ModelFolder) -> pd.DataFrame:
    """Choose the videos of `manifest`, with faces in `save_path`, that the model was not trained on.

    These are its own test split; for a model that was trained on photographs, all labelled videos. Raises `ValueError`
    if videos of the split are missing, or if the labelled ones are of one class or of one original.
    """
    if folder.split is not None:
        columns = [name for name in ("video", "split", "group") if name in folder.split]
        test = folder.split.loc[folder.split["split"] == "test", columns]
        table = manifest.merge(test, on="video")
        if len(table) < len(test):
            raise ValueError(f"{len(test) - len(table)} of the model's test videos are not in {save_path}")
        return table
    table = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")].reset_index(drop=True)
    if table["label"].nunique() < 2 or table["original"].nunique() < 2:
        raise ValueError(f"{save_path}: metrics need REAL and FAKE videos, of two originals or more")
    return table


def score_videos(
    table: pd.DataFrame,
    save_path: str | Path,
    folder: ModelFolder,
    *,
    batch_size: int = 16,
    shuffle_frames: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Score each video of `table`; add `raw_score`, `score` and `mistake`.

    `raw_score` is the model's own, `score` (0 real to 1 fake) the same after calibration, and `mistake` how far that is
    from the label, 0 to 1. `shuffle_frames` shows each video's frames in a random order, the same for the same `seed`.

    Raises `ConfigMismatch` if the faces in `save_path` were prepared otherwise than those the model was trained on,
    `ValueError` for videos without a label. Taught in notebook 05.
    """
    sequence = folder.require_faces(save_path)
    dataset = make_dataset(table, save_path, batch_size=batch_size, cache=False)
    if shuffle_frames:
        order = tf.constant(np.random.default_rng(seed).permutation(sequence.frame_count))
        dataset = dataset.map(lambda sequences, labels: (tf.gather(sequences, order, axis=1), labels))
    raw = folder.model.predict(dataset, verbose=0).ravel().astype(float)
    scores = folder.calibration.apply(raw)
    return table.assign(raw_score=raw, score=scores, mistake=np.abs(scores - _labels(table)))


def score_baselines(
    scores: pd.DataFrame, save_path: str | Path, folder: ModelFolder, *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Score the same videos with baselines: a name and scores (N,) for each.

    A constant 0.5; always fake; the model itself with the frames shuffled in time; and the mean over frames, the same
    CNN trained to score each frame by itself, if one was trained beside the model. Taught in notebook 05.
    """
    shuffled = score_videos(scores, save_path, folder, shuffle_frames=True, seed=seed)
    baselines = {
        "constant 0.5": np.full(len(scores), 0.5),
        "always fake": np.ones(len(scores)),
        "frames shuffled in time": shuffled["score"].to_numpy(),
    }
    if mean := folder.baseline:
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
                METRICS["AUC"](labels[draw], scores["score"].to_numpy()[draw])
                - METRICS["AUC"](labels[draw], values[draw])
                for draw in resample_groups(scores, resamples)
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
            low, high = bootstrap_interval(group, METRICS["AUC"], resamples=resamples)
            row |= {"AUC": METRICS["AUC"](labels, group["score"]), "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=["part", "real", "fake", "AUC", "low", "high"])


def _labels(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels: np.ndarray[Any, np.dtype[np.int64]] = (table["label"] == "FAKE").to_numpy(np.int64)
    return labels

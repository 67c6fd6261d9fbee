"""From scores to metrics with intervals, and to comparisons with baselines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.evaluation.metrics import METRICS, bootstrap_interval, resample_groups
from dfdc_utils.files import prepare_target, write_atomically
from dfdc_utils.models import ModelFolder, write_card
from dfdc_utils.processing import read_manifest
from dfdc_utils.sequences import report_leaks, score_people


@dataclass(frozen=True)
class Evaluation:
    """Scores of videos that a model was not trained on, and the tables made of them."""

    scores: pd.DataFrame  # of `score_videos`
    summary: pd.DataFrame  # of `summarise`
    comparison: pd.DataFrame  # of `compare`
    parts: pd.DataFrame | None  # of `compare_parts`; None for videos of one folder
    leaks: pd.DataFrame | None  # of `report_leaks`; None for a model without a split

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, without those that are None."""
        return {name: table for name, table in vars(self).items() if table is not None}

    def save(self, results: str | Path) -> Path:
        """Write each table as CSV into the folder `results`. Raises `OSError`."""
        folder = prepare_target(Path(results), what="the results")
        for name, table in self.tables.items():
            write_atomically(folder / f"{name}.csv", table.to_csv(index=False))
        return folder


def evaluate(folder: ModelFolder, save_path: str | Path, *, resamples: int = 1000) -> Evaluation:
    """Score the videos that `choose_videos` gives, compare with baselines, and write the card of a trained model.

    Only a model with a split gets a card. Raises like `choose_videos` and `score_videos`. Taught in notebook 05.
    """
    scores = score_videos(choose_videos(read_manifest(save_path), save_path, folder), save_path, folder)
    summary = summarise(scores, resamples=resamples)
    comparison = compare(scores, score_baselines(scores, save_path, folder), resamples=resamples)
    parts = compare_parts(scores, resamples=resamples) if scores["part"].nunique() > 1 else None
    leaks = None if folder.split is None else report_leaks(folder.split)
    if leaks is not None:
        write_card(folder, summary=summary, comparison=comparison, leaks=leaks)
    return Evaluation(scores, summary, comparison, parts, leaks)


def choose_videos(manifest: pd.DataFrame, save_path: str | Path, folder: ModelFolder) -> pd.DataFrame:
    """Choose the videos of `manifest`, with faces in `save_path`, that the model was not trained on.

    These are its test split; for a model of photographs, all labelled videos. Raises `ValueError` if some of the split
    are missing, or if the labelled ones are of one class or of one original.
    """
    usable = manifest[manifest["status"] == "ok"]
    if folder.split is not None:
        columns = [name for name in ("video", "split", "group") if name in folder.split]
        test = folder.split.loc[folder.split["split"] == "test", columns]
        table = usable.merge(test, on="video")
        if len(table) < len(test):
            raise ValueError(f"{len(test) - len(table)} of the model's test videos have no faces in {save_path}")
        return table
    table = usable[usable["label"] != ""].reset_index(drop=True)
    if table["label"].nunique() < 2 or table["original"].nunique() < 2:
        raise ValueError(f"{save_path}: metrics need REAL and FAKE videos, of two originals or more")
    return table


def score_videos(table: pd.DataFrame, save_path: str | Path, folder: ModelFolder) -> pd.DataFrame:
    """Score each video of `table`; add `raw_score`, `score` and `mistake`.

    `raw_score` is the model's output for the most suspicious person, `score` (0 real to 1 fake) the same after
    calibration, `mistake` its distance from the label. Raises `ConfigMismatch` for faces that were prepared with other
    settings than the model's. Taught in notebook 05.
    """
    folder.require_faces(save_path)
    add_flicker = folder.flicker.add if folder.flicker else None
    raw = score_people(folder.model, table, save_path, add_flicker=add_flicker).to_numpy()
    scores = folder.calibration.apply(raw)
    return table.assign(raw_score=raw, score=scores, mistake=np.abs(scores - _labels(table)))


def score_baselines(scores: pd.DataFrame, save_path: str | Path, folder: ModelFolder) -> dict[str, NDArray[np.float64]]:
    """Score the same videos with a constant 0.5, with always fake, and with the mean over frames if it was trained."""
    baselines = {"constant 0.5": np.full(len(scores), 0.5), "always fake": np.ones(len(scores))}
    if mean := folder.baseline:
        baselines["mean over frames"] = score_videos(scores, save_path, mean)["score"].to_numpy()
    return baselines


def compare(scores: pd.DataFrame, baselines: dict[str, NDArray[np.float64]], *, resamples: int = 1000) -> pd.DataFrame:
    """Compare the model (first row) with its baselines: `AUC`, `log loss`, `accuracy`, and the model's `gain`.

    `gain` is the model's AUC minus the baseline's, `gain_low` to `gain_high` its 95 % interval: both AUCs come from the
    same resampled source groups. Taught in notebook 05.
    """
    labels, own, auc = _labels(scores), scores["score"].to_numpy(), METRICS["AUC"]
    rows: list[dict[str, Any]] = []
    for name, values in {"model": own, **baselines}.items():
        row = {"scored by": name, **{one: METRICS[one](labels, values) for one in ("AUC", "log loss", "accuracy")}}
        if name != "model":
            drawn = resample_groups(scores, resamples)
            gains = [auc(labels[at], own[at]) - auc(labels[at], values[at]) for at in drawn]
            low, high = np.quantile(gains, (0.025, 0.975))
            row |= {"gain": rows[0]["AUC"] - row["AUC"], "gain_low": float(low), "gain_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def judge(comparison: pd.DataFrame, baseline: str = "mean over frames") -> str:
    """Say in a sentence whether the model beats a baseline: only if the whole interval of its gain is above 0."""
    row = comparison.set_index("scored by").loc[baseline]
    gain = f"AUC {row['gain']:+.2f}, 95 % interval {row['gain_low']:+.2f} to {row['gain_high']:+.2f}"
    return f"The model {'beats' if row['gain_low'] > 0 else 'does NOT beat'} {baseline} ({gain})."


def summarise(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Compute each `metric` over a table of scored videos: its `value` and 95 % interval `low` to `high`.

    `constant` is the value for a score of 0.5 everywhere. Taught in notebook 05.
    """
    labels, values = _labels(scores), scores["score"].to_numpy()
    rows = []
    for name, metric in METRICS.items():
        low, high = bootstrap_interval(scores, metric, resamples=resamples)
        rows.append((name, metric(labels, values), low, high, metric(labels, np.full(len(values), 0.5))))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "constant"])


def compare_parts(scores: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Compute the AUC with its 95 % interval for each `part` (folder); empty for one class or one source group."""
    rows, auc = [], METRICS["AUC"]
    for part, group in scores.groupby("part"):
        labels = _labels(group)
        real, fake = np.bincount(labels, minlength=2).tolist()
        values = [np.nan] * 3
        if real and fake and group["original"].nunique() > 1:
            values = [auc(labels, group["score"]), *bootstrap_interval(group, auc, resamples=resamples)]
        rows.append((part, real, fake, *values))
    return pd.DataFrame(rows, columns=["part", "real", "fake", "AUC", "low", "high"])


def _labels(table: pd.DataFrame) -> NDArray[np.int64]:
    return np.asarray(table["label"] == "FAKE", np.int64)

"""How uncertain a metric is: bootstrap intervals that resample whole source groups."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def bootstrap_interval(
    scores: pd.DataFrame,
    metric: Callable[[Any, Any], float],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of `metric`, had other source videos been chosen.

    `metric` takes labels (N,), 1 for FAKE, and scores (N,). Whole source groups are resampled: their videos are not
    independent, and resampling single ones would give an interval that is too narrow. Raises `ValueError` as
    `resample_groups` does. Source: Efron and Tibshirani 1993, chapter 13. Taught in notebook 05.
    """
    labels, values = (scores["label"] == "FAKE").to_numpy(np.int64), scores["score"].to_numpy()
    found = [metric(labels[rows], values[rows]) for rows in resample_groups(scores, resamples, seed=seed)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_groups(scores: pd.DataFrame, resamples: int, *, seed: int = 0) -> Iterator[NDArray[np.intp]]:
    """Resample whole source groups with replacement: row numbers of each of `resamples` tables.

    The groups are those of the split (column `group`), else originals with their fakes. A resample that lacks a class
    is replaced by another. Raises `ValueError` if `scores` lacks a class or has one source group only.
    """
    by = "group" if "group" in scores else "original"
    groups = list(scores.reset_index(drop=True).groupby(by).indices.values())
    fake = (scores["label"] == "FAKE").to_numpy()
    if len(groups) < 2 or len(set(fake)) < 2:
        raise ValueError(f"{len(groups)} source groups with {len(set(fake))} classes are too few to resample")
    generator = np.random.default_rng(seed)
    given = 0
    while given < resamples:
        rows = np.concatenate([groups[index] for index in generator.integers(len(groups), size=len(groups))])
        if fake[rows].any() and not fake[rows].all():
            yield rows
            given += 1

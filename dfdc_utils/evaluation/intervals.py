"""How sure a figure is: whole families drawn again, and the exact interval of a share."""

from __future__ import annotations

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
    """The percentile interval of `metric` when other source videos might have been drawn.

    `metric` takes labels (N,), 1 for FAKE, and scores (N,). Whole families (an original with its fakes) are drawn with
    replacement, since videos of one source are not independent; drawing single videos would give an interval that is
    too narrow. Raises `ValueError` if `scores` lacks a class or has one family only.
    Source: Efron and Tibshirani 1993, chapter 13. Taught in notebook 05.
    """
    labels, values = (scores["label"] == "FAKE").to_numpy(np.int64), scores["score"].to_numpy()
    figures = [metric(labels[draw], values[draw]) for draw in resample_groups(scores, resamples, seed=seed)]
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_groups(scores: pd.DataFrame, resamples: int, *, seed: int = 0) -> Iterator[NDArray[np.intp]]:
    """Row numbers of `resamples` draws of whole families with replacement, each with both classes in it.

    Draws that lack a class are drawn again. Raises `ValueError` as `bootstrap_interval` does.
    """
    families = list(
        scores.reset_index(drop=True).groupby("group" if "group" in scores else "original").indices.values()
    )
    labels = (scores["label"] == "FAKE").to_numpy()
    if len(families) < 2 or len(set(labels)) < 2:
        raise ValueError(f"{len(families)} originals with {len(set(labels))} classes are too few to resample")
    generator = np.random.default_rng(seed)
    given = 0
    while given < resamples:
        draw = np.concatenate([families[index] for index in generator.integers(len(families), size=len(families))])
        if labels[draw].any() and not labels[draw].all():
            yield draw
            given += 1

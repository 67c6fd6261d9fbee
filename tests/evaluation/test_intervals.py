from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from predictions import scored
from scipy.stats import binom

from dfdc_utils.evaluation import bootstrap_interval, resample_groups
from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.models import binomial_interval

auc = METRICS["AUC"]


def spread(count: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return scored(*(list(np.clip(generator.normal(mean, 0.2, count), 0.01, 0.99)) for mean in (0.4, 0.6)))


def test_interval_holds_the_value_and_narrows_with_more_sources() -> None:
    widths = []
    for count in (12, 200):
        table = spread(count)
        low, high = bootstrap_interval(table, auc, resamples=200)
        assert low <= auc(table["label"] == "FAKE", table["score"]) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_interval_resamples_source_groups_not_videos() -> None:
    """Copies of a video add no information: the interval must not get narrower."""
    table = spread(15, seed=1)
    copied = pd.concat([table] * 5)
    once, five = (np.subtract(*bootstrap_interval(rows, auc, resamples=300)) for rows in (table, copied))
    assert five == pytest.approx(once, rel=0.25)


def test_an_interval_is_the_same_each_time() -> None:
    table = scored([0.1, 0.4, 0.7, 0.2], [0.3, 0.8, 0.9, 0.6])
    one, same = (bootstrap_interval(table, METRICS["log loss"], resamples=100) for _ in range(2))
    assert one == same


def test_each_resample_holds_whole_source_groups_and_both_classes() -> None:
    table = scored([0.1, 0.2, 0.3], [0.9, 0.8, 0.7], groups=3)  # o0: rows 0 and 3, and so on
    table.loc[table["original"] == "o2", "label"] = "REAL"
    for draw in resample_groups(table, 50):
        times = np.bincount(draw, minlength=6)
        assert (times[:3] == times[3:]).all() and times.sum() == 6
        assert set(table["label"].iloc[draw]) == {"REAL", "FAKE"}


def test_too_little_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match="1 source groups"):
        bootstrap_interval(scored([0.1], [0.9], groups=1), auc)
    with pytest.raises(ValueError, match="1 classes"):
        bootstrap_interval(scored([0.1, 0.2], []), auc)


def test_shares_of_known_cases() -> None:
    assert binomial_interval(0, 9) == pytest.approx((0, 0.3363), abs=1e-4)  # 1 - 0.025^(1/9)
    assert binomial_interval(9, 9) == pytest.approx((0.6637, 1), abs=1e-4)
    assert binomial_interval(4, 18) == pytest.approx((0.0641, 0.4764), abs=1e-4)
    low, high = binomial_interval([0, 4], [9, 18])
    np.testing.assert_allclose([low, high], [[0, 0.0641], [0.3363, 0.4764]], atol=1e-4)


@given(total=st.integers(1, 60), permille=st.integers(0, 1000), level=st.sampled_from((0.8, 0.95)))
def test_the_interval_of_a_share_covers_the_truth_as_often_as_it_says(total: int, permille: int, level: float) -> None:
    counts, share = np.arange(total + 1), permille / 1000
    low, high = binomial_interval(counts, total, level=level)
    covers = (low <= share) & (share <= high)
    assert binom.pmf(counts, total, share)[covers].sum() >= level - 1e-9


@pytest.mark.parametrize(("count", "total"), [(-1, 4), (5, 4), (0, 0), (float("nan"), 4)])
def test_what_is_no_share_is_refused(count: float, total: float) -> None:
    with pytest.raises(ValueError, match="is no fraction"):
        binomial_interval(count, total)

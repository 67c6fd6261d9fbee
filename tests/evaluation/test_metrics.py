from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics

from dfdc_utils.evaluation import calibration_error, count_calls, weigh_precision
from dfdc_utils.evaluation.metrics import METRICS, roc_points, weighted_precision_at


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60))
def test_metrics_are_those_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    """With ties, and with scores of exactly 0 and 1."""
    labels, scores = np.array([label for label, _ in rows], int), np.array([score for _, score in rows]) / 20
    labels[:2] = 0, 1
    called = scores > 0.5
    expected = {
        "accuracy": metrics.accuracy_score(labels, called),
        "balanced accuracy": metrics.balanced_accuracy_score(labels, called),
        "log loss": metrics.log_loss(labels, scores),
        "AUC": metrics.roc_auc_score(labels, scores),
    }
    assert {name: METRICS[name](labels, scores) for name in expected} == pytest.approx(expected)
    curve = metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(labels, scores), curve[:2])


def test_weighted_precision_is_that_of_a_world_with_a_hundred_real_to_a_fake() -> None:
    labels = np.array([1] * 10 + [0] * 10)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.55] + [0.1] * 9)
    # Four fakes lie above the highest real one; the fifth comes after it.
    assert weighted_precision_at(0.1, labels, scores) == weighted_precision_at(0.4, labels, scores) == 1
    assert weighted_precision_at(0.5, labels, scores) == pytest.approx(0.5 / (0.5 + 100 * 0.1))
    assert weighted_precision_at(0.9, labels, scores) == pytest.approx(0.9 / (0.9 + 100 * 0.1))
    # Ten times as many videos of one class change nothing: rates count.
    more, same = np.r_[labels, [0] * 90], np.r_[scores, np.tile(scores[10:], 9)]
    assert weighted_precision_at(0.5, more, same) == pytest.approx(weighted_precision_at(0.5, labels, scores))
    assert weighted_precision_at(0.5, labels, np.full(20, 0.5)) == pytest.approx(1 / 101)


def test_calibration_error_of_known_cases() -> None:
    labels = np.array([0, 0, 0, 1] * 10)
    assert calibration_error(labels, np.full(40, 0.25)) == pytest.approx(0)
    assert calibration_error(labels, np.full(40, 0.75)) == pytest.approx(0.5)
    assert calibration_error(labels, labels.astype(float)) == 0
    # Two bins: 0.05 with none fake of 10, 0.95 with all fake of 10.
    assert calibration_error([0] * 10 + [1] * 10, [0.05] * 10 + [0.95] * 10) == pytest.approx(0.05)


def test_calls_are_counted_above_the_threshold() -> None:
    table = pd.DataFrame({"label": ["REAL", "REAL", "REAL", "FAKE"], "score": [0.1, 0.5, 0.7, 0.9]})
    assert count_calls(table).to_numpy().tolist() == [[2, 1], [0, 1]]  # 0.5 is not above 0.5
    assert count_calls(table, 0.9).to_numpy().tolist() == [[3, 0], [1, 0]]
    assert count_calls(table, 0.05).loc["REAL", "called fake"] == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"label": ["REAL", "FAKE"]}, "a table without score counts"),
        ({"video": ["a"]}, "without label and score"),
        ({"label": ["REAL", ""], "score": [0.1, 0.2]}, "1 of 2 videos lack a label or a score"),
        ({"label": ["REAL", "FAKE"], "score": [0.1, float("nan")]}, "1 of 2 videos lack a label or a score"),
        ({"label": ["FAKE", "FAKE"], "score": [0.1, 0.2]}, "0 REAL and 2 FAKE"),
        ({"label": [], "score": []}, "0 REAL and 0 FAKE"),
    ],
)
def test_calls_need_both_classes_and_all_scores(table: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_calls(pd.DataFrame(table))


def test_precision_is_weighed_by_a_hundred_real_to_a_fake() -> None:
    assert weigh_precision(0.5, 0.0) == 1
    assert weigh_precision(1.0, 1.0) == pytest.approx(1 / 101)
    assert weigh_precision(0.5, 0.01) == pytest.approx(1 / 3)
    assert np.isnan(weigh_precision(0.0, 0.0))

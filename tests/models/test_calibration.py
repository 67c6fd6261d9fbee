from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score

from dfdc_utils.evaluation import calibration_error
from dfdc_utils.models import Calibration, calibrate


def overconfident(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores whose logits are `temperature` times what they should be."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, count)
    labels = generator.random(count) < 1 / (1 + np.exp(-logits))
    return labels, 1 / (1 + np.exp(-temperature * logits))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_and_the_error_goes(temperature: float) -> None:
    labels, scores = overconfident(4000, temperature)
    calibration = calibrate(labels, scores)
    assert calibration.temperature == pytest.approx(temperature, rel=0.1)
    others, unseen = overconfident(4000, temperature, seed=1)
    assert calibration_error(others, calibration.apply(unseen)) < 0.03
    assert roc_auc_score(others, calibration.apply(unseen)) == roc_auc_score(others, unseen)  # the order stays


def test_a_few_videos_all_right_do_not_ask_for_certainty() -> None:
    calibration = calibrate([0] * 9 + [1] * 9, [0.1] * 9 + [0.9] * 9)
    assert 0.7 < calibration.temperature < 1
    assert calibration.false_positive_rate == 0 and calibration.recall == 1
    assert calibration.false_positive_rate_upper == pytest.approx(0.336, abs=0.001)  # Clopper and Pearson's for 0 of 9


@settings(deadline=None)  # a busy machine is no fault
@given(
    real=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    fake=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    rate=st.floats(0, 0.5),
)
def test_the_threshold_keeps_its_promise_on_any_scores(real: list[float], fake: list[float], rate: float) -> None:
    labels = [0] * len(real) + [1] * len(fake)
    calibration = calibrate(labels, real + fake, false_positive_rate=rate)
    calibrated = calibration.apply(real)
    assert 0.5 <= calibration.threshold <= 1 and np.isfinite(calibration.temperature)
    assert (calibrated > calibration.threshold).mean() == calibration.false_positive_rate <= rate
    assert calibration.false_positive_rate <= calibration.false_positive_rate_upper <= 1
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


def test_it_is_stored_and_read(tmp_path: Path) -> None:
    calibration = calibrate([0, 0, 1, 1], [0.2, 0.6, 0.4, 0.9])
    (tmp_path / "calibration.json").write_text(calibration.to_json())
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    with pytest.raises(FileNotFoundError, match="not calibrated"):
        Calibration.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"heat": 3}')
    with pytest.raises(ValueError, match="is not a calibration"):
        Calibration.load(tmp_path / "broken.json")


@pytest.mark.parametrize("wrong", [{"threshold": float("nan")}, {"threshold": 1.7}, {"temperature": 0.0}])
def test_numbers_that_cannot_be_are_no_calibration(wrong: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(Calibration(**wrong).to_json())
    with pytest.raises(ValueError, match=r"is not a calibration \(the threshold is not from 0 to 1.*Train again"):
        Calibration.load(tmp_path / "calibration.json")


def test_one_class_cannot_calibrate() -> None:
    with pytest.raises(ValueError, match="3 REAL and 0 FAKE"):
        calibrate([0, 0, 0], [0.1, 0.2, 0.3])

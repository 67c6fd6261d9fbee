from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.models import build_cnn_lstm
from dfdc_utils.results import METRICS, bootstrap_interval, score_videos, summarise


def scored(real: list[float], fake: list[float], families: int | None = None) -> pd.DataFrame:
    scores = [*real, *fake]
    labels = ["REAL"] * len(real) + ["FAKE"] * len(fake)
    count = families or len(scores)
    return pd.DataFrame({"label": labels, "score": scores, "original": [f"o{i % count}" for i in range(len(scores))]})


def test_metrics_of_a_known_case() -> None:
    table = scored(real=[0.1, 0.2, 0.6], fake=[0.9])
    values = summarise(table, resamples=50).set_index("metric")
    assert values.loc["accuracy", "value"] == pytest.approx(0.75)
    assert values.loc["balanced accuracy", "value"] == pytest.approx((2 / 3 + 1) / 2)
    assert values.loc["AUC", "value"] == 1
    assert values.loc["log loss", "value"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.9]).mean())
    assert values.loc["log loss", "constant"] == pytest.approx(np.log(2))
    assert values.loc["AUC", "constant"] == 0.5


def test_interval_holds_the_value_and_narrows_with_more_sources() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for count in (12, 200):
        table = scored(*(list(np.clip(generator.normal(mean, 0.2, count), 0.01, 0.99)) for mean in (0.4, 0.6)))
        low, high = bootstrap_interval(table, METRICS["AUC"], resamples=200)
        assert low <= METRICS["AUC"](table["label"] == "FAKE", table["score"]) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_interval_draws_families_not_videos() -> None:
    """Copies of a video add no information: the interval must not get narrower."""
    generator = np.random.default_rng(1)
    table = scored(*(list(np.clip(generator.normal(mean, 0.2, 15), 0.01, 0.99)) for mean in (0.4, 0.6)))
    copied = pd.concat([table] * 5)
    once, five = (np.subtract(*bootstrap_interval(rows, METRICS["AUC"], resamples=300)) for rows in (table, copied))
    assert five == pytest.approx(once, rel=0.25)


def test_interval_follows_the_seed() -> None:
    table = scored([0.1, 0.4, 0.7, 0.2], [0.3, 0.8, 0.9, 0.6])
    one, same, other = (bootstrap_interval(table, METRICS["log loss"], resamples=100, seed=s) for s in (0, 0, 1))
    assert one == same != other


def test_too_little_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match="1 originals"):
        bootstrap_interval(scored([0.1], [0.9], families=1), METRICS["AUC"])
    with pytest.raises(ValueError, match="1 classes"):
        bootstrap_interval(scored([0.1, 0.2], []), METRICS["AUC"])


def test_scores_need_the_models_own_settings(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path / "faces", families=2)
    (tmp_path / "model").mkdir()
    build_cnn_lstm(4, 32).save(tmp_path / "model" / "model.keras")
    SMALL.save(tmp_path / "model" / "sequence.json")
    scores = score_videos(manifest, tmp_path / "faces", tmp_path / "model")
    assert scores["score"].between(0, 1).all()
    np.testing.assert_allclose(scores["mistake"], (scores["score"] - (scores["label"] == "FAKE")).abs())
    replace(SMALL, margin=2.0).save(tmp_path / "model" / "sequence.json")
    with pytest.raises(ConfigMismatch, match=r"margin 1\.3 instead of 2\.0"):
        score_videos(manifest, tmp_path / "faces", tmp_path / "model")

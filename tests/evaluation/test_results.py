from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces
from fake_models import open_model, save_model
from predictions import scored

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.evaluation import compare, evaluate, judge, score_baselines, score_videos, summarise
from dfdc_utils.evaluation.results import choose_videos, compare_parts
from dfdc_utils.models import Calibration, ModelFolder, build_cnn_lstm


def test_metrics_of_a_known_case() -> None:
    table = scored(real=[0.1, 0.2, 0.6], fake=[0.9])
    values = summarise(table, resamples=50).set_index("metric")
    assert values.loc["accuracy", "value"] == pytest.approx(0.75)
    assert values.loc["balanced accuracy", "value"] == pytest.approx((2 / 3 + 1) / 2)
    assert values.loc["AUC", "value"] == 1
    assert values.loc["log loss", "value"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.9]).mean())
    assert values.loc["log loss", "constant"] == pytest.approx(np.log(2))
    assert values.loc["AUC", "constant"] == 0.5
    assert "calibration error" not in values.index  # its interval would mean nothing


def test_the_model_is_compared_with_its_baselines() -> None:
    generator = np.random.default_rng(0)
    table = scored(*(list(np.clip(generator.normal(mean, 0.15, 30), 0.01, 0.99)) for mean in (0.3, 0.7)), groups=30)
    noisy = np.clip(table["score"] + generator.normal(0, 0.5, 60), 0, 1).to_numpy()
    baselines = {"constant 0.5": np.full(60, 0.5), "mean over frames": noisy, "itself": table["score"].to_numpy()}
    comparison = compare(table, baselines, resamples=200).set_index("scored by")
    assert list(comparison.index) == ["model", *baselines]
    assert comparison.loc["constant 0.5", "AUC"] == 0.5
    assert comparison.loc["constant 0.5", "log loss"] == pytest.approx(np.log(2))
    gains = comparison["gain"]
    assert gains["mean over frames"] == pytest.approx(
        comparison.loc["model", "AUC"] - comparison.loc["mean over frames", "AUC"]
    )
    assert comparison.loc["itself", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    comparison = comparison.reset_index()
    assert judge(comparison).startswith("The model beats mean over frames (AUC +0.")
    assert "does NOT beat itself" in judge(comparison, "itself")


def test_each_folder_of_videos_has_metrics_of_its_own() -> None:
    good = scored(real=[0.1, 0.2], fake=[0.8, 0.9], groups=2).assign(part="c23")
    bad = scored(real=[0.8, 0.9], fake=[0.1, 0.2], groups=2).assign(part="c40")
    only = scored(real=[0.1, 0.2], fake=[]).assign(part="no fake")
    table = compare_parts(pd.concat([bad, good, only]), resamples=50).set_index("part")
    assert list(table.index) == ["c23", "c40", "no fake"]
    assert table.loc["c23", ["real", "fake", "AUC", "low", "high"]].tolist() == [2, 2, 1, 1, 1]
    assert table.loc["c40", "AUC"] == 0 and table.loc["no fake", "real"] == 2
    assert table.loc["no fake", ["AUC", "low", "high"]].isna().all()


def test_baselines_come_with_the_model(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path / "faces", families=3)
    for name, head in (("model", "lstm"), ("model/mean_over_frames", "mean")):
        save_model(tmp_path / name, build_cnn_lstm(4, 32, head=head))
    folder = ModelFolder.open(tmp_path / "model")
    scores = score_videos(manifest, tmp_path / "faces", folder)
    baselines = score_baselines(scores, tmp_path / "faces", folder)
    assert list(baselines) == ["constant 0.5", "always fake", "mean over frames"]
    mean = score_videos(manifest, tmp_path / "faces", ModelFolder.open(tmp_path / "model" / "mean_over_frames"))
    np.testing.assert_array_equal(baselines["mean over frames"], mean["score"])
    assert (mean["score"] != scores["score"]).any()


def test_scores_are_calibrated_as_the_model_says(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path, families=2)
    calibration = Calibration(temperature=3.0)
    scores = score_videos(manifest, tmp_path, open_model(calibration=calibration))
    np.testing.assert_allclose(scores["score"], calibration.apply(scores["raw_score"]))
    assert (scores["score"] != scores["raw_score"]).all()


def test_scores_need_the_models_own_settings(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path, families=2)
    folder = open_model()
    scores = score_videos(manifest, tmp_path, folder)
    assert scores["score"].between(0, 1).all()
    np.testing.assert_allclose(scores["mistake"], (scores["score"] - (scores["label"] == "FAKE")).abs())
    other = open_model(folder.model, replace(SMALL, margin=2.0))
    with pytest.raises(ConfigMismatch, match=r"margin 1\.3 instead of 2\.0.*--for-model"):
        score_videos(manifest, tmp_path, other)


def test_metrics_come_from_videos_that_the_model_has_not_seen() -> None:
    manifest = pd.DataFrame(
        {
            "video": list("abcd"),
            "status": ["ok", "ok", "ok", "no_face"],
            "label": ["REAL", "FAKE", "REAL", "REAL"],
            "original": list("aacd"),
        }
    )
    of_photographs = open_model()
    assert list(choose_videos(manifest, "faces", of_photographs)["video"]) == ["a", "b", "c"]  # it has seen none
    with pytest.raises(ValueError, match="REAL and FAKE videos, of two originals"):
        choose_videos(manifest.iloc[:2], "faces", of_photographs)
    split = pd.DataFrame({"video": list("abc"), "split": ["train", "train", "test"]})
    of_videos = open_model(split=split)
    assert list(choose_videos(manifest, "faces", of_videos)["video"]) == ["c"]
    with pytest.raises(ValueError, match="1 of the model's test videos have no faces in faces"):
        choose_videos(manifest.iloc[:2], "faces", of_videos)


def test_an_evaluation_has_all_tables_and_writes_the_card_of_a_trained_model(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path / "faces", families=4)
    parts = ["a", "b"]
    table = manifest.assign(part=[parts[number // 2 % 2] for number in range(len(manifest))])
    table.assign(path="", problem="", error="").to_csv(tmp_path / "faces" / "manifest.csv", index=False)
    of_photographs = evaluate(open_model(), tmp_path / "faces", resamples=20)
    assert list(of_photographs.tables) == ["scores", "summary", "comparison", "parts"]
    assert len(of_photographs.scores) == 8 and list(of_photographs.parts["part"]) == parts  # type: ignore[index]
    split = np.where(manifest["original"].isin(["real_00", "real_02"]), "test", "train")
    save_model(tmp_path / "model")
    table.assign(split=split).to_csv(tmp_path / "model" / "split.csv", index=False)
    pd.DataFrame([{"epoch": 1, "val_loss": 0.6, "val_accuracy": 0.5}]).to_csv(tmp_path / "model" / "history.csv")
    of_videos = evaluate(ModelFolder.open(tmp_path / "model"), tmp_path / "faces", resamples=20)
    assert list(of_videos.tables) == ["scores", "summary", "comparison", "leaks"] and len(of_videos.scores) == 4
    assert "| AUC |" in (tmp_path / "model" / "card.md").read_text()
    of_videos.save(tmp_path / "results")
    written = {path.stem: len(pd.read_csv(path)) for path in (tmp_path / "results").iterdir()}
    assert written == {name: len(rows) for name, rows in of_videos.tables.items()}

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from faces_on_disk import SMALL

from dfdc_utils.models import Calibration, ModelFolder, OODDetector, write_card

NOTE = {"model": "cnn_lstm", "data": "videos of unknown origin", "data_kind": "recorded"}
NOTE |= {"trained_on": "0a1b", "epochs": 2, "batch_size": 8}
FITTED = Calibration(0.9, 0.52, 0.1, 0.34, 0.8, 10, 20)


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """What a training leaves, but for the model itself."""
    history = {"epoch": [1, 2], "loss": [0.7, 0.6], "accuracy": 0.5, "val_loss": [0.6, 0.65], "val_accuracy": 0.75}
    pd.DataFrame(history).to_csv(tmp_path / "history.csv", index=False)
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    split = pd.DataFrame({"label": ["REAL", "FAKE"] * 5, "original": list("aabbccddee"), "part": "p", "split": splits})
    return ModelFolder(tmp_path, SMALL, FITTED, NOTE, split.assign(video=[f"v{row}" for row in range(10)]))


def test_the_card_of_a_training_promises_nothing(folder: ModelFolder) -> None:
    text = write_card(folder).read_text()
    assert "Nothing was measured on test videos yet" in text
    assert "**videos of unknown origin**" in text and "say nothing about real videos" not in text
    for row in ("| train | 3 | 3 | 3 |", "| validation | 1 | 1 | 1 |", "| test | 1 | 1 | 1 |"):
        assert row in text
    assert "epochs 2, batch_size 8." in text and "trained_on" not in text and "## Not for" in text
    assert "2 epochs. The weights are those of epoch 1" in text and "(0.600; accuracy 0.750)" in text
    assert "temperature 0.90, operating threshold 0.52. On 10 real validation videos, 10% were called fake" in text
    assert "capture_sec 1.0" in text


@pytest.mark.parametrize(("kind", "license"), [("synthetic", "apache-2.0"), ("recorded", "unknown")])
def test_the_card_begins_with_what_model_hubs_read(folder: ModelFolder, kind: str, license: str) -> None:
    start, front, text = write_card(replace(folder, note={**NOTE, "data_kind": kind})).read_text().split("---\n", 2)
    read = yaml.safe_load(front)
    assert start == "" and text.startswith("\n# Model card")
    assert (read["library_name"], read["license"]) == ("keras", license)
    assert "deepfake-detection" in read["tags"] and "roc_auc" in read["metrics"]


def test_the_card_holds_the_metrics_of_the_test_split(folder: ModelFolder) -> None:
    tables = {
        "summary": pd.DataFrame({"metric": ["AUC"], "value": [0.91234], "low": [0.8], "high": [0.99]}),
        "comparison": pd.DataFrame({"scored by": ["model", "always fake"], "AUC": [0.9, 0.5], "gain": [np.nan, 0.4]}),
        "leaks": pd.DataFrame({"check": ["originals", "people"], "shared": pd.array([0, pd.NA], "Int64")}),
    }
    text = write_card(folder, **tables).read_text()
    assert "| metric | value | low | high |\n| --- | --- | --- | --- |\n| AUC | 0.912 | 0.800 | 0.990 |" in text
    assert "| model | 0.900 |  |\n| always fake | 0.500 | 0.400 |" in text
    assert "| originals | 0 |\n| people |  |" in text
    assert "Nothing was measured" not in text and "nan" not in text.lower()


def test_a_model_of_the_sample_says_so_first(folder: ModelFolder) -> None:
    """By its kind, whatever the words for its data are."""
    text = write_card(replace(folder, note={**NOTE, "data_kind": "synthetic"})).read_text()
    assert "**Its scores say nothing about real videos**: it was trained on drawn faces" in text.split("## ")[0]
    assert "- Any real video: it gives no verdict on one." in text


def test_a_model_of_photographs_or_of_blends_warns_of_filters(folder: ModelFolder) -> None:
    assert "make-up" not in write_card(folder).read_text()
    assert "make-up" in write_card(replace(folder, note={**NOTE, "self_blend": True})).read_text()
    pd.DataFrame({"step": [500, 1000], "val_loss": [0.5, 0.4]}).to_csv(folder.path / "history.csv", index=False)
    pd.DataFrame({"fakes": ["swaps"], "auc": [0.9]}).to_csv(folder.path / "metrics.csv", index=False)
    pd.DataFrame({"kind": ["drawn"], "flagged": [0.7]}).to_csv(folder.path / "outliers.csv", index=False)
    note = {**NOTE, "people": {"train": 30, "validation": 4}, "encoder": {"steps": 1000}, "notes": "For research.\n"}
    ood = OODDetector(*(np.zeros(1, np.float32) for _ in range(3)))
    deepfakes = pd.DataFrame({"clips": ["a set"], "fake": [3]})
    text = write_card(replace(folder, note=note, split=None, ood=ood, deepfakes=deepfakes)).read_text()
    for part in (
        "make-up",
        "| swaps | 0.900 |",
        "| drawn | 0.700 |",
        "| a set | 3 |",
        "People: train 30, validation 4.",
        "1000 steps.",
    ):
        assert part in text
    assert "encoder (steps 1000)." in text and "\n\nFor research.\n\n" in text and "not metrics on deepfakes" in text


def test_the_card_in_the_package_is_that_of_its_model(tmp_path: Path) -> None:
    """What `write_card` would write today, and so with today's words."""
    packed = ModelFolder.open("pretrained")
    for name in ("history.csv", "metrics.csv", "outliers.csv"):
        (tmp_path / name).write_bytes((packed.path / name).read_bytes())
    assert write_card(replace(packed, path=tmp_path)).read_text() == (packed.path / "card.md").read_text()

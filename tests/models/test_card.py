from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from faces_on_disk import flickering_faces

from dfdc_utils.evaluation import compare, score_baselines, score_videos, summarise
from dfdc_utils.models import ModelFolder, write_card
from dfdc_utils.sequences import report_leaks, split_by_original
from dfdc_utils.training import TrainingConfig, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("card")
    table = split_by_original(flickering_faces(folder / "faces", families=14))
    train(table, folder / "faces", folder / "model", config=TrainingConfig(epochs=2), show_progress=False)
    return folder, table


def test_training_leaves_a_card_that_promises_nothing(trained: tuple[Path, pd.DataFrame]) -> None:
    folder, table = trained
    text = (folder / "model" / "card.md").read_text()
    assert "Nothing was measured on test videos yet" in text
    assert "videos of unknown origin" in text
    for split, rows in table.groupby("split"):
        assert re.search(rf"\| {split} \| {(rows['label'] == 'FAKE').sum()} \|", text)
    assert "cnn_lstm" in text and "epochs 2" in text and "Not for" in text


def test_the_card_holds_the_figures_of_the_test_split(trained: tuple[Path, pd.DataFrame]) -> None:
    folder, table = trained
    model = ModelFolder.open(folder / "model")
    scores = score_videos(table[table["split"] == "test"], folder / "faces", model)
    summary = summarise(scores, resamples=50)
    comparison = compare(scores, score_baselines(scores, folder / "faces", model), resamples=50)
    path = write_card(model, summary=summary, comparison=comparison, leaks=report_leaks(table))
    text = path.read_text()
    auc = summary.set_index("metric").loc["AUC"]
    assert f"| AUC | {auc['value']:.3f} | {auc['low']:.3f} | {auc['high']:.3f} |" in text
    for name in ("always fake", "originals in two splits"):
        assert f"| {name} |" in text
    assert "Nothing was measured" not in text and "nan" not in text


def test_a_model_of_the_sample_says_so_first(trained: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = trained
    path = folder / "model" / "training.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "data": "the embedded synthetic sample"}))
    text = write_card(ModelFolder.open(folder / "model")).read_text()
    path.write_text(json.dumps(settings))
    assert "say nothing about real videos" in text.split("## ")[0]
    assert "Any real video." in text

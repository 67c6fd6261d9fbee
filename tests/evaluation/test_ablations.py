from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faces_on_disk import flickering_faces
from fake_models import open_model

from dfdc_utils.evaluation import ABLATIONS, ablate, score_videos, summarise_ablations
from dfdc_utils.evaluation.results import choose_videos
from dfdc_utils.models import ModelFolder, build_cnn_lstm
from dfdc_utils.processing import read_manifest

FEATURES, CHANGE = slice(0, 24), slice(24, 48)  # of the head's input


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    flickering_faces(folder, families=6)
    return folder


def ablate_blind_to(part: slice, faces: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ablations of an untrained model that does not see a part of its head's input, and its own scores."""
    model = build_cnn_lstm(4, 32)
    kernel, *others = model.get_layer("lstm").get_weights()
    kernel[part] = 0
    model.get_layer("lstm").set_weights([kernel, *others])
    manifest = pd.read_csv(faces / "manifest.csv", dtype=str, keep_default_na=False)
    split = manifest.assign(split=np.where(manifest["original"] < "real_03", "train", "test"))
    folder = open_model(model, split=split)
    test = split[split["split"] == "test"]
    return ablate(test, faces, folder), score_videos(test, faces, folder).reset_index(drop=True)


def test_each_ablation_replaces_one_input(faces: Path) -> None:
    change_only, own = ablate_blind_to(FEATURES, faces)
    np.testing.assert_allclose(change_only["unchanged"], own["score"], atol=1e-6)
    np.testing.assert_allclose(change_only["features of REAL videos"], own["score"], atol=1e-6)
    assert np.abs(change_only["change of REAL videos"] - own["score"]).max() > 1e-3
    assert np.ptp(change_only["one frame repeated"]) < 1e-6  # no change is the same for all
    features_only, own = ablate_blind_to(CHANGE, faces)
    np.testing.assert_allclose(features_only["change of REAL videos"], own["score"], atol=1e-6)
    assert np.abs(features_only["features of REAL videos"] - own["score"]).max() > 1e-3
    assert np.ptp(features_only["one frame repeated"]) > 1e-3


def test_a_model_without_both_inputs_is_refused(faces: Path) -> None:
    manifest = pd.read_csv(faces / "manifest.csv", dtype=str, keep_default_na=False)
    for folder in (open_model(build_cnn_lstm(4, 32, head="mean"), split=manifest), open_model()):
        with pytest.raises(ValueError, match="no features and change over time"):
            ablate(manifest, faces, folder)


def test_the_auc_of_each_kind_is_against_all_real_videos() -> None:
    scores = pd.DataFrame({"label": ["REAL", "REAL", "FAKE", "FAKE"]})
    scores = scores.assign(**{name: [0.1, 0.5, 0.3, 0.9] for name in ABLATIONS})
    table = summarise_ablations(scores, pd.Series(["real", "real", "steady", "temporal"]))
    assert list(table["ablation"]) == list(ABLATIONS)
    assert table.loc[0, ["all fakes", "steady", "temporal"]].tolist() == [0.75, 0.5, 1.0]


@pytest.mark.slow
def test_the_model_of_the_sample_uses_single_frames_and_change(
    sample: Path, sample_faces: Path, sample_model: Path
) -> None:
    """Each kind of fake by the input that shows it, on people whom it was not trained on."""
    folder = ModelFolder.open(sample_model)
    test = choose_videos(read_manifest(sample_faces), sample_faces, folder)
    truth = json.loads((sample / "truth.json").read_text())
    kinds = test["video"].map(lambda video: truth[f"{video}.mp4"]["kind"])
    auc = summarise_ablations(ablate(test, sample_faces, folder), kinds).set_index("ablation")
    assert auc.loc["unchanged", ["steady", "temporal", "both"]].min() >= 0.9
    assert auc.loc["one frame repeated", "steady"] >= 0.8  # nothing changes: only single frames are left
    assert auc.loc["change of REAL videos", "steady"] >= 0.8
    assert auc.loc["features of REAL videos", "temporal"] >= 0.8
    assert auc.loc["one frame repeated", "temporal"] <= 0.7

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import flickering_faces

from dfdc_utils.catalog import split_by_original
from dfdc_utils.models import build_cnn_lstm, load_model
from dfdc_utils.results import score_videos
from dfdc_utils.training import TrainingConfig, choose_strategy, is_trained, train

QUICK = TrainingConfig(epochs=12, batch_size=4, learning_rate=5e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return split_by_original(flickering_faces(folder, families=14))


@pytest.fixture(scope="module")
def trained(folder: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    model = tmp_path_factory.mktemp("model")
    return model, train(table, folder, model, config=QUICK, show_progress=False)


def test_flicker_is_learned_and_held_on_unseen_sources(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]
) -> None:
    model, history = trained
    scores = score_videos(table[table["split"] == "test"], folder, model)
    assert history["epoch"].tolist() == list(range(1, 13))
    assert scores.loc[scores["label"] == "FAKE", "score"].min() > scores.loc[scores["label"] == "REAL", "score"].max()


def test_the_best_epoch_is_what_was_saved(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]
) -> None:
    model, history = trained
    validation = table[table["split"] == "validation"]
    scores = score_videos(validation, folder, model)
    labels = (validation["label"] == "FAKE").to_numpy()
    chance = np.where(labels, scores["score"], 1 - scores["score"])
    assert -np.log(chance).mean() == pytest.approx(history["val_loss"].min(), abs=1e-4)


def test_what_it_leaves(folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]) -> None:
    model, history = trained
    names = {path.name for path in model.iterdir()}
    assert names == {"model.keras", "sequence.json", "history.csv", "split.csv", "training.json"}
    pd.testing.assert_frame_equal(pd.read_csv(model / "history.csv"), history)
    split = pd.read_csv(model / "split.csv", dtype=str)
    assert split.set_index("video")["split"].to_dict() == table.set_index("video")["split"].to_dict()
    assert (model / "sequence.json").read_text() == (folder / "sequence.json").read_text()
    assert json.loads((model / "training.json").read_text())["epochs"] == 12


def test_the_same_seed_gives_the_same_model(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    train(table, folder, tmp_path, config=QUICK, show_progress=False)
    for one, two in zip(load_model(trained[0]).weights, load_model(tmp_path).weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_is_trained_only_for_this_table(folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]) -> None:
    model = trained[0]
    assert is_trained(table, folder, model)
    assert is_trained(table.sample(frac=1, random_state=1), folder, model)
    assert not is_trained(table.iloc[2:], folder, model)
    assert not is_trained(split_by_original(table.drop(columns="split"), seed=5), folder, model)
    assert not is_trained(table, folder, model / "elsewhere")


@pytest.mark.parametrize("replicas", [1, 2])
def test_any_number_of_videos_trains_on_two_replicas(tmp_path: Path, replicas: int) -> None:
    """In a process of its own: logical CPUs must be set up before TensorFlow starts."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from faces_on_disk import flickering_faces
from dfdc_utils.catalog import split_by_original
from dfdc_utils.training import TrainingConfig, choose_strategy, train
strategy = choose_strategy({replicas})
assert strategy.num_replicas_in_sync == {replicas}
table = split_by_original(flickering_faces(Path("faces"), families=7))
table = table.drop(table.index[table["split"] == "train"][:1])  # an odd number to train on
assert (table["split"] == "train").sum() % 2
history = train(table, "faces", "model", config=TrainingConfig(epochs=2, batch_size=4), strategy=strategy)
assert len(history) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["1/2", "2/2"]
    assert (tmp_path / "model" / "model.keras").is_file()


def test_leaking_or_incomplete_splits_are_refused(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    leaking = table.copy()
    leaking.loc[leaking.index[0], "split"] = "test" if leaking["split"].iloc[0] != "test" else "train"
    with pytest.raises(ValueError, match="originals in two splits"):
        train(leaking, folder, tmp_path)
    with pytest.raises(ValueError, match="no split column"):
        train(table.drop(columns="split"), folder, tmp_path)
    with pytest.raises(ValueError, match="validation split has no FAKE"):
        train(table[(table["split"] != "validation") | (table["label"] == "REAL")], folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_architecture_can_be_given(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    def build(frame_count: int, face_size: int) -> keras.Model:
        return build_cnn_lstm(frame_count, face_size, filters=(8, 8), lstm_units=4)

    train(table, folder, tmp_path, config=TrainingConfig(epochs=1), build=build, show_progress=False)
    names = {layer.name for layer in load_model(tmp_path).layers}
    assert "conv_1" in names and "conv_2" not in names


def test_choose_strategy_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="replicas=0"):
        choose_strategy(0)
    keras.ops.zeros(1)  # TensorFlow has started
    with pytest.raises(RuntimeError, match="first thing"):
        choose_strategy(7)


@pytest.mark.parametrize(("asked", "chosen"), [(None, 2), (1, 1), (2, 2)])
def test_gpus_are_taken_before_logical_cpus(asked: int | None, chosen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr("tensorflow.distribute.MirroredStrategy", lambda devices: devices)
    assert choose_strategy(asked) == ["/gpu:0", "/gpu:1"][:chosen]

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import flickering_faces
from small_training import FAMILIES, same_weights, small_table, start_training

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.evaluation import score_videos
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import Calibration, build_cnn_lstm, build_frame_encoder, build_on_encoder, load_model, start_from
from dfdc_utils.models.folder import save_small
from dfdc_utils.sequences import split_by_original
from dfdc_utils.training import TrainingConfig, is_trained, train

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
    chance = np.where(labels, scores["raw_score"], 1 - scores["raw_score"])
    assert -np.log(chance).mean() == pytest.approx(history["val_loss"].min(), abs=1e-4)


def test_what_it_leaves(folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]) -> None:
    model, history = trained
    names = {path.name for path in model.iterdir()}
    kept = {"model.keras", "sequence.json", "history.csv", "split.csv", "training.json", "calibration.json", "card.md"}
    assert names == kept
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


def test_it_goes_on_from_a_trained_model(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    """Not from an untrained one: after no more than a step the weights are those of before, but for that step."""
    sequence = SequenceConfig.load(folder / "sequence.json")
    encoder = build_frame_encoder(sequence.face_size, weights=None, feature_count=4)
    begun, _ = build_on_encoder(encoder, sequence.frame_count, head="mean")
    (tmp_path / "begun").mkdir()
    sequence.save(tmp_path / "begun" / "sequence.json")
    (tmp_path / "begun" / "training.json").write_text('{"data": "photographs", "notes": "For research alone."}')
    save_small(begun, tmp_path / "begun" / "model.keras")
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "ood.npz").write_bytes(b"of another model")
    config = TrainingConfig(epochs=1, batch_size=100, learning_rate=1e-5)
    build = start_from(tmp_path / "begun")
    train(table, folder, tmp_path / "tuned", config=config, build=build, show_progress=False)
    tuned = load_model(tmp_path / "tuned")
    assert len(begun.weights) == len(tuned.weights) and tuned.name == "pretrained_mean"
    moved = [
        np.abs(a - b).max()
        for a, b in zip(load_model(tmp_path / "begun").get_weights(), tuned.get_weights(), strict=True)
    ]
    assert 0 < max(moved) <= 2e-5
    assert not (tmp_path / "tuned" / "ood.npz").exists()
    card = (tmp_path / "tuned" / "card.md").read_text()
    assert "begun from a model trained on photographs" in card and "For research alone." in card
    with pytest.raises(ValueError, match="keeps its precision"):
        train(table, folder, tmp_path / "tuned", config=TrainingConfig(mixed_precision=True), build=build)
    replace(sequence, margin=1.9).save(tmp_path / "begun" / "sequence.json")
    with pytest.raises(ConfigMismatch, match=r"margin 1\.3 instead of 1\.9"):
        train(table, folder, tmp_path / "tuned", build=build)
    with pytest.raises(ConfigMismatch, match="process the videos as its sequence"):
        build(sequence.frame_count, sequence.face_size + 16)


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def test_killed_at_any_step_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    """To the last bit. The first process dies before anything was saved, the others within an epoch or at its end."""
    flickering_faces(tmp_path / "faces", families=FAMILIES)
    undisturbed = start_training(tmp_path, "undisturbed")  # beside the others: it has its own folder
    deaths = [(2, 600), (8, 600), (6, 600), (2, 0)]  # steps that each takes, seconds between its saves
    for steps, seconds in deaths:
        options = ("--kill-at", str(steps), "--save-sec", str(seconds))
        assert outcome(start_training(tmp_path, "killed", *options))[0] == -signal.SIGKILL
        assert not (tmp_path / "killed" / "training.json").exists()
    code, output, errors = outcome(start_training(tmp_path, "killed"))
    assert code == outcome(undisturbed)[0] == 0, errors
    assert "going on after 2 epochs and 1 steps" in output
    one, two = tmp_path / "undisturbed", tmp_path / "killed"
    for name in ("history.csv", "calibration.json", "split.csv", "training.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert same_weights(one, two) == 0
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def test_interrupted_in_a_notebook_the_same_cell_goes_on(
    folder: Path,
    table: pd.DataFrame,
    trained: tuple[Path, pd.DataFrame],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Impatient(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(table, folder, tmp_path, config=QUICK, callbacks=[Impatient()])
    history = train(table, folder, tmp_path, config=QUICK)
    assert "going on after 5 epochs" in capsys.readouterr().out
    pd.testing.assert_frame_equal(history, trained[1])


def test_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    flickering_faces(tmp_path / "faces", families=FAMILIES)
    assert outcome(start_training(tmp_path, "model", "--kill-at", "9"))[0] == -signal.SIGKILL
    table = small_table(tmp_path / "faces")
    config = TrainingConfig(epochs=2, batch_size=4, patience=None, learning_rate=1e-3)
    history = train(table, tmp_path / "faces", tmp_path / "model", config=config, show_progress=False)
    assert history["epoch"].tolist() == [1, 2]
    assert not (tmp_path / "model" / "progress.npz").exists()


def test_it_stops_early_and_callbacks_may_stop_it(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    still = TrainingConfig(epochs=9, batch_size=4, learning_rate=0.0, patience=2)
    history = train(table, folder, tmp_path, config=still, show_progress=False)
    assert history["epoch"].tolist() == [1, 2, 3]  # the first was the best, and two more were not

    class Stopper(keras.callbacks.Callback):  # type: ignore[misc]
        seen: ClassVar[list[str]] = []

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.seen.extend(sorted(logs or {}))
            self.model.stop_training = epoch == 1

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.seen.append(f"batch {batch}")

    history = train(table, folder, tmp_path, config=QUICK, callbacks=[Stopper()], show_progress=False)
    assert len(history) == 2
    assert {"val_loss", "batch 0", "batch 3"} <= set(Stopper.seen)


def test_the_rate_warms_up_and_falls_along_a_cosine(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    rates: list[float] = []

    class Reader(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            rates.append(float(self.model.optimizer.learning_rate))

    config = TrainingConfig(epochs=6, batch_size=4, learning_rate=0.01, warmup_epochs=2)
    train(table, folder, tmp_path, config=config, callbacks=[Reader()], show_progress=False)
    top = int(np.argmax(rates))
    steps = len(rates) // 6
    assert top + 1 == 2 * steps and rates[top] == pytest.approx(0.01)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 1e-6


def test_self_blending_needs_no_fakes(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    real = table[table["label"] == "REAL"]
    config = TrainingConfig(epochs=2, batch_size=4, self_blend=True)
    history = train(real, folder, tmp_path, config=config, show_progress=False)
    assert np.isfinite(history.to_numpy()).all()
    calibration = Calibration.load(tmp_path / "calibration.json")
    assert calibration.real == calibration.fake == (real["split"] == "validation").sum()


def test_mixed_precision_trains_and_loads_as_it_is(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=2, batch_size=4, mixed_precision=True)
    history = train(table, folder, tmp_path, config=config, show_progress=False)
    assert np.isfinite(history.to_numpy()).all()
    assert keras.config.dtype_policy().name == "float32"  # what else this process builds is as before
    model = load_model(tmp_path)
    assert model.get_layer("conv_0").compute_dtype == "bfloat16"
    assert model.get_layer("features").compute_dtype == "float32"
    scores = score_videos(table, folder, tmp_path)
    assert scores["score"].between(0, 1).all()


def test_a_full_disk_is_said(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="model cannot be written"):
        train(table, folder, tmp_path / "model", config=QUICK, show_progress=False)

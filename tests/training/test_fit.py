from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces
from sklearn.metrics import log_loss
from small_training import weight_differences
from snapshots import contents, snapshots

from dfdc_utils.errors import ConfigMismatch, TrainingDiverged
from dfdc_utils.evaluation import score_videos
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import MEAN_BASELINE, Calibration, ModelFolder, build_cnn_lstm, load_model, start_from
from dfdc_utils.sequences import split_by_group
from dfdc_utils.training import TrainingConfig, is_trained, loop, train, train_baseline

QUICK = TrainingConfig(epochs=12, batch_size=4, learning_rate=5e-3)
SHORT = TrainingConfig(epochs=2, batch_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return split_by_group(flickering_faces(folder, families=14))


@pytest.fixture(scope="module")
def trained(folder: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    model = tmp_path_factory.mktemp("model")
    return model, train(table, folder, model, config=QUICK, show_progress=False)


@pytest.fixture(scope="module")
def interrupted(folder: Path, table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Ctrl-C at the end of the fifth epoch leaves of the training of `trained`."""

    class Interrupter(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if epoch == 4:
                raise KeyboardInterrupt

    model = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        train(table, folder, model, config=QUICK, callbacks=[Interrupter()], show_progress=False)
    assert {path.name for path in model.iterdir()} == {"progress.npz", "best.keras"}
    return model


def test_ctrl_c_waits_for_the_end_of_a_step(
    folder: Path, table: pd.DataFrame, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Raised in the midst of TensorFlow it may end the process: a segmentation fault, which saves nothing."""
    steps = []

    def step(self: Any, batch: Any) -> tuple[float, float]:
        interrupt()
        time.sleep(0.01)
        steps.append(batch)
        return 0.5, 0.5

    monkeypatch.setattr(loop.TrainingLoop, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(table, folder, tmp_path, config=SHORT, show_progress=False)
    assert len(steps) == 1


@pytest.mark.slow
def test_flicker_is_learned_and_held_on_unseen_sources(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]
) -> None:
    model, history = trained
    scores = score_videos(table[table["split"] == "test"], folder, ModelFolder.open(model))
    assert history["epoch"].tolist() == list(range(1, 13))
    assert scores.loc[scores["label"] == "FAKE", "score"].min() > scores.loc[scores["label"] == "REAL", "score"].max()


def test_the_best_epoch_is_what_was_saved(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]
) -> None:
    model, history = trained
    scores = score_videos(table[table["split"] == "validation"], folder, ModelFolder.open(model))
    assert log_loss(scores["label"] == "FAKE", scores["raw_score"]) == pytest.approx(
        history["val_loss"].min(), abs=1e-4
    )


def test_what_it_leaves(folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]) -> None:
    model, history = trained
    names = {path.name for path in model.iterdir()}
    kept = {"model.keras", "sequence.json", "history.csv", "split.csv", "training.json", "calibration.json", "card.md"}
    assert names == kept
    pd.testing.assert_frame_equal(pd.read_csv(model / "history.csv"), history)
    split = pd.read_csv(model / "split.csv", dtype=str)
    assert split.set_index("video")["split"].to_dict() == table.set_index("video")["split"].to_dict()
    made_with = SequenceConfig.load(folder / "sequence.json")
    assert SequenceConfig.load(model / "sequence.json") == replace(made_with, time_step=0.1)
    note = json.loads((model / "training.json").read_text())
    assert note["epochs"] == 12 and note["data_kind"] == "recorded"


def test_is_trained_only_for_this_table(folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame]) -> None:
    model = trained[0]
    assert is_trained(table, folder, model)
    assert is_trained(table.sample(frac=1, random_state=1), folder, model)
    assert not is_trained(table.iloc[2:], folder, model)
    assert not is_trained(split_by_group(table.drop(columns="split"), seed=5), folder, model)
    assert not is_trained(table, folder, model / "elsewhere")


def test_leaking_or_incomplete_splits_are_refused(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    leaking = table.copy()
    leaking.loc[leaking.index[0], "split"] = "test" if leaking["split"].iloc[0] != "test" else "train"
    with pytest.raises(ValueError, match=r"the splits leak \(originals, real_00\)"):
        train(leaking, folder, tmp_path)
    with pytest.raises(ValueError, match="no split column"):
        train(table.drop(columns="split"), folder, tmp_path)
    with pytest.raises(ValueError, match="validation split has no FAKE"):
        train(table[(table["split"] != "validation") | (table["label"] == "REAL")], folder, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("faulty", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"label_smoothing": 1}])
def test_settings_that_no_training_can_have_are_refused(faulty: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(faulty))}={next(iter(faulty.values()))}.*must be at least"):
        TrainingConfig(**faulty)


def test_another_architecture_smoothed_labels_and_a_rate_that_warms_up_and_falls(
    folder: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    rates: list[float] = []

    class Reader(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            rates.append(float(self.model.optimizer.learning_rate))

    smoothed = TrainingConfig(epochs=6, batch_size=4, learning_rate=0.01, warmup_epochs=2, label_smoothing=0.98)
    build = partial(build_cnn_lstm, filters=(8, 8), lstm_units=4)
    history = train(table, folder, tmp_path, config=smoothed, build=build, callbacks=[Reader()], show_progress=False)
    names = {layer.name for layer in load_model(tmp_path).layers}
    assert "conv_1" in names and "conv_2" not in names
    top = int(np.argmax(rates))
    steps = len(rates) // 6
    assert top + 1 == 2 * steps and rates[top] == pytest.approx(0.01)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 1e-6
    assert history["loss"].iloc[-1] > 0.6  # labels smoothed to nearly 0.5 are what it learns


def test_it_goes_on_from_a_trained_model(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    """Not from an untrained one: after no more than a step the weights are those of before, but for that step."""
    begun, tuned = shutil.copytree(trained[0], tmp_path / "begun"), tmp_path / "tuned"
    note = json.loads((begun / "training.json").read_text())
    note |= {"data": "photographs", "notes": "For research alone."}
    (begun / "training.json").write_text(json.dumps(note))
    tuned.mkdir()
    (tuned / "ood.npz").write_bytes(b"of another model")
    config = TrainingConfig(epochs=1, batch_size=100, learning_rate=1e-5)
    train(table, folder, tuned, config=config, build=start_from(begun), show_progress=False)
    assert 0 < weight_differences(begun, tuned).max() <= 2e-5
    assert not (tuned / "ood.npz").exists()
    card = (tuned / "card.md").read_text()
    assert "begun from a model trained on photographs" in card and "For research alone." in card
    with pytest.raises(ValueError, match="keeps the precision"):
        train(table, folder, tuned, config=TrainingConfig(mixed_precision=True), build=start_from(begun))
    sequence = SequenceConfig.load(begun / "sequence.json")
    with pytest.raises(ConfigMismatch, match="Process the videos as its sequence"):
        start_from(begun)(sequence.frame_count, sequence.face_size + 16)
    replace(sequence, margin=1.9).save(begun / "sequence.json")
    with pytest.raises(ConfigMismatch, match=r"margin 1\.3 instead of 1\.9"):
        train(table, folder, tuned, build=start_from(begun))


def test_interrupted_it_goes_on_to_the_same_weights(
    folder: Path,
    table: pd.DataFrame,
    trained: tuple[Path, pd.DataFrame],
    interrupted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = shutil.copytree(interrupted, tmp_path / "model")
    given = partial(build_cnn_lstm, head="lstm")  # the default, named
    history = train(table, folder, model, config=QUICK, build=given)
    assert "going on after 5 epochs" in capsys.readouterr().out
    pd.testing.assert_frame_equal(history, trained[1])
    assert weight_differences(model, trained[0]).max() < 1e-6


def test_an_interrupted_training_is_not_thrown_away_for_one_with_other_settings(
    folder: Path, table: pd.DataFrame, interrupted: Path
) -> None:
    before = (interrupted / "progress.npz").read_bytes()
    differ = r"stopped after 5 of 12 epochs, with epochs 12 instead of 30, seed 0 instead of 7\."
    with pytest.raises(ConfigMismatch, match=rf"{differ} .*dfdc train --afresh"):
        train(table, folder, interrupted, config=replace(QUICK, epochs=30, seed=7))
    with pytest.raises(ConfigMismatch, match="head 'lstm' instead of 'attention'"):
        train(table, folder, interrupted, config=QUICK, build=partial(build_cnn_lstm, head="attention"))
    with pytest.raises(ConfigMismatch, match=r"videos '28 \(\w+\)' instead of '27 \(\w+\)'"):
        train(table.drop(table.query("split == 'test'").index[0]), folder, interrupted, config=QUICK)
    with pytest.raises(FileNotFoundError, match="no finished model"):
        ModelFolder.open(interrupted)
    assert (interrupted / "progress.npz").read_bytes() == before


def test_started_afresh_and_stopped_by_a_callback(
    folder: Path, table: pd.DataFrame, interrupted: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(interrupted, tmp_path / "model")

    class Stopper(keras.callbacks.Callback):  # type: ignore[misc]
        seen: ClassVar[list[str]] = []

        def on_train_begin(self, logs: object = None) -> None:
            assert not list(model.iterdir())  # nothing of the other training is left

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.seen.extend(sorted(logs or {}))
            self.model.stop_training = epoch == 1

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.seen.append(f"batch {batch}")

    history = train(table, folder, model, config=QUICK, resume=False, callbacks=[Stopper()], show_progress=False)
    assert history["epoch"].tolist() == [1, 2]
    assert {"val_loss", "batch 0", "batch 3"} <= set(Stopper.seen)
    assert not (model / "progress.npz").exists()


def test_killed_between_any_two_files_the_old_model_stays_until_the_new_one_is_whole(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    """New weights never lie beside an old calibration; and a second call finishes what the first began."""
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    old = contents(model)
    with snapshots(model, tmp_path) as taken:
        train(table, folder, model, config=SHORT, show_progress=False)
    new = contents(model)
    found = {}
    for snapshot in taken:
        files = contents(snapshot)
        try:
            ModelFolder.open(snapshot)
            found[snapshot] = "old" if files == old else "new" if files == new else "mixed"
        except FileNotFoundError:
            found[snapshot] = "none"
    states = list(found.values())
    assert states == sorted(states, key=["old", "none", "new"].index)  # none is mixed
    assert states.count("old") >= 4 and states.count("none") >= 8 and states.count("new") >= 2
    unfinished = [snapshot for snapshot, state in found.items() if state == "none"]
    assert [(snapshot / "best.keras").exists() for snapshot in (unfinished[0], unfinished[-1])] == [True, False]
    for snapshot in (unfinished[0], unfinished[-1], taken[states.index("new")]):
        train(table, folder, snapshot, config=SHORT, show_progress=False)
        assert contents(snapshot) == new


def test_it_stops_early_and_reports_losses_without_smoothing(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    """Of a model that does not move, the loss over training videos is their log loss, as it is for validation."""
    still = TrainingConfig(epochs=9, batch_size=4, learning_rate=0.0, patience=2, label_smoothing=0.4, augment=False)
    history = train(table, folder, tmp_path, config=still, show_progress=False)
    assert history["epoch"].tolist() == [1, 2, 3]  # the first was the best, and two more were not
    model = ModelFolder.open(tmp_path)
    for split, column in (("train", "loss"), ("validation", "val_loss")):
        scores = score_videos(table[table["split"] == split], folder, model)
        expected = log_loss(scores["label"] == "FAKE", scores["raw_score"])
        assert history[column].to_numpy() == pytest.approx([expected] * 3, rel=1e-4)


def test_a_training_that_diverges_says_so_and_leaves_the_old_model(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained[0], model)
    wild = replace(QUICK, learning_rate=1e30, warmup_epochs=0)
    where = r"the loss is NaN after step [1-4] of epoch \d+ \(learning rate .*e\+(29|30)\)"
    with pytest.raises(TrainingDiverged, match=rf"{where}\. Try learning_rate=1e\+29"):
        train(table, folder, model, config=wild, show_progress=False)
    assert contents(model) == contents(trained[0])
    assert not (model / "progress.npz").exists()  # it would only diverge again


def test_self_blending_needs_no_fakes(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    real = table[table["label"] == "REAL"]
    history = train(real, folder, tmp_path, config=replace(SHORT, self_blend=True), show_progress=False)
    assert np.isfinite(history.to_numpy()).all()
    calibration = Calibration.load(tmp_path / "calibration.json")
    count = (real["split"] == "validation").sum()
    assert calibration.real == calibration.fake == count
    for words in (calibration.in_words(), (tmp_path / "card.md").read_text()):
        assert f"On {count} real validation videos, " in words and f"of {count} self-blends of them, " in words
    assert "make-up" in (tmp_path / "card.md").read_text()


def test_mixed_precision_trains_and_loads_as_it_is(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    config = replace(SHORT, mixed_precision=True)
    build = partial(build_cnn_lstm, filters=(4,))  # few, since most processors are slow in half precision
    history = train(table, folder, tmp_path, config=config, build=build, show_progress=False)
    assert np.isfinite(history.to_numpy()).all()
    assert keras.config.dtype_policy().name == "float32"  # what else this process builds is as before
    model = load_model(tmp_path)
    assert model.get_layer("conv_0").compute_dtype == "bfloat16"
    assert model.get_layer("features").compute_dtype == "float32"
    scores = score_videos(table, folder, ModelFolder.open(tmp_path))
    assert scores["score"].between(0, 1).all()


def test_a_finished_training_is_not_repeated(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    """So a command that was interrupted between two trainings goes on with the second one."""
    before = contents(trained[0])
    history = train(table, folder, trained[0], config=QUICK)
    pd.testing.assert_frame_equal(history, trained[1])
    assert contents(trained[0]) == before and "already trained with these settings" in capsys.readouterr().out


def test_the_baseline_learns_from_single_frames_and_gives_its_cnn(
    folder: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    history = train_baseline(table, folder, tmp_path, config=SHORT, show_progress=False)
    baseline = ModelFolder.open(tmp_path / MEAN_BASELINE)
    assert len(history) == 1 and baseline.note["frames_per_video"] == 2 and baseline.sequence.time_step == 0
    assert baseline.model.input_shape == (None, 4, 32, 32, 3)
    standing = TrainingConfig(epochs=1, learning_rate=0.0)
    train(table, folder, tmp_path, config=standing, cnn=baseline, show_progress=False)
    both = baseline.model, load_model(tmp_path)
    for name in ("conv_0", "conv_3", "maps", "features"):
        for one, other in zip(*(model.get_layer(name).get_weights() for model in both), strict=True):
            np.testing.assert_array_equal(one, other)
    other_videos = split_by_group(table.drop(columns="split"), seed=5)
    with pytest.raises(ValueError, match="was trained on other videos or splits"):
        train(other_videos, folder, tmp_path, cnn=baseline)
    wider = partial(build_cnn_lstm, filters=(8, 32, 48, 64))
    with pytest.raises(ValueError, match="the CNN of cnn_mean is not that of cnn_lstm"):
        train(table, folder, tmp_path / "wider", config=standing, cnn=baseline, build=wider, show_progress=False)


def test_single_frames_are_for_models_that_see_no_time(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames_per_video"):
        train(table, folder, tmp_path, config=replace(SHORT, frames_per_video=2), show_progress=False)


def test_a_baseline_of_sequences_of_one_frame(tmp_path: Path) -> None:
    """There are fewer frames than the baseline takes at a time."""
    table = split_by_group(flickering_faces(tmp_path / "faces", families=8, config=replace(SMALL, frame_count=1)))
    train_baseline(table, tmp_path / "faces", tmp_path / "model", config=SHORT, show_progress=False)
    assert ModelFolder.open(tmp_path / "model" / MEAN_BASELINE).model.input_shape == (None, 1, 32, 32, 3)


def test_what_is_begun_from_a_model_of_the_sample_is_synthetic(
    folder: Path, table: pd.DataFrame, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn"
    shutil.copytree(trained[0], drawn)
    note = json.loads((drawn / "training.json").read_text()) | {"data_kind": "synthetic"}
    (drawn / "training.json").write_text(json.dumps(note))
    train(table, folder, tmp_path / "tuned", config=SHORT, build=start_from(drawn), show_progress=False)
    assert ModelFolder.open(tmp_path / "tuned").data_kind == "synthetic"


def test_a_full_disk_is_said(folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="model cannot be written"):
        train(table, folder, tmp_path / "model", config=QUICK, show_progress=False)

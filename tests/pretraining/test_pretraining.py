"""The whole recipe on drawn faces, made tiny, and the model that came of it on real ones."""

from __future__ import annotations

import shutil
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from photographs import CentralDetector, make_photographs

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import (
    OOD_PERCENTILE,
    Calibration,
    ModelFolder,
    OODDetector,
    WithStyle,
    binomial_interval,
    build_frame_encoder,
    build_on_encoder,
    copy_encoder,
    load_model,
    model_path,
)
from dfdc_utils.pretraining import EncoderConfig, PretrainingConfig, add_flicker, flicker, pretrain
from dfdc_utils.pretraining.encoder import train_encoder
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures
from dfdc_utils.videos import read_catalog, sample_frames, write_clip

TINY = EncoderConfig(steps=4, people=2, warm_up=1, face_size=48, weights=None, every=2)
MODEL_FILES = {"model.keras", "sequence.json", "calibration.json", "ood.npz", "history.csv", "metrics.csv"}
MODEL_FILES |= {"training.json", "card.md"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"), 40)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    return build_frame_encoder(32, weights=None, feature_count=16)


@pytest.mark.slow
def test_the_recipe_killed_and_begun_again_leaves_the_same_model(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six steps take less time than their graphs, which Keras traces twice for each training.
    monkeypatch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
    work = tmp_path / "work"
    work.mkdir()
    pictures = prepare_pictures(find_photographs(photographs), photographs, work, CentralDetector())
    train, validation = (
        PairSource(work, pictures[pictures["split"] == name], face_size=48, seed=0) for name in ("train", "validation")
    )

    def keep(text: str) -> None:
        """What a training that is killed after step 2 leaves."""
        if text.startswith("step 2/"):
            shutil.copy(work / "encoder.npz", tmp_path / "saved.npz")

    straight, history = train_encoder(train, validation, work, TINY, workers=0, say=keep)
    frozen = next(layer for layer in straight.layers if hasattr(layer, "layers"))
    assert not any(layer.trainable for layer in frozen.layers if isinstance(layer, keras.layers.BatchNormalization))
    (tmp_path / "saved.npz").rename(work / "encoder.npz")
    capsys.readouterr()

    config = PretrainingConfig(encoder=TINY, frame_count=3, validation_people=3, ood_people=8)
    settings = {"face_detector": CentralDetector(), "data": "drawn faces", "workers": 0}
    metrics = pretrain(photographs, tmp_path, config=config, **settings)
    printed = capsys.readouterr().out
    assert "step 2 of 4" in printed and "step 4/4" in printed
    folder = ModelFolder.open(tmp_path)
    for one, same in zip(folder.model.get_weights(), build_on_encoder(straight, 3).get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "history.csv"), pd.DataFrame(history).round(4), check_dtype=False
    )
    assert [row["step"] for row in history] == [2, 4]

    assert {path.name for path in tmp_path.iterdir()} == MODEL_FILES | {"work"}
    assert metrics["auc"].between(0, 1).all() and set(metrics["fakes"]) == {"self-blends", "swaps"}
    over_all = metrics[metrics["quality"] == "all"]
    assert over_all["pairs"].tolist() == [3, 3]
    assert folder.data == "drawn faces" and folder.note["people"] == {"train": 36, "validation": 4}
    assert folder.note["encoder"]["weights"] == "random" and folder.split is None
    assert folder.sequence.frame_count == 3 and folder.model.input_shape == (None, 3, 48, 48, 3)
    assert folder.calibration.real == folder.calibration.fake == 3
    assert folder.data_kind == "recorded"
    card = (tmp_path / "card.md").read_text()
    assert "**drawn faces**" in card and "not metrics on deepfakes" in card


def test_the_sequence_model_is_the_mean_over_frames(encoder: keras.Model) -> None:
    sequences = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
    model = build_on_encoder(encoder, 4)
    logits = encoder.predict(sequences.reshape(-1, 32, 32, 3), verbose=0)[0].reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(model.predict(sequences, verbose=0)[:, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    scores, style = WithStyle(model).predict(sequences, verbose=0)
    assert style.shape == (2, 2 * (64 + 64 + 96))  # average and spread of three layers
    np.testing.assert_allclose(scores, model.predict(sequences, verbose=0), rtol=1e-5)


def test_training_goes_on_from_a_pretrained_model(encoder: keras.Model) -> None:
    other = copy_encoder(build_on_encoder(encoder, 4), 32)
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    for one, same in zip(encoder.predict(frames, verbose=0), other.predict(frames, verbose=0), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-5)


def test_a_model_without_a_frame_encoder_is_named(encoder: keras.Model) -> None:
    with pytest.raises(ValueError, match="has no frame_encoder"):
        WithStyle(encoder)


@pytest.fixture(scope="module")
def shipped() -> keras.Model:
    return keras.saving.load_model(model_path("pretrained") / "model.keras")


def test_the_model_in_the_package_is_whole_and_small() -> None:
    folder = model_path("pretrained")
    assert {path.name for path in folder.iterdir()} >= MODEL_FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8e6
    metrics = pd.read_csv(folder / "metrics.csv")
    shipped = metrics[metrics["quality"] == "all"].set_index("fakes")
    least = pd.Series({"self-blends": 0.9, "swaps": 0.9, "parts of faces": 0.8})
    assert set(shipped.index) == set(least.index) and (shipped["auc"] >= least).all()
    for _, row in shipped.iterrows():
        assert row["low"] < row["auc"] < row["high"]
        assert f"{row['auc']:.3f}" in (folder / "card.md").read_text()
    fitted = Calibration.load(folder / "calibration.json")
    assert fitted.real == fitted.fake == 500 - ModelFolder.open("pretrained").flicker.clips  # each clip counts once
    false_positives = round(fitted.false_positive_rate * fitted.real)
    assert fitted.false_positive_rate_upper == pytest.approx(binomial_interval(false_positives, fitted.real)[1])
    assert fitted.threshold < fitted.highest_real < 1
    assert "research" in (folder / "card.md").read_text()


def test_the_model_in_the_package_loads_with_plain_keras(shipped: keras.Model) -> None:
    config = SequenceConfig.load(model_path("pretrained") / "sequence.json")
    shape = (config.frame_count, config.face_size, config.face_size, 3)
    assert shipped.input_shape == (None, *shape) and config.detector == "auto"
    sequences = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    scores, style = WithStyle(load_model("pretrained")).predict(sequences, verbose=0)
    np.testing.assert_allclose(scores, shipped.predict(sequences, verbose=0), rtol=1e-4, atol=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()
    # Noise is no face, and the model says so.
    known = OODDetector.load(model_path("pretrained") / "ood.npz")
    assert (known.percentile(style) >= OOD_PERCENTILE).all()


def test_a_package_without_a_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dfdc_utils.models.folder.__file__", str(tmp_path / "model_files.py"))
    with pytest.raises(FileNotFoundError, match="holds no model"):
        load_model("pretrained")
    with pytest.raises(FileNotFoundError, match="--model pretrained"):
        model_path(tmp_path)


@pytest.mark.slow
def test_flicker_is_measured_on_one_half_of_real_clips_and_calibrated_on_the_other(
    encoder: keras.Model, sample: Path, yunet_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFDC_YUNET", str(yunet_path))
    sequence = SequenceConfig(frame_count=4, face_size=32, margin=1.35)
    note = {"data_kind": "recorded", "data": "nothing", "model": "pretrained_mean", "people": {}}
    source = ModelFolder(tmp_path / "made", sequence, Calibration(), note, None)
    with source.rewriting():
        build_on_encoder(encoder, 4).save(source.path / "model.keras")
        for name in ("history", "metrics"):
            (source.path / f"{name}.csv").write_text("step,fakes\n1,swaps\n")
    before = (source.path / "model.keras").read_bytes()
    talking = tmp_path / "talking"
    talking.mkdir()
    catalog = read_catalog(sample)
    paths = catalog.loc[catalog["label"] == "REAL", "path"]

    def speak(path: str) -> None:
        frames = sample_frames(path, 12, capture_sec=0.4).frames
        write_clip(talking / Path(path).name, frames, sound=None, size=frames.shape[2:0:-1], crf=20)

    for path in paths[:2]:
        speak(path)
    with pytest.raises(ValueError, match="clips show a face in neighbouring frames, 20 are needed"):
        add_flicker(ModelFolder.open(source.path), talking, tmp_path / "few", show_progress=False)
    for path in paths[2:24]:
        speak(path)
    made = add_flicker(ModelFolder.open(source.path), talking, source.path, show_progress=False)
    read = ModelFolder.open(source.path)
    assert read.flicker == made.flicker and read.calibration == made.calibration and read.sequence.flicker
    assert read.flicker and read.flicker.spread > 0 and 1 <= read.flicker.clips < 24
    assert read.calibration.real == read.calibration.fake <= 24 - read.flicker.clips
    assert read.calibration.counted.startswith("clips of people speaking")
    assert (source.path / "model.keras").read_bytes() == before and (source.path / "history.csv").is_file()


def test_faces_that_look_alike_are_in_the_same_half() -> None:
    generator = np.random.default_rng(0)
    people = generator.integers(0, 2**63, (20, 4)).astype(np.uint64)
    hashes = np.repeat(people, 5, axis=0)
    hashes[::5, 0] ^= np.uint64(0b1011)  # some bits of one picture of each
    chosen = flicker._choose_half(hashes, seed=1).reshape(20, 5)
    assert (chosen == chosen[:, :1]).all() and 6 <= chosen[:, 0].sum() <= 10

"""The whole recipe on drawn faces, made tiny, and the model that came of it on real ones."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from photographs import CentralDetector, make_photographs

from dfdc_utils.__main__ import _parser
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import (
    OOD_PERCENTILE,
    Calibration,
    OODDetector,
    build_frame_encoder,
    build_on_encoder,
    load_model,
    model_path,
    with_style,
)
from dfdc_utils.models.folder import save_small
from dfdc_utils.pretraining import EncoderConfig, PretrainingConfig, pretrain
from dfdc_utils.pretraining.encoder import train_encoder
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures

TINY = EncoderConfig(steps=4, people=2, face_size=32, weights=None, every=2)
MODEL_FILES = {"model.keras", "sequence.json", "calibration.json", "ood.npz", "history.csv", "figures.csv"}
MODEL_FILES |= {"outliers.csv", "training.json", "card.md"}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"), 40)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    return build_frame_encoder(32, weights=None, feature_count=16)


def test_killed_and_begun_again_it_comes_to_the_same_weights(photographs: Path, tmp_path: Path) -> None:
    table = find_photographs(photographs)
    pictures = prepare_pictures(table, photographs, tmp_path, CentralDetector(), show_progress=False)
    train, validation = (
        PairSource(tmp_path, pictures[pictures["split"] == name], face_size=32, seed=0)
        for name in ("train", "validation")
    )

    def kill(text: str) -> None:
        if text.startswith("step 2/"):
            raise Killed

    results = []
    for name, kills in (("straight", False), ("killed", True)):
        (tmp_path / name).mkdir()
        if kills:
            with pytest.raises(Killed):
                train_encoder(train, validation, tmp_path / name, TINY, workers=0, say=kill)
        said: list[str] = []
        results.append(train_encoder(train, validation, tmp_path / name, TINY, workers=0, say=said.append))
        assert f"step {2 if kills else 0} of 4" in said[0]
    (straight, history), (resumed, other_history) = results
    assert history == other_history and [row["step"] for row in history] == [2, 4]
    for one, other in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    frozen = next(layer for layer in straight.layers if hasattr(layer, "layers"))
    assert not any(layer.trainable for layer in frozen.layers if isinstance(layer, keras.layers.BatchNormalization))


def test_the_recipe_leaves_a_model_to_use(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = PretrainingConfig(encoder=TINY, frame_count=3, head_people=8, head_epochs=1, outliers=4)
    figures = pretrain(photographs, tmp_path, config=config, detector=CentralDetector(), data="drawn faces", workers=0)
    assert {path.name for path in tmp_path.iterdir()} == MODEL_FILES | {"work"}
    assert set(figures["head"]) == {"mean", "lstm"} and figures["auc"].between(0, 1).all()
    assert set(figures["fakes"]) == {"self-blends", "swaps"}
    over_all = figures[(figures["quality"] == "all") & (figures["fakes"] == "self-blends")].set_index("head")
    best = "lstm" if over_all.loc["lstm", "auc"] > over_all.loc["mean", "high"] else "mean"
    note = json.loads((tmp_path / "training.json").read_text())
    assert note["head"] == best and note["data"] == "drawn faces" and note["people"] == {"train": 36, "validation": 4}
    card = (tmp_path / "card.md").read_text()
    assert "**drawn faces**" in card and f"`{best}`" in card and "not figures on deepfakes" in card
    model = load_model(tmp_path)
    assert model.input_shape == (None, 3, 32, 32, 3)
    assert SequenceConfig.load(tmp_path / "sequence.json").frame_count == 3
    outliers = pd.read_csv(tmp_path / "outliers.csv").set_index("kind")
    assert len(outliers) == 7 and (outliers["films"] == 2).all() and "drawn" in outliers.index
    said = capsys.readouterr().out
    assert "step 4/4" in said


@pytest.mark.parametrize("head", ["mean", "lstm"])
def test_heads_begin_as_the_mean_over_frames(head: str, encoder: keras.Model) -> None:
    """And the model of whole sequences shares its weights with the head that is trained on features."""
    sequences = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
    model, top = build_on_encoder(encoder, 4, head=head)
    both_ways = np.stack([sequences, sequences[:, :, :, ::-1]], axis=1)
    logits = encoder.predict(both_ways.reshape(-1, 32, 32, 3), verbose=0).reshape(2, 2 * 4).mean(axis=1)
    np.testing.assert_allclose(model.predict(sequences, verbose=0)[:, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    mirrored = model.predict(np.ascontiguousarray(sequences[:, :, :, ::-1]), verbose=0)
    np.testing.assert_allclose(mirrored, model.predict(sequences, verbose=0), rtol=1e-4)
    scores, style = with_style(model).predict(sequences, verbose=0)
    assert style.shape == (2, 2 * (64 + 64))  # average and spread of two layers
    top.get_layer("frame_logit").set_weights([np.zeros((16, 1)), np.full(1, 3.0)])
    assert model.predict(sequences, verbose=0)[:, 0] == pytest.approx(1 / (1 + np.exp(-3)), rel=1e-4)
    assert scores.shape == (2, 1)


def test_the_command_has_the_recipe_of_the_card() -> None:
    """Its defaults, written twice so that --help loads no TensorFlow, are those of the package's own weights."""
    asked = vars(_parser().parse_args(["pretrain", "photographs"]))
    note = json.loads((model_path("pretrained") / "training.json").read_text())
    for name in ("steps", "people", "face_size", "seed"):
        assert asked[name] == getattr(EncoderConfig(), name) == note["encoder"][name]
    assert asked["frame_count"] == PretrainingConfig().frame_count == note["frame_count"]


def test_faulty_requests_are_named(encoder: keras.Model) -> None:
    with pytest.raises(ValueError, match="neither lstm nor mean"):
        build_on_encoder(encoder, 4, head="attention")
    with pytest.raises(ValueError, match="has no frame_encoder"):
        with_style(encoder)


def test_half_precision_on_disk_costs_next_to_nothing(encoder: keras.Model, tmp_path: Path) -> None:
    model, _ = build_on_encoder(encoder, 4)
    model.save(tmp_path / "full.keras")
    save_small(model, tmp_path / "half.keras")
    assert (tmp_path / "half.keras").stat().st_size < 0.6 * (tmp_path / "full.keras").stat().st_size
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert {weight.dtype for weight in loaded.trainable_weights} == {"float32"}
    sequences = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3)).astype(np.uint8)
    np.testing.assert_allclose(
        loaded.predict(sequences, verbose=0), model.predict(sequences, verbose=0), rtol=0.02, atol=0.01
    )


@pytest.fixture(scope="module")
def shipped() -> keras.Model:
    return keras.saving.load_model(model_path("pretrained") / "model.keras")


def test_the_model_in_the_package_is_whole_and_small() -> None:
    folder = model_path("pretrained")
    assert {path.name for path in folder.iterdir()} >= MODEL_FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8e6
    figures = pd.read_csv(folder / "figures.csv")
    shipped = figures[figures["shipped"] & (figures["quality"] == "all")].set_index("fakes")
    assert set(shipped.index) == {"self-blends", "swaps"} and (shipped["auc"] >= 0.9).all()
    for _, row in shipped.iterrows():
        assert row["low"] < row["auc"] < row["high"]
        assert f"{row['auc']:.3f}" in (folder / "card.md").read_text()
    assert Calibration.load(folder / "calibration.json").real == shipped["pairs"].sum()
    assert "research" in (folder / "card.md").read_text()


def test_the_model_in_the_package_loads_with_plain_keras(shipped: keras.Model) -> None:
    config = SequenceConfig.load(model_path("pretrained") / "sequence.json")
    shape = (config.frame_count, config.face_size, config.face_size, 3)
    assert shipped.input_shape == (None, *shape) and config.detector == "auto"
    sequences = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    scores, style = with_style(load_model("pretrained")).predict(sequences, verbose=0)
    np.testing.assert_allclose(scores, shipped.predict(sequences, verbose=0), rtol=1e-4, atol=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()
    # Noise is no face, and the model says so; and of most drawn faces, unlike those of photographs.
    known = OODDetector.load(model_path("pretrained") / "ood.npz")
    assert (known.percentile(style) >= OOD_PERCENTILE).all()
    outliers = pd.read_csv(model_path("pretrained") / "outliers.csv").set_index("kind")
    assert outliers.loc["drawn", "told"] >= 0.6 and outliers.loc["pattern", "told_if_unknown"] >= 0.9


def test_a_package_without_a_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dfdc_utils.models.folder.__file__", str(tmp_path / "model_files.py"))
    with pytest.raises(FileNotFoundError, match="holds no model"):
        load_model("pretrained")
    assert model_path(tmp_path) == tmp_path

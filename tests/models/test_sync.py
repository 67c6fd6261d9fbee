"""A model that hears: what it adds, and what it leaves as it was."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sounds import talking_faces

from dfdc_utils.faces import SLICE, SequenceConfig
from dfdc_utils.models import (
    add_sound,
    build_cnn_lstm,
    contrast,
    fit_sharpness,
    frame_evidence,
    hears,
    load_model,
    picture_part,
    sync_part,
)
from dfdc_utils.sequences import SequenceStore, WrongSounds, augment_sound, make_batches, make_dataset
from dfdc_utils.training import TrainingConfig, train

TALKING = SequenceConfig(capture_sec=2.0, frame_count=8, face_size=32, detector="haar")


def inputs(frames: int = 4, size: int = 32, has_audio: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "sequence": rng.integers(0, 256, (2, frames, size, size, 3)).astype(np.uint8),
        "audio": rng.normal(0, 0.1, (2, frames, SLICE)).astype(np.float32),
        "has_audio": np.full((2, 1), has_audio, np.float32),
    }


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_cnn_lstm(4, 32, audio=True)


def test_without_audio_nothing_changes(model: keras.Model) -> None:
    keras.utils.set_random_seed(0)
    plain = build_cnn_lstm(4, 32)
    assert not hears(plain) and hears(model) and plain.name == "cnn_lstm"
    deaf = inputs(has_audio=0.0)
    np.testing.assert_array_equal(model.predict(deaf, verbose=0), plain.predict(deaf["sequence"], verbose=0))
    assert picture_part(plain) is plain


def test_the_score_is_that_of_pictures_and_sound_together(model: keras.Model) -> None:
    given = inputs()
    seen = picture_part(model).predict(given["sequence"], verbose=0)
    heard = sync_part(model).predict(given, verbose=0)
    np.testing.assert_allclose(model.predict(given, verbose=0), seen + heard * (1 - seen), rtol=1e-5)
    assert heard.min() > 0 and not sync_part(model).predict(inputs(has_audio=0.0), verbose=0).any()


def test_a_sound_alone_and_a_picture_alone_show_nothing(model: keras.Model) -> None:
    """What does not change over time has no correlation: the sound's score is then that of its bias alone."""
    given = inputs()
    still = given | {"sequence": np.repeat(given["sequence"][:, :1], 4, axis=1)}
    flat = given | {"audio": np.zeros_like(given["audio"])}
    bias = 1 / (1 + np.exp(-model.get_layer("sync").bias.numpy()))
    for one in (still, flat):
        np.testing.assert_allclose(sync_part(model).predict(one, verbose=0), bias[0], atol=1e-3)


def test_the_evidence_of_the_frames_adds_up_to_the_logit(model: keras.Model) -> None:
    given = inputs()
    logit = frame_evidence(model).predict(given, verbose=0).mean(axis=1) + model.get_layer("sync").bias.numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), sync_part(model).predict(given, verbose=0)[:, 0], rtol=1e-4)


def test_loudness_does_not_count(model: keras.Model) -> None:
    given = inputs()
    quiet = given | {"audio": given["audio"] / 8}
    np.testing.assert_allclose(
        sync_part(model).predict(given, verbose=0), sync_part(model).predict(quiet, verbose=0), atol=0.02
    )


def test_it_loads_as_plain_keras(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(inputs(), verbose=0), model.predict(inputs(), verbose=0))
    assert set(again.input) == {"sequence", "audio", "has_audio"}


def test_a_pretrained_model_learns_to_hear_and_sees_as_before() -> None:
    pretrained = load_model("pretrained")
    listening = add_sound(pretrained)
    frames, size = pretrained.input_shape[1:3]
    given = inputs(frames, size, has_audio=0.0)
    given = {name: one[:1] for name, one in given.items()}
    np.testing.assert_array_equal(listening.predict(given, verbose=0), pretrained.predict(given["sequence"], verbose=0))


def test_a_model_learns_to_hear_whatever_the_names_in_it(tmp_path: Path) -> None:
    """Keras numbers operations within a process: a loaded one could have the number of a new one."""
    for _ in range(2):
        built = build_cnn_lstm(4, 32)
    built.save(tmp_path / "model.keras")
    keras.backend.clear_session()  # numbers begin anew, as in another process
    for _ in range(6):
        add_sound(load_model(tmp_path / "model.keras"))


def test_wrong_sounds_are_those_of_others_or_moved(tmp_path: Path) -> None:
    store = SequenceStore(talking_faces(tmp_path, 4, TALKING), tmp_path, audio=True)
    pairs = WrongSounds(store)
    assert pairs.labels.tolist() == [0] * 16 + [1] * 16  # each in four pairs
    own = [store.load(number)["audio"].numpy() for number in range(4)]
    for number in range(16):
        real = pairs.load(np.int64(number), (0, number))
        np.testing.assert_array_equal(real["audio"], own[number % 4])
        wrong = pairs.load(np.int64(16 + number), (0, number))["audio"].numpy()
        assert not np.array_equal(wrong, own[number % 4])
        slices = {one.tobytes() for one in wrong}  # all slices of one video, in its order or turned
        assert any(slices == {one.tobytes() for one in sound} for sound in own)


def test_sound_comes_from_memory_and_from_files_alike(tmp_path: Path) -> None:
    table = talking_faces(tmp_path, 3, TALKING)
    kept, read = (SequenceStore(table, tmp_path, cache=cache, audio=True) for cache in (True, False))
    for number in range(3):
        for name, value in kept.load(number).items():
            np.testing.assert_array_equal(value, read.load(number)[name])
    (sequences, labels), *_ = make_dataset(table, tmp_path, batch_size=2, audio=True)
    assert (
        sequences["audio"].shape == (2, 8, SLICE) and np.abs(sequences["audio"]).max() <= 1 and labels.shape == (2, 1)
    )


def test_augmented_sound_is_repeatable_and_keeps_its_rhythm() -> None:
    rng = np.random.default_rng(0)
    sound = (rng.normal(0, 0.2, (8, SLICE)) * np.linspace(0.1, 1, 8)[:, None]).astype(np.float32)
    changed = [augment_sound(sound, (0, seed)).numpy() for seed in range(12)]
    np.testing.assert_array_equal(changed[3], augment_sound(sound, (0, 3)))
    assert len({one.tobytes() for one in changed}) == 12
    for one in changed:
        assert one.shape == sound.shape and np.isfinite(one).all() and np.abs(one).max() <= 1
        assert np.corrcoef(one.std(axis=1), sound.std(axis=1))[0, 1] > 0.8


def test_contrast_compares_each_clip_with_all_others_that_count_and_with_its_own_moved(model: keras.Model) -> None:
    rng = np.random.default_rng(0)
    kernel, bias = (one.numpy() for one in (model.get_layer("sync").kernel, model.get_layer("sync").bias))
    features = rng.normal(size=(3, 2, 4, len(kernel))).astype(np.float32)

    def score(seen: np.ndarray, heard: np.ndarray) -> float:
        return float(1 / (1 + np.exp(-((seen * heard).mean(axis=0) @ kernel + bias)))[0])

    for counts, those in (([True] * 3, [[1, 2], [0, 2], [0, 1]]), ([True, False, True], [[2], [0, 2], [0]])):
        losses, right = contrast(
            model, keras.ops.convert_to_tensor(features), np.array(counts), others=0.8, least_shift=1
        )
        for number, (seen, heard) in enumerate(features):
            own = score(seen, heard)
            wrong = [score(seen, features[other, 1]) for other in those[number]]
            moved = [score(seen, np.roll(heard, shift, axis=0)) for shift in (1, 2, 3)]
            loss = (-np.log(1 - own) - 0.8 * np.log(wrong).mean() - 0.2 * np.log(moved).mean()) / 2
            np.testing.assert_allclose(losses[number], loss, rtol=1e-4)
            share = ((own <= 0.5) + 0.8 * np.mean(np.array(wrong) > 0.5) + 0.2 * np.mean(np.array(moved) > 0.5)) / 2
            np.testing.assert_allclose(right[number], share, rtol=1e-5)
    alone, _ = contrast(model, features[:1], np.array([True]), others=0.8, least_shift=1)
    assert np.isfinite(alone).all()


@pytest.mark.parametrize("skill", [1, -1])
def test_sharpness_is_fitted_where_there_is_skill(skill: int, model: keras.Model) -> None:
    given, layer = inputs(), model.get_layer("sync")
    weights = layer.get_weights()
    before = sync_part(model).predict(given, verbose=0)
    scores = 0.5 + skill * np.linspace(-0.1, 0.1, 40).astype(np.float32)  # right, but close to 0.5
    fit_sharpness(model, np.repeat(np.array([0, 1], np.float32), 20), scores)
    after = sync_part(model).predict(given, verbose=0)
    layer.set_weights(weights)
    logits = [np.log(one / (1 - one)) for one in (before, after)]
    if skill > 0:
        assert abs(logits[1][0] - logits[1][1]) > 1.2 * abs(logits[0][0] - logits[0][1])
    else:
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_sync_is_learned_from_real_videos_alone(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    table = talking_faces(faces, 24, TALKING).assign(split=["train"] * 16 + ["validation"] * 8)
    others = WrongSounds(SequenceStore(talking_faces(faces, 12, TALKING, seed=1), faces, audio=True))

    def build(frame_count: int, face_size: int) -> keras.Model:
        return build_cnn_lstm(frame_count, face_size, filters=(4,), audio=True)

    config = TrainingConfig(epochs=8, batch_size=16, sync=True, learning_rate=1e-2)
    train(table, faces, tmp_path / "model", config=config, build=build, show_progress=False)
    model = load_model(tmp_path / "model")
    batches = make_batches(others, others.plan(2)).map(lambda sequences, *_: sequences)
    heard = sync_part(model).predict(batches, verbose=0).ravel()
    assert roc_auc_score([0, 1] * (len(heard) // 2), heard) > 0.9
    with pytest.raises(ValueError, match="a model that hears"):
        train(table, faces, tmp_path / "deaf", config=config, show_progress=False)

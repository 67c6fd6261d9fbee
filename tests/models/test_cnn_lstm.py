from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.error import URLError

import keras
import numpy as np
import pytest

from dfdc_utils.models import build_cnn_lstm, load_model
from dfdc_utils.models.cnn_lstm import HEADS


@pytest.fixture(scope="module")
def sequences() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3)).astype(np.uint8)


def test_shapes_and_range(sequences: np.ndarray) -> None:
    model = build_cnn_lstm(4, 32)
    scores = model.predict(sequences, verbose=0)
    assert model.input_shape == (None, 4, 32, 32, 3)
    assert scores.shape == (3, 1)
    assert ((scores > 0) & (scores < 1)).all()


def test_folding_time_equals_time_distributed(sequences: np.ndarray) -> None:
    """The CNN's features of each frame are those that `TimeDistributed` would give."""
    model = build_cnn_lstm(4, 32)
    folded = keras.Model(model.input, model.get_layer("features").output)
    frames = keras.Input((32, 32, 3))
    inner = keras.Model(model.get_layer("to_minus_two_to_two").input, model.get_layer("features").output)
    per_frame = keras.layers.TimeDistributed(keras.Model(frames, inner(frames)))
    expected = np.asarray(per_frame(sequences.astype("float32")))
    np.testing.assert_allclose(
        folded.predict(sequences, verbose=0).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5
    )


def test_order_of_frames_matters(sequences: np.ndarray) -> None:
    model = build_cnn_lstm(4, 32)
    straight, shuffled = (model.predict(x, verbose=0) for x in (sequences, sequences[:, [2, 0, 3, 1]]))
    assert np.abs(straight - shuffled).max() > 1e-6


@pytest.mark.parametrize("head", HEADS)
def test_heads_know_time_but_for_the_mean(head: str, sequences: np.ndarray) -> None:
    model = build_cnn_lstm(4, 32, head=head)
    straight, shuffled = (model.predict(x, verbose=0) for x in (sequences, sequences[:, [2, 0, 3, 1]]))
    assert straight.shape == (3, 1) and ((straight > 0) & (straight < 1)).all()
    assert (np.abs(straight - shuffled).max() > 1e-6) == (head != "mean")


@pytest.fixture(scope="module")
def with_mobilenet() -> keras.Model:
    return build_cnn_lstm(4, 32, backbone="MobileNetV2")


@pytest.mark.slow
def test_batch_normalization_of_a_backbone_stays_as_it_is(
    with_mobilenet: keras.Model, sequences: np.ndarray, tmp_path: Path
) -> None:
    """Neither its statistics nor its weights move in training, also after the model was saved and loaded."""
    with_mobilenet.save(tmp_path / "model.keras")
    model = load_model(tmp_path)
    (network,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [np.copy(weight) for layer in norms for weight in layer.get_weights()]
    others = [np.copy(weight) for weight in model.trainable_weights]
    model.compile("adam", "binary_crossentropy", run_eagerly=True)  # a graph of it takes ten times as long
    model.train_on_batch(sequences, np.array([[0.0], [1.0], [0.0]]))
    assert norms and len(before) >= 4 * 10
    for old, new in zip(before, [weight for layer in norms for weight in layer.get_weights()], strict=True):
        np.testing.assert_array_equal(old, new)
    assert any((old != np.asarray(new)).any() for old, new in zip(others, model.trainable_weights, strict=True))


def test_a_backbone_folded_equals_time_distributed(with_mobilenet: keras.Model, sequences: np.ndarray) -> None:
    model = with_mobilenet
    (network,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    folded = keras.Model(model.input, model.get_layer("features").output)
    inner = keras.Sequential([network, model.get_layer("average"), model.get_layer("features")])
    prepared = keras.applications.mobilenet_v2.preprocess_input(sequences.astype("float32"))
    expected = np.asarray(keras.layers.TimeDistributed(inner)(prepared))
    np.testing.assert_allclose(np.reshape(folded(sequences), expected.shape), expected, atol=1e-4)


def test_weights_come_from_a_local_file(sequences: np.ndarray, tmp_path: Path) -> None:
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    network.save_weights(tmp_path / "own.weights.h5")
    model = build_cnn_lstm(4, 32, backbone="MobileNetV2", weights=str(tmp_path / "own.weights.h5"))
    (used,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    for one, two in zip(network.get_weights(), used.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_is_wrong_with_a_backbone_or_its_weights_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither 'small' nor in keras.applications: .*MobileNetV2"):
        build_cnn_lstm(4, 32, backbone="LeNet")
    with pytest.raises(ValueError, match="head 'gru' is not one of lstm, attention, mean"):
        build_cnn_lstm(4, 32, head="gru")
    with pytest.raises(ValueError, match=r"weights='imagenet'.* small CNN\. Name a backbone"):
        build_cnn_lstm(4, 32, weights="imagenet")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5: no such file of weights for MobileNetV2"):
        build_cnn_lstm(4, 32, backbone="MobileNetV2", weights="nowhere.h5")

    def offline(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", offline)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"cannot be fetched .* name the file in `weights`"):
        build_cnn_lstm(4, 96, backbone="MobileNetV2", weights="imagenet")


@pytest.mark.slow
def test_it_trains_on_jax(tmp_path: Path, sequences: np.ndarray) -> None:
    """The model code knows no backend: where TensorFlow finds no GPU, JAX or PyTorch may."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    np.save(tmp_path / "x.npy", sequences)
    code = (
        "import numpy as np, keras, sys\n"
        "from dfdc_utils.models.folder import load_model\n"
        "from dfdc_utils.models.cnn_lstm import HEADS, build_cnn_lstm\n"
        "assert keras.backend.backend() == 'jax'\n"
        "x, y = np.load('x.npy'), np.array([[0.0], [1.0], [0.0]])\n"
        "for head in HEADS:\n"
        "    model = build_cnn_lstm(4, 32, head=head)\n"
        "    model.compile(keras.optimizers.Adam(1e-3), 'binary_crossentropy')\n"
        "    losses = [float(model.train_on_batch(x, y)) for _ in range(4)]\n"
        "    assert losses[-1] < losses[0], losses\n"
        "model.save('model.keras')\n"
        "np.save('scores.npy', model.predict(x, verbose=0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # What JAX trained, TensorFlow reads, and scores alike.
    np.testing.assert_allclose(
        load_model(tmp_path).predict(sequences, verbose=0), np.load(tmp_path / "scores.npy"), atol=1e-5
    )


def test_a_face_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="face_size=16"):
        build_cnn_lstm(4, 16)


@pytest.mark.slow
def test_loads_in_a_process_without_this_package(tmp_path: Path, sequences: np.ndarray) -> None:
    model = build_cnn_lstm(4, 32)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", sequences)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "model = tf.keras.models.load_model('model.keras')\n"
        "np.save('scores.npy', model.predict(np.load('x.npy'), verbose=0))\n"
        "assert not any(name.startswith('dfdc_utils') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), model.predict(sequences, verbose=0), atol=1e-6)


def test_load_model_takes_the_folder_or_the_file(tmp_path: Path, sequences: np.ndarray) -> None:
    model = build_cnn_lstm(4, 32)
    model.save(tmp_path / "model.keras")
    for path in (tmp_path, tmp_path / "model.keras"):
        np.testing.assert_array_equal(load_model(path)(sequences), model(sequences))


def test_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dfdc train"):
        load_model(tmp_path)


# Files that nobody vouches for


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch escaped",)


def evil_lambda() -> keras.Model:
    inputs = keras.Input((4, 32, 32, 3))
    x = keras.layers.Lambda(lambda x: (__import__("os").system("touch escaped"), x)[1])(inputs)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def rewritten(source: Path, target: Path, old: str, new: str) -> None:
    """The model file `source` with `old` in its config.json replaced."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "config.json":
                assert old in content.decode()
                content = content.decode().replace(old, new).encode()
            after.writestr(name, content)


@pytest.mark.parametrize("kind", ["pickle", "pickle in a zip", "hdf5", "lambda", "function of a module", "class"])
def test_loading_a_model_runs_no_code(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    file = tmp_path / "model.keras"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Evil()))
    elif kind == "pickle in a zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(Evil()))
    elif kind == "hdf5":
        file = tmp_path / "model.h5"
        evil_lambda().save(file)
    elif kind == "lambda":
        evil_lambda().save(file)
        (tmp_path / "escaped").unlink()
        keras.saving.load_model(file, safe_mode=False)
        assert (tmp_path / "escaped").exists(), "this file is no test"
    else:
        small = tmp_path / "made" / "small.keras"
        inputs = keras.Input((4, 32, 32, 3))
        outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(inputs))
        keras.Model(inputs, outputs).save(small)
        if kind == "class":
            flatten = '"module": "keras.layers", "class_name": "Flatten"'
            rewritten(small, file, flatten, '"module": "os", "class_name": "system"')
        else:
            evil = '{"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}'
            rewritten(small, file, '"activation": "sigmoid"', f'"activation": {evil}')
    (tmp_path / "escaped").unlink(missing_ok=True)  # building the model runs it, too
    with pytest.raises(ValueError, match=r"not loaded|cannot be loaded safely"):
        load_model(file)
    assert not (tmp_path / "escaped").exists()

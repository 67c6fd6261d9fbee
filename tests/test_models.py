from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfdc_utils.models import build_cnn_lstm, load_model


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
    import keras

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


def test_a_face_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="face_size=16"):
        build_cnn_lstm(4, 16)


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
        np.testing.assert_array_equal(
            load_model(path).predict(sequences, verbose=0), model.predict(sequences, verbose=0)
        )


def test_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dfdc_utils train"):
        load_model(tmp_path)

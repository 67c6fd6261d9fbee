"""What feeding and training cost, as ratios within one run: loading, waiting for data, the loop, the graph.

Run by `make bench`, on the embedded synthetic sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from dfdc_utils.faces import SequenceConfig, sequence_paths
from dfdc_utils.models import build_cnn_lstm
from dfdc_utils.processing import processing
from dfdc_utils.sequences import SequenceStore, make_batches, plan_batches, split_by_group
from dfdc_utils.training import Progress, TrainingConfig
from dfdc_utils.training.loop import TrainingLoop
from dfdc_utils.videos import balance_classes

ROUNDS = 9
CORES = joblib.cpu_count()


@pytest.fixture(scope="module")
def faces(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("faces")
    manifest = processing(sample, folder, detector="haar", show_progress=False)
    return folder, split_by_group(balance_classes(manifest[manifest["status"] == "ok"]))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_loading(faces: tuple[Path, pd.DataFrame]) -> None:
    """Sequences read, decoded and stacked from disk by `tf.data`, against OpenCV's decoder in as many threads."""
    folder, table = faces
    paths = [sequence_paths(folder, video, 16) for video in table["video"]] * 4
    store = SequenceStore(table, folder, cache=False)
    batches = make_batches(store, plan_batches(len(table), 8, epochs=4))

    def by_opencv(files: list[str]) -> np.ndarray:
        return np.stack([cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) for file in files])

    def with_opencv() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            for _ in pool.map(by_opencv, paths):
                pass

    def with_tf_data() -> None:
        for _ in batches:
            pass

    cv2.setNumThreads(1)
    with_opencv(), with_tf_data()  # the files are in the page cache from here on
    rounds = np.array([(seconds(with_opencv), seconds(with_tf_data)) for _ in range(ROUNDS)])
    ratios = rounds[:, 0] / rounds[:, 1]
    spread = f"{ratios.min():.2f} to {ratios.max():.2f}"
    print(f"\nloading, ours / cv2.imdecode, {CORES} cores: {np.median(ratios):.2f} ({spread}), bar ≥ 0.8")
    speeds = len(paths) / np.median(rounds, axis=0)
    print(f"sequences a second: ours {speeds[1]:.0f}, cv2 {speeds[0]:.0f}")
    assert np.median(ratios) >= 0.8


@pytest.mark.parametrize("cache", ["in memory", "from disk"])
def test_waiting_for_data(faces: tuple[Path, pd.DataFrame], cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fraction of a step that is spent until its batch is there, from the second epoch on."""
    if cache == "from disk":
        monkeypatch.setattr("dfdc_utils.sequences.dataset.MEMORY_FRACTION", 0.0)
    loop = new_loop(faces, epochs=6)
    assert loop.store.in_memory == (cache == "in memory")
    loop.start(Progress({}))
    waits, steps = [], []
    for _ in range(6 * loop.steps):
        started = time.perf_counter()
        batch = next(loop._batches)
        there = time.perf_counter()
        [float(value) for value in loop._step(batch)]
        waits.append(there - started)
        steps.append(time.perf_counter() - started)
    waited = sum(waits[loop.steps :]) / sum(steps[loop.steps :])
    speed = 5 * len(loop.store.labels) / sum(steps[loop.steps :])
    print(f"\nwaiting for data, {cache}: {waited:.1%} of a step from epoch 2 on, bar ≤ 5 %; {speed:.0f} sequences/s")
    assert waited <= 0.05


def test_own_loop_against_fit(faces: tuple[Path, pd.DataFrame]) -> None:
    """An epoch of the same steps on the same data, by our loop and by Keras' `fit`."""
    loop = new_loop(faces, epochs=ROUNDS + 2)
    progress = Progress({})
    loop.start(progress)
    model = build_cnn_lstm(16, 96)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    plan = loop.store.plan(8, epochs=ROUNDS + 2, shuffle=True)
    batches = make_batches(loop.store, plan, augment=True)
    times: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            times.append(time.perf_counter() - self.started)

    def take_epoch() -> None:
        for _ in range(loop.steps):
            loop.take_step(progress)

    take_epoch()
    model.fit(batches, steps_per_epoch=loop.steps, epochs=ROUNDS + 2, shuffle=False, verbose=0, callbacks=[Clock()])
    ours = np.median([seconds(take_epoch) for _ in range(ROUNDS)])
    ratio = ours / np.median(times[1:])
    print(f"\nan epoch, our loop / Keras' fit: {ratio:.2f} ({ours:.2f} s, {np.median(times[1:]):.2f} s), bar ≤ 1.1")
    assert ratio <= 1.1


def test_graph_of_a_large_backbone() -> None:
    """EfficientNetV2B0 at T = 16: time folded into the batch, against a copy of the network for each frame."""
    keras.utils.set_random_seed(0)
    network = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(96, 96, 3), pooling="avg"
    )
    network.trainable = False
    sequence = keras.Input((16, 96, 96, 3))

    def trace(model: keras.Model) -> None:
        graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec((1, 16, 96, 96, 3)))
        sizes.append(len(graph.graph.as_graph_def().node))

    def fold() -> None:
        frames = keras.ops.reshape(sequence, (-1, 96, 96, 3))
        models.append(keras.Model(sequence, keras.ops.reshape(network(frames), (-1, 16, 1280))))
        trace(models[-1])

    def copy() -> None:
        models.append(keras.Model(sequence, keras.layers.TimeDistributed(network)(sequence)))
        trace(models[-1])

    models: list[keras.Model] = []
    sizes: list[int] = []
    folded, copied = seconds(fold), seconds(copy)
    print(f"\ngraph of EfficientNetV2B0, T = 16: TimeDistributed / folded {copied / folded:.1f}, bar ≥ 10")
    print(f"seconds {copied:.1f} and {folded:.1f}; nodes {sizes[1]} and {sizes[0]}")
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 96, 96, 3)).astype("float32")
    one, two = (model(x, training=False).numpy() for model in models)
    assert np.abs(one).max() > 0
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4 * np.abs(one).max())
    assert copied >= 10 * folded


def new_loop(faces: tuple[Path, pd.DataFrame], *, epochs: int) -> TrainingLoop:
    folder, table = faces
    parts = {name: table[table["split"] == name] for name in ("train", "validation")}
    config = TrainingConfig(epochs=epochs)
    sequence = SequenceConfig.load(folder / "sequence.json")
    return TrainingLoop(parts, folder, sequence, config, tf.distribute.get_strategy(), build_cnn_lstm)

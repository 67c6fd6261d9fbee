"""Faces on disk → `tf.data`: sequences (T, H, W, 3), built in TensorFlow `TensorArray`s."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig, load_face_detector, sequence_paths
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences.augmentation import augment_sequence
from dfdc_utils.sequences.blending import find_landmarks, self_blend
from dfdc_utils.videos import Image

with quiet_import():
    import tensorflow as tf

# Decoded sequences are kept in memory if they take no more than this share of what is free: while they are gathered,
# they are there twice.
MEMORY_FRACTION = 0.4


def load_sequence(save_path: str | Path, video: str, frame_count: int = 16, *, track: int = 0) -> Image:
    """Load one video's sequence, uint8 RGB (T, H, W, 3) with T = `frame_count`.

    Raises `FileNotFoundError` if the video was not processed, `ValueError` if it has no such track.
    Taught in notebook 03.
    """
    paths = tf.constant(sequence_paths(save_path, video, frame_count, track=track))
    sequence: Image = stack_faces(paths).numpy()
    return sequence


@tf.function(reduce_retracing=True)
def stack_faces(files: tf.Tensor, *, are_paths: bool = True) -> tf.Tensor:
    """Read and decode T JPEG files into one sequence, uint8 (T, H, W, 3), through a `TensorArray`.

    `files` is string (T,), their paths or else their contents. The array is sized, and every slot is written once: a
    slot left out would read back as black without a word.
    """
    frame_count = tf.shape(files)[0]
    faces = tf.TensorArray(tf.uint8, size=frame_count, element_shape=(None, None, 3))
    for index in tf.range(frame_count):
        content = tf.io.read_file(files[index]) if are_paths else files[index]
        faces = faces.write(index, tf.io.decode_jpeg(content, channels=3))
    return faces.stack()


class SequenceStore:
    """The sequences of a table by number: from memory if all fit, else from their files each time.

    A row of `table` is one video whose status is `ok`; T, H and W come from the `sequence.json` beside the faces.
    `labels` is float32 (N,), 1.0 for FAKE. `cache=None` decides by the free memory; `in_memory` says what was decided,
    `size` how many bytes all sequences take (0.4 MB per video by default).

    Raises `ValueError` for an empty table or a video without a label or without faces, `ConfigMismatch` if the faces on
    disk have another size. Taught in notebook 03.
    """

    def __init__(self, table: pd.DataFrame, save_path: str | Path, *, cache: bool | None = None) -> None:
        config = SequenceConfig.load(Path(save_path) / "sequence.json")
        if table.empty:
            raise ValueError("no video to make a dataset of: process some first")
        unfit = table[(table["status"] != "ok") | ~table["label"].isin(["REAL", "FAKE"])]
        if not unfit.empty:
            raise ValueError(
                f"{len(unfit)} videos have no faces or no label, {unfit['video'].iloc[0]} first: leave them out"
            )
        videos = list(table["video"])
        self.labels = (table["label"] == "FAKE").to_numpy(np.float32)
        self.shape = (config.frame_count, config.face_size, config.face_size, 3)
        self.size = len(table) * math.prod(self.shape)
        self.in_memory = self.size <= MEMORY_FRACTION * psutil.virtual_memory().available if cache is None else cache
        with tf.device("CPU:0"):
            self._paths = tf.constant([sequence_paths(save_path, video, config.frame_count) for video in videos])
            self._check_size(self._read(0), videos[0], save_path)
            if self.in_memory:
                self._faces = tf.stack(list(_in_parallel(tf.data.Dataset.range(len(videos)), self._read)))

    def __str__(self) -> str:
        where = "kept in memory" if self.in_memory else "read from disk at every epoch"
        return f"{len(self.labels)} sequences, {self.size / 1e6:,.0f} MB decoded: {where}"

    def load(self, number: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Sequence `number`, uint8 (T, H, W, 3), inside or outside of a graph; no `seed` is needed here."""
        return tf.ensure_shape(self._faces[number] if self.in_memory else self._read(number), self.shape)

    def plan(self, batch_size: int, **settings: Any) -> Plan:
        """`plan_batches` for these sequences."""
        return plan_batches(len(self.labels), batch_size, **settings)

    def _read(self, number: tf.Tensor) -> tf.Tensor:
        return stack_faces(self._paths[number])

    def _check_size(self, sequence: tf.Tensor, video: str, save_path: str | Path) -> None:
        if tuple(sequence.shape) != self.shape:
            raise ConfigMismatch(
                f"the faces of {video} in {save_path} are {sequence.shape[2]} x {sequence.shape[1]} pixels, but "
                f"sequence.json says {self.shape[1]}. Run processing again."
            )


class SelfBlends:
    """Pairs of a REAL sequence and its self-blend, a fake, in place of the sequences of a `SequenceStore`.

    Number i is the real one of a pair and N + i its fake; `labels` is float32 (2N,). Each seed blends a pair in another
    way (see `blending`). `real` must hold REAL videos only; their landmarks are found once, here.
    """

    def __init__(self, real: SequenceStore) -> None:
        self._real, count = real, len(real.labels)
        self.labels = np.repeat(np.array([0, 1], np.float32), count)
        self.shape = real.shape
        detector = load_face_detector("auto")
        with tf.device("CPU:0"):
            found = [find_landmarks(real.load(number).numpy(), detector) for number in range(count)]
            self._landmarks = tf.constant(np.stack(found))

    def __str__(self) -> str:
        return f"{self._real}, each also blended with itself"

    def load(self, number: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Sequence `number`, uint8 (T, H, W, 3), of the pair that `seed`, int64 (2,), makes."""
        count = len(self._landmarks)
        pair = (self._real.load(number % count), self._landmarks[number % count], seed, number >= count)
        return tf.ensure_shape(tf.numpy_function(_blend, pair, tf.uint8, stateful=False), self.shape)

    def plan(self, batch_size: int, **settings: Any) -> Plan:
        """`plan_batches` in which each real sequence is followed by its blend, both varied by the same seed."""
        count, pairs = len(self._landmarks), max(1, batch_size // 2)
        plan = plan_batches(count, pairs, **settings)
        numbers = np.stack([plan.numbers, plan.numbers + count], axis=-1).reshape(len(plan.numbers), -1)
        return Plan(numbers, np.repeat(plan.weights / 2, 2, axis=1), np.repeat(plan.seeds, 2, axis=1))


class Plan(NamedTuple):
    """Which sequences make which batch, for all steps to come. All that is random in training follows from it.

    `numbers` (S, B) int64 of the sequences of S steps; `weights` (S, B) float32 are equal within a step and sum to 1,
    but 0 where a short last batch was padded; `seeds` (S, B, 2) int64 seed each sequence's augmentation.
    """

    numbers: NDArray[np.int64]
    weights: NDArray[np.float32]
    seeds: NDArray[np.int64]

    def part(self, number: int, parts: int, *, start: int = 0) -> Plan:
        """What one of `parts` equal shares of every batch holds, from step `start` on."""
        each = self.numbers.shape[1] // parts
        share = slice(number * each, (number + 1) * each)
        return Plan(self.numbers[start:, share], self.weights[start:, share], self.seeds[start:, share])


def plan_batches(
    count: int, batch_size: int, *, epochs: int = 1, shuffle: bool = False, replicas: int = 1, seed: int = 0
) -> Plan:
    """Deal `count` sequences into batches of `batch_size` for each epoch, in another order each if `shuffle` is set.

    Every sequence comes once an epoch. The last batch of an epoch is filled up with sequences that weigh nothing, and
    so is every batch that `replicas` cannot share evenly: all have the same shape. The order of an epoch depends on
    `seed` and its number alone, so training can go on from any step. Taught in notebook 03.
    """
    steps, width = -(-count // batch_size), -(-batch_size // replicas) * replicas
    numbers = np.empty((epochs, steps, width), np.int64)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(count) if shuffle else np.arange(count)
        numbers[epoch, :, :batch_size] = np.resize(order, (steps, batch_size))
    filling = np.arange(batch_size, width) % batch_size
    numbers[:, :, batch_size:] = numbers[:, :, filling]
    real = np.arange(steps)[:, None] * batch_size + np.arange(width) < count
    real[:, batch_size:] = False
    weights = np.broadcast_to(real / real.sum(axis=1, keepdims=True), numbers.shape)
    seeds = numbers + count * np.arange(epochs)[:, None, None]
    seeds = np.stack([np.full_like(seeds, seed), seeds], axis=-1)
    return Plan(numbers.reshape(-1, width), weights.reshape(-1, width).astype(np.float32), seeds.reshape(-1, width, 2))


def make_batches(
    store: SequenceStore | SelfBlends, plan: Plan, batch_size: int | None = None, *, augment: bool = False
) -> tf.data.Dataset:
    """A dataset of (sequences, labels, weights), as `plan` says: uint8 (B, T, H, W, 3), float32 (B, 1), float32 (B,).

    `batch_size` cuts each of its batches into smaller ones. Taught in notebook 03.
    """

    def load(number: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        sequence = store.load(number, seed)
        return (augment_sequence(sequence, seed) if augment else sequence), label, weight

    numbers = plan.numbers.ravel()
    examples = (numbers, store.labels[numbers][:, None], plan.weights.ravel(), plan.seeds.reshape(-1, 2))
    with tf.device("CPU:0"):
        dataset = _in_parallel(tf.data.Dataset.from_tensor_slices(examples), load)
    return dataset.batch(batch_size or plan.numbers.shape[1], drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def make_dataset(
    table: pd.DataFrame,
    save_path: str | Path,
    *,
    batch_size: int = 16,
    shuffle: bool = False,
    augment: bool = False,
    epochs: int = 1,
    cache: bool | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """A dataset of (sequences, labels): uint8 (B, T, H, W, 3) and float32 (B, 1), 1.0 for FAKE.

    Videos, memory and errors are those of `SequenceStore`. It gives `epochs` epochs one after the other, each in its
    own order and with its own seeds if `shuffle` and `augment` are set; all follow from `seed`. The last batch of an
    epoch is smaller where the videos do not fill it. Taught in notebook 03.
    """
    store = SequenceStore(table, save_path, cache=cache)
    plan = store.plan(min(batch_size, len(table)), epochs=epochs, shuffle=shuffle, seed=seed)
    return make_batches(store, plan, augment=augment).map(_without_padding)


def _blend(sequence: Image, landmarks: NDArray[np.float32], seed: NDArray[np.int64], is_fake: bool) -> Image:
    return self_blend(sequence, landmarks, np.random.default_rng(seed))[int(is_fake)]


def _without_padding(sequences: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    count = tf.math.count_nonzero(weights)
    return sequences[:count], labels[:count]


def _in_parallel(dataset: tf.data.Dataset, function: object) -> tf.data.Dataset:
    # Not AUTOTUNE, which takes one thread for some iterators and two for others, and is half as fast then.
    return dataset.map(function, num_parallel_calls=joblib.cpu_count(), deterministic=True)

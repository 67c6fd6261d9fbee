"""From faces on disk to `tf.data`: sequences (T, H, W, 3), built in TensorFlow `TensorArray`s."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import psutil
from numpy.typing import NDArray

from dfdc_utils import faces
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SLICE, SequenceConfig
from dfdc_utils.quiet import tf
from dfdc_utils.sequences.augmentation import augment_sequence, augment_sound
from dfdc_utils.sequences.blending import find_landmarks, self_blend
from dfdc_utils.videos import Image

MEMORY_FRACTION = 0.4  # of the free memory for decoded sequences: while they are collected, there are two copies
DEAFENED = 0.1  # of the sequences in training get no sound, so that videos without are a known case
OTHERS = 0.8  # of the weight of wrong sounds is on those of other videos, the rest on moved ones


def load_sequence(save_path: str | Path, video: str, frame_count: int = 16, *, track: int = 0) -> Image:
    """Load one video's sequence, uint8 RGB (T, H, W, 3). Raises like `sequence_paths`. Taught in notebook 03."""
    return np.asarray(stack_faces(tf.constant(faces.sequence_paths(save_path, video, frame_count, track=track))))


@tf.function(reduce_retracing=True)
def stack_faces(files: tf.Tensor, *, are_paths: bool = True) -> tf.Tensor:
    """Decode T JPEG files, string (T,), by their paths or by their contents, into one sequence, uint8 (T, H, W, 3).

    The `TensorArray` has a fixed size, and every slot is written: TensorFlow would read a missing one as a black face.
    """
    frame_count = tf.shape(files)[0]
    crops = tf.TensorArray(tf.uint8, size=frame_count, element_shape=(None, None, 3))
    for index in tf.range(frame_count):
        content = tf.io.read_file(files[index]) if are_paths else files[index]
        crops = crops.write(index, tf.io.decode_jpeg(content, channels=3))
    return crops.stack()


class Plan(NamedTuple):
    """Which sequences form which batch, for all S steps. Order and augmentation of a training follow from it alone.

    `numbers` (S, B) int64 are the sequences of each step. `weights` (S, B) float32 sum to 1 in each step; padding has
    weight 0. `seeds` (S, B, 2) int64 seed each sequence's augmentation.
    """

    numbers: NDArray[np.int64]
    weights: NDArray[np.float32]
    seeds: NDArray[np.int64]

    def part(self, number: int, parts: int, *, start: int = 0) -> "Plan":
        """Part `number` of every batch when it is cut into `parts` equal ones, from step `start` on."""
        each = self.numbers.shape[1] // parts
        rows, columns = slice(start, None), slice(number * each, (number + 1) * each)
        return Plan(self.numbers[rows, columns], self.weights[rows, columns], self.seeds[rows, columns])


class SequenceStore:
    """The sequences of a table by number: from memory if all fit, else from their files each time.

    A row of `table` is a video whose status is `ok`, and its main person or the one that a column `track` numbers. T, H
    and W come from `sequence.json`. `labels` is float32 (N,), 1.0 for FAKE. With `audio` a sequence comes with its
    sound. `size` is in bytes; whether to keep that `in_memory` follows from the free memory, unless `cache` says so.

    Raises `ValueError` without videos, labels or faces, `ConfigMismatch` if face sizes differ. Taught in notebook 03.
    """

    def __init__(
        self, table: pd.DataFrame, save_path: str | Path, *, cache: bool | None = None, audio: bool = False
    ) -> None:
        config = SequenceConfig.load(Path(save_path) / "sequence.json")
        if table.empty:
            raise ValueError("there is no video to make a dataset of: process some first")
        unfit = table[(table["status"] != "ok") | ~table["label"].isin(["REAL", "FAKE"])]
        if not unfit.empty:
            first = unfit["video"].iloc[0]
            raise ValueError(f"{len(unfit)} videos have no faces or no label, {first} first: leave them out")
        videos = list(table["video"])
        self.labels = (table["label"] == "FAKE").to_numpy(np.float32)
        self.shape = (config.frame_count, config.face_size, config.face_size, 3)
        self.size = len(table) * math.prod(self.shape)
        self.audio, self._save_path = audio, save_path
        self.in_memory = self.size <= MEMORY_FRACTION * psutil.virtual_memory().available if cache is None else cache
        with tf.device("CPU:0"):
            self._people = list(zip(videos, table["track"] if "track" in table else [0] * len(table), strict=True))
            paths = [faces.sequence_paths(save_path, one, self.shape[0], track=track) for one, track in self._people]
            self._paths = tf.constant(paths)
            found = tuple(self._read(0).shape)
            if found != self.shape:
                what = f"the faces of {videos[0]} in {save_path} are {found[2]} x {found[1]} pixels"
                raise ConfigMismatch(f"{what}, but sequence.json says {config.face_size}. Run processing again.")
            if self.in_memory and audio:
                self._sounds = [tf.stack(one) for one in zip(*map(self._read_sound, range(len(videos))), strict=True)]
            if self.in_memory:
                self._faces = tf.stack(list(_in_parallel(tf.data.Dataset.range(len(videos)), self._read)))
        self.time_step = step = faces.median_time_step(save_path, videos) if audio else 0.0  # reads a file per video
        # In frames: a sound moved by 0.2 s does not belong to its mouth.
        self.least_shift = min(max(1, math.ceil(0.2 / step)) if step else 1, config.frame_count // 2)

    def __str__(self) -> str:
        where = "kept in memory" if self.in_memory else "read from disk at every epoch"
        return f"{len(self.labels)} sequences, {self.size / 1e6:,.0f} MB decoded: {where}"

    def load(self, number: tf.Tensor, seed: tf.Tensor | None = None) -> Any:
        """Sequence `number`, uint8 (T, H, W, 3), inside or outside of a graph. `seed` is for fakes that are made here.

        With `audio`: `sequence`; `audio`, int16 (T, 3200), the sound about each frame at 16 kHz; and `has_audio`,
        float32 (1,), 1.0 where the sound can be compared with a mouth.
        """
        sequence = tf.ensure_shape(self._faces[number] if self.in_memory else self._read(number), self.shape)
        return {"sequence": sequence, **self.load_sound(number)} if self.audio else sequence

    def load_sound(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """Load `audio` and `has_audio` of sequence `number`."""
        if self.in_memory:
            samples, heard = (one[number] for one in self._sounds)
        else:
            samples, heard = tf.numpy_function(self._read_sound, (number,), (tf.int16, tf.float32), stateful=False)
        return {"audio": tf.ensure_shape(samples, (self.shape[0], SLICE)), "has_audio": tf.ensure_shape(heard, (1,))}

    def plan(self, batch_size: int, **settings: Any) -> Plan:
        return plan_batches(len(self.labels), batch_size, **settings)

    def _read(self, number: tf.Tensor) -> tf.Tensor:
        return stack_faces(self._paths[number])

    def _read_sound(self, number: int) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        video, track = self._people[number]
        samples, flaw = faces.load_slices(self._save_path, video, self.shape[0], track=track)
        return samples, np.array([not flaw], np.float32)


def with_judged_sound(table: pd.DataFrame, save_path: str | Path) -> pd.DataFrame:
    """Leave out the videos whose sound cannot be compared with a mouth. Raises `ValueError` if fewer than two stay."""
    frame_count = SequenceConfig.load(Path(save_path) / "sequence.json").frame_count
    kept = table[[not faces.load_slices(save_path, video, frame_count)[1] for video in table["video"]]]
    if len(kept) < 2:
        raise ValueError("sync=True needs two REAL videos or more whose sound can be judged: process more videos")
    return kept


class _Pairs:
    """Pairs of a REAL sequence and a fake of it, with the interface of a `SequenceStore`.

    Number i is the real one of a pair and N + i its fake; `labels` is float32 (2N,). Each sequence is in `each` pairs.
    """

    each = 1

    def __init__(self, real: SequenceStore) -> None:
        self._real, self.shape, self._pair_count = real, real.shape, self.each * len(real.labels)
        self.labels = np.repeat(np.array([0, 1], np.float32), self._pair_count)

    def plan(self, batch_size: int, **settings: Any) -> Plan:
        """Call `plan_batches`, and let each real sequence be followed by its fake, with the same seed."""
        plan = plan_batches(self._pair_count, max(1, batch_size // 2), **settings)
        numbers = np.stack([plan.numbers, plan.numbers + self._pair_count], axis=-1).reshape(len(plan.numbers), -1)
        return Plan(numbers, np.repeat(plan.weights / 2, 2, axis=1), np.repeat(plan.seeds, 2, axis=1))


class WrongSounds(_Pairs):
    """Pairs of a REAL sequence with its sound and with a wrong one, four of each, for a model that hears.

    Most fakes have the sound of another video, the others their own, moved by at least 0.2 s. Each sound occurs in both
    classes, so a sound alone does not show that it is wrong. `real` must hold two REAL videos or more, with sound.
    """

    each = 4  # wrong sounds for each video in validation

    def __str__(self) -> str:
        return f"{self._real}; each is also shown with {self.each} wrong sounds"

    def load(self, number: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sequence `number` with its sound, or with the wrong one that `seed`, int64 (2,), chooses."""
        count, least = len(self._real.labels), self._real.least_shift
        own = number % count
        example = self._real.load(own)
        draws = tf.random.stateless_uniform((3,), seed)
        other = (own + 1 + tf.cast(draws[0] * (count - 1), tf.int64)) % count
        moved = tf.roll(example["audio"], least + tf.cast(draws[1] * (self.shape[0] - 2 * least + 1), tf.int32), 0)
        wrong = tf.where(draws[2] < OTHERS, self._real.load_sound(other)["audio"], moved)
        return {**example, "audio": tf.where(number < self._pair_count, example["audio"], wrong)}


class SelfBlends(_Pairs):
    """Pairs of a REAL sequence and its self-blend. Each seed makes another one (see `blending`).

    `real` must hold REAL videos only. Without YuNet's weights all faces get typical landmarks.
    """

    def __init__(self, real: SequenceStore) -> None:
        super().__init__(real)
        detector = faces.load_face_detector("auto")
        self._source = "landmarks by YuNet" if detector.name == "yunet" else "typical landmarks, without YuNet"
        with tf.device("CPU:0"):
            found = [find_landmarks(real.load(number).numpy(), detector) for number in range(self._pair_count)]
            self._landmarks = tf.constant(np.stack(found))

    def __str__(self) -> str:
        return f"{self._real}; each is also blended with itself ({self._source})"

    def load(self, number: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Sequence `number`, uint8 (T, H, W, 3), of the pair that `seed`, int64 (2,), makes."""

        def blend(sequence: Image, landmarks: NDArray[np.float32], seed: NDArray[np.int64], is_fake: bool) -> Image:
            made = self_blend(sequence, landmarks, np.random.default_rng(seed))
            return made.fake if is_fake else made.real

        own = number % self._pair_count
        pair = (self._real.load(own), self._landmarks[own], seed, number >= self._pair_count)
        return tf.ensure_shape(tf.numpy_function(blend, pair, tf.uint8, stateful=False), self.shape)


Store = SequenceStore | SelfBlends | WrongSounds


def plan_batches(
    count: int, batch_size: int, *, epochs: int = 1, shuffle: bool = False, replicas: int = 1, seed: int = 0
) -> Plan:
    """Divide `count` sequences into batches of `batch_size`, for each epoch; with `shuffle`, each in another order.

    The last batch of an epoch, and every batch that `replicas` cannot share evenly, is padded with sequences of weight
    0. An epoch's order depends only on `seed` and its number: training can resume anywhere. Taught in notebook 03.
    """
    steps, width = -(-count // batch_size), -(-batch_size // replicas) * replicas
    numbers = np.empty((epochs, steps, width), np.int64)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(count) if shuffle else np.arange(count)
        numbers[epoch, :, :batch_size] = np.resize(order, (steps, batch_size))
    numbers[:, :, batch_size:] = numbers[:, :, np.arange(batch_size, width) % batch_size]
    real = np.arange(steps)[:, None] * batch_size + np.arange(width) < count
    real[:, batch_size:] = False
    weights = np.broadcast_to(real / real.sum(axis=1, keepdims=True), numbers.shape)
    seeds = numbers + count * np.arange(epochs)[:, None, None]
    seeds = np.stack([np.full_like(seeds, seed), seeds], axis=-1)
    return Plan(numbers.reshape(-1, width), weights.reshape(-1, width).astype(np.float32), seeds.reshape(-1, width, 2))


def make_batches(
    store: Store, plan: Plan, batch_size: int | None = None, *, augment: bool = False, frames: int | None = None
) -> tf.data.Dataset:
    """Make the dataset of a plan: (sequences, labels, weights), uint8 (B, T, H, W, 3), float32 (B, 1), float32 (B,).

    With sound, `sequences` is a dictionary, and its `audio` float32 (B, T, 3200) in -1..1. `batch_size` cuts batches
    into smaller ones. `frames` takes that many of each sequence, in random order. Taught in notebook 03.
    """

    def load(number: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, seed: tf.Tensor) -> tuple[Any, ...]:
        sequence = store.load(number, seed)
        if isinstance(sequence, dict):
            sequence["audio"] = tf.cast(sequence["audio"], tf.float32) / 32_768
            if augment:
                sequence["sequence"] = augment_sequence(sequence["sequence"], seed)
                sequence["audio"] = augment_sound(sequence["audio"], seed)
                sequence["has_audio"] *= tf.cast(tf.random.stateless_uniform((1,), seed) > DEAFENED, tf.float32)
            return sequence, label, weight
        if frames:
            order = tf.random.experimental.stateless_shuffle(tf.range(store.shape[0]), seed)
            sequence = tf.ensure_shape(tf.gather(sequence, order[:frames]), (frames, *store.shape[1:]))
        return (augment_sequence(sequence, seed) if augment else sequence), label, weight

    numbers = plan.numbers.ravel()
    examples: Any = (numbers, store.labels[numbers][:, None], plan.weights.ravel(), plan.seeds.reshape(-1, 2))
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
    audio: bool = False,
    seed: int = 0,
) -> tf.data.Dataset:
    """Make a dataset of (sequences, labels): uint8 (B, T, H, W, 3) and float32 (B, 1), 1.0 for FAKE.

    `audio` is as in `make_batches`; `table`, `cache` and errors are those of `SequenceStore`. Each of the `epochs` has
    its own order with `shuffle`, its own changes with `augment`, and maybe a smaller last batch. Taught in notebook 03.
    """

    def without_padding(sequences: Any, labels: tf.Tensor, weights: tf.Tensor) -> tuple[Any, tf.Tensor]:
        count = tf.math.count_nonzero(weights)
        return tf.nest.map_structure(lambda one: one[:count], sequences), labels[:count]

    store = SequenceStore(table, save_path, cache=cache, audio=audio)
    plan = store.plan(min(batch_size, len(table)), epochs=epochs, shuffle=shuffle, seed=seed)
    return make_batches(store, plan, augment=augment).map(without_padding)


def score_people(
    model: Any, table: pd.DataFrame, save_path: str | Path, *, add_flicker: Callable[..., Any] | None = None
) -> pd.Series:
    """Score each video of `table` by a Keras model, not calibrated: the highest score of the people who may decide.

    `add_flicker` is that of a `Flicker`, if the model has one. Raises like `SequenceStore`.
    """
    numbered = table.assign(row=np.arange(len(table)))
    numbered["track"] = [faces.deciding_tracks(save_path, video) for video in table["video"]]
    people = numbered.explode("track", ignore_index=True)
    audio = isinstance(getattr(model, "input", None), dict)
    raw = model.predict(make_dataset(people, save_path, cache=False, audio=audio), verbose=0).ravel().astype(float)
    if add_flicker:
        numbers = zip(people["video"], people["track"], strict=True)
        raw = add_flicker(raw, [faces.read_faces(save_path, one)["tracks"][track]["flicker"] for one, track in numbers])
    return pd.Series(raw).groupby(people["row"]).max().set_axis(table.index)


def _in_parallel(dataset: tf.data.Dataset, function: object) -> tf.data.Dataset:
    # Not AUTOTUNE: it uses one thread for some iterators and two for others, and is then half as fast.
    plain = tf.autograph.experimental.do_not_convert(function)  # there is nothing to convert
    return dataset.map(plain, num_parallel_calls=joblib.cpu_count(), deterministic=True)

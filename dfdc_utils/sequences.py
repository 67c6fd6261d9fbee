"""Faces on disk → `tf.data`: sequences (T, H, W, 3), built in TensorFlow `TensorArray`s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dfdc_utils.config import SequenceConfig
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.frames import Image
from dfdc_utils.quiet import quiet_import
from dfdc_utils.storage import read_faces

with quiet_import():
    import tensorflow as tf

# Augmentation, for each sequence once. Small: it must not reach what a fake's own faults do between two frames.
SHIFT = 5  # pixels either way, the size of a detector's error at 96 px
GAIN = 0.15  # share by which a colour channel is raised or lowered
CONTRAST = 0.25  # share by which contrast about mid grey is raised or lowered


def load_sequence(save_path: str | Path, video: str, frame_count: int = 16, *, track: int = 0) -> Image:
    """Load one video's sequence, uint8 RGB (T, H, W, 3) with T = `frame_count`.

    Raises `FileNotFoundError` if the video was not processed, `ValueError` if it has no such track.
    Taught in notebook 03.
    """
    paths = tf.constant(sequence_paths(save_path, video, frame_count, track=track))
    sequence: Image = stack_faces(paths).numpy()
    return sequence


def sequence_paths(save_path: str | Path, video: str, frame_count: int, *, track: int = 0) -> list[str]:
    """The `frame_count` files that make one video's sequence, in order of time.

    They are spread evenly over the frames that exist. Where there are fewer than `frame_count`, some stand twice: the
    length is fixed, so that no mask is needed. Raises like `load_sequence`.
    """
    tracks = read_faces(save_path, video)["tracks"]
    if track >= len(tracks):
        raise ValueError(f"{video} has {len(tracks)} tracks, so none numbered {track}: choose rows whose status is ok.")
    files = [frame["file"] for frame in tracks[track]["frames"]]
    spread = np.linspace(0, len(files) - 1, frame_count).round().astype(int)
    return [str(Path(save_path) / video / files[index]) for index in spread]


@tf.function(reduce_retracing=True)
def stack_faces(paths: tf.Tensor) -> tf.Tensor:
    """Read the JPEG files `paths` (T,) into one sequence, uint8 (T, H, W, 3), through a `TensorArray`.

    The array is sized, and every slot is written once: a slot left out would read back as black without a word.
    """
    frame_count = tf.shape(paths)[0]
    faces = tf.TensorArray(tf.uint8, size=frame_count, element_shape=(None, None, 3))
    for index in tf.range(frame_count):
        faces = faces.write(index, tf.io.decode_jpeg(tf.io.read_file(paths[index]), channels=3))
    return faces.stack()


def make_dataset(
    table: pd.DataFrame,
    save_path: str | Path,
    *,
    batch_size: int = 16,
    shuffle: bool = False,
    drop_remainder: bool = False,
    augment: bool = False,
    cache: bool = True,
    seed: int = 0,
) -> tf.data.Dataset:
    """A dataset of (sequences, labels): uint8 (B, T, H, W, 3) and float32 (B, 1), 1.0 for FAKE.

    A row of `table` is one video whose status is `ok`; T, H and W come from the `sequence.json` beside the faces.
    Decoded sequences are kept in memory when `cache` is set (T · H · W · 3 bytes a video: 0.4 MB by default). `augment`
    draws once for each sequence and epoch, never frame by frame. `drop_remainder` leaves out the last, smaller batch,
    which training under a `MirroredStrategy` needs. The order and the draws follow from `seed`.

    Raises `ValueError` for an empty table or a video without a label or without faces, `ConfigMismatch` if the faces on
    disk have another size. Taught in notebook 03.
    """
    config = SequenceConfig.load(Path(save_path) / "sequence.json")
    if table.empty:
        raise ValueError("no video to make a dataset of: process some first")
    unfit = table[(table["status"] != "ok") | ~table["label"].isin(["REAL", "FAKE"])]
    if not unfit.empty:
        raise ValueError(
            f"{len(unfit)} videos have no faces or no label, {unfit['video'].iloc[0]} first: leave them out"
        )
    paths = [sequence_paths(save_path, video, config.frame_count) for video in table["video"]]
    _check_size(paths[0][0], config)
    labels = (table["label"] == "FAKE").to_numpy(np.float32)[:, None]
    shape = (config.frame_count, config.face_size, config.face_size, 3)

    def load(files: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(stack_faces(files), shape), label

    dataset = tf.data.Dataset.from_tensor_slices((paths, labels))
    if cache:
        dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).cache()
    if shuffle:
        dataset = dataset.shuffle(len(table), seed=seed, reshuffle_each_iteration=True)
    if not cache:
        dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if augment:
        # Two numbers seed each sequence's draw; they change from epoch to epoch, and follow from `seed`.
        draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
        dataset = tf.data.Dataset.zip((dataset, draws)).map(_augment_example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=drop_remainder).prefetch(tf.data.AUTOTUNE)


def augment_sequence(sequence: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """Vary a sequence uint8 (T, H, W, 3): mirrored or not, shifted, other light and colour.

    One draw serves all T frames: light that changed from frame to frame would look like a fake's flicker. `draw` is
    int64 (2,), the seed. Taught in notebook 03.
    """
    size = sequence.shape[1]
    moved = tf.pad(sequence, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]], mode="REFLECT")
    top, left = tf.unstack(tf.random.stateless_uniform((2,), draw, 0, 2 * SHIFT + 1, tf.int32))
    moved = moved[:, top : top + size, left : left + size]
    if tf.random.stateless_uniform((), draw + 1) < 0.5:
        moved = tf.reverse(moved, axis=[2])
    gain = tf.random.stateless_uniform((3,), draw + 2, 1 - GAIN, 1 + GAIN)  # a colour cast
    contrast = tf.random.stateless_uniform((), draw + 3, 1 - CONTRAST, 1 + CONTRAST)
    lit = (tf.cast(moved, tf.float32) * gain - 128.0) * contrast + 128.0
    return tf.cast(tf.clip_by_value(lit, 0.0, 255.0), tf.uint8)


def _augment_example(example: tuple[tf.Tensor, tf.Tensor], draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    sequence, label = example
    return augment_sequence(sequence, draw), label


def _check_size(file: str, config: SequenceConfig) -> None:
    height, width = tf.io.decode_jpeg(tf.io.read_file(file)).shape[:2]
    if (height, width) != (config.face_size, config.face_size):
        raise ConfigMismatch(
            f"{file} is {width} x {height} pixels, but sequence.json says {config.face_size}. Run processing again."
        )

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from faces_on_disk import SMALL, flickering_faces, write_video_faces

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.sequences import augment_sequence, load_sequence, make_dataset, sequence_paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> pd.DataFrame:
    return flickering_faces(folder, families=5)


def grey_ramp(count: int) -> list[np.ndarray]:
    return [np.full((32, 32, 3), 20 * index, np.uint8) for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_frames_are_spread_over_those_that_exist(tmp_path: Path, count: int) -> None:
    write_video_faces(tmp_path, "ramp", grey_ramp(count))
    sequence = load_sequence(tmp_path, "ramp", 4)
    assert sequence.shape == (4, 32, 32, 3)
    assert sequence.dtype == np.uint8
    levels = (sequence.mean(axis=(1, 2, 3)) / 20).round().astype(int).tolist()
    assert levels == np.linspace(0, count - 1, 4).round().astype(int).tolist()
    assert levels[0] == 0 and levels[-1] == count - 1  # first and last are always in, so none is left out at an end


def test_a_video_without_that_track_is_named(tmp_path: Path) -> None:
    write_video_faces(tmp_path, "one", grey_ramp(2))
    with pytest.raises(ValueError, match="one has 1 tracks"):
        load_sequence(tmp_path, "one", 4, track=1)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_sequence(tmp_path, "elsewhere", 4)


def test_dataset_gives_the_files_content_and_labels(folder: Path, manifest: pd.DataFrame) -> None:
    batches = list(make_dataset(manifest, folder, batch_size=4))
    sequences = np.concatenate([x.numpy() for x, _ in batches])
    labels = np.concatenate([y.numpy() for _, y in batches])
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert sequences.dtype == np.uint8 and labels.dtype == np.float32 and labels.shape == (10, 1)
    assert labels.ravel().tolist() == (manifest["label"] == "FAKE").astype(float).tolist()
    for video, sequence in zip(manifest["video"], sequences, strict=True):
        np.testing.assert_array_equal(sequence, load_sequence(folder, video, 4))


def orders(dataset: tf.data.Dataset) -> list[float]:
    return [float(value) for x, _ in dataset for value in x.numpy().mean(axis=(1, 2, 3, 4))]


@pytest.mark.parametrize("cache", [True, False])
def test_order_follows_the_seed_and_changes_by_epoch(folder: Path, manifest: pd.DataFrame, cache: bool) -> None:
    first, again, other = (make_dataset(manifest, folder, shuffle=True, cache=cache, seed=seed) for seed in (1, 1, 2))
    epochs = [orders(first), orders(first)]
    assert epochs == [orders(again), orders(again)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != orders(other)


def test_drop_remainder_leaves_only_full_batches(folder: Path, manifest: pd.DataFrame) -> None:
    assert [len(x) for x, _ in make_dataset(manifest, folder, batch_size=4, drop_remainder=True)] == [4, 4]


def test_augmentation_is_the_same_for_all_frames_of_a_sequence() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    still = tf.constant(np.stack([frame] * 6))
    drawn = [augment_sequence(still, tf.constant([seed, 7], tf.int64)).numpy() for seed in range(8)]
    for sequence in drawn:
        assert sequence.shape == (6, 32, 32, 3) and sequence.dtype == np.uint8
        assert (sequence == sequence[:1]).all()
    assert len({sequence.tobytes() for sequence in drawn}) == 8
    np.testing.assert_array_equal(drawn[3], augment_sequence(still, tf.constant([3, 7], tf.int64)).numpy())


def test_augmented_dataset_follows_the_seed(folder: Path, manifest: pd.DataFrame) -> None:
    first, again, other = (make_dataset(manifest, folder, augment=True, seed=seed) for seed in (1, 1, 2))
    epoch_1, epoch_2 = orders(first), orders(first)
    assert [epoch_1, epoch_2] == [orders(again), orders(again)]
    assert epoch_1 != epoch_2
    assert epoch_1 != orders(other)


def test_unfit_tables_are_refused(folder: Path, manifest: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no video"):
        make_dataset(manifest.head(0), folder)
    with pytest.raises(ValueError, match="real_00"):
        make_dataset(manifest.assign(label=""), folder)
    with pytest.raises(ValueError, match="real_00"):
        make_dataset(manifest.assign(status="no_face"), folder)


def test_faces_of_another_size_are_a_mismatch(tmp_path: Path) -> None:
    manifest = flickering_faces(tmp_path, families=2)
    replace(SMALL, face_size=64).save(tmp_path / "sequence.json")
    with pytest.raises(ConfigMismatch, match="32 x 32"):
        make_dataset(manifest, tmp_path)


def test_paths_are_in_order_of_time(folder: Path, manifest: pd.DataFrame) -> None:
    names = [Path(path).name for path in sequence_paths(folder, "real_00", 4)]
    assert names == sorted(names) and len(set(names)) == 4

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from faces_on_disk import SMALL, flickering_faces, write_video_faces
from hypothesis import given, settings, strategies as st

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import sequence_paths
from dfdc_utils.sequences import (
    SelfBlends,
    SequenceStore,
    hash_faces,
    load_sequence,
    make_batches,
    make_dataset,
    plan_batches,
    report_leaks,
    score_people,
)


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
    first, again, other = (
        orders(make_dataset(manifest, folder, shuffle=True, epochs=2, cache=cache, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[:10] != first[10:]
    assert sorted(first[:10]) == sorted(first[10:])
    assert first[:10] != other[:10]


def test_sequences_are_cached_where_they_fit_and_it_says_so(
    folder: Path, manifest: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SequenceStore(manifest, folder)
    assert store.in_memory and "10 sequences" in str(store) and "kept in memory" in str(store)
    assert store.size == 10 * 4 * 32 * 32 * 3
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=store.size))
    streamed = SequenceStore(manifest, folder)
    assert not streamed.in_memory and "read from disk at every epoch" in str(streamed)
    for number in range(10):
        np.testing.assert_array_equal(streamed.load(number), store.load(number))


@settings(deadline=None)  # a busy machine is no fault
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    epochs=st.integers(1, 3),
    replicas=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_a_plan_deals_each_sequence_once_an_epoch(
    count: int, batch_size: int, epochs: int, replicas: int, seed: int
) -> None:
    settings = {"epochs": epochs, "shuffle": True, "seed": seed}
    plan = plan_batches(count, batch_size, replicas=replicas, **settings)
    steps = -(-count // batch_size)
    assert plan.numbers.shape == plan.weights.shape == plan.seeds.shape[:2]
    assert len(plan.numbers) == steps * epochs and plan.numbers.shape[1] % replicas == 0
    np.testing.assert_allclose(plan.weights.sum(axis=1), 1, rtol=1e-5)
    for epoch in range(epochs):
        rows = slice(epoch * steps, (epoch + 1) * steps)
        counted = plan.weights[rows] > 0
        assert sorted(plan.numbers[rows][counted].tolist()) == list(range(count))
        assert len({tuple(seed) for seed in plan.seeds[rows][counted]}) == count
    # Replicas and where it starts change nothing about which sequences a step holds, and with which seeds.
    alone = plan_batches(count, batch_size, **settings)
    for one, many in zip(alone.numbers, plan.numbers, strict=True):
        np.testing.assert_array_equal(one, many[:batch_size])
    parts = [plan.part(number, replicas, start=1) for number in range(replicas)]
    np.testing.assert_array_equal(np.hstack([part.numbers for part in parts]), plan.numbers[1:])


def test_augmented_dataset_follows_the_seed(folder: Path, manifest: pd.DataFrame) -> None:
    first, again, other = (
        orders(make_dataset(manifest, folder, augment=True, epochs=2, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[:10] != first[10:]
    assert first != other


def test_self_blending_pairs_each_real_sequence_with_a_fake_of_itself(folder: Path, manifest: pd.DataFrame) -> None:
    """Both of a pair are drawn at once, and differ in the face alone: nothing but the blend tells them apart."""
    store = SelfBlends(SequenceStore(manifest[manifest["label"] == "REAL"], folder))
    assert store.labels.tolist() == [0.0] * 5 + [1.0] * 5
    plan = store.plan(4, epochs=2, shuffle=True, seed=3)
    batches = [(x.numpy(), y.numpy(), w.numpy()) for x, y, w in make_batches(store, plan)]
    assert [y.ravel().tolist() for _, y, _ in batches] == [[0, 1, 0, 1]] * 6
    again = [x.numpy() for x, _, _ in make_batches(store, plan)]
    for (x, _, _), same in zip(batches, again, strict=True):
        np.testing.assert_array_equal(x, same)
        np.testing.assert_array_equal(x[0][:, :2, :2], x[1][:, :2, :2])
        assert (x[0] != x[1]).any()
    assert len({x[1].tobytes() for x, _, _ in batches}) == 6  # another one each epoch


def test_hashes_tell_near_identical_faces(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    faces = [
        cv2.resize(generator.integers(0, 256, (20, 20, 3)).astype(np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
        for _ in range(8)
    ]
    for number, face in enumerate(faces):
        worse = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
        write_video_faces(tmp_path, f"one_{number}", [face] * 4)
        write_video_faces(tmp_path, f"two_{number}", [np.clip(worse * 0.9 + 12, 0, 255).astype(np.uint8)] * 4)
    videos = [f"{which}_{number}" for which in ("one", "two") for number in range(8)]
    table = pd.DataFrame({"video": videos, "original": videos, "part": "p", "split": ["train"] * 8 + ["test"] * 8})
    hashes = hash_faces(table, tmp_path, 4)
    found = report_leaks(table, hashes).set_index("check").loc["near-identical faces"]
    assert found["shared"] == 16 and found["allowed"]
    first, second = found["example"].split(" and ")
    assert first[-1] == second[-1]
    apart = report_leaks(table.iloc[[0, 1, 2, 11]], hashes[[0, 1, 2, 11]]).set_index("check")
    assert apart.loc["near-identical faces", "shared"] == 0


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


def test_a_video_has_the_score_of_the_most_suspicious_person_who_may_decide(tmp_path: Path) -> None:
    class Brightness:
        """A model that scores a sequence by its light."""

        def predict(self, dataset: tf.data.Dataset, verbose: int) -> np.ndarray:
            return np.concatenate([sequences.numpy().mean(axis=(1, 2, 3, 4)) for sequences, _ in dataset])[:, None]

    dark, light, lighter = (np.full((4, 32, 32, 3), value, np.uint8) for value in (50, 100, 200))
    write_video_faces(tmp_path, "two", list(dark), others={"": list(light), "too blurred": list(lighter)})
    write_video_faces(tmp_path, "one", list(dark))
    SMALL.save(tmp_path / "sequence.json")
    table = pd.DataFrame({"video": ["two", "one"], "label": "REAL", "status": "ok"}, index=[7, 3])
    scores = score_people(Brightness(), table, tmp_path)
    assert scores.index.tolist() == [7, 3] and scores.tolist() == pytest.approx([100, 50], abs=1)


def test_some_random_frames_of_each_video_are_taken(tmp_path: Path) -> None:
    """Other ones in each pass, and the same ones for the same seed."""
    write_video_faces(tmp_path, "ramp", grey_ramp(4))
    SMALL.save(tmp_path / "sequence.json")
    store = SequenceStore(pd.DataFrame({"video": ["ramp"], "label": "REAL", "status": "ok"}), tmp_path)
    plan = store.plan(1, epochs=12, shuffle=True)
    passes = [
        [batch[0].numpy().mean(axis=(2, 3, 4)) for batch in make_batches(store, plan, frames=2)] for _ in range(2)
    ]
    np.testing.assert_array_equal(passes[0], passes[1])
    levels = np.round(np.concatenate(passes[0]) / 20).astype(int)
    assert levels.shape == (12, 2) and set(levels.ravel()) == {0, 1, 2, 3}
    assert (levels[:, 0] != levels[:, 1]).all()

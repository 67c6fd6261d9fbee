from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from photographs import CentralDetector, make_photographs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfdc_utils.faces import YuNetDetector
from dfdc_utils.pretraining import mesh as mesh_module, pairs as pairs_module
from dfdc_utils.pretraining.pairs import Pairs, PairSource
from dfdc_utils.pretraining.photographs import POINTS, find_photographs, prepare_pictures


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    folder = tmp_path_factory.mktemp("pairs")
    table = find_photographs(make_photographs(folder / "photographs", 160))
    pictures = prepare_pictures(table, folder / "photographs", folder, CentralDetector(), show_progress=False)
    return PairSource(folder, pictures, face_size=64, seed=0)


def cues(image: np.ndarray) -> list[float]:
    """What gives a class away without a look at the blend, where no blend reaches: the edge of the picture."""
    edge = np.ones(image.shape[:2], bool)
    edge[4:-4, 6:-6] = False
    grey = image.astype(float).mean(axis=-1)
    fine = cv2.Laplacian(grey, cv2.CV_64F)
    across = np.abs(np.diff(grey, axis=1))[edge[:, 1:]]
    columns = np.broadcast_to(np.arange(1, image.shape[1]), edge[:, 1:].shape)[edge[:, 1:]]
    blockiness = across[columns % 8 == 0].mean() - across[columns % 8 != 0].mean()
    return [*image[edge].mean(axis=0), image[edge].std(), np.log1p(fine[edge].var()), blockiness]


def auc_of_cues(pairs: Pairs) -> float:
    frames = [films[:, 0] for films in (pairs.reals, pairs.fakes)]
    count = len(frames[0])
    features = np.array([cues(image) for part in frames for image in part])
    labels, people = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
    # Each column less its mean in the pair: what is left is what the two differ by.
    pairwise = features - np.tile((features[:count] + features[count:]) / 2, (2, 1))
    guess = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(guess, pairwise, labels, groups=people, cv=GroupKFold(5), method="decision_function")
    return float(roc_auc_score(labels, scores))


@pytest.mark.parametrize("swaps", [0.0, 1.0])
@pytest.mark.slow
def test_nothing_outside_the_blend_tells_the_classes_apart(source: PairSource, swaps: float) -> None:
    auc = auc_of_cues(source.make(np.arange(len(source)), 0, 2, swaps=swaps))
    assert 0.35 < auc < 0.65, auc


@pytest.mark.slow
def test_the_check_of_cues_can_fail(source: PairSource) -> None:
    """Blends that were compressed once more than their reals: the trap that the check is for."""
    pairs = source.make(np.arange(len(source)), 0, 2)
    again = pairs.fakes.copy()
    for place in np.ndindex(again.shape[:2]):
        stored = cv2.imencode(".jpg", again[place], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        again[place] = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    assert auc_of_cues(pairs._replace(fakes=again)) > 0.8


@pytest.mark.slow
def test_real_photographs_give_no_class_away_either(face_photographs: Path, yunet_path: Path, tmp_path: Path) -> None:
    table = find_photographs(face_photographs).iloc[::30]
    pictures = prepare_pictures(table.reset_index(drop=True), face_photographs, tmp_path, YuNetDetector(yunet_path))
    source = PairSource(tmp_path, pictures, face_size=112, seed=0)
    for swaps in (0.0, 1.0):
        assert 0.35 < auc_of_cues(source.make(np.arange(len(pictures)), 0, 2, swaps=swaps)) < 0.65


def test_the_same_seed_makes_the_same_pairs(source: PairSource) -> None:
    once, again, other = (source.make([3, 5], seed, 3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.reals, again.reals)
    np.testing.assert_array_equal(once.fakes, again.fakes)
    assert once.encodings == again.encodings
    assert (once.reals != other.reals).any() and (once.reals != once.fakes).any()
    assert once.reals.shape == once.fakes.shape == (2, 3, 64, 64, 3)


def test_everyone_has_a_turn_before_anyones_second(source: PairSource) -> None:
    chosen = np.concatenate([source.choose(step, 16) for step in range(20)])
    assert (np.bincount(chosen) == 2).all()
    assert len(set(chosen[:160])) == 160


def test_processes_make_what_this_one_makes_in_the_same_order(source: PairSource) -> None:
    here, there = (list(source.batches(4, 2, 6, swaps=0.5, workers=workers)) for workers in (0, 1))
    for step in range(2, 6):
        wanted = source.make_frames(source.choose(step, 4), step, swaps=0.5)
        for frames in (here[step - 2], there[step - 2]):
            for part, other in zip(frames, wanted, strict=True):
                np.testing.assert_array_equal(part, other)


def test_the_donor_of_a_swap_is_someone_else_whose_head_is_held_alike(source: PairSource) -> None:
    moved = source._landmarks.copy()
    moved[7] = moved[3] + 5  # number 7 holds the head just as number 3 does, all others each in a way of their own
    generator = np.random.default_rng(0)
    others = np.delete(np.arange(len(source)), [3, 7])
    moved[others] += generator.normal(0, 3, moved[others].shape)
    few = PairSource(source._folder, _rows(source, 24, moved), face_size=64, seed=0)
    donor = few._choose_donor(3, moved[3], generator)
    np.testing.assert_array_equal(donor.landmarks, moved[7])
    again = few._choose_donor(7, moved[7], generator)
    np.testing.assert_array_equal(again.landmarks, moved[3])


def test_another_picture_of_the_same_person_is_no_donor(source: PairSource) -> None:
    """Also where, as in the faces of a video, nearly all that are held alike are the same person's."""
    rows = _rows(source, 60).assign(identity=["one"] * 59 + ["other"])
    few = PairSource(source._folder, rows, face_size=64, seed=0)
    for number in range(20):
        donor = few._choose_donor(number, source._landmarks[number], np.random.default_rng(number))
        np.testing.assert_array_equal(donor.picture, few.still(59).picture)


def test_swaps_are_of_the_fraction_asked_for(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"self_blend": 0, "swap_face": 0}
    for name in made:
        make = getattr(pairs_module, name)

        def count(*given: Any, name: str = name, make: Any = make) -> Any:
            made[name] += 1
            return make(*given)

        monkeypatch.setattr(pairs_module, name, count)
    source.make(np.arange(160), 5, 1, swaps=0.25)
    assert made["self_blend"] + made["swap_face"] == 160 and 25 <= made["swap_face"] <= 55


def test_sequences_come_in_the_order_of_the_people(source: PairSource) -> None:
    few = PairSource(source._folder, _rows(source, 5), face_size=32, seed=0)
    together = list(few.sequences(2, count=3, workers=0))
    assert [len(pairs.reals) for pairs in together] == [3, 2]
    np.testing.assert_array_equal(together[1].fakes, few.make([3, 4], 3, 2).fakes)


def _rows(source: PairSource, count: int, landmarks: np.ndarray | None = None) -> pd.DataFrame:
    points = (source._landmarks if landmarks is None else landmarks)[:count].reshape(count, 10)
    columns = [f"point_{index}_{axis}" for index in range(5) for axis in "xy"]
    return pd.DataFrame(points, columns=columns).assign(
        row=source._rows[:count], side=source._sides[:count], identity=[f"person {index}" for index in range(count)]
    )


def test_with_a_face_mesh_parts_of_faces_are_blended_too(source: PairSource, tmp_path: Path) -> None:
    """Drawn points stand for the mesh: lips, nose and eyes in small circles, all others in the face's oval."""
    table = _rows(source, 40)
    turns = np.linspace(0, 2 * np.pi, mesh_module.POINTS, endpoint=False)
    circle = np.column_stack([np.cos(turns), np.sin(turns)])
    meshes = []
    for eye, other, nose, mouth, _ in table[POINTS].to_numpy(float).reshape(-1, 5, 2):
        apart = np.linalg.norm(other - eye)
        points = nose + apart * circle
        small = ((mesh_module._LIPS, mouth), (mesh_module._NOSE, nose), (mesh_module._EYES[0], eye))
        for numbers, middle in (*small, (mesh_module._EYES[1], other)):
            points[numbers] = middle + 0.3 * apart * circle[np.linspace(0, 467, len(numbers)).astype(int)]
        meshes.append(points)
    np.save(tmp_path / "pictures.npy", np.load(source._folder / "pictures.npy")[table["row"]])
    table = table.assign(row=range(40))
    whole = PairSource(tmp_path, table, face_size=64, seed=0).make(np.arange(40), 0, 1, parts=1.0)
    np.save(tmp_path / "meshes.npy", np.array(meshes, np.float32))
    few = PairSource(tmp_path, table, face_size=64, seed=0)
    parts, both = (few.make(np.arange(40), 0, 1, parts=share) for share in (1.0, 0.0))
    covered = [pairs.masks.mean() for pairs in (parts, both, whole)]
    assert covered[0] < 0.8 * min(covered[1:]), covered
    assert all((pairs.reals != pairs.fakes).any(axis=(1, 2, 3, 4)).all() for pairs in (parts, both))

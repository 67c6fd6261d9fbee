from __future__ import annotations

import numpy as np
import pytest
from photographs import CentralDetector, make_photographs

from dfdc_utils.faces import Face
from dfdc_utils.pretraining.outliers import make_outliers
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures
from dfdc_utils.videos import Image

KINDS = ["painted", "outlined", "negative", "upside down", "shuffled", "pattern", "drawn"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    folder, work = (tmp_path_factory.mktemp(name) for name in ("photographs", "work"))
    make_photographs(folder, 12)
    table = prepare_pictures(find_photographs(folder), folder, work, CentralDetector(), show_progress=False)
    return PairSource(work, table, face_size=48, seed=0)


def films(source: PairSource, seed: int, detector: CentralDetector | None = None) -> dict[str, Image]:
    some = make_outliers(source, detector or CentralDetector(), count=3, frame_count=2, face_size=48, seed=seed)
    return dict(some)


@pytest.mark.slow
def test_there_are_films_of_every_kind_and_the_same_again(source: PairSource) -> None:
    first, again, other = films(source, 0), films(source, 0), films(source, 1)
    assert list(first) == KINDS
    for kind in KINDS:
        assert first[kind].shape == (3, 2, 48, 48, 3) and first[kind].dtype == np.uint8
        np.testing.assert_array_equal(first[kind], again[kind])
        assert (first[kind] != other[kind]).any()


def test_a_detector_that_finds_no_drawn_face_leaves_the_other_kinds(source: PairSource) -> None:
    class Blind(CentralDetector):
        def detect(self, frame: Image) -> list[Face]:
            return []

    assert list(films(source, 0, Blind())) == KINDS[:-1]

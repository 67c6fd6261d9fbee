from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from photographs import CentralDetector, draw_photograph, make_photographs

from dfdc_utils.faces import Face
from dfdc_utils.pretraining.photographs import CANVAS, cut_photograph, find_photographs, prepare_pictures
from dfdc_utils.processing import processing


class _Blind:
    name = "blind"

    def detect(self, image: np.ndarray, *, smallest: float | None = None) -> list[Face]:
        return []


def test_nobody_is_in_both_splits(tmp_path: Path) -> None:
    table = find_photographs(make_photographs(tmp_path, 20, each=3), validation=0.2)
    assert len(table) == 60 and table["identity"].nunique() == 20
    assert (table.groupby("identity")["split"].nunique() == 1).all()
    assert table.loc[table["split"] == "validation", "identity"].nunique() == 4
    other = find_photographs(tmp_path, validation=0.2, seed=1)
    assert (other["split"] != table["split"]).any()


def test_an_index_says_who_is_who(tmp_path: Path) -> None:
    make_photographs(tmp_path, 8)
    files = sorted(path.name for path in tmp_path.iterdir())
    pd.DataFrame({"file": files, "identity": list("aabbccdd")}).to_csv(tmp_path / "index.csv", index=False)
    assert find_photographs(tmp_path)["identity"].tolist() == list("aabbccdd")
    pd.DataFrame({"file": files}).to_csv(tmp_path / "index.csv", index=False)
    with pytest.raises(ValueError, match="columns file and identity"):
        find_photographs(tmp_path)


def test_an_index_may_say_who_is_on_which_side(tmp_path: Path) -> None:
    make_photographs(tmp_path, 8)
    files = sorted(path.name for path in tmp_path.iterdir())
    table = pd.DataFrame({"file": files, "identity": list("aabbccdd"), "split": ["train"] * 6 + ["validation"] * 2})
    table.to_csv(tmp_path / "index.csv", index=False)
    pd.testing.assert_frame_equal(find_photographs(tmp_path, seed=5), table, check_dtype=False)
    for place, side in ((7, "train"), (0, "test")):
        table.assign(split=table["split"].where(table.index != place, side)).to_csv(tmp_path / "index.csv", index=False)
        with pytest.raises(ValueError, match=f"puts {table['identity'][place]} in .*{side}.*: use train or validation"):
            find_photographs(tmp_path)


def test_faces_of_videos_are_those_of_the_real_ones(sample: Path, tmp_path: Path) -> None:
    manifest = processing(sample, tmp_path, num_vids=12, detector="haar", frame_count=4, show_progress=False)
    table = find_photographs(tmp_path)
    real = manifest[(manifest["status"] == "ok") & (manifest["label"] == "REAL")]
    assert {Path(file).parts[0] for file in table["file"]} == set(real["video"])
    assert set(table["identity"]) <= set(manifest["original"])
    assert all((tmp_path / file).is_file() for file in table["file"])


def test_too_little_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no face photographs"):
        find_photographs(tmp_path)
    make_photographs(tmp_path, 1, each=3)
    with pytest.raises(ValueError, match="shows 1 people"):
        find_photographs(tmp_path)
    make_photographs(tmp_path, 4)
    with pytest.raises(ValueError, match="no face of 40 pixels"):
        prepare_pictures(find_photographs(tmp_path), tmp_path, tmp_path, _Blind(), show_progress=False)
    (tmp_path / "index.csv").write_text("file,identity\na.png,A\nb.png,B\na.png,C\n")
    with pytest.raises(ValueError, match=r"a\.png is listed twice"):
        find_photographs(tmp_path)


def test_a_folder_for_each_person_says_who_is_who(tmp_path: Path) -> None:
    for person in ("ann", "bob", "cleo", "dan"):
        for number in (1, 2):
            (tmp_path / person / f"{number}").mkdir(parents=True)
            (tmp_path / person / f"{number}" / "0001.png").touch()
    assert find_photographs(tmp_path)["identity"].tolist() == sorted(["ann", "bob", "cleo", "dan"] * 2)


def test_pictures_are_cut_about_the_face_and_not_enlarged() -> None:
    photograph = draw_photograph(np.random.default_rng(0), 150)
    picture, side, points = cut_photograph(photograph, CentralDetector()) or pytest.fail("no face")
    assert picture.shape == (CANVAS, CANVAS, 3) and side == 90
    edge = (CANVAS - 150) // 2
    np.testing.assert_array_equal(picture[edge:-edge, edge:-edge], photograph)  # pixel for pixel
    np.testing.assert_array_equal(picture[edge - 1], picture[edge + 1])  # reflected beyond its border
    large = cv2.resize(photograph, (900, 900), interpolation=cv2.INTER_CUBIC)
    shrunk, side, scaled = cut_photograph(large, CentralDetector()) or pytest.fail("no face")
    assert side == pytest.approx(CANVAS / 1.7)
    centre = CANVAS / 2
    assert (scaled["point_0_x"] - centre) / (points["point_0_x"] - centre) == pytest.approx(side / 90, rel=0.05)
    width = round(150 * side / 90)  # of the photograph in the picture
    wanted = cv2.resize(photograph, (width, width), interpolation=cv2.INTER_AREA)
    inside = slice(100, 150)
    there = slice(100 - (CANVAS - width) // 2, 150 - (CANVAS - width) // 2)
    assert np.abs(shrunk[inside, inside].astype(int) - wanted[there, there]).mean() < 12
    assert cut_photograph(photograph[45:105, 45:105], CentralDetector()) is None  # 36 pixels


def test_pictures_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_photographs(tmp_path / "photographs", 5)
    table = find_photographs(folder)
    once = prepare_pictures(table, folder, tmp_path, CentralDetector(), show_progress=False)
    broken = folder / table["file"][0]
    changed = (tmp_path / "pictures.npy").stat().st_mtime_ns
    again = prepare_pictures(table, folder, tmp_path, CentralDetector(), show_progress=False)
    pd.testing.assert_frame_equal(once, again, check_dtype=False)
    assert once["row"].tolist() == list(range(5))
    assert (tmp_path / "pictures.npy").stat().st_mtime_ns == changed
    broken.write_bytes(b"no picture")
    without = prepare_pictures(table, folder, tmp_path, CentralDetector(), show_progress=False)
    assert without["file"].tolist() == table["file"].tolist()[1:]
    assert f"left out: {broken} is not a picture" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no face of 40 pixels"):
        prepare_pictures(table, folder, tmp_path, _Blind(), show_progress=False)

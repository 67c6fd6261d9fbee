from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces

from dfdc_utils.sequences import prepare

module = importlib.import_module("dfdc_utils.sequences.splits")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each call of `processing`, which finds one video without a face and one without a label."""
    table = flickering_faces(tmp_path / "elsewhere", families=8).assign(status="ok")
    table.loc[0, "status"], table.loc[3, "label"] = "no_face", ""
    made: list[dict[str, Any]] = []

    def processing(location: Path, save_path: Path, **settings: Any) -> pd.DataFrame:
        made.append({"location": location, "save_path": save_path, **settings})
        return table

    monkeypatch.setattr(module, "processing", processing)
    return made


def test_gives_usable_videos_in_equal_numbers_with_a_split(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    faces, table = prepare(tmp_path / "dfdc", tmp_path, num_vids=30)
    assert faces == tmp_path / "dfdc" / "faces"
    assert calls == [{"location": tmp_path / "dfdc", "save_path": faces, "num_vids": 30}]
    assert (table["status"] == "ok").all() and table["label"].value_counts().nunique() == 1 and len(table) == 14
    assert set(table["split"]) == {"train", "validation", "test"}


def test_keeps_the_settings_that_the_faces_were_made_with(tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    made = replace(SMALL, detector="haar", margin=1.6, time_step=0.2)
    (tmp_path / "dfdc" / "faces").mkdir(parents=True)
    made.save(tmp_path / "dfdc" / "faces" / "sequence.json")
    prepare(tmp_path / "dfdc", tmp_path, margin=1.8)
    assert calls[0]["frame_count"] == SMALL.frame_count and calls[0]["detector"] == "haar"
    assert calls[0]["margin"] == 1.8 and "time_step" not in calls[0]  # what is asked for, so that a mismatch is told


def test_the_sample_is_prepared_with_the_detector_that_all_have(
    tmp_path: Path, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "data_folder", lambda location, base: Path(base) / "sample")
    prepare(tmp_path / "clips", tmp_path)
    prepare(tmp_path / "clips", tmp_path, detector="yunet")
    assert [call["detector"] for call in calls] == ["haar", "yunet"]

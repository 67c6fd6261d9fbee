"""Videos with the sound of somebody else: pictures untouched, nothing encoded again."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from sounds import clicks, sounding

from dfdc_utils.sample import make_sound_fakes
from dfdc_utils.videos import read_catalog, read_sound


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(**{kind: 0}) if packet.dts is not None]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    rows = []
    for number, name in enumerate(("anna", "bert", "carl", "mute", "both")):
        seconds = 1.5 + 0.5 * number
        wave = None if name == "mute" else clicks(seconds, 44_100) * (number + 1) / 5
        path = sounding(tmp_path / f"{name}.mp4", wave, seconds=seconds)
        rows.append({"video": name, "path": str(path), "label": "REAL", "status": "ok", "original": name, "person": ""})
    table = pd.DataFrame(rows)
    return table.assign(has_audio=table["video"] != "mute", tracks=np.where(table["video"] == "both", 2, 1))


def test_pictures_stay_and_the_sound_is_a_copy_of_another_ones(table: pd.DataFrame, tmp_path: Path) -> None:
    folder = make_sound_fakes(table, tmp_path / "fakes", show_progress=False)
    catalog = read_catalog(folder).set_index("video")
    assert sorted(catalog.index) == ["anna_sound", "bert_sound", "carl_sound"]  # neither the mute one nor the pair
    assert (catalog["label"] == "FAKE").all() and catalog.loc["bert_sound", "original"] == "bert"
    truth = json.loads((folder / "truth.json").read_text())
    for name, entry in truth.items():
        own, donor = name.removesuffix("_sound.mp4"), entry["sound_of"]
        assert entry["altered"] == "sound" and donor != own
        assert packets(folder / name, "video") == packets(tmp_path / f"{own}.mp4", "video")
        sound, whole = packets(folder / name, "audio"), packets(tmp_path / f"{donor}.mp4", "audio")
        assert sound == whole[: len(sound)] and len(sound) > 40
    assert truth["bert_sound.mp4"]["sound_of"] == "carl"  # the only one that is long enough
    assert read_sound(folder / "anna_sound.mp4", 1.5).problem == ""


def test_the_same_seed_makes_the_same_and_keeps_what_is_there(table: pd.DataFrame, tmp_path: Path) -> None:
    folder = make_sound_fakes(table, tmp_path / "fakes", show_progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}
    truth = (folder / "truth.json").read_text()
    make_sound_fakes(table, folder, show_progress=False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")} == before
    assert (folder / "truth.json").read_text() == truth


def test_one_person_has_nobody_to_exchange_with(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer than two people"):
        make_sound_fakes(table[table["video"] == "anna"], tmp_path / "fakes", show_progress=False)

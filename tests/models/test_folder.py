from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faces_on_disk import SMALL, flickering_faces
from snapshots import contents, snapshots

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.files import write_atomically
from dfdc_utils.models import MEAN_BASELINE, Calibration, ModelFolder, OODDetector, model_path, write_card

SPLIT = pd.DataFrame({"video": ["a", "b"], "label": ["REAL", "FAKE"], "original": "a", "part": "p", "split": "train"})


def model_folder(path: Path, name: str, *, photographs: bool = False) -> ModelFolder:
    """A folder as training leaves it, or as pretraining does; each file says whose it is."""
    calibration = Calibration(1.0, 0.5 + len(name) / 100, 0.1, 0.2, 0.8, 20, 10)
    ood = OODDetector(*(np.full(1, len(name), np.float32) for _ in range(3))) if photographs else None
    note = {"model": name, "trained_on": name, "data": f"videos of {name}", "data_kind": "recorded"}
    return ModelFolder(path, SMALL, calibration, note, None if photographs else SPLIT.assign(part=name), ood)


def write(folder: ModelFolder) -> None:
    with folder.rewriting():
        write_atomically(folder.path / "model.keras", folder.note["model"])
        history = pd.DataFrame({"epoch" if folder.ood is None else "step": [1], "val_loss": 0.5, "val_accuracy": 0.5})
        tables = {"history": history} | ({} if folder.ood is None else dict.fromkeys(("metrics", "outliers"), SPLIT))
        for name, table in tables.items():
            write_atomically(folder.path / f"{name}.csv", table.to_csv(index=False))
        write_card(folder)


def test_what_is_written_is_opened(tmp_path: Path) -> None:
    for name, photographs in (("video model", False), ("photograph model", True)):
        written = model_folder(tmp_path, name, photographs=photographs)
        write(written)
        opened = ModelFolder.open(tmp_path)
        assert (opened.sequence, opened.calibration, opened.note) == (SMALL, written.calibration, written.note)
        assert opened.data == f"videos of {name}"
        assert (opened.split is None) == photographs == (opened.ood is not None)
        assert (tmp_path / "outliers.csv").exists() == photographs
    assert ModelFolder.open(tmp_path / "model.keras").note == written.note


@pytest.mark.parametrize("kinds", [(False, False), (False, True), (True, False)])
def test_killed_between_any_two_files_no_model_is_mixed_with_another(tmp_path: Path, kinds: tuple[bool, bool]) -> None:
    folder = tmp_path / "model"
    write(model_folder(folder, "old", photographs=kinds[0]))
    old = contents(folder)
    with snapshots(folder, tmp_path) as taken:
        write(model_folder(folder, "the new one", photographs=kinds[1]))
    found = []
    for snapshot in taken:
        try:
            ModelFolder.open(snapshot)
        except FileNotFoundError as error:
            assert "no finished model" in str(error)
            found.append("none")
        else:
            found.append({str(old): "old", str(contents(folder)): "new"}.get(str(contents(snapshot)), "mixed"))
    assert found == sorted(found, key=["old", "none", "new"].index)  # none is mixed
    assert found.count("none") >= 10 and found[-1] == "new"


def test_a_folder_without_a_finished_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no such folder.*--model pretrained"):
        ModelFolder.open(tmp_path / "nowhere")
    (tmp_path / "best.keras").write_bytes(b"weights")
    for path in (tmp_path, tmp_path / "best.keras"):
        with pytest.raises(FileNotFoundError, match=r"no such folder|no finished model"):
            ModelFolder.open(path)
    write(model_folder(tmp_path, "one"))
    (tmp_path / "training.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match="Run `dfdc train` again"):
        ModelFolder.open(tmp_path)


def test_the_baseline_is_one_of_the_same_data(tmp_path: Path) -> None:
    """After a training on other videos the old baseline may have been trained on what is now the test split."""
    write(model_folder(tmp_path, "one"))
    assert ModelFolder.open(tmp_path).baseline is None
    write(model_folder(tmp_path / MEAN_BASELINE, "one"))
    baseline = ModelFolder.open(tmp_path).baseline
    assert baseline is not None and baseline.path == tmp_path / MEAN_BASELINE
    write(model_folder(tmp_path, "another"))
    assert ModelFolder.open(tmp_path).baseline is None


def test_faces_made_with_other_settings_are_a_mismatch(tmp_path: Path) -> None:
    flickering_faces(tmp_path / "faces", families=1)
    folder = model_folder(tmp_path / "model", "one")
    assert folder.require_faces(tmp_path / "faces") == SMALL
    with pytest.raises(ConfigMismatch, match=r"margin 1\.3 instead of 1\.9.*--for-model"):
        replace(folder, sequence=replace(SMALL, margin=1.9)).require_faces(tmp_path / "faces")


def test_pretrained_names_the_model_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ModelFolder.open("pretrained")
    assert folder.path == model_path("pretrained") and folder.ood is not None and folder.split is None
    assert len(folder.digest) == 64
    monkeypatch.chdir(tmp_path)
    write(model_folder(Path("pretrained"), "my own"))
    assert (
        ModelFolder.open(Path("pretrained")).note["model"] == ModelFolder.open("./pretrained").note["model"] == "my own"
    )
    assert ModelFolder.open("pretrained").note == folder.note

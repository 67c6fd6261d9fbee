from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfdc_utils import files
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import Track, find_finished, read_faces, storage, write_faces
from dfdc_utils.faces.tracks import CroppedTrack
from dfdc_utils.files import prepare_target, write_atomically


def make_person(count: int = 3) -> CroppedTrack:
    boxes = np.arange(count * 4, dtype=float).reshape(count, 4)
    detected = np.arange(count) % 2 == 0
    track = Track(boxes, np.where(detected, 0.75, 0.0), detected, ~detected)
    rng = np.random.default_rng(0)
    crops = [cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (32, 32)) for _ in range(count)]
    return CroppedTrack(track, list(range(count)), crops, sharpness=100.0)


def record_of(video: str, **more: object) -> dict:
    return {"video": video, "config": {"frame_count": 3}, "source_bytes": 1, "status": "ok", "error": ""} | more


def dead_process() -> int:
    finished = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(finished.stdout)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    person = make_person()
    write_faces(tmp_path, record_of("a b.c"), [person, person], np.array([0.1, 0.2, 0.33333]))
    record = read_faces(tmp_path, "a b.c")
    assert record["status"] == "ok"
    assert [len(track["frames"]) for track in record["tracks"]] == [3, 3]
    assert record["tracks"][1]["frames"][2] == {
        "file": "1/002.jpg",
        "time": 0.3333,
        "box": [8.0, 9.0, 10.0, 11.0],
        "score": 0.75,
        "origin": "detected",
    }
    assert record["tracks"][0]["frames"][1]["origin"] == "filled"
    assert record["tracks"][0]["sharpness"] > 0
    on_disk = {path.relative_to(tmp_path / "a b.c").as_posix() for path in tmp_path.rglob("*.jpg")}
    assert on_disk == {frame["file"] for track in record["tracks"] for frame in track["frames"]}


def test_crops_keep_their_colours_and_fine_texture(tmp_path: Path) -> None:
    person = make_person()
    write_faces(tmp_path, record_of("v"), [person], np.arange(3.0))
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "v" / "0" / "000.jpg")), cv2.COLOR_BGR2RGB)
    assert np.abs(stored.astype(int) - person.crops[0]).mean() < 3
    # No halved colour planes: single columns of red and blue stay apart.
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200
    (tmp_path / "stripes.jpg").write_bytes(storage.encode_face(stripes))
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "stripes.jpg")), cv2.COLOR_BGR2RGB).astype(int)
    assert stored[:, ::2, 0].mean() - stored[:, 1::2, 0].mean() > 150


def test_a_second_writing_replaces_the_first_whole(tmp_path: Path) -> None:
    write_faces(tmp_path, record_of("v", run=1, source_bytes=2), [make_person(5), make_person(5)], np.arange(5.0))
    write_faces(tmp_path, record_of("v", run=2), [make_person(2)], np.arange(2.0))
    assert read_faces(tmp_path, "v")["run"] == 2
    assert len(list(tmp_path.rglob("*.jpg"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_a_failure_half_way_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_faces(tmp_path, record_of("v", run=1, source_bytes=2), [make_person()], np.arange(3.0))

    def fail(crop: np.ndarray) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "encode_face", fail)
    with pytest.raises(OSError, match=r"No space left on device.*Free some space and run it again"):
        write_faces(tmp_path, record_of("v", run=2), [make_person()], np.arange(3.0))
    assert read_faces(tmp_path, "v")["run"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_a_failure_at_the_last_step_brings_back_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path, record_of("v", run=1, source_bytes=2), [make_person()], np.arange(3.0))
    rename, count = Path.rename, [0]

    def fail_third(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == 3:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_third)
    with pytest.raises(OSError, match="v cannot be written"):
        write_faces(tmp_path, record_of("v", run=2), [make_person()], np.arange(3.0))
    assert read_faces(tmp_path, "v")["run"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_what_is_finished_is_found_unless_it_is_to_be_done_again(tmp_path: Path) -> None:
    wanted = record_of("v")
    assert find_finished(tmp_path, wanted) is None
    write_faces(tmp_path, record_of("v"), [make_person()], np.arange(3.0))
    record = find_finished(tmp_path, wanted)
    assert record == read_faces(tmp_path, "v")
    assert find_finished(tmp_path, wanted | {"source_bytes": 2}) is None
    other = wanted | {"config": {"frame_count": 5}}
    with pytest.raises(ConfigMismatch, match=r"v in .* was made with frame_count 3 instead of 5\. .*overwrite=True"):
        find_finished(tmp_path, other)
    assert find_finished(tmp_path, other, overwrite=True) is None
    assert find_finished(tmp_path, other | {"source_bytes": 2}) is None
    (tmp_path / "v" / "faces.json").write_text(json.dumps(record | {"retry": True}))
    assert find_finished(tmp_path, wanted) is None


def test_faces_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    for video in ("gone", "half"):
        with pytest.raises(FileNotFoundError, match=rf"{video}: no faces in .*Run processing"):
            read_faces(tmp_path, video)


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, "old ü")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old ü"
    write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert not [other for other in tmp_path.iterdir() if other.name == "table.csv.partial"]


def test_leftovers_of_dead_runs_are_removed_and_others_left(tmp_path: Path) -> None:
    dead, alive = dead_process(), os.getppid()
    here = files._machine()
    for name in (f".x.{here}.{dead}.1a2b.partial", f".two.dots.{here}.{dead}.1a2b.partial"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / "000.jpg").write_bytes(b"x")
    (tmp_path / f".manifest.csv.{here}.{dead}.1a2b.partial").write_text("half")
    keep = {
        f".y.{here}.{alive}.1a2b.partial",
        f".y.elsewhere.{dead}.1a2b.partial",
        ".mine.partial",
        "x.partial",
        ".hidden",
    }
    for name in keep:
        (tmp_path / name).mkdir()
    prepare_target(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == keep


def test_a_target_is_made_with_its_parents(tmp_path: Path) -> None:
    assert prepare_target(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_json_is_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All crops are on disk before `faces.json` is, and the folder appears whole."""
    seen: list[set[str]] = []
    rename = Path.rename

    def spy(self: Path, target: Path) -> Path:
        seen.append({path.name for path in self.rglob("*") if path.is_file()})
        assert not target.exists()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spy)
    write_faces(tmp_path, record_of("v"), [make_person()], np.arange(3.0))
    assert seen == [{"000.jpg", "001.jpg", "002.jpg", "faces.json"}]
    assert json.loads((tmp_path / "v" / "faces.json").read_text())["video"] == "v"

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import clips
import cv2
import numpy as np
import pandas as pd
import pytest
from clips import CYAN, MAGENTA, SquareDetector

from dfdc_utils import files, processing as module
from dfdc_utils.errors import BrokenCatalog, ConfigMismatch, NoFaceFound
from dfdc_utils.faces import Face, SequenceConfig, Track, crop_tracks, extract_tracks, extraction, read_faces
from dfdc_utils.faces.tracks import CroppedTrack
from dfdc_utils.processing import processing, read_manifest
from dfdc_utils.videos import Clip, read_catalog, sample_frames
from dfdc_utils.videos.catalog import COLUMNS

Snapshot = dict[str, tuple[int, int]]


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> SquareDetector:
    """Coloured squares count as faces, so that boxes are known exactly. Holds in this process only: workers=1."""
    detector = SquareDetector()
    monkeypatch.setattr(extraction, "own_face_detector", lambda name, weights: detector)
    return detector


@pytest.fixture(scope="module")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that tests copy from: encoding each once saves most of the time."""
    folder = tmp_path_factory.mktemp("store")
    clips.write_clip(folder / "one.mp4", clips.squares(60))
    clips.write_clip(folder / "other.mp4", clips.squares(45, people=[(CYAN, {"start": (200, 60), "step": (-2, 1)})]))
    clips.write_clip(folder / "two.mp4", clips.squares(60, people=two_people()))
    clips.write_clip(folder / "gaps.mp4", clips.squares(60, hidden=range(20, 40)))
    clips.write_clip(folder / "none.mp4", clips.numbered(30))
    clips.write_clip(folder / "single.mp4", clips.squares(1))
    clips.write_clip(folder / "upright.mp4", clips.squares(30), rotation=90)
    clips.write_clip(folder / "odd.mp4", clips.squares(30, size=(321, 181)), pix_fmt="yuv444p")
    return folder


@pytest.fixture
def pair(clip_store: Path, tmp_path: Path) -> Path:
    return make_folder(clip_store, tmp_path / "videos", {"aaa.mp4": "one.mp4", "bbb.mp4": "other.mp4"})


def two_people() -> list:
    return [(MAGENTA, {"start": (20, 40), "side": 60}), (CYAN, {"start": (200, 60), "step": (-1, 0), "side": 40})]


def make_folder(store: Path, folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        shutil.copy(store / source, folder / name)
    return folder


def run(location: Path, save_path: Path, **asked: object) -> pd.DataFrame:
    settings = {"detector": "haar", "workers": 1, "show_progress": False, "frame_count": 8, "face_size": 48}
    return processing(location, save_path, **settings | asked)  # type: ignore[arg-type]


def snapshot(folder: Path) -> Snapshot:
    """What changes when a file is written again: inode and time."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.parent != folder
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.csv"
    }


def check_accounts(location: Path, save_path: Path, manifest: pd.DataFrame) -> None:
    """Every video of the catalog has one row, and what rows and `faces.json` say is what lies on disk."""
    catalog = read_catalog(location)
    assert manifest["video"].tolist() == catalog["video"].tolist()
    assert set(manifest["status"]) <= {"ok", "no_face", "unreadable"}
    assert ((manifest["error"] != "") == (manifest["status"] != "ok")).all()
    pd.testing.assert_frame_equal(manifest, read_manifest(save_path), check_exact=True)
    for row in manifest.itertuples():
        folder = save_path / row.video
        on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
        if row.problem and not Path(row.path).is_file():
            assert not folder.exists()
            assert (row.status, row.error) == ("unreadable", row.problem)
            continue
        record = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
        frames = [frame for track in record["tracks"] for frame in track["frames"]]
        assert on_disk == {frame["file"] for frame in frames}
        assert row.tracks == len(record["tracks"])
        assert (row.tracks > 0) == (row.status == "ok")
        assert row.faces_detected + row.faces_filled <= row.frames
        if row.status == "ok":
            origins = [frame["origin"] for frame in record["tracks"][0]["frames"]]
            assert (row.faces_detected, row.faces_filled) == (origins.count("detected"), origins.count("filled"))
            times = [frame["time"] for frame in record["tracks"][0]["frames"]]
            assert times == sorted(set(times))
        else:
            assert (row.faces_detected, row.faces_filled, row.tracks) == (0, 0, 0)
    assert not list(save_path.glob(".*"))


# One clip, known to the pixel


def test_boxes_and_crops_are_where_the_face_is(squares: SquareDetector, clip_store: Path, tmp_path: Path) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {"one.mp4": "one.mp4"})
    manifest = run(location, tmp_path / "faces")
    row = manifest.iloc[0]
    assert (row["status"], row["frames"], row["faces_detected"], row["faces_filled"], row["tracks"]) == (
        "ok", 8, 8, 0, 1,
    )  # fmt: skip
    assert (row["width"], row["height"], row["fps"]) == (320, 180, 30.0)
    assert row["face_height"] == pytest.approx(40, abs=3)
    assert row["sharpness"] > 10
    assert row["seconds"] > 0
    record = read_faces(tmp_path / "faces", "one")
    for frame in record["tracks"][0]["frames"]:
        assert frame["box"] == pytest.approx(clips.square_box(round(frame["time"] * 30)), abs=3)
        assert frame["origin"] == "detected"
    crop = cv2.cvtColor(cv2.imread(str(tmp_path / "faces" / "one" / "0" / "004.jpg")), cv2.COLOR_BGR2RGB)
    assert crop.shape == (48, 48, 3)
    magenta = (crop[..., 0] > 150) & (crop[..., 1] < 110) & (crop[..., 2] > 150)
    rows, columns = np.nonzero(magenta)
    # A margin of 1.3 leaves 0.15 of the square's side on each side of the face: 5.5 of 48 pixels.
    for low, high in ((rows.min(), rows.max()), (columns.min(), columns.max())):
        assert low == pytest.approx(5.5, abs=3)
        assert high == pytest.approx(41.5, abs=3)
    check_accounts(location, tmp_path / "faces", manifest)


def test_boxes_are_in_pixels_of_the_full_frame_even_if_found_in_a_small_one(
    squares: SquareDetector, tmp_path: Path
) -> None:
    people = [(MAGENTA, {"start": (300, 200), "step": (8, 0), "side": 240})]
    clips.write_clip(tmp_path / "videos.mp4", clips.squares(10, size=(1280, 720), people=people))
    clip = sample_frames(tmp_path / "videos.mp4", 4)
    track = extract_tracks(clip, squares, SequenceConfig(frame_count=4))[0]
    for time, box in zip(clip.times, track.boxes, strict=True):
        assert box == pytest.approx([300 + 8 * round(time * 30), 200, 240, 240], abs=6)


@pytest.mark.parametrize("source", ["upright.mp4", "odd.mp4"])
def test_upright_and_oddly_sized_clips(squares: SquareDetector, clip_store: Path, tmp_path: Path, source: str) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {source: source})
    row = run(location, tmp_path / "faces").iloc[0]
    assert (row["status"], row["faces_detected"]) == ("ok", 8)
    assert (row["width"], row["height"]) == {"upright.mp4": (180, 320), "odd.mp4": (321, 181)}[source]
    record = read_faces(tmp_path / "faces", row["video"])
    for frame in record["tracks"][0]["frames"]:
        x, y, side, _ = clips.square_box(round(frame["time"] * 30))
        expected = [180 - y - side, x, side, side] if source == "upright.mp4" else [x, y, side, side]
        assert frame["box"] == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("policy", ["past_mean", "drop"])
def test_missed_faces_are_filled_or_dropped_and_marked(
    squares: SquareDetector, clip_store: Path, tmp_path: Path, policy: str
) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {"gaps.mp4": "gaps.mp4"})
    manifest = run(location, tmp_path / "faces", fill_policy=policy)
    check_accounts(location, tmp_path / "faces", manifest)
    frames = read_faces(tmp_path / "faces", "gaps")["tracks"][0]["frames"]
    missed = [frame for frame in frames if frame["origin"] == "filled"]
    seen = [frame for frame in frames if frame["origin"] == "detected"]
    assert all(not 20 <= round(frame["time"] * 30) < 40 for frame in seen)
    assert 5 <= len(seen) <= 6
    if policy == "drop":
        assert not missed
        assert {frame["file"] for frame in frames} < {f"0/{index:03d}.jpg" for index in range(8)}
        return
    assert len(frames) == 8
    assert all(20 <= round(frame["time"] * 30) < 40 for frame in missed)
    assert all(frame["score"] == 0 for frame in missed)
    before = [frame["box"] for frame in seen if frame["time"] < missed[0]["time"]]
    assert missed[0]["box"] == pytest.approx(np.mean(before, axis=0).tolist(), abs=0.2)


def test_two_people_become_two_folders_the_larger_first(
    squares: SquareDetector, clip_store: Path, tmp_path: Path
) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {"two.mp4": "two.mp4"})
    manifest = run(location, tmp_path / "faces")
    assert manifest["tracks"].tolist() == [2]
    assert manifest["face_height"].iloc[0] == pytest.approx(60, abs=3)
    assert sorted(path.name for path in (tmp_path / "faces" / "two").iterdir()) == ["0", "1", "faces.json"]
    for number, colour in (("0", MAGENTA), ("1", CYAN)):
        crops = sorted((tmp_path / "faces" / "two" / number).iterdir())
        assert [crop.name for crop in crops] == [f"{index:03d}.jpg" for index in range(8)]
        middle = cv2.imread(str(crops[0]))[26:34, 26:34, ::-1].reshape(-1, 3)
        assert np.abs(np.median(middle, axis=0) - colour).max() < 60
    check_accounts(location, tmp_path / "faces", manifest)

    alone = run(location, tmp_path / "alone", max_tracks=1)
    assert alone["tracks"].tolist() == [1]
    assert sorted(path.name for path in (tmp_path / "alone" / "two").iterdir()) == ["0", "faces.json"]


def test_no_lasting_face_is_said_with_the_numbers(squares: SquareDetector, clip_store: Path) -> None:
    clip = sample_frames(clip_store / "none.mp4", 8)
    with pytest.raises(NoFaceFound, match=r"^none\.mp4: no face that lasts \(haar found one in 0 of 8 frames\)\. If "):
        extract_tracks(clip, squares, SequenceConfig(frame_count=8))


# A folder in which all is wrong at once


def make_bad_folder(store: Path, folder: Path) -> Path:
    """DFDC-shaped, with every kind of bad input that the issue lists, beside a good clip of each class."""
    part = make_folder(
        store,
        folder / "part_0",
        {
            "good.mp4": "one.mp4",
            "fake.mp4": "other.mp4",
            "none.mp4": "none.mp4",
            "single.mp4": "single.mp4",
            "upright.mp4": "upright.mp4",
            "odd.mp4": "odd.mp4",
            "NA.mp4": "one.mp4",
            "001.mp4": "one.mp4",
            'two words, "quoted" ü\r.mp4': "one.mp4",
            "two\nlines.mp4": "one.mp4",
            "label.mp4": "one.mp4",
            "unlisted.mp4": "one.mp4",
        },
    )
    (part / "empty.mp4").write_bytes(b"")
    (part / "text.mp4").write_text("not a film")
    clips.cut_off(store / "one.mp4", part / "cut.mp4", 0.5)
    clips.write_sound(part / "sound.mp4")
    listing: dict[str, dict] = {path.name: {"label": "FAKE", "original": "good.mp4"} for path in part.iterdir()}
    del listing["unlisted.mp4"]
    listing["good.mp4"] = {"label": "REAL"}
    listing["label.mp4"] = {"label": "MAYBE"}
    for name in ("gone.mp4", "../x.mp4", "/etc/x.mp4", "a\\b.mp4"):
        listing[name] = {"label": "FAKE", "original": "good.mp4"}
    (part / "metadata.json").write_text(json.dumps(listing), encoding="utf-8")
    make_folder(store, folder / "part_1", {"good.mp4": "other.mp4", "Good.mp4": "other.mp4"})
    (folder / "x.mp4").write_bytes(b"outside of the part")
    return folder


def test_all_kinds_of_bad_input_end_as_rows(squares: SquareDetector, clip_store: Path, tmp_path: Path) -> None:
    location = make_bad_folder(clip_store, tmp_path / "videos")
    manifest = run(location, tmp_path / "faces", num_vids=None)
    check_accounts(location, tmp_path / "faces", manifest)
    assert len(manifest) == 16 + 4 + 2 + 1
    status = {Path(row.path).name: row.status for row in manifest.itertuples() if "part_0" in row.path}
    bad = {"empty.mp4", "text.mp4", "cut.mp4", "sound.mp4", "gone.mp4"}
    assert {name for name, state in status.items() if state == "unreadable"} == bad
    assert {name for name, state in status.items() if state == "no_face"} == {"none.mp4"}
    outside = manifest[manifest["path"] == ""]
    assert len(outside) == 3
    assert outside["error"].str.contains("not a file in its own folder").all()
    for row in manifest[manifest["status"] != "ok"].itertuples():
        if row.path:
            assert Path(row.path).name in row.error
    single = manifest[manifest["path"].str.endswith("single.mp4")].iloc[0]
    assert (single["status"], single["frames"], single["faces_detected"]) == ("ok", 1, 1)
    assert {"NA", "001"} <= set(manifest["video"])
    # Good ones beside bad ones are as good as alone.
    assert manifest.set_index("video").loc["fake", "faces_detected"] == 8

    before = snapshot(tmp_path / "faces")
    again = run(location, tmp_path / "faces", num_vids=None)
    assert snapshot(tmp_path / "faces") == before
    pd.testing.assert_frame_equal(manifest.drop(columns="seconds"), again.drop(columns="seconds"))
    assert again["seconds"].isna().all()


def test_a_surprise_in_one_video_is_a_row_and_a_log_line(
    squares: SquareDetector,
    pair: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stumble(clip: Clip, tracks: list[Track], config: SequenceConfig) -> list[CroppedTrack]:
        if clip.info.path.name == "aaa.mp4":
            raise ZeroDivisionError("nobody expected this")
        return crop_tracks(clip, tracks, config)

    monkeypatch.setattr(extraction, "crop_tracks", stumble)
    with caplog.at_level(logging.ERROR):
        manifest = run(pair, tmp_path / "faces").set_index("video")
    assert manifest["status"].to_dict() == {"aaa": "unreadable", "bbb": "ok"}
    error = "aaa.mp4: unexpected ZeroDivisionError: nobody expected this. Please report it."
    assert manifest.loc["aaa", "error"] == error
    assert "aaa.mp4: unexpected" in caplog.text


def test_videos_without_a_label_are_said(
    tmp_path: Path, clip_store: Path, squares: SquareDetector, caplog: pytest.LogCaptureFixture
) -> None:
    location = tmp_path / "videos"
    location.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip_store / "one.mp4", location / name)
    processing(location, tmp_path / "faces", workers=1, show_progress=False, detector="haar")
    assert "2 of 2 videos have no label: give a metadata.json as in DFDC" in caplog.text
    for label, said in (("deepfake", "1 of 2 videos have no label: b.mp4: its label is 'deepfake'"), ("FAKE", "")):
        caplog.clear()
        (location / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}, "b.mp4": {"label": label}}))
        processing(location, tmp_path / "faces", workers=1, show_progress=False, detector="haar")
        assert said in caplog.text if said else not caplog.text


def test_names_that_are_not_utf8_do_not_stop_the_batch(
    squares: SquareDetector, clip_store: Path, tmp_path: Path
) -> None:
    try:
        location = make_folder(clip_store, tmp_path / "videos", {"caf\udce9.mp4": "one.mp4", "b.mp4": "one.mp4"})
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes UTF-8")
    (location / "empty\udcff.mp4").write_bytes(b"")
    manifest = run(location, tmp_path / "faces")
    assert sorted(manifest["status"]) == ["ok", "ok", "unreadable"]
    check_accounts(location, tmp_path / "faces", manifest)


def test_an_empty_and_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(BrokenCatalog, match=name):
            run(tmp_path / name, tmp_path / "faces")
    assert not (tmp_path / "faces").exists()


# Running again


def test_resume_does_only_what_is_missing(squares: SquareDetector, pair: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces"
    first = run(pair, target)
    expected, before = contents(target), snapshot(target)

    shutil.rmtree(target / "aaa")
    second = run(pair, target)
    (target / "bbb" / "faces.json").unlink()
    (target / "bbb" / "0" / "stray.jpg").write_bytes(b"of a broken run")
    third = run(pair, target)

    assert second.set_index("video")["seconds"].isna().to_dict() == {"aaa": False, "bbb": True}
    assert third.set_index("video")["seconds"].isna().to_dict() == {"aaa": True, "bbb": False}
    assert contents(target) == expected
    after = snapshot(target)
    assert all(after[name] != before[name] for name in before), "each was done once more"
    for manifest in (second, third):
        pd.testing.assert_frame_equal(first.drop(columns="seconds"), manifest.drop(columns="seconds"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": 3, "source_bytes": 1}', '{"config": {"x": 1}}'])
def test_a_faces_json_that_we_did_not_write_is_done_again(
    squares: SquareDetector, pair: Path, tmp_path: Path, content: str
) -> None:
    target = tmp_path / "faces"
    run(pair, target)
    expected = contents(target)
    (target / "aaa" / "faces.json").write_text(content)
    run(pair, target)
    assert contents(target) == expected


def test_a_changed_source_is_done_again(squares: SquareDetector, pair: Path, clip_store: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces"
    run(pair, target)
    before = snapshot(target)
    shutil.copy(clip_store / "two.mp4", pair / "aaa.mp4")
    manifest = run(pair, target).set_index("video")
    assert manifest["tracks"].to_dict() == {"aaa": 2, "bbb": 1}
    after = snapshot(target)
    assert {name: stamp for name, stamp in after.items() if name.startswith("bbb/")} == {
        name: stamp for name, stamp in before.items() if name.startswith("bbb/")
    }


def test_a_file_that_was_missing_is_done_once_it_is_there(
    squares: SquareDetector, pair: Path, clip_store: Path, tmp_path: Path
) -> None:
    (pair / "metadata.json").write_text(json.dumps({"late.mp4": {"label": "REAL"}}))
    assert run(pair, tmp_path / "faces").set_index("video").loc["late", "status"] == "unreadable"
    shutil.copy(clip_store / "one.mp4", pair / "late.mp4")
    row = run(pair, tmp_path / "faces").set_index("video").loc["late"]
    assert (row["status"], row["error"]) == ("ok", "")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"frame_count": 4}, "frame_count 8 instead of 4"),
        ({"fill_policy": "hold"}, "fill_policy 'past_mean' instead of 'hold'"),
    ],
)
def test_other_settings_are_refused_by_name_or_redone_on_request(
    squares: SquareDetector, pair: Path, tmp_path: Path, changed: dict, named: str
) -> None:
    target = tmp_path / "faces"
    run(pair, target)
    before, manifest = snapshot(target), (target / "manifest.csv").read_bytes()
    with pytest.raises(ConfigMismatch, match=rf"aaa in .+ was made with {named}\. .*overwrite=True"):
        run(pair, target, **changed)
    assert snapshot(target) == before
    assert (target / "manifest.csv").read_bytes() == manifest
    assert SequenceConfig.load(target / "sequence.json") == SequenceConfig(frame_count=8, face_size=48, detector="haar")

    run(pair, target, overwrite=True, **changed)
    key, value = next(iter(changed.items()))
    assert asdict(SequenceConfig.load(target / "sequence.json"))[key] == value
    assert all(read_faces(target, video)["config"][key] == value for video in ("aaa", "bbb"))
    fresh = tmp_path / "fresh"
    run(pair, fresh, **changed)
    assert contents(target) == contents(fresh)


# Other videos in the same folder


@pytest.fixture
def others(clip_store: Path, tmp_path: Path) -> Path:
    return make_folder(clip_store, tmp_path / "others", {"ccc.mp4": "one.mp4", "ddd.mp4": "none.mp4"})


def test_other_videos_later_keep_the_rows_of_the_earlier_ones(
    squares: SquareDetector, pair: Path, others: Path, tmp_path: Path
) -> None:
    target = tmp_path / "faces"
    (pair / "metadata.json").write_text(json.dumps({"gone.mp4": {"label": "REAL"}}))
    first = run(pair, target)
    before = snapshot(target)
    second = run(others, target)
    assert second["video"].tolist() == ["ccc", "ddd"], "what is returned is of this call"
    assert before.items() <= snapshot(target).items()
    both = pd.concat([first, second], ignore_index=True).sort_values("video", ignore_index=True)
    pd.testing.assert_frame_equal(read_manifest(target), both, check_exact=True)

    # A row is replaced by a newer one, and goes with its faces.
    shutil.rmtree(target / "ccc")
    third = run(pair, target)
    assert third["seconds"].isna().all()
    expected = pd.concat([third, second.tail(1)], ignore_index=True).sort_values("video", ignore_index=True)
    pd.testing.assert_frame_equal(read_manifest(target), expected, check_exact=True)


def test_fewer_videos_later_keep_the_rows_of_the_others(squares: SquareDetector, pair: Path, tmp_path: Path) -> None:
    run(pair, tmp_path / "faces", num_vids=None)
    (pair / "bbb.mp4").unlink()
    assert run(pair, tmp_path / "faces")["video"].tolist() == ["aaa"]
    assert read_manifest(tmp_path / "faces")["video"].tolist() == ["aaa", "bbb"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_videos_with_other_settings_need_another_folder(
    squares: SquareDetector, pair: Path, others: Path, tmp_path: Path, overwrite: bool
) -> None:
    target = tmp_path / "faces"
    run(pair, target)
    before = contents(target), (target / "manifest.csv").read_bytes()
    with pytest.raises(ConfigMismatch, match=r"other videos in .* were made with face_size 48 instead of 64\. Use"):
        run(others, target, face_size=64, overwrite=overwrite)
    assert (contents(target), (target / "manifest.csv").read_bytes()) == before


def test_a_manifest_that_cannot_be_read_is_replaced(squares: SquareDetector, pair: Path, tmp_path: Path) -> None:
    run(pair, tmp_path / "faces")
    (tmp_path / "faces" / "manifest.csv").write_text("")
    check_accounts(pair, tmp_path / "faces", run(pair, tmp_path / "faces"))


@pytest.mark.parametrize("below", ["", "part_0", "faces"])
def test_faces_may_lie_among_the_videos(
    squares: SquareDetector, pair: Path, clip_store: Path, tmp_path: Path, below: str
) -> None:
    make_folder(clip_store, pair / "part_0", {"ccc.mp4": "one.mp4"})
    first = run(pair, pair / below)
    # Not a video of the catalog, although it is one below the folder.
    shutil.copy(pair / "aaa.mp4", pair / below / "aaa" / "0")
    again = run(pair, pair / below)
    assert again["video"].tolist() == first["video"].tolist() == ["aaa", "bbb", "ccc"]
    assert again["seconds"].isna().all()


# How many


def test_num_vids_takes_half_of_each_class(squares: SquareDetector, clip_store: Path, tmp_path: Path) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {f"{name}.mp4": "one.mp4" for name in "abcdef"})
    listing: dict[str, dict] = {f"{name}.mp4": {"label": "REAL"} for name in "abc"}
    listing |= {f"{name}.mp4": {"label": "FAKE", "original": "a.mp4"} for name in "def"}
    (location / "metadata.json").write_text(json.dumps(listing))
    some = run(location, tmp_path / "some", num_vids=4, frame_count=2)
    assert some["label"].value_counts().to_dict() == {"REAL": 2, "FAKE": 2}
    for asked in (6, None):
        assert len(run(location, tmp_path / "all", num_vids=asked, frame_count=2)) == 6
    with pytest.raises(ValueError, match="num_vids=1"):
        run(location, tmp_path / "one", num_vids=1)


def test_a_single_video_needs_no_second(squares: SquareDetector, clip_store: Path, tmp_path: Path) -> None:
    location = make_folder(clip_store, tmp_path / "videos", {"a.mp4": "one.mp4"})
    assert run(location, tmp_path / "faces")["status"].tolist() == ["ok"]


# Where it goes


@pytest.mark.parametrize("below", ["", "a/b"])
def test_a_target_that_is_a_file(squares: SquareDetector, pair: Path, tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("a file")
    target = tmp_path / "taken" / below
    with pytest.raises(OSError, match=r"faces cannot be written .*Choose a folder you may write to") as caught:
        run(pair, target)
    assert caught.value.filename == str(target)
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_read_only_target(squares: SquareDetector, pair: Path, tmp_path: Path) -> None:
    target = tmp_path / "locked"
    target.mkdir(mode=0o500)
    if os.access(target, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(PermissionError, match="Choose a folder you may write to"):
        run(pair, target)


def test_leftovers_of_a_killed_run_are_cleared(squares: SquareDetector, pair: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces"
    # Process ids end at 4,194,304 on Linux, so that this one runs nowhere.
    (target / f".aaa.{files._machine()}.4194999.1a2b.partial" / "0").mkdir(parents=True)
    manifest = run(pair, target)
    check_accounts(pair, target, manifest)


# Workers


@pytest.mark.slow
def test_two_workers_give_what_one_gives(sample: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """End to end, with the real Haar cascade."""
    one = run(sample, tmp_path / "one", num_vids=6)
    assert capfd.readouterr() == ("", "")
    two = run(sample, tmp_path / "two", num_vids=6, workers=2, show_progress=True)
    assert "extracting faces" in capfd.readouterr().err
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert tuple(one.columns[: len(COLUMNS)]) == COLUMNS
    assert one["label"].value_counts().to_dict() == {"REAL": 3, "FAKE": 3}
    found = one[one["status"] == "ok"]
    assert len(found) >= 5
    assert found["faces_detected"].sum() >= 0.85 * found["frames"].sum()


def test_an_interruption_says_how_much_is_done_and_keeps_it(
    squares: SquareDetector, pair: Path, clip_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "faces"
    run(pair, target)
    before = snapshot(target)
    make_folder(clip_store, pair, {"ccc.mp4": "one.mp4", "ddd.mp4": "one.mp4"})
    monkeypatch.setattr("random.randrange", lambda count: 0)  # where a run begins

    def press(clip: Clip, tracks: list[Track], config: SequenceConfig) -> list[CroppedTrack]:
        if clip.info.path.name == "ddd.mp4":
            raise KeyboardInterrupt
        return crop_tracks(clip, tracks, config)

    with monkeypatch.context() as patched:
        patched.setattr(extraction, "crop_tracks", press)
        with pytest.raises(KeyboardInterrupt, match=r"^3 of 4 videos are done$") as caught:
            run(pair, target)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert not list(target.glob(".*"))
    assert before.items() <= snapshot(target).items()
    manifest = run(pair, target).set_index("video")
    assert manifest["seconds"].notna().to_dict() == {"aaa": False, "bbb": False, "ccc": False, "ddd": True}


# The manifest


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv is not there: run processing\(location, "):
        read_manifest(tmp_path)


def test_manifests_come_back_exactly_whatever_the_names(tmp_path: Path) -> None:
    names = ["NA", "001", "", "nan", "None", "1e5", " x ", "a\nb", "a\rb", 'a,"b"', "ü", "caf\udce9", "True", "#x", "'"]
    text = dict.fromkeys((*COLUMNS, "status", "error"), names)
    rng = np.random.default_rng(0)
    numbers = {
        "frames": range(len(names)),
        "fps": rng.uniform(0, 60, len(names)),
        "sharpness": [np.nan, *rng.lognormal(5, 2, len(names) - 1)],
        "seconds": [np.nan, *rng.uniform(0, 1, len(names) - 1)],
    }
    manifest = pd.DataFrame(text | numbers)
    files.write_atomically(tmp_path / "manifest.csv", manifest.to_csv(index=False, quoting=2))
    pd.testing.assert_frame_equal(manifest, read_manifest(tmp_path), check_exact=True)


def test_the_square_detector_is_one(clip_store: Path) -> None:
    """The tests' own detector, which the exact numbers above rest on."""
    found = SquareDetector().detect(next(iter(clips.squares(1))))
    assert isinstance(found[0], Face)
    assert found[0].box.tolist() == clips.square_box(0)
    assert SquareDetector().detect(clips.numbered_frame(5)) == []


def test_auto_goes_on_with_the_detector_that_a_folder_was_begun_with(
    squares: SquareDetector, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online at first and offline later, or the other way round, must neither mix nor fail."""
    run(pair, tmp_path / "faces", detector="haar")
    monkeypatch.setattr(module, "load_face_detector", lambda name="auto": pytest.fail("there is no need for another"))
    again = run(pair, tmp_path / "faces", detector="auto")
    assert again["seconds"].isna().all()
    assert SequenceConfig.load(tmp_path / "faces" / "sequence.json").detector == "haar"


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_time_limit_that_makes_no_sense_is_refused(pair: Path, tmp_path: Path, wrong: float) -> None:
    with pytest.raises(ValueError, match="time_limit="):
        run(pair, tmp_path / "faces", time_limit=wrong)


def test_overwriting_with_auto_takes_the_best_detector_there_is_now(
    squares: SquareDetector, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pair, tmp_path / "faces", detector="haar")
    monkeypatch.setattr(module, "load_face_detector", lambda name="auto": type("Found", (), {"name": "yunet"})())
    monkeypatch.setattr(module, "find_yunet", lambda: tmp_path / "weights.onnx")
    assert run(pair, tmp_path / "faces", detector="auto", overwrite=True)["seconds"].notna().all()
    assert SequenceConfig.load(tmp_path / "faces" / "sequence.json").detector == "yunet"

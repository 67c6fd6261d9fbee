from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import CYAN, MAGENTA, SquareDetector, squares, write_clip

from dfdc_utils.faces import SequenceConfig, extraction, read_faces, sequence_paths
from dfdc_utils.prediction import windows
from dfdc_utils.prediction.windows import Look, find_faces
from dfdc_utils.processing import processing
from dfdc_utils.videos import sample_windows

CONFIG = SequenceConfig(capture_sec=1.0, frame_count=8, face_size=32, detector="haar")
LEFT, RIGHT = {"start": (20, 40), "step": (0, 0)}, {"start": (220, 60), "step": (0, 0)}


@pytest.fixture(autouse=True)
def _squares_for_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (windows.faces, extraction):  # in this order: the first gives what the second has when it is asked
        monkeypatch.setattr(module, "own_face_detector", lambda name, weights: SquareDetector())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def test_the_first_seconds_are_what_processing_saves(folder: Path, tmp_path: Path) -> None:
    """To the byte: a score of a video must not depend on the way its faces came."""
    path = write_clip(folder / "same.mp4", squares(60, people=((MAGENTA, LEFT), (CYAN, RIGHT)), hidden=range(7, 14)))
    found = find_faces(Look(path, CONFIG))
    settings = {"capture_sec": 1.0, "frame_count": 8, "face_size": 32, "detector": "haar"}
    (tmp_path / "in").mkdir()
    path.rename(tmp_path / "in" / "same.mp4")
    processing(tmp_path / "in", tmp_path / "faces", workers=1, show_progress=False, **settings)
    saved = read_faces(tmp_path / "faces", "same")["tracks"]
    assert [window.track for window in found.windows] == list(range(len(saved))) == [0, 1]
    for window, track in zip(found.windows, saved, strict=True):
        files = sequence_paths(tmp_path / "faces", "same", 8, track=window.track)
        assert window.faces == tuple(Path(file).read_bytes() for file in files)
        frames = {frame["file"]: frame for frame in track["frames"]}
        chosen = [frames[f"{window.track}/{Path(file).name}"] for file in files]
        assert window.detected.tolist() == [frame["origin"] == "detected" for frame in chosen]
        np.testing.assert_allclose(window.times, [frame["time"] for frame in chosen], atol=1e-4)
        np.testing.assert_allclose(window.boxes, [frame["box"] for frame in chosen], atol=0.051)
    assert not found.windows[0].detected.all()
    assert (found.status, found.error) == ("ok", "")


def test_people_keep_their_numbers_through_a_whole_video(folder: Path) -> None:
    """The second person comes in late, and is at times the larger one: numbers follow the person, not the size."""
    frames = [*squares(45, people=((MAGENTA, LEFT),)), *squares(75, people=((MAGENTA, LEFT), (CYAN, RIGHT)))]
    found = find_faces(Look(write_clip(folder / "late.mp4", frames), CONFIG, whole=True))
    seen: dict[int, set[int]] = {}
    for window in found.windows:
        seen.setdefault(window.track, set()).add(round(float(window.boxes[-1, 0])))
    assert set(seen) == {0, 1}
    assert all(abs(x - LEFT["start"][0]) <= 3 for x in seen[0])
    assert all(abs(x - RIGHT["start"][0]) <= 3 for x in seen[1])
    assert min(window.times[0] for window in found.windows if window.track == 1) >= 0.9
    assert found.seconds == pytest.approx(4, abs=0.15)


def test_whoever_leaves_leaves_the_others_as_they_are(folder: Path) -> None:
    frames = [*squares(60, people=((MAGENTA, LEFT), (CYAN, RIGHT))), *squares(60, people=((CYAN, RIGHT),))]
    found = find_faces(Look(write_clip(folder / "leaves.mp4", frames), CONFIG, whole=True))
    last = [window for window in found.windows if window.times[-1] == found.windows[-1].times[-1]]
    assert [window.track for window in last] == [1]


def test_statuses_say_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    nobody = find_faces(Look(write_clip(folder / "nobody.mp4", squares(30, people=())), CONFIG, whole=True))
    assert (nobody.status, nobody.windows) == ("no_face", ())
    assert "nobody.mp4: no face that lasts" in nobody.error
    yunet = "the detector yunet (go online once, or set DFDC_YUNET)"
    assert nobody.error.endswith(f"try {yunet} or a larger version.")
    for seconds, remedy in ((1.0, "a larger version"), (0.5, "all of it (whole=True)")):  # nothing is left, or a half
        start = find_faces(Look(folder / "nobody.mp4", replace(CONFIG, capture_sec=seconds)))
        assert start.error.endswith(f"try {yunet} or {remedy}.")
    gone = find_faces(Look(tmp_path / "gone.mp4", CONFIG))
    assert gone.status == "unreadable" and "gone.mp4: file not found" in gone.error
    (tmp_path / "text.mp4").write_text("no video")
    broken = find_faces(Look(tmp_path / "text.mp4", CONFIG, whole=True))
    assert broken.status == "unreadable" and "It is text" in broken.error


def test_frames_of_other_shots_are_counted_and_not_shown(folder: Path) -> None:
    other = [255 - image for image in squares(15, people=())]
    for image in other:
        image[:] = np.minimum(image, (np.arange(image.shape[0]) // 20 % 2 * 200).astype(np.uint8)[:, None, None])
    frames = [*squares(15, people=((MAGENTA, LEFT),)), *other]
    (window,) = find_faces(Look(write_clip(folder / "cut.mp4", frames), CONFIG)).windows
    assert (window.found, window.looked_at, len(window.faces)) == (4, 8, 8)
    assert max(window.times) < 0.5


def test_a_face_that_goes_away_leaves_the_windows_in_which_it_was(folder: Path) -> None:
    frames = [*squares(45, people=((MAGENTA, LEFT),)), *squares(60, people=())]
    found = find_faces(Look(write_clip(folder / "away.mp4", frames), CONFIG, whole=True))
    assert found.status == "ok" and found.error == ""
    assert max(window.times[0] for window in found.windows) < 1.5
    assert found.seconds > 3


def test_what_came_before_the_time_ran_out_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(folder / "slow.mp4", squares(120, people=((MAGENTA, LEFT),)))
    clock = iter(np.arange(0, 1e6, 0.02))
    monkeypatch.setattr("dfdc_utils.workers.time.monotonic", lambda: float(next(clock)))
    found = find_faces(Look(path, CONFIG, whole=True, time_limit=1.0))
    assert found.status == "ok" and 1 <= len(found.windows) < 7
    assert "slow.mp4: timed out after" in found.error


def test_a_surprise_is_one_videos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(windows.faces, "crop_tracks", stumble)
    found = find_faces(Look(write_clip(folder / "odd.mp4", squares(30)), CONFIG))
    assert found.status == "unreadable" and found.windows == ()
    assert "odd.mp4: unexpected ZeroDivisionError: of all things" in found.error


def test_fewer_frames_than_asked_come_twice(folder: Path) -> None:
    found = find_faces(Look(write_clip(folder / "short.mp4", squares(3)), CONFIG))
    (window,) = found.windows
    assert len(window.faces) == 8 and len(set(window.faces)) == 3


def test_overlap_counts_only_shared_moments() -> None:
    def window(times: list[float], x: float) -> windows.FaceWindow:
        boxes = np.array([[x, 0.0, 10, 10]] * len(times))
        return windows.FaceWindow(0, np.array(times), boxes, np.ones(len(times), bool), (b"",) * len(times))

    assert window([0, 1], 0).overlap(window([1, 2], 0)) == 1
    assert window([0, 1], 0).overlap(window([1, 2], 5)) == pytest.approx(1 / 3)
    assert window([0, 1], 0).overlap(window([0.5, 2], 0)) == 1, "moments need not be the same ones"
    assert window([0, 1], 0).overlap(window([2, 3], 0)) == 0


def test_the_largest_faces_are_looked_at_and_the_others_counted(folder: Path) -> None:
    """Whatever number of people the model was trained with."""
    path = write_clip(folder / "two.mp4", squares(40, people=((MAGENTA, LEFT), (CYAN, RIGHT))))
    for most, judged, left_out in ((1, 1, 1), (2, 2, 0), (8, 2, 0)):
        found = find_faces(Look(path, replace(CONFIG, max_tracks=1), max_people=most))
        assert (len(found.windows), found.left_out) == (judged, left_out)


def test_the_time_for_a_video_of_unknown_length_grows_with_what_was_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_clip(folder / "live.mkv", squares(120), container="matroska")
    given: list[float] = []
    monkeypatch.setattr(windows, "allow_more_time", given.append)
    clips_of = sample_windows(raw, CONFIG.frame_count, capture_sec=CONFIG.capture_sec)
    unknown = (replace(clip, info=replace(clip.info, duration=0.0)) for clip in clips_of)
    monkeypatch.setattr(windows, "sample_windows", lambda *_, **__: unknown)
    found = find_faces(Look(raw, CONFIG, whole=True))
    assert sum(given) == pytest.approx(2 * found.seconds) and found.seconds > 3.5


def test_a_joined_file_is_at_least_as_long_as_what_was_seen_of_it(folder: Path) -> None:
    part, joined = write_clip(folder / "part.mkv", squares(60)), folder / "joined.mkv"
    joined.write_bytes(2 * part.read_bytes())
    found = find_faces(Look(joined, CONFIG, whole=True))
    assert found.duration >= found.seconds > 3.5

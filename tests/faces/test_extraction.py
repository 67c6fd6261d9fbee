from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from clips import CYAN, MAGENTA, SquareDetector

from dfdc_utils.errors import NoFaceFound
from dfdc_utils.faces import (
    Face,
    FaceDetector,
    Job,
    SequenceConfig,
    box_overlap,
    crop_tracks,
    extract_tracks,
    extraction,
    fill_missing_boxes,
    follow_faces,
    read_faces,
    work_on,
)
from dfdc_utils.faces.detectors import HaarDetector, YuNetDetector, largest
from dfdc_utils.faces.extraction import detect_faces
from dfdc_utils.faces.tracks import crop_face, smooth_boxes
from dfdc_utils.videos import Clip, Image, sample_frames


class Counting(SquareDetector):
    """Notes what it was shown: the shape of each image."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        self.shown.append(image.shape[:2])
        return super().detect(image, smallest=smallest)


def make_clip(path: Path, **more: object) -> Clip:
    """Five seconds in 640 x 360, in which a square moves."""
    settings = {"size": (640, 360), "people": [(MAGENTA, {"start": (60, 100), "step": (1, 0), "side": 80})]} | more
    return sample_frames(clips.write_clip(path, clips.squares(150, **settings)), 16)  # type: ignore[arg-type]


def everywhere(clip: Clip, detector: FaceDetector, *, as_followed: bool = False) -> list[list[Face]]:
    """A whole look at every frame; `as_followed`: in the size in which the largest face in it is followed."""
    found = []
    for index in range(len(clip)):
        small = clip.small_frame(index, extraction.DETECTION_SIDE)
        scale, faces = clip.info.width / small.shape[1], detector.detect(small)
        if as_followed and faces:
            faces = extraction._detect(detector, small, extraction._shrink(detector, largest(faces)))
        found.append([replace(face, box=face.box * scale) for face in faces])
    return found


# Where faces are looked for


def test_between_whole_looks_only_the_surroundings_are_searched(tmp_path: Path) -> None:
    clip, detector = make_clip(tmp_path / "a.mp4"), Counting()
    found, _ = detect_faces(clip, detector)
    whole = [shape for shape in detector.shown if shape == (360, 640)]
    assert len(detector.shown) == 16
    assert len(whole) == 2, "one at the start, one after 2.5 s"
    assert max(height * width for height, width in detector.shown if (height, width) != (360, 640)) < 360 * 640 / 4
    for moment, faces in zip(clip.times, found, strict=True):
        assert [face.box.tolist() for face in faces] == [pytest.approx([60 + round(moment * 30), 100, 80, 80], abs=2)]


class Scaling(Counting):
    """Stands in for YuNet, which follows large faces in smaller pictures, and sees a ghost in small whole pictures."""

    name = "yunet"
    ghosts = 0

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        there = [Face(np.array([10.0, 10.0, 40.0, 40.0]), 0.7)] * (self.ghosts and image.shape[1] == 320)
        return super().detect(image, smallest=smallest) + there


@pytest.mark.parametrize(("side", "shrink"), [(120, 1), (140, 2), (260, 4)])
def test_large_faces_are_followed_in_smaller_pictures(tmp_path: Path, side: int, shrink: int) -> None:
    where = {"start": (200, 50), "step": (1, 0), "side": side}
    clip, detector = make_clip(tmp_path / "a.mp4", people=[(MAGENTA, where)]), Scaling()
    found, _ = detect_faces(clip, detector)
    whole = (360 // shrink, 640 // shrink)
    assert detector.shown[0] == (360, 640) and (shrink == 1 or whole in detector.shown[1:])
    assert max(height * width for height, width in detector.shown[1:]) <= whole[0] * whole[1]
    for moment, faces in zip(clip.times, found, strict=True):
        assert len(faces) == 1
        assert faces[0].box == pytest.approx([200 + round(moment * 30), 50, side, side], abs=2 * shrink)


def test_a_stranger_in_a_smaller_picture_is_looked_for_in_the_whole_one(tmp_path: Path) -> None:
    people = [(MAGENTA, {"start": (200, 50), "step": (1, 0), "side": 140})]
    clip, detector = make_clip(tmp_path / "a.mp4", people=people), Scaling()
    detector.ghosts = 1
    assert [len(faces) for faces in detect_faces(clip, detector)[0]] == [1] * 16
    assert detector.shown.count((180, 320)) == 1 and detector.shown.count((360, 640)) == 2
    # The same where one who is expected is missing.
    frames = list(clips.squares(150, size=(640, 360), people=people, hidden=range(60, 75)))
    lost = Scaling()
    seen = [
        bool(faces) for faces in detect_faces(sample_frames(clips.write_clip(tmp_path / "b.mp4", frames), 16), lost)[0]
    ]
    assert seen == [not 60 <= round(moment * 30) < 75 for moment in clip.times]
    assert lost.shown.count((360, 640)) >= 1 + seen.count(False)


def test_a_face_that_is_lost_is_looked_for_everywhere(tmp_path: Path) -> None:
    clip, detector = make_clip(tmp_path / "a.mp4", hidden=range(60, 75)), Counting()
    found, _ = detect_faces(clip, detector)
    seen = [bool(faces) for faces in found]
    assert seen == [not 60 <= round(moment * 30) < 75 for moment in clip.times]
    assert sum(shape == (360, 640) for shape in detector.shown) >= 1 + seen.count(False)


def test_a_face_that_jumps_is_found_again_at_once(tmp_path: Path) -> None:
    fast = [(MAGENTA, {"start": (0, 100), "step": (3, 0), "side": 60})]
    clip = make_clip(tmp_path / "a.mp4", people=fast, size=(640, 360))
    for moment, faces in zip(clip.times, detect_faces(clip, Counting())[0], strict=True):
        x = 3 * round(moment * 30)
        if x + 60 <= 640:
            assert faces[0].box == pytest.approx([x, 100, 60, 60], abs=3)


def test_one_who_is_missed_for_a_moment_is_found_again_though_another_is_in_view(tmp_path: Path) -> None:
    people = [
        (MAGENTA, {"start": (60, 100), "step": (1, 0), "side": 90}),
        (CYAN, {"start": (450, 110), "step": (0, 0), "side": 60}),
    ]
    frames = list(clips.squares(150, size=(640, 360), people=people))
    alone = list(clips.squares(150, size=(640, 360), people=people[1:]))
    frames[55:70] = alone[55:70]
    clip = sample_frames(clips.write_clip(tmp_path / "a.mp4", frames), 16)
    both = [len(faces) == 2 for faces in detect_faces(clip, Counting())[0]]
    assert both == [not 55 <= round(moment * 30) < 70 for moment in clip.times]


def test_two_people_who_meet_are_not_taken_for_one(tmp_path: Path) -> None:
    people = [
        (MAGENTA, {"start": (20, 100), "step": (2, 0), "side": 80}),
        (CYAN, {"start": (500, 110), "step": (-2, 0), "side": 60}),
    ]
    clip = make_clip(tmp_path / "a.mp4", people=people)
    for moment, faces in zip(clip.times, detect_faces(clip, Counting())[0], strict=True):
        apart = abs((20 + 2 * moment * 30) - (500 - 2 * moment * 30)) > 100
        assert len(faces) == 2 or not apart


def test_who_comes_in_later_is_seen_at_the_next_whole_look(tmp_path: Path) -> None:
    frames = list(clips.squares(150, size=(640, 360), people=[(MAGENTA, {"start": (60, 100), "step": (0, 0)})]))
    for index in range(60, 150):
        frames[index][200:280, 400:480] = CYAN
    clip = sample_frames(clips.write_clip(tmp_path / "a.mp4", frames), 16)
    tracks = extract_tracks(clip, Counting(), SequenceConfig())
    assert len(tracks) == 2
    first = clip.times[min(np.flatnonzero(track.detected)[0] for track in tracks if not track.detected[0])]
    assert 2.0 <= first <= 2.0 + extraction.LOOK_AROUND_EVERY


def test_a_track_ends_at_a_cut(tmp_path: Path) -> None:
    """A face at the same place in the next scene is another track, and no box is filled beyond the cut."""
    where = [(MAGENTA, {"start": (300, 100), "step": (0, 0), "side": 80})]
    first = list(clips.squares(75, size=(640, 360), people=where, hidden=range(60, 75)))
    second = [255 - image for image in clips.squares(75, size=(640, 360), people=[])]
    stripes = (np.arange(360) // 40 % 2 * 200).astype(np.uint8)[:, None, None]
    for image in second:
        image[:] = np.minimum(image, stripes)
        image[100:180, 300:380] = MAGENTA
    clip = sample_frames(clips.write_clip(tmp_path / "a.mp4", [*first, *second]), 16)
    found, shots = detect_faces(clip, Counting())
    assert shots.tolist() == [int(moment > 2.48) for moment in clip.times]
    one, two = sorted(extract_tracks(clip, Counting(), SequenceConfig()), key=lambda track: not track.detected[0])
    assert one.in_shot.tolist() == (shots == 0).tolist() and two.in_shot.tolist() == (shots == 1).tolist()
    assert ((one.detected | one.filled) == one.in_shot).all() and one.filled.any() and two.detected.any()
    assert not (one.filled | one.detected)[shots == 1].any()
    without = follow_faces(found)
    assert len(without) == 1, "without the cut they would be one"


def test_landmarks_are_in_pixels_of_the_full_frame(tmp_path: Path) -> None:
    class WithLandmarks(SquareDetector):
        def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
            corners = np.array([[0, 0], [1, 0], [0.5, 0.5], [0, 1], [1, 1]])
            return [replace(face, landmarks=face.box[:2] + corners * face.box[2:]) for face in super().detect(image)]

    people = [(MAGENTA, {"start": (300, 200), "step": (2, 0), "side": 240})]
    clip = make_clip(tmp_path / "a.mp4", people=people, size=(1280, 720))
    for faces in detect_faces(clip, WithLandmarks())[0]:
        for face in faces:
            assert face.landmarks is not None
            assert face.landmarks[0] == pytest.approx(face.box[:2])
            assert face.landmarks[4] == pytest.approx(face.box[:2] + face.box[2:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_real_faces_are_found_where_whole_looks_find_them(
    real_clips: Path, request: pytest.FixtureRequest, name: str
) -> None:
    """No frame is lost, and the boxes that crops follow agree."""
    detector: FaceDetector = YuNetDetector(request.getfixturevalue("yunet_path")) if name == "yunet" else HaarDetector()
    overlaps, smooth, lost, frames = [], [], 0, 0
    for path in sorted(real_clips.rglob("*.mp4")):
        clip = sample_frames(path)
        ours, all_of_them = (
            follow_faces(found)[0]
            for found in (detect_faces(clip, detector)[0], everywhere(clip, detector, as_followed=True))
        )
        frames += len(clip)
        lost += int((all_of_them.detected & ~ours.detected).sum())
        a, b = fill_missing_boxes(ours).boxes, fill_missing_boxes(all_of_them).boxes
        overlaps += [box_overlap(one, other) for one, other in zip(a, b, strict=True)]
        smooth += [box_overlap(one, other) for one, other in zip(smooth_boxes(a), smooth_boxes(b), strict=True)]
    assert lost == 0
    assert np.mean(np.array(overlaps) >= 0.9) >= 0.95
    assert min(smooth) >= 0.9
    if name == "yunet":
        assert len(overlaps) == frames


@pytest.mark.slow
def test_yunet_finds_every_real_face_and_haar_with_filling_comes_near(real_clips: Path, yunet_path: Path) -> None:
    """Bar of the project: IoU of at least 0.5 in at least 95 % of frames."""
    overlaps = []
    yunet, haar = YuNetDetector(yunet_path), HaarDetector()
    for path in sorted(real_clips.rglob("*.mp4")):
        clip = sample_frames(path)
        found = everywhere(clip, yunet)
        assert all(found), f"{path.name}: YuNet finds a face in every sampled frame"
        config = SequenceConfig()
        true, filled = (extract_tracks(clip, detector, config)[0] for detector in (yunet, haar))
        assert true.detected.all()
        overlaps += [box_overlap(one, other) for one, other in zip(filled.boxes, true.boxes, strict=True)]
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.95


# Crops


def test_crops_are_those_of_whole_frames(tmp_path: Path) -> None:
    """Though only a part of each frame is converted, also where the crop reaches beyond it."""
    people = [(MAGENTA, {"start": (2, 1), "step": (1, 0), "side": 101})]
    clip = make_clip(tmp_path / "a.mp4", people=people)
    track = extract_tracks(clip, SquareDetector(), SequenceConfig())[0]
    (person,) = crop_tracks(clip, [track], SequenceConfig())
    boxes = smooth_boxes(track.boxes)
    for index, crop in zip(person.kept, person.crops, strict=True):
        assert np.array_equal(crop, crop_face(clip.frame(index), boxes[index]))


def test_nobody_is_said(tmp_path: Path) -> None:
    clip = sample_frames(clips.write_clip(tmp_path / "a.mp4", clips.numbered(30)), 4)
    with pytest.raises(NoFaceFound, match=r"a\.mp4: no face that lasts"):
        extract_tracks(clip, SquareDetector(), SequenceConfig())


# One job


def make_job(folder: Path, name: str = "a", **more: object) -> Job:
    settings = {"weights": None, "time_limit": 60.0} | more
    config = SequenceConfig(frame_count=4, face_size=32, detector="haar")
    return Job(name, folder / f"{name}.mp4", folder, config, **settings)  # type: ignore[arg-type]


def test_a_job_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "own_face_detector", lambda name, weights: SquareDetector())
    clips.write_clip(tmp_path / "a.mp4", clips.squares(30))
    job = make_job(tmp_path)
    assert work_on(job) > 0
    before = (tmp_path / "a" / "faces.json").stat().st_mtime_ns
    work_on(job)
    assert (tmp_path / "a" / "faces.json").stat().st_mtime_ns == before


def test_what_is_no_fault_of_the_video_is_raised_and_not_recorded(tmp_path: Path) -> None:
    """Else 100,000 videos would be called unreadable because a file of weights is missing."""
    clips.write_clip(tmp_path / "a.mp4", clips.squares(30))
    broken = tmp_path / "other.onnx"
    broken.write_bytes(b"not weights")
    job = make_job(tmp_path, weights=broken)
    with pytest.raises(ValueError, match=r"other\.onnx is not face_detection_yunet"):
        work_on(replace(job, config=replace(job.config, detector="yunet")))
    with pytest.raises(FileNotFoundError, match=r"a cannot be written .*Create .*nowhere"):
        work_on(replace(job, target=tmp_path / "nowhere"))
    assert not (tmp_path / "a").exists()


def test_a_file_that_may_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network drive that is away, or missing rights, say nothing about the video."""
    clips.write_clip(tmp_path / "a.mp4", clips.squares(30))
    monkeypatch.setattr(extraction, "own_face_detector", lambda name, weights: SquareDetector())
    with monkeypatch.context() as patched:
        patched.setattr("av.open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        work_on(make_job(tmp_path))
    record = read_faces(tmp_path, "a")
    assert (record["status"], record["retry"]) == ("unreadable", True)
    assert "Permission denied" in record["error"]
    work_on(make_job(tmp_path))
    assert read_faces(tmp_path, "a")["status"] == "ok"


def test_a_time_limit_holds_for_the_whole_of_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(SquareDetector):
        def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
            time.sleep(0.3)
            return super().detect(image)

    monkeypatch.setattr(extraction, "own_face_detector", lambda name, weights: Slow())
    clips.write_clip(tmp_path / "a.mp4", clips.squares(30))
    work_on(make_job(tmp_path, time_limit=0.5))
    record = read_faces(tmp_path, "a")
    assert (record["status"], record["retry"], record["tracks"]) == ("unreadable", True, [])
    assert record["error"].startswith("a.mp4: timed out after 0.5 s")


def test_threads_of_opencv_are_given_back(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    work_on(make_job(tmp_path))
    assert cv2.getNumThreads() == before


def test_detectors_are_kept_a_thread_each(yunet_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    here = extraction.own_face_detector("haar", None)
    assert extraction.own_face_detector("haar", None) is here
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(extraction.own_face_detector, "haar", None).result() is not here
    assert extraction.own_face_detector("yunet", yunet_path).name == "yunet"
    assert "DFDC_YUNET" not in os.environ

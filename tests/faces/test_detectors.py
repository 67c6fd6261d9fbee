from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pooch
import pytest

from dfdc_utils.faces import Face, box_overlap, detectors as faces, find_yunet, load_face_detector
from dfdc_utils.faces.detectors import HaarDetector, YuNetDetector
from dfdc_utils.videos import read_catalog, sample_frames


@pytest.fixture(scope="module")
def portraits(sample: Path) -> list[np.ndarray]:
    """One frame of each of a dozen sample clips with a face."""
    catalog = read_catalog(sample)
    whole = catalog[catalog["label"].isin(["REAL", "FAKE"]) & (catalog["problem"] == "")].iloc[::10]
    return [sample_frames(path, 1).frame(0) for path in whole["path"].head(12)]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "retrieve", refuse)


def check(found: list[Face], image: np.ndarray) -> None:
    height, width = image.shape[:2]
    assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)
    for face in found:
        x, y, box_width, box_height = face.box
        assert face.box.dtype == float
        assert 0 <= face.score <= 1
        assert box_width > 10
        assert box_height > 10
        assert 0 <= x + box_width / 2 <= width
        assert 0 <= y + box_height / 2 <= height


def test_haar_finds_the_sample_faces(portraits: list[np.ndarray]) -> None:
    detector = HaarDetector()
    found = [detector.detect(image) for image in portraits]
    for image, hits in zip(portraits, found, strict=True):
        check(hits, image)
    assert sum(map(bool, found)) >= len(portraits) - 2
    assert all(face.landmarks is None for hits in found for face in hits)


def test_yunet_finds_the_sample_faces_where_haar_does(portraits: list[np.ndarray], yunet_path: Path) -> None:
    yunet, haar = YuNetDetector(yunet_path), HaarDetector()
    agree = 0
    for image in portraits:
        hits = yunet.detect(image)
        check(hits, image)
        for face in hits:
            assert face.landmarks is not None
            assert face.landmarks.shape == (5, 2)
            right_eye, left_eye, _, right_mouth, left_mouth = face.landmarks
            assert right_eye[0] < left_eye[0]
            assert max(right_eye[1], left_eye[1]) < min(right_mouth[1], left_mouth[1])
        if hits and (others := haar.detect(image)):
            agree += box_overlap(hits[0].box, others[0].box) > 0.35
    assert agree >= len(portraits) - 3


def test_yunet_finds_every_face_of_the_real_clips(real_clips: Path, yunet_path: Path) -> None:
    detector = YuNetDetector(yunet_path)
    for path in sorted(real_clips.rglob("*.mp4")):
        image = sample_frames(path, 1).small_frame(0, 640)
        hits = detector.detect(image)
        check(hits, image)
        assert hits, path.name


def test_boxes_are_in_pixels_of_the_image_given(portraits: list[np.ndarray], yunet_path: Path) -> None:
    detector = YuNetDetector(yunet_path)
    small = portraits[0]
    framed = np.pad(small, ((40, 0), (100, 0), (0, 0)), mode="edge")
    assert framed.shape != small.shape, "one detector takes images of any size, one after the other"
    moved, still = detector.detect(framed)[0].box, detector.detect(small)[0].box
    assert moved - still == pytest.approx([100, 40, 0, 0], abs=10)


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (21, 33), (8, 8), (1, 1), (1, 300)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_haar_invents_no_face_on_a_blank_image_of_any_size(shape: tuple[int, int], value: int) -> None:
    assert HaarDetector().detect(np.full((*shape, 3), value, np.uint8)) == []


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (64, 33), (32, 640), (31, 320), (8, 8), (1, 300)])
def test_yunet_invents_no_face_on_a_blank_image_of_any_size(shape: tuple[int, int], yunet_path: Path) -> None:
    assert YuNetDetector(yunet_path).detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_detectors_leave_the_image_as_it_is(portraits: list[np.ndarray], yunet_path: Path) -> None:
    for detector in (HaarDetector(), YuNetDetector(yunet_path)):
        before = portraits[0].copy()
        detector.detect(portraits[0])
        assert np.array_equal(before, portraits[0])


# Choosing one


def test_detectors_by_name(yunet_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFDC_YUNET", str(yunet_path))
    assert [load_face_detector(name).name for name in ("haar", "yunet", "auto")] == ["haar", "yunet", "yunet"]


@pytest.mark.parametrize("name", ["mtcnn", "", "Haar"])
def test_another_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"detector '{name}' is not one of auto, yunet, haar"):
        load_face_detector(name)


@pytest.mark.usefixtures("offline")
def test_auto_falls_back_offline_and_says_so_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load_face_detector("auto").name == "haar"
    assert len(caplog.records) == 1
    line = caplog.records[0].getMessage()
    assert "\n" not in line
    assert "Haar" in line
    assert "DFDC_YUNET" in line


@pytest.mark.usefixtures("offline")
def test_yunet_asked_for_offline_says_what_to_do() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded \(OSError\)\. Go online once, or set DFDC_YUNET"
    ):
        load_face_detector("yunet")


@pytest.mark.parametrize("name", ["auto", "yunet"])
def test_a_wrong_path_to_the_weights_does_not_pass_for_no_path(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DFDC_YUNET", str(tmp_path / "typo.onnx"))
    with pytest.raises(FileNotFoundError, match=r"file not found: .*typo\.onnx\. Correct DFDC_YUNET or unset it"):
        load_face_detector(name)


@pytest.mark.parametrize("name", ["auto", "yunet"])
def test_other_weights_are_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not a network")
    monkeypatch.setenv("DFDC_YUNET", str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match=r"other\.onnx is not face_detection_yunet_2023mar\.onnx .*Get it again"):
        load_face_detector(name)


WEIGHTS = b"in place of the weights"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A server on loopback in place of OpenCV's model zoo, and an empty cache. Gives the paths that are asked for."""
    (tmp_path / "zoo").mkdir()
    asked: list[str] = []

    class Zoo(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Zoo, directory=str(tmp_path / "zoo"))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(faces, "YUNET_URL", f"http://127.0.0.1:{server.server_port}/{faces.YUNET_NAME}")
        monkeypatch.setattr(faces, "YUNET_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
        yield asked
        server.shutdown()


def test_weights_are_fetched_once(served: list[str], tmp_path: Path) -> None:
    (tmp_path / "zoo" / faces.YUNET_NAME).write_bytes(WEIGHTS)
    for _ in range(2):
        assert find_yunet() == tmp_path / "cache" / faces.YUNET_NAME
    assert find_yunet().read_bytes() == WEIGHTS
    assert served == [f"/{faces.YUNET_NAME}"]


def test_a_download_that_is_something_else_is_refused_and_not_kept(served: list[str], tmp_path: Path) -> None:
    (tmp_path / "zoo" / faces.YUNET_NAME).write_bytes(b"<html>Please log in</html>")
    with pytest.raises(ValueError, match=r"is not YuNet's weights .* set DFDC_YUNET to its path"):
        find_yunet()
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "zoo" / faces.YUNET_NAME).write_bytes(WEIGHTS)
    assert find_yunet().read_bytes() == WEIGHTS


def test_a_zoo_without_the_file(served: list[str]) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded \(HTTPError\)\. Go online once, or set DFDC_YUNET"
    ):
        find_yunet()


def test_weights_in_the_cache_are_used(yunet_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / faces.YUNET_NAME).write_bytes(yunet_path.read_bytes())
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **settings: pytest.fail)  # any call to it would fail the test
    assert find_yunet() == tmp_path / faces.YUNET_NAME

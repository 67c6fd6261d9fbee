"""The embedded sample: its layout, that it is the same every time, and that it teaches what it is meant to teach."""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfdc_utils.sample import make_sample

PARTS = ("dfdc_train_part_0", "dfdc_train_part_1")
SWAPS = ("spatial", "temporal")
SHOWN = ("real", *SWAPS)  # kinds with one person in every frame
CPUS = 2  # what the project's machines have; more would only take memory


def read_metadata(folder: Path) -> dict[str, dict[str, str]]:
    """All rows of a sample's two metadata files, each with its part."""
    rows = {}
    for part in PARTS:
        for name, row in json.loads((folder / part / "metadata.json").read_text()).items():
            rows[name] = {**row, "part": part}
    return rows


def read_truth(folder: Path) -> dict[str, dict[str, Any]]:
    truth: dict[str, dict[str, Any]] = json.loads((folder / "truth.json").read_text())
    return truth


def fingerprints(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode(path: Path, step: int = 1) -> list[np.ndarray]:
    """Every `step`-th frame (H, W, 3), RGB."""
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i % step == 0]


def draw_tiny(save_path: Path, seed: int = 3, workers: int = 2) -> Path:
    return make_sample(save_path, originals=2, people=2, seed=seed, workers=workers, show_progress=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_tiny(tmp_path_factory.mktemp("tiny") / "sample")


# Layout


def test_layout_is_that_of_dfdc(tiny: Path) -> None:
    rows = read_metadata(tiny)
    assert len(rows) == 2 + 2 + 3
    for part in PARTS:
        listed = {name for name, row in rows.items() if row["part"] == part}
        assert {path.name for path in (tiny / part).glob("*.mp4")} == listed
    for name, row in rows.items():
        assert len(name) == 14
        assert name[:10].isalpha() and name[:10].islower()
        assert row["split"] == "train"
        if row["label"] == "FAKE":
            original = rows[row["original"]]
            assert original["label"] == "REAL"
            assert original["part"] == row["part"]
        else:
            assert set(row) == {"label", "split", "part"}
    leftovers = [path for path in tiny.rglob("*") if ".part" in path.suffix or path.name == "unfinished.json"]
    assert leftovers == []


def test_truth_describes_every_clip(tiny: Path) -> None:
    rows, truth = read_metadata(tiny), read_truth(tiny)
    assert set(rows) == set(truth)
    assert sorted(t["kind"] for t in truth.values()) == sorted(
        ["real", "real", "spatial", "temporal", "no_face", "two_people", "cut_off"]
    )
    for name, about in truth.items():
        assert (rows[name]["label"] == "FAKE") == (about["kind"] in (*SWAPS, "cut_off"))
        if about["kind"] in SWAPS:
            assert about["faults"]
            assert 0 < about["strength"] <= 1
            assert about["donor"] not in about["person"]
            assert len(about["masks"]) == len(about["boxes"])


def test_clips_are_encoded_as_dfdc_encodes_them(tiny: Path) -> None:
    rows, truth = read_metadata(tiny), read_truth(tiny)
    shapes = set()
    for name, row in rows.items():
        if truth[name]["kind"] == "cut_off":
            continue
        with av.open(str(tiny / row["part"] / name)) as container:
            video, sound = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
            assert video.average_rate == Fraction(30)
            assert video.codec_context.pix_fmt == "yuv420p"
            assert container.duration is not None and 2.0 <= container.duration / 1e6 <= 3.0
            assert sound.codec_context.layout.name == "mono"
            kinds = {frame.pict_type for frame in container.decode(video=0)}
            assert PictureType.B in kinds  # the sampler's skipping of unreferenced frames needs some
            shapes.add((video.width, video.height))
    assert shapes == {(640, 360), (360, 640)}


def test_faces_stay_inside_the_frame(tiny: Path) -> None:
    rows, truth = read_metadata(tiny), read_truth(tiny)
    for name, about in truth.items():
        if about["kind"] not in SHOWN:
            continue
        frames = decode(tiny / rows[name]["part"] / name)
        height, width = frames[0].shape[:2]
        boxes = np.array(about["boxes"])
        assert len(boxes) == len(frames)
        assert boxes[:, :2].min() >= 0
        assert (boxes[:, :2] + boxes[:, 2:] <= (width, height)).all()


def test_the_cut_off_clip_cannot_be_opened(tiny: Path) -> None:
    rows, truth = read_metadata(tiny), read_truth(tiny)
    [name] = [name for name, about in truth.items() if about["kind"] == "cut_off"]
    with pytest.raises(av.error.InvalidDataError):
        av.open(str(tiny / rows[name]["part"] / name))


# Made once, the same every time, careful with what is already there


def test_one_worker_draws_the_same_bytes_as_two(tiny: Path, tmp_path: Path) -> None:
    assert fingerprints(draw_tiny(tmp_path / "again", workers=1)) == fingerprints(tiny)


def test_a_finished_sample_is_reused_and_other_parameters_draw_anew(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "sample"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    draw_tiny(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    names, note = set(read_metadata(folder)), folder / PARTS[0] / "my notes.txt"
    note.write_text("keep me")
    draw_tiny(folder, seed=4)
    assert note.read_text() == "keep me"
    left = {path.name for path in folder.rglob("*.mp4")}
    assert left == set(read_metadata(folder))
    assert not left & names


def test_an_interrupted_build_is_finished(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dfdc_utils.sample.build as build

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_metadata", stop)
    with pytest.raises(KeyboardInterrupt):
        draw_tiny(tmp_path)
    assert list(tmp_path.rglob("*.mp4"))
    assert not (tmp_path / "sample.json").exists()
    clip = next(tmp_path.rglob("*.mp4"))
    clip.with_name(clip.name + ".123.part").write_text("what a killed worker leaves")
    monkeypatch.undo()
    assert fingerprints(draw_tiny(tmp_path)) == fingerprints(tiny)


def test_a_missing_clip_is_drawn_again(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "sample"))
    next(folder.rglob("*.mp4")).unlink()
    assert fingerprints(draw_tiny(folder)) == fingerprints(tiny)


@pytest.mark.parametrize("inside", ["notes.txt", "dfdc_train_part_0/abcdefghij.mp4"])
def test_files_of_others_are_never_touched(tmp_path: Path, inside: str) -> None:
    theirs = tmp_path / inside
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("theirs")
    with pytest.raises(FileExistsError, match=theirs.name):
        draw_tiny(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_a_record_that_points_elsewhere_deletes_nothing_there(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.mp4"
    theirs.write_text("theirs")
    folder = tmp_path / "sample"
    folder.mkdir()
    record = {"parameters": {}, "files": {PARTS[0]: ["../../theirs.mp4"], "..": ["abcdefghij.mp4"]}}
    (folder / "sample.json").write_text(json.dumps(record))
    draw_tiny(folder)
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize("wrong", [{"originals": 1}, {"people": 1}, {"people": 0}])
def test_too_few_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        make_sample(tmp_path / "sample", **wrong)
    assert not (tmp_path / "sample").exists()


# The full sample


def test_the_full_sample_holds_what_it_promises(sample: Path) -> None:
    rows, truth = read_metadata(sample), read_truth(sample)
    kinds = [about["kind"] for about in truth.values()]
    assert kinds.count("real") == 60
    assert kinds.count("spatial") + kinds.count("temporal") == 60
    assert kinds.count("temporal") >= 20  # a third
    assert sorted(kind for kind in kinds if kind not in SHOWN) == ["cut_off", "no_face", "two_people"]
    assert len({about["person"][0] for about in truth.values() if about["kind"] == "real"}) >= 20
    assert sum(row["label"] == "REAL" for row in rows.values()) == 62
    size = sum(path.stat().st_size for path in sample.rglob("*") if path.is_file())
    assert size <= 30e6
    assert (sample / "truth.json").stat().st_size <= 1.5e6


def _on_face(found: np.ndarray, face: list[int]) -> bool:
    """Whether a found box (x, y, width, height) shows this face: its middle inside, and a third in common."""
    left, top = max(found[0], face[0]), max(found[1], face[1])
    right, bottom = min(found[0] + found[2], face[0] + face[2]), min(found[1] + found[3], face[1] + face[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    x, y = found[0] + found[2] / 2, found[1] + found[3] / 2
    middle = face[0] < x < face[0] + face[2] and face[1] < y < face[1] + face[3]
    return bool(middle and common > (found[2] * found[3] + face[2] * face[3] - common) / 3)


def _detect(path: Path, boxes: list[Any], weights: Path | None, step: int) -> list[tuple[bool, bool]]:
    """For every `step`-th frame: whether each face was found, and whether something else was."""
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    frames = decode(path, step)
    height, width = frames[0].shape[:2]
    yunet = cv2.FaceDetectorYN.create(str(weights), "", (width, height), 0.7) if weights else None
    outcome = []
    for index, frame in enumerate(frames):
        found: Any
        if yunet is None:
            side = min(height, width) // 8
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            found = cascade.detectMultiScale(grey, 1.1, 3, minSize=(side, side))
        else:
            rows = yunet.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]
            found = [] if rows is None else rows[:, :4]
        faces = boxes[index * step] if boxes else []
        if faces and not isinstance(faces[0], list):
            faces = [faces]
        hit = all(any(_on_face(box, face) for box in found) for face in faces)
        outcome.append((hit, any(not any(_on_face(box, face) for face in faces) for box in found)))
    return outcome


def detect_all(folder: Path, weights: Path | None, step: int) -> dict[str, np.ndarray]:
    """Outcomes (frames, 2) by kind of clip."""
    rows, truth = read_metadata(folder), read_truth(folder)
    names = [name for name in truth if truth[name]["kind"] != "cut_off"]
    outcomes = Parallel(n_jobs=CPUS)(
        delayed(_detect)(folder / rows[name]["part"] / name, truth[name]["boxes"], weights, step) for name in names
    )
    by_kind: dict[str, list[tuple[bool, bool]]] = {}
    for name, outcome in zip(names, outcomes, strict=True):
        by_kind.setdefault(truth[name]["kind"], []).extend(outcome)
    return {kind: np.array(outcome) for kind, outcome in by_kind.items()}


def test_the_haar_cascade_finds_the_faces(sample: Path) -> None:
    # Every 20th of a clip's some 70 frames: four a clip, 480 in all; every frame would take minutes.
    outcomes = detect_all(sample, None, step=20)
    for kind in SHOWN:
        found, elsewhere = outcomes[kind].mean(axis=0)
        assert found >= 0.95
        assert elsewhere < 0.03
    assert not outcomes["no_face"][:, 1].any()
    assert outcomes["two_people"][:, 0].mean() >= 0.95


def test_yunet_finds_the_faces(sample: Path, yunet_path: Path) -> None:
    outcomes = detect_all(sample, yunet_path, step=20)
    for kind in SHOWN:
        found, elsewhere = outcomes[kind].mean(axis=0)
        assert found >= 0.99
        assert elsewhere < 0.03
    assert not outcomes["no_face"][:, 1].any()
    assert outcomes["two_people"][:, 0].all()


def _cues(path: Path, boxes: list[list[int]]) -> dict[str, np.ndarray]:
    """What tells nothing about a face swap, and what does: numbers by name, and 16 small faces."""
    cv2.setNumThreads(1)
    frames = decode(path)
    height, width = frames[0].shape[:2]
    colours = np.array([frame[::4, ::4].mean(axis=(0, 1)) for frame in frames])
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[::5]]
    middle = (slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
    sharpness = [[cv2.Laplacian(g, cv2.CV_64F).var() for g in (grey, grey[middle])] for grey in greys]
    seconds = len(frames) / 30
    size = path.stat().st_size
    faces = []
    for index in np.linspace(0, len(frames) - 1, 16).astype(int):
        x, y, w, h = boxes[index]
        face = cv2.getRectSubPix(frames[index], (max(w, h), max(w, h)), (x + w / 2, y + h / 2))
        faces.append(cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA))
    return {
        "colour": np.r_[colours.mean(axis=0), colours.std(axis=0)],
        "sharpness": np.log(np.mean(sharpness, axis=0)),
        "file": np.array([size, size / seconds, seconds]),
        "faces": np.array(faces, np.float32),
    }


@pytest.fixture(scope="module")
def cues(sample: Path) -> dict[str, np.ndarray]:
    """Of all originals and fakes: every cue (clips, numbers), `kind` and `group`, the original each belongs to."""
    rows, truth = read_metadata(sample), read_truth(sample)
    names = [name for name in truth if truth[name]["kind"] in SHOWN]
    clips = Parallel(n_jobs=CPUS)(
        delayed(_cues)(sample / rows[name]["part"] / name, truth[name]["boxes"]) for name in names
    )
    table = {cue: np.array([clip[cue] for clip in clips]) for cue in clips[0]}
    table["kind"] = np.array([truth[name]["kind"] for name in names])
    table["group"] = np.unique([rows[name].get("original", name) for name in names], return_inverse=True)[1]
    return table


def separation(values: np.ndarray, kinds: np.ndarray, groups: np.ndarray) -> float:
    """AUC of a logistic regression on `values` (clips, numbers), cross-validated so that originals never leak."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    fake = kinds != "real"
    scores = cross_val_predict(model, values, fake, groups=groups, cv=GroupKFold(5), method="decision_function")
    return float(roc_auc_score(fake, scores))


@pytest.mark.parametrize("cue", ["colour", "sharpness", "file", "all"])
def test_no_trivial_cue_tells_fakes_from_originals(cues: dict[str, np.ndarray], cue: str) -> None:
    values = np.hstack([cues["colour"], cues["sharpness"], cues["file"]]) if cue == "all" else cues[cue]
    assert separation(values, cues["kind"], cues["group"]) < 0.65


def test_temporal_fakes_show_only_over_time(cues: dict[str, np.ndarray]) -> None:
    chosen = cues["kind"] != "spatial"
    kinds, groups, faces = cues["kind"][chosen], cues["group"][chosen], cues["faces"][chosen]
    # One frame at a time: a dozen numbers of the picture's coarse shape and colour say nothing.
    coarse = np.array([cv2.resize(clip[8], (4, 4), interpolation=cv2.INTER_AREA).ravel() for clip in faces])
    assert separation(coarse, kinds, groups) < 0.65
    # The change of the inner face from frame to frame, against its brightness, tells nearly all of them.
    inner = faces[:, :, 6:20, 6:18]
    change = np.abs(np.diff(inner, axis=1)).mean(axis=(1, 2, 3, 4)) / inner.mean(axis=(1, 2, 3, 4))
    assert roc_auc_score(kinds != "real", change) >= 0.9

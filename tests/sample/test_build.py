"""The embedded sample: layout and truth, nothing lost or half done, and fakes that show where they should."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
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

from dfdc_utils.faces import HaarDetector, YuNetDetector, box_overlap
from dfdc_utils.sample import build, data_folder, find_data, make_sample
from dfdc_utils.videos import probe_video, read_catalog, sample_frames

SWAPS = build.FAKE_KINDS
TINY: dict[str, Any] = {"originals": 2, "people": 2, "seed": 3, "workers": 1, "show_progress": False}
MOVES = 12  # into place: of seven clips, two metadata.json, truth.json, and sample.json twice


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("tiny") / "sample", **{**TINY, "workers": 2})


@pytest.fixture
def instant(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the tiny sample takes no time: it is copied."""

    def copy(plans: Any, folder: Path, *_: Any) -> None:
        shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("sample.json"), dirs_exist_ok=True)

    monkeypatch.setattr(build, "_draw", copy)


def read_clips(folder: Path) -> list[dict[str, Any]]:
    """What metadata and truth say of each clip, and its `path`."""
    truth = json.loads((folder / "truth.json").read_text())
    metadata = {part: json.loads((folder / part / "metadata.json").read_text()) for part in build.PARTS}
    return [{"path": folder / p / name, **row, **truth[name]} for p in metadata for name, row in metadata[p].items()]


def fingerprints(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestContent:
    def test_layout_is_that_of_dfdc(self, tiny: Path) -> None:
        assert {path.name for path in tiny.iterdir()} == {*build.PARTS, "truth.json", "sample.json"}
        catalog = read_catalog(tiny).set_index("video")
        assert catalog["label"].value_counts().to_dict() == {"REAL": 2 + 2, "FAKE": 2 + 1}
        assert (catalog["problem"] == "").all()  # each file is listed, and each listed file is there
        assert catalog.index.str.fullmatch("[a-z]{10}").all()
        originals = catalog.loc[catalog["original"]]
        assert (originals["label"] == "REAL").all()
        assert (originals["part"].to_numpy() == catalog["part"]).all()

    def test_each_clip_is_what_metadata_and_truth_say(self, tiny: Path) -> None:
        clips = read_clips(tiny)
        kinds = ["cut_off", "no_face", "real", "real", "steady", "temporal", "two_people"]
        assert sorted(clip["kind"] for clip in clips) == kinds
        for clip in clips:
            assert (clip["label"] == "FAKE") == (clip["kind"] in (*SWAPS, "cut_off"))
            if clip["kind"] == "cut_off":
                with pytest.raises(av.error.InvalidDataError):
                    av.open(str(clip["path"]))
                continue
            assert probe_video(clip["path"]).is_synthetic
            with av.open(str(clip["path"])) as container:
                video, sounds = container.streams.video[0], [one.codec_context.name for one in container.streams.audio]
                frames = list(container.decode(video=0))
            size, boxes = (video.width, video.height), np.array(clip["boxes"]).reshape(-1, 4)
            assert video.codec_context.name == "h264"
            assert sounds == ([] if clip["kind"] == "two_people" else ["aac"])  # the sixth of ten scenes has none
            assert video.average_rate == 30
            assert size in {(640, 360), (360, 640)}
            assert 2.0 <= len(frames) / 30 <= 3.0
            # The sampler skips frames that no other refers to, so there must be some.
            assert PictureType.B in {frame.pict_type for frame in frames}
            assert len(boxes) == len(frames) * {"no_face": 0, "two_people": 2}.get(clip["kind"], 1)
            assert ((boxes[:, :2] >= 0) & (boxes[:, :2] + boxes[:, 2:] <= size)).all()
            if clip["kind"] in SWAPS:
                centres = np.array(clip["masks"])[:, :2]
                assert ((boxes[:, :2] < centres) & (centres < boxes[:, :2] + boxes[:, 2:])).all()
                assert clip["faults"] and 0 < clip["strength"] <= 1 and clip["donor"] not in clip["person"]

    @pytest.mark.slow
    def test_one_worker_draws_the_same_bytes_as_two(self, tiny: Path, tmp_path: Path) -> None:
        assert fingerprints(make_sample(tmp_path / "again", **TINY)) == fingerprints(tiny)

    @pytest.mark.parametrize("wrong", [{"originals": 1}, {"people": 1}])
    def test_too_few_are_refused(self, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="2 or more"):
            make_sample(tmp_path / "sample", **wrong)
        assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("instant")
class TestFolder:
    @pytest.fixture(params=["new", "replaced"])
    def folder(self, request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Path:
        """Where the tiny sample is to be drawn. Results lie there, and maybe a sample of other parameters."""
        folder = tmp_path / "data" / "sample"
        for name in build.RESULTS:
            (folder / name).mkdir(parents=True)
            (folder / name / "mine").touch()
        if request.param == "replaced":
            shutil.copytree(tiny, folder, dirs_exist_ok=True)
            record = json.loads((tiny / "sample.json").read_text())
            record["parameters"]["seed"] += 1
            (folder / "sample.json").write_text(json.dumps(record))
            metadata = folder / build.PARTS[1] / "metadata.json"
            metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"older.mp4": {}}))
            (folder / build.PARTS[1] / "older.mp4").touch()
        return folder

    @pytest.mark.parametrize("event", ["interrupted", "another draws"])
    @pytest.mark.parametrize("move", range(MOVES))
    def test_whatever_happens_the_sample_is_whole_and_results_stay(
        self, folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, move: int, event: str
    ) -> None:
        moves = iter(range(100))

        def disturb(source: Path, target: Path) -> None:
            if next(moves) == move:
                if event == "interrupted":
                    raise KeyboardInterrupt
                assert make_sample(folder, **TINY) == folder
            source.replace(target)

        monkeypatch.setattr(shutil, "move", disturb)
        if event == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                make_sample(folder, **TINY)
        assert make_sample(folder, **TINY) == folder
        found = fingerprints(folder)
        assert all(found.pop(f"{name}/mine") for name in build.RESULTS)
        assert found == fingerprints(tiny)
        assert list(folder.parent.iterdir()) == [folder]

    @pytest.mark.slow
    def test_what_a_killed_process_left_is_cleared(self, tmp_path: Path, tiny: Path) -> None:
        code = f"from dfdc_utils.sample import make_sample; make_sample('data/sample', **{TINY})"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
        while not list(tmp_path.rglob("*.mp4")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert fingerprints(make_sample(tmp_path / "data" / "sample", **TINY)) == fingerprints(tiny)
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["sample"]

    def test_a_finished_sample_is_not_touched(self, tiny: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in (tiny.parent, tiny, *tiny.rglob("*"))}
        make_sample(tiny, **TINY)
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_a_missing_file_is_drawn_again_and_other_files_stay(self, tiny: Path, tmp_path: Path) -> None:
        for number, name in enumerate(fingerprints(tiny).keys() - {"sample.json"}):
            folder = shutil.copytree(tiny, tmp_path / str(number))
            (folder / name).unlink()
            (folder / build.PARTS[0] / "notes.txt").touch()
            found = fingerprints(make_sample(folder, **TINY))
            assert found.pop(f"{build.PARTS[0]}/notes.txt")
            assert found == fingerprints(tiny)

    @pytest.mark.parametrize("name", ["notes.txt", "dfdc_train_part_0/abcdefghij.mp4", "sample.json"])
    def test_a_folder_of_other_things_is_refused(self, tmp_path: Path, name: str) -> None:
        theirs = tmp_path / name
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text("{}")
        with pytest.raises(FileExistsError, match=rf"holds {name.split('/')[0]}, .* new folder as save_path"):
            make_sample(tmp_path, **TINY)
        with pytest.raises(FileExistsError, match="is a file"):
            make_sample(theirs, **TINY)
        assert fingerprints(tmp_path) == {name: hashlib.sha256(b"{}").hexdigest()}

    def test_metadata_that_points_elsewhere_deletes_nothing_there(self, tmp_path: Path) -> None:
        theirs = tmp_path / "theirs.mp4"
        theirs.touch()
        for part in build.PARTS:
            (tmp_path / "sample" / part).mkdir(parents=True)
            listed = dict.fromkeys(("../../theirs.mp4", str(theirs)))
            (tmp_path / "sample" / part / "metadata.json").write_text(json.dumps(listed))
        (tmp_path / "sample" / "sample.json").write_text('{"parameters": {}}')
        make_sample(tmp_path / "sample", **TINY)
        assert theirs.exists()

    def test_a_link_is_followed(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to("disk/sample")
        assert make_sample(tmp_path / "link", **TINY) == tmp_path / "link"
        assert fingerprints(tmp_path / "disk" / "sample") == fingerprints(tiny)


class TestDataFolder:
    def test_the_sample_is_recognised_under_any_name(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tiny)
        assert data_folder(tiny) == data_folder(tmp_path / "link") == Path("data/sample")
        assert data_folder(tiny, base="../data") == Path("../data/sample")

    def test_other_videos_go_by_the_name_that_was_given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "dfdc" / "part").mkdir(parents=True)
        (tmp_path / "link").symlink_to("dfdc")
        monkeypatch.chdir(tmp_path / "dfdc")
        for location in (tmp_path / "dfdc", f"{tmp_path}/dfdc/", ".", "part/..", "../dfdc/."):
            assert data_folder(location) == Path("data/dfdc")
        assert data_folder("../link") == Path("data/link")

    def test_no_other_folder_is_the_samples(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        folders = [data_folder(location) for location in ("sample", "Sample", "more/sample", "/")]
        assert len({str(folder).casefold() for folder in folders}) == 4
        assert all(folder.parent == Path("data") and folder.name.casefold() != "sample" for folder in folders)
        assert folders[0] == data_folder(tmp_path / "sample")


def test_find_data_prefers_dfdc_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "make_sample", lambda path: path)
    assert find_data(tmp_path / "sample") == tmp_path / "sample"
    monkeypatch.setenv("DFDC_DATA", str(tmp_path))
    assert find_data() == tmp_path
    monkeypatch.setenv("DFDC_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="unset DFDC_DATA"):
        find_data()


def look(clip: dict[str, Any], frame_count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Some frames of a clip (H, W, 3), and the boxes (faces, 4) in each."""
    cv2.setNumThreads(1)
    seen = sample_frames(clip["path"], frame_count)
    boxes = [clip["boxes"][round(moment * 30)] if clip["boxes"] else [] for moment in seen.times]
    return list(seen.frames), [np.reshape(of_frame, (-1, 4)) for of_frame in boxes]


def find_faces(clip: dict[str, Any], yunet: Path | None) -> list[int]:
    """How many faces are in two frames, how many of them a detector finds, and how much else it finds."""
    detector = YuNetDetector(yunet) if yunet else HaarDetector()
    counts = [0, 0, 0]
    for frame, faces in zip(*look(clip, 2), strict=True):
        found = [face.box for face in detector.detect(frame) if not yunet or face.score > 0.7]
        overlap = np.array([box_overlap(box, face) > 1 / 3 for box in found for face in faces], bool)
        overlap = overlap.reshape(len(found), len(faces))
        counts = np.add(counts, [len(faces), overlap.any(axis=0).sum(), (~overlap.any(axis=1)).sum()]).tolist()
    return counts


@pytest.mark.parametrize(("name", "least"), [("haar", 0.95), ("yunet", 0.99)])
@pytest.mark.slow
def test_detectors_find_the_faces_where_the_truth_says(
    sample: Path, request: pytest.FixtureRequest, name: str, least: float
) -> None:
    weights = request.getfixturevalue("yunet_path") if name == "yunet" else None
    clips = [clip for clip in read_clips(sample) if clip["kind"] != "cut_off"]
    counts = np.array(Parallel(n_jobs=2)(delayed(find_faces)(clip, weights) for clip in clips))
    kinds = np.array([clip["kind"] for clip in clips])
    assert not counts[kinds == "no_face"].any()
    for kind in ("real", *SWAPS, "two_people"):
        present, hits, others = counts[kinds == kind].sum(axis=0)
        # YuNet misses one of the twenty steady fakes, whose grid hides the face.
        assert hits >= (0.95 if kind == "steady" else least) * present
        assert others <= 0.05 * present
    assert counts[:, 2].sum() < 0.03 * counts[:, 0].sum()


def measure(clip: dict[str, Any]) -> tuple[list[float], np.ndarray]:
    """Numbers of a clip that must not tell a fake, and 16 of its faces (16, 24, 24, 3)."""
    frames, boxes = look(clip, 16)
    colours = np.array([frame.mean(axis=(0, 1)) for frame in frames])
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    sharpness = np.log(np.mean([cv2.Laplacian(grey, cv2.CV_64F).var() for grey in greys]))
    size, length = clip["path"].stat().st_size, len(clip["boxes"])
    faces = []
    for frame, ((x, y, width, height),) in zip(frames, boxes, strict=True):
        side = int(max(width, height))
        face = cv2.getRectSubPix(frame, (side, side), (x + width / 2, y + height / 2))
        faces.append(cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA))
    return [*colours.mean(axis=0), *colours.std(axis=0), sharpness, size, size / length, length], np.array(faces, float)


def separate(values: np.ndarray, fake: np.ndarray, originals: np.ndarray) -> float:
    """AUC of a logistic regression on `values` (clips, numbers), cross-validated by original."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = cross_val_predict(model, values, fake, groups=originals, cv=GroupKFold(5), method="decision_function")
    return float(roc_auc_score(fake, scores))


@pytest.mark.slow
def test_fakes_show_in_the_face_alone_and_temporal_ones_only_over_time(sample: Path) -> None:
    clips = [clip for clip in read_clips(sample) if clip["kind"] in ("real", *SWAPS)]
    numbers, faces = map(np.array, zip(*Parallel(n_jobs=2)(delayed(measure)(clip) for clip in clips), strict=True))
    fake = np.array([clip["label"] == "FAKE" for clip in clips])
    originals = np.array([clip.get("original", clip["path"].name) for clip in clips])
    assert separate(numbers, fake, originals) < 0.65

    chosen = np.array([clip["kind"] in ("real", "temporal") for clip in clips])
    faces, fake, originals = faces[chosen], fake[chosen], originals[chosen]
    coarse = np.array([cv2.resize(face, (4, 4), interpolation=cv2.INTER_AREA).ravel() for face in faces[:, 8]])
    assert separate(coarse, fake, originals) < 0.65
    # The change of the inner face between frames, relative to its brightness, shows nearly all of them.
    inner = faces[:, :, 6:20, 6:18]
    change = np.abs(np.diff(inner, axis=1)).mean(axis=(1, 2, 3, 4)) / inner.mean(axis=(1, 2, 3, 4))
    assert roc_auc_score(fake, change) >= 0.9

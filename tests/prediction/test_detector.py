from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clips import MAGENTA, squares, write_clip
from faces_on_disk import SMALL, flickering_faces
from workers import die_looking_at_poison

from dfdc_utils.__main__ import main
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.evaluation import score_videos
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import OOD_PERCENTILE, Calibration, build_cnn_lstm
from dfdc_utils.prediction import Detector
from dfdc_utils.prediction import detector as prediction
from dfdc_utils.prediction.detector import predict_video
from dfdc_utils.processing import processing, read_manifest


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Untrained, and small."""
    return Detector(build_cnn_lstm(4, 32), SMALL, Calibration(), trained_on="nothing")


@pytest.fixture(scope="module")
def trained(sample_model: Path) -> Detector:
    return Detector.load(sample_model)


@pytest.fixture(scope="module")
def manifest(sample_faces: Path) -> pd.DataFrame:
    return read_manifest(sample_faces)


def path_of(manifest: pd.DataFrame, sample: Path, video: str) -> Path:
    (part,) = manifest.loc[manifest["video"] == video, "part"]
    return sample / part / f"{video}.mp4"


# On the sample


def test_a_score_is_the_one_that_evaluation_gives(
    trained: Detector, manifest: pd.DataFrame, sample: Path, sample_faces: Path, sample_model: Path
) -> None:
    """From the file, from faces on disk, and from the table of results: prepared once and the same everywhere."""
    some = manifest[manifest["status"] == "ok"].iloc[::17]
    scores = score_videos(some, sample_faces, sample_model).set_index("video")["score"]
    for video in some["video"]:
        (main_person,) = (t for t in trained.predict(path_of(manifest, sample, video)).tracks if t.number == 0)
        (from_disk,) = (t for t in trained.predict_faces(sample_faces, video).tracks if t.number == 0)
        assert main_person.score == pytest.approx(scores[video], abs=1e-5)
        assert from_disk.score == pytest.approx(scores[video], abs=1e-5)


def test_statuses_on_the_sample(trained: Detector, sample: Path) -> None:
    truth = json.loads((sample / "truth.json").read_text())
    kinds = {entry["kind"]: next(sample.rglob(name)) for name, entry in truth.items()}
    nobody, broken = (trained.predict(kinds[kind]) for kind in ("no_face", "cut_off"))
    assert (nobody.status, nobody.score, nobody.verdict) == ("no_face", None, "")
    assert (broken.status, broken.score, broken.verdict) == ("unreadable", None, "")
    for prediction_, path in ((nobody, kinds["no_face"]), (broken, kinds["cut_off"])):
        assert path.name in prediction_.error and "No verdict" in prediction_.in_words()
    pair = trained.predict(kinds["two_people"])
    assert pair.status == "ok" and {track.number for track in pair.tracks} == {0, 1}
    assert pair.tracks[0].score >= pair.tracks[1].score
    assert pair.score == pair.tracks[0].score


def test_many_videos_are_each_given_once_whatever_is_wrong_with_some(
    trained: Detector, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    paths = [*sorted(sample.rglob("*.mp4"))[:5], tmp_path / "empty.mp4", tmp_path / "gone.mp4"]
    found = {one.path: one for one in trained.predict_many(paths, show_progress=False)}
    assert set(found) == set(paths)
    for path in paths[:5]:
        assert found[path].to_dict() == trained.predict(path).to_dict()
    assert found[paths[5]].status == found[paths[6]].status == "unreadable"


def test_the_whole_of_a_long_video_in_overlapping_windows(trained: Detector, sample: Path, tmp_path: Path) -> None:
    """A fake in the middle of a real video shows where it is."""
    truth = json.loads((sample / "truth.json").read_text())
    fake = next(name for name, entry in sorted(truth.items()) if entry["kind"] == "spatial")
    metadata = {k: v for p in sample.glob("*/metadata.json") for k, v in json.loads(p.read_text()).items()}
    parts = [clip_frames(next(sample.rglob(name))) for name in (metadata[fake]["original"], fake)]
    real, altered = (list(itertools.chain(part, part[::-1]))[:120] for part in parts)  # four seconds each
    path = write_clip(tmp_path / "spliced.mp4", [*real, *altered, *real], options={"preset": "ultrafast", "crf": "12"})
    short = Detector(trained.model, trained.sequence.__class__(2.2, 16, 96, detector="haar"), trained.calibration,
                     trained_on=trained.trained_on)  # fmt: skip
    whole = short.predict(path, whole=True)
    (person,) = whole.tracks
    assert len(person.windows) >= 9
    inside = [window.score for window in person.windows if window.start > 4 and window.end < 8]
    outside = [window.score for window in person.windows if window.end < 4 or window.start > 8]
    assert np.mean(inside) > np.mean(outside) + 0.2
    assert person.worst.start >= 4 - 2.2 and person.worst.end <= 8 + 2.2
    first = short.predict(path)
    assert first.tracks[0].windows[0].score == pytest.approx(person.windows[0].score, abs=1e-6)


def clip_frames(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_evidence_of_the_most_suspicious(trained: Detector, sample: Path) -> None:
    found = [trained.predict(path) for path in sorted(sample.rglob("*.mp4"))[:4]]
    evidence = trained.gather_evidence(found, most=2)
    scored = sorted((one for one in found if one.tracks), key=lambda one: -(one.score or 0))
    assert list(evidence) == [one.path for one in scored[:2]]
    sequence, explanation = evidence[scored[0].path]
    assert sequence.shape == (16, 96, 96, 3) and explanation.heat.shape == (16, 96, 96)
    assert explanation.importance.shape == (16,)
    assert explanation.heat.min() >= 0 and explanation.heat.max() <= 1


def test_real_clips_get_their_statuses_and_a_warning(trained: Detector, real_clips: Path) -> None:
    found = list(trained.predict_many(sorted(real_clips.rglob("*.mp4")), show_progress=False))
    assert len(found) == 14
    assert {one.status for one in found} == {"ok"}
    assert all("on a real video its score means nothing" in one.in_words() for one in found)


# A model and a video that do not belong together


def test_faces_prepared_otherwise_are_refused(detector: Detector, tmp_path: Path) -> None:
    other = SequenceConfig(**{**SMALL.__dict__, "margin": 1.7})
    flickering_faces(tmp_path, families=1, config=other)
    with pytest.raises(ConfigMismatch, match=r"margin.*Process the videos with the model's own settings"):
        detector.predict_faces(tmp_path, "real_00")
    SMALL.save(tmp_path / "sequence.json")
    assert 0 <= (detector.predict_faces(tmp_path, "real_00").score or -1) <= 1


def test_a_model_beside_anothers_settings_is_refused(tmp_path: Path) -> None:
    build_cnn_lstm(4, 32).save(tmp_path / "model.keras")
    with pytest.raises(ConfigMismatch, match=r"sequence\.json"):
        Detector.load(tmp_path)
    SequenceConfig(face_size=64, frame_count=4).save(tmp_path / "sequence.json")
    with pytest.raises(ConfigMismatch, match="not from one training"):
        Detector.load(tmp_path)
    SMALL.save(tmp_path / "sequence.json")
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a calibration"):
        Detector.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="dfdc_utils train"):
        Detector.load(tmp_path / "nothing")


def test_a_broken_models_scores_are_no_scores(tmp_path: Path) -> None:
    model = build_cnn_lstm(4, 32)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    broken = Detector(model, SMALL, Calibration(), trained_on="nothing")
    flickering_faces(tmp_path, families=1)
    with pytest.raises(ConfigMismatch, match="no numbers"):
        broken.predict_faces(tmp_path, "real_00")


def test_the_models_detector_is_a_must(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Faces of another detector would be other faces: no score rather than a wrong one."""
    needs_yunet = Detector(
        build_cnn_lstm(4, 32), SequenceConfig(1.0, 4, 32, detector="yunet"), Calibration(), trained_on="nothing"
    )
    monkeypatch.setenv("DFDC_YUNET", str(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match="DFDC_YUNET"):
        needs_yunet.predict(write_clip(tmp_path / "any.mp4", squares(10)))


# Workers


def test_a_video_that_kills_its_worker_costs_its_own_verdict_only(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_clip(tmp_path / f"{name}.mp4", squares(8, people=((MAGENTA, {}),))) for name in "abcdef"]
    paths.insert(2, write_clip(tmp_path / "poison.mp4", squares(8)))
    monkeypatch.setattr(prediction, "find_faces", die_looking_at_poison)
    found = {one.path.stem: one for one in detector.predict_many(paths, workers=2, show_progress=False)}
    assert set(found) == {*"abcdef", "poison"}
    assert found["poison"].status == "unreadable" and "poison.mp4: the process" in found["poison"].error
    assert {found[name].status for name in "abcdef"} == {"no_face"}  # a square is no face, and was looked for


# The command


@pytest.fixture(scope="module")
def folder(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos that can be scored, of two kinds, and one that cannot."""
    target = tmp_path_factory.mktemp("mine")
    truth = json.loads((sample / "truth.json").read_text())
    for kind in ("real", "spatial", "temporal", "cut_off"):
        name = next(name for name, entry in sorted(truth.items()) if entry["kind"] == kind)
        shutil.copy(next(sample.rglob(name)), target / f"{kind}.mp4")
    return target


def test_the_command_writes_what_it_is_asked_for(
    folder: Path, sample_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "html")}
    options = [text for name, file in files.items() for text in (f"--{name}", str(file))]
    assert main(["predict", str(folder), "--model", str(sample_model), *options]) == 3  # one cannot be scored
    printed = capsys.readouterr().out
    assert "cut_off.mp4: No verdict" in printed and "real.mp4: " in printed
    table = pd.read_csv(files["csv"], keep_default_na=False).set_index("video")
    assert table["status"].to_dict() == {"real": "ok", "spatial": "ok", "temporal": "ok", "cut_off": "unreadable"}
    assert table.loc["cut_off", "score"] == ""
    content = {entry["video"]: entry for entry in json.loads(files["json"].read_text())}
    assert content["spatial"]["people"][0]["windows"][0]["frames_detected"] == 16
    page = files["html"].read_text()
    assert all(f"{name}.mp4" in page for name in table.index)


def test_the_exit_status_tells_the_outcome(
    folder: Path, sample_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = ["--model", str(sample_model)]
    table = pd.read_csv(sample_model / "split.csv")
    assert main(["predict", str(folder / "real.mp4"), *model, "--csv", "-"]) in (0, 1)
    row = capsys.readouterr().out.splitlines()
    assert row[0].startswith("video,path,status,verdict,score") and row[1].startswith("real,")
    verdicts = {name: main(["predict", str(folder / f"{name}.mp4"), *model]) for name in ("spatial", "temporal")}
    assert 1 in verdicts.values() and len(table)
    assert main(["predict", str(tmp_path / "gone.mp4"), *model]) == 3
    assert main(["predict", str(folder / "real.mp4"), "--model", str(tmp_path)]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_predict_video_is_the_short_way(sample: Path, sample_model: Path, trained: Detector) -> None:
    path = next(sample.rglob("*.mp4"))
    assert predict_video(path, sample_model).score == trained.predict(path).score


def test_a_video_processed_afresh_scores_the_same(sample: Path, trained: Detector, tmp_path: Path) -> None:
    shutil.copy(next(sample.rglob("*.mp4")), tmp_path / "mine.mp4")
    processing(tmp_path, tmp_path / "faces", num_vids=None, detector="haar", workers=1, show_progress=False)
    assert trained.predict_faces(tmp_path / "faces", "mine").score == pytest.approx(
        trained.predict(tmp_path / "mine.mp4").score, abs=1e-6
    )


@pytest.fixture(scope="module")
def pretrained() -> Detector:
    return Detector.load("pretrained")


def test_the_model_in_the_package_says_what_it_has_seen(sample: Path, tmp_path: Path) -> None:
    path = next(sample.rglob("*.mp4"))
    assert main(["predict", str(path), "--model", "pretrained", "--json", str(tmp_path / "out.json")]) in (0, 1)
    (entry,) = json.loads((tmp_path / "out.json").read_text())
    assert 0 <= entry["score"] <= 1 and "real face photographs" in entry["trained_on"]
    assert entry["trained_on"] in entry["in_words"] and "means nothing" not in entry["in_words"]


def test_real_clips_are_more_like_its_photographs_than_drawn_ones(
    sample: Path, real_clips: Path, pretrained: Detector, manifest: pd.DataFrame
) -> None:
    """By the percentiles of its own validation. Of most drawn ones it has seen nothing like it, and says so."""
    real = list(pretrained.predict_many(sorted(real_clips.rglob("*.mp4")), show_progress=False))
    drawn = [
        pretrained.predict(path_of(manifest, sample, video))
        for video in manifest.loc[manifest["status"] == "ok", "video"].iloc[::12]
    ]
    real_far, drawn_far = (np.array([one.to_row()["unlike"] for one in some]) for some in (real, drawn))
    assert np.median(real_far) < 85 and (real_far >= OOD_PERCENTILE).mean() <= 0.1
    assert (drawn_far >= OOD_PERCENTILE).mean() >= 0.6
    for one in drawn:
        assert (one.verdict == "unsure" and "a guess" in one.in_words()) or not one.tracks[0].unfamiliar


def test_of_another_model_it_cannot_say_how_unlike_a_video_is(
    sample: Path, trained: Detector, pretrained: Detector
) -> None:
    prediction = trained.predict(next(sample.rglob("*.mp4")))
    assert prediction.to_row()["unlike"] is None and not prediction.tracks[0].unfamiliar
    with pytest.raises(ConfigMismatch, match="only pretrained models"):
        Detector(
            trained.model,
            trained.sequence,
            trained.calibration,
            trained_on="",
            familiarity=pretrained.familiarity,
        )

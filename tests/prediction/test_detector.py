from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from clips import MAGENTA, squares, untagged, write_clip
from faces_on_disk import SMALL
from fake_models import open_model, save_model
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.special import logit
from workers import die_looking_at_poison

from dfdc_utils.__main__ import main
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.evaluation import score_videos
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import OOD_PERCENTILE, Flicker, build_cnn_lstm
from dfdc_utils.prediction import Detector, detector as prediction
from dfdc_utils.prediction.windows import Look, VideoFaces
from dfdc_utils.processing import processing, read_manifest


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Untrained, and small."""
    return Detector(open_model())


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
    trained: Detector, manifest: pd.DataFrame, sample: Path, sample_faces: Path
) -> None:
    """From the file and from faces on disk: prepared once and the same everywhere, the highest of the people in it."""
    some = manifest[manifest["status"] == "ok"].iloc[::17]
    scores = score_videos(some, sample_faces, trained.folder).set_index("video")["score"]
    for video in some["video"]:
        assert trained.predict(path_of(manifest, sample, video)).score == pytest.approx(scores[video], abs=1e-5)


@pytest.mark.slow
def test_a_model_judges_only_the_kind_of_videos_that_it_was_trained_on(
    sample: Path, sample_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drawn clip is nothing for the pretrained model, nor a recorded one for a model of the sample."""
    truth = json.loads((sample / "truth.json").read_text())
    drawn = next(sample.glob("dfdc*/" + next(name for name in truth if truth[name]["kind"] == "real")))
    recorded = untagged(drawn, tmp_path / "a.mp4")
    for video, model, remedy in (
        (drawn, "pretrained", "a model trained on the sample"),
        (recorded, str(sample_model), "--model pretrained"),
    ):
        assert main(["predict", str(video), "--model", model, "--csv", "-"]) == 3
        row = pd.read_csv(io.StringIO(capsys.readouterr().out)).iloc[0]
        assert (row["status"], row["verdict"]) == ("other_kind", "not judged") and np.isnan(row["score"])
        assert f"Use {remedy}." in row["error"] and row["error"].startswith(video.name)
    assert main(["predict", str(recorded), "--model", "pretrained"]) in (0, 1)


def test_statuses_on_the_sample(trained: Detector, sample: Path) -> None:
    truth = json.loads((sample / "truth.json").read_text())
    kinds = {entry["kind"]: next(sample.glob(f"dfdc*/{name}")) for name, entry in truth.items()}
    nobody, broken = (trained.predict(kinds[kind]) for kind in ("no_face", "cut_off"))
    assert (nobody.status, nobody.score, nobody.verdict) == ("no_face", None, "not judged")
    assert (broken.status, broken.score, broken.verdict) == ("unreadable", None, "not judged")
    for prediction_, path in ((nobody, kinds["no_face"]), (broken, kinds["cut_off"])):
        assert path.name in prediction_.error and "Not judged" in prediction_.in_words()
    pair = trained.predict(kinds["two_people"])
    assert pair.status == "ok" and {track.number for track in pair.tracks} == {0, 1}
    assert pair.tracks[0].score >= pair.tracks[1].score
    assert pair.score == pair.tracks[0].score


def test_many_videos_are_answered_in_their_order_whatever_is_wrong_with_some(
    trained: Detector, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    some = sorted(sample.glob("dfdc*/*.mp4"))[:3]
    paths = [some[2], tmp_path / "empty.mp4", some[0], tmp_path / "gone.mp4", some[2], some[1]]
    found = list(trained.predict_many(paths, show_progress=False))
    assert [one.path for one in found] == paths
    assert found[1].status == found[3].status == "unreadable"
    for one in (found[0], found[2], found[4], found[5]):
        assert one.to_dict() == trained.predict(one.path).to_dict()


@pytest.mark.slow
def test_the_whole_of_a_long_video_in_overlapping_windows(trained: Detector, sample: Path, tmp_path: Path) -> None:
    """A fake in the middle of a real video shows where it is."""
    truth = json.loads((sample / "truth.json").read_text())
    fake = next(name for name, entry in sorted(truth.items()) if entry["kind"] == "both")
    metadata = {k: v for p in sample.glob("*/metadata.json") for k, v in json.loads(p.read_text()).items()}
    parts = [clip_frames(next(sample.glob(f"dfdc*/{name}"))) for name in (metadata[fake]["original"], fake)]
    real, altered = (list(itertools.chain(part, part[::-1]))[:120] for part in parts)  # four seconds each
    path = write_clip(tmp_path / "spliced.mp4", [*real, *altered, *real], options={"preset": "ultrafast", "crf": "12"})
    sequence = SequenceConfig(2.2, 16, 96, detector="haar")
    calibration = trained.folder.calibration
    short = Detector(open_model(trained.model, sequence, calibration=calibration, data_kind="recorded"))
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


def test_evidence_of_the_most_suspicious(trained: Detector, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [trained.predict(path) for path in sorted(sample.glob("dfdc*/*.mp4"))[:6]]
    evidence = trained.gather_evidence(found, most=2, show_progress=True)
    assert "explaining scores: 100%" in capsys.readouterr().err
    trained.gather_evidence(found, most=1)
    assert capsys.readouterr().err == ""
    suspicious = [one for one in found if one.verdict in ("fake", "unsure")]
    scored = sorted(suspicious, key=lambda one: -(one.score or 0))
    assert list(evidence) == [one.path for one in scored[:2]] and len(scored) < len(found)
    sequence, explanation = evidence[scored[0].path]
    assert sequence.shape == (16, 96, 96, 3) and explanation.heat.shape == (16, 96, 96)
    assert explanation.contributions.shape == (16,)
    assert explanation.heat.min() >= 0 and explanation.heat.max() <= 1


@pytest.mark.slow
def test_a_model_of_the_sample_judges_no_real_clip(trained: Detector, real_clips: Path) -> None:
    found = list(trained.predict_many(sorted(real_clips.rglob("*.mp4")), show_progress=False))
    assert len(found) == 14
    assert {(one.status, one.verdict, one.score) for one in found} == {("other_kind", "not judged", None)}
    assert all("Use --model pretrained" in one.error for one in found)


# A model and a video that do not belong together


def test_a_model_beside_anothers_settings_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, build_cnn_lstm(4, 32), SequenceConfig(face_size=64, frame_count=4))
    with pytest.raises(ConfigMismatch, match="not from one training"):
        Detector.load(tmp_path)
    (tmp_path / "sequence.json").unlink()
    with pytest.raises(ConfigMismatch, match=r"sequence\.json"):
        Detector.load(tmp_path)
    SMALL.save(tmp_path / "sequence.json")
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a calibration"):
        Detector.load(tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(FileNotFoundError, match="no finished model"):
        Detector.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="dfdc train"):
        Detector.load(tmp_path / "nothing")


def test_a_broken_models_scores_are_no_scores(sample: Path) -> None:
    model = build_cnn_lstm(4, 32)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(ConfigMismatch, match="not numbers"):
        Detector(open_model(model)).predict(next(sample.glob("dfdc*/*.mp4")))


def test_the_models_detector_is_a_must(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Faces of another detector would be other faces: no score rather than a wrong one."""
    needs_yunet = Detector(open_model(sequence=SequenceConfig(1.0, 4, 32, detector="yunet")))
    monkeypatch.setenv("DFDC_YUNET", str(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match="DFDC_YUNET"):
        needs_yunet.predict(write_clip(tmp_path / "any.mp4", squares(10)))


# Workers


@pytest.mark.slow
def test_a_video_that_kills_its_worker_costs_its_own_verdict_only(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "poison", "c", "d", "e", "f"]
    paths = [write_clip(tmp_path / f"{name}.mp4", squares(8, people=((MAGENTA, {}),))) for name in names]
    monkeypatch.setattr(prediction, "find_faces", die_looking_at_poison)
    found = list(detector.predict_many(paths, workers=2, show_progress=False))
    assert [one.path.stem for one in found] == names
    (poison,) = (one for one in found if one.path.stem == "poison")
    assert poison.status == "unreadable" and "poison.mp4: the process" in poison.error
    # A square is no face, and was looked for.
    assert {one.status for one in found if one is not poison} == {"no_face"}


@pytest.fixture
def fake_pool(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pool that finishes videos in the order of `finishes`, and notes what becomes of it."""
    pool: dict[str, Any] = {"finishes": [], "looked_at": [], "closed": False}

    def results(work: object, looks: dict[str, Look], **_: object) -> Iterator[tuple[str, VideoFaces]]:
        try:
            for path in pool["finishes"]:
                name = str(path.absolute())
                pool["looked_at"].append(path)
                yield name, VideoFaces(looks[name].path, "no_face", "nobody", 0.0, ())
        finally:
            pool["closed"] = True

    monkeypatch.setattr(prediction, "each_whatever_dies", results)
    return pool


@given(order=st.permutations(range(6)), named=st.lists(st.integers(0, 5), min_size=6, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_order_of_finishing_gives_the_order_of_the_input(
    detector: Detector, fake_pool: dict[str, Any], order: list[int], named: list[int]
) -> None:
    fake_pool["finishes"] = [Path(f"{number}.mp4") for number in order if number in named]
    found = detector.predict_many([f"{number}.mp4" for number in named], show_progress=False)
    assert [int(one.path.stem) for one in found] == named


def test_a_prediction_is_given_as_soon_as_those_before_it_are(detector: Detector, fake_pool: dict[str, Any]) -> None:
    paths = [Path(f"{name}.mp4") for name in "abcd"]
    fake_pool["finishes"] = [paths[1], paths[0], paths[2], paths[3]]
    found = detector.predict_many(paths, show_progress=False)
    assert [next(found).path.stem, next(found).path.stem] == ["a", "b"]
    assert fake_pool["looked_at"] == paths[1::-1] and not fake_pool["closed"]
    found.close()
    assert fake_pool["closed"]


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_quietly_and_reaches_the_caller(sample: Path) -> None:
    """In a process of its own, whose workers get the signal too, as from a terminal."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from fake_models import open_model
from dfdc_utils.prediction import Detector
paths = [{str(next(sample.glob("dfdc*/*.mp4")))!r}, *(f"gone_{{number}}.mp4" for number in range(3000))]
try:
    for prediction in Detector(open_model()).predict_many(paths, workers=2, show_progress=False):
        print(prediction.status, flush=True)
except KeyboardInterrupt:
    print("\\nstopped")
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate(timeout=120)
    assert first in ("ok\n", "no_face\n") and rest.splitlines()[-1] == "stopped" and process.returncode == 0
    assert "Traceback" not in errors and "KeyboardInterrupt" not in errors


def test_ctrl_c_waits_until_a_window_is_scored(
    trained: Detector, sample: Path, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised in the midst of TensorFlow it may end the process: a segmentation fault, which writes no table."""
    called = []

    def slowly(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        def call(given: Any) -> Any:
            interrupt()
            time.sleep(0.01)
            result = function(given)
            called.append(name)
            return result

        return call

    monkeypatch.setattr(prediction, "decode_faces", slowly(prediction.decode_faces, "decode"))
    monkeypatch.setattr(trained, "_score_batch", slowly(trained._score_batch, "score"))
    with pytest.raises(KeyboardInterrupt):
        trained.predict(next(sample.glob("dfdc*/*.mp4")))
    views = list(prediction._views(np.zeros((1, 1, 9, 9, 3), np.uint8), symmetric=trained._symmetric))
    assert called == ["decode"] + ["score"] * len(views)


def test_ctrl_c_waits_until_a_score_is_explained(
    interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch, trained: Detector, sample: Path
) -> None:
    explained = []

    def explain_slowly(model: Any, sequence: Any) -> str:
        interrupt()
        time.sleep(0.01)
        explained.append(len(sequence))
        return "why"

    found = prediction.find_faces(trained._look(next(sample.glob("dfdc*/*.mp4")), False, 60.0, 1))
    (window,) = trained._score(found.windows)
    monkeypatch.setattr(prediction, "explain_score", explain_slowly)
    with pytest.raises(KeyboardInterrupt):
        trained.explain(window)
    assert explained == [trained.folder.sequence.frame_count]


# The model in the package


@pytest.fixture(scope="module")
def pretrained() -> Detector:
    return Detector.load("pretrained")


@pytest.mark.slow
def test_the_model_in_the_package_says_what_it_was_trained_on(real_clips: Path, pretrained: Detector) -> None:
    entry = pretrained.predict(next(real_clips.rglob("*.mp4"))).to_dict()
    assert 0 <= entry["score"] <= 1 and "real face photographs" in entry["trained_on"]
    assert entry["trained_on"] in entry["in_words"] and "fakes were called fake" in entry["in_words"]
    assert re.search(r", looking at 0 to \d+\.\d s of \d+\.\d s: score", entry["in_words"])


@pytest.mark.slow
def test_most_real_clips_are_not_out_of_distribution(real_clips: Path, pretrained: Detector) -> None:
    """By the percentiles of its own validation, which are of photographs."""
    real = list(pretrained.predict_many(sorted(real_clips.rglob("*.mp4")), show_progress=False))
    far = np.array([one.to_row()["ood_percentile"] for one in real])
    assert np.median(far) < 85 and (far >= OOD_PERCENTILE).mean() <= 0.1


@pytest.mark.slow
def test_who_decides_about_real_clips_is_large_and_sharp(validation_clips: Path, pretrained: Detector) -> None:
    """No toy, poster or blurred bystander."""
    paths = sorted(validation_clips.rglob("*.mp4"))[::6]
    for one in pretrained.predict_many(paths, show_progress=False):
        assert one.status == "ok" and one.decisive and not one.decisive.flaw
        boxes = np.concatenate([window.faces.boxes for window in one.decisive.windows])
        assert np.median(boxes[:, 2]) >= 40


def test_of_another_model_it_cannot_say_how_unlike_a_video_is(
    sample: Path, trained: Detector, pretrained: Detector
) -> None:
    prediction = trained.predict(next(sample.glob("dfdc*/*.mp4")))
    assert prediction.to_row()["ood_percentile"] is None and not prediction.doubt(prediction.people[0])
    with pytest.raises(ConfigMismatch, match="only pretrained models"):
        Detector(open_model(trained.model, trained.folder.sequence, ood=pretrained.folder.ood))


# Flicker


def test_flicker_adds_to_the_score_and_evaluation_says_the_same(sample: Path, tmp_path: Path) -> None:
    config = SequenceConfig(1.0, 4, 32, detector="haar", flicker=True)
    path = next(sample.glob("dfdc*/*.mp4"))
    alone = open_model(sequence=config)
    (window,) = Detector(alone).predict(path).people[0].windows
    assert len(window.faces.flicker) == 3 and window.flicker is None
    new, texture, motion = window.faces.flicker
    expected = Flicker((new - 0.2 * texture - 0.1 * motion - 0.2, 0.2, 0.1), 0.1, 20)  # 0.2 less: two deviations
    folder = replace(alone, flicker=expected)
    folder.__dict__["model"] = alone.model
    (seen,) = Detector(folder).predict(path).people[0].windows
    assert seen.flicker == pytest.approx(2.0, abs=1e-3)
    assert logit(seen.score) - logit(window.score) == pytest.approx(2 * expected.weight, abs=0.01)
    (tmp_path / "videos").mkdir()
    shutil.copy(path, tmp_path / "videos")
    table = processing(tmp_path / "videos", tmp_path / "faces", show_progress=False, **config.settings)
    scored = score_videos(table.assign(label="REAL"), tmp_path / "faces", folder)
    assert scored["score"].tolist() == pytest.approx([seen.score], abs=1e-4)


def test_faces_without_flicker_are_no_faces_for_a_model_that_counts_it(sample: Path, tmp_path: Path) -> None:
    folder = open_model(sequence=SequenceConfig(1.0, 4, 32, detector="haar", flicker=True))
    (tmp_path / "videos").mkdir()
    shutil.copy(next(sample.glob("dfdc*/*.mp4")), tmp_path / "videos")
    made = replace(folder.sequence, flicker=False)
    table = processing(tmp_path / "videos", tmp_path / "faces", show_progress=False, **made.settings)
    with pytest.raises(ConfigMismatch, match="flicker False instead of True"):
        score_videos(table.assign(label="REAL"), tmp_path / "faces", folder)

"""The command line as a shell user meets it: help, mistakes, exit statuses, interruptions, and a whole way through."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import clips
import pandas as pd
import pytest
from faces_on_disk import SMALL
from fake_models import save_model

from dfdc_utils import __main__ as command_line
from dfdc_utils.__main__ import cli, explain, main
from dfdc_utils.workers import interrupts_held_back

COMMANDS = ("sample", "process", "train", "evaluate", "predict", "pretrain")

# Run in a folder of its own: `videos` holds two that can be decoded, `faces` a manifest, `model` only half of a model.
MISTAKES = {
    # What the shell user wrote: the one line of the answer.
    "predct videos": r"dfdc: No such command 'predct'\. Did you mean 'predict'\?",
    "predict videos --modle x": r"dfdc predict: No such option '--modle'.*'--model'",
    "predict": r"dfdc predict: Missing argument 'VIDEOS\.\.\.'",
    "predict nowhere.mp4": r"Path 'nowhere\.mp4' does not exist",
    "predict https://example.org/a.mp4": r"https://example\.org/a\.mp4 is an address\. Download the video first",
    "predict empty": r"empty: no videos found among 0 files",
    "predict videos --model Pretrained": r"Pretrained: there is no such folder\. Use .*--model pretrained",
    "predict videos --model nomodel": r"nomodel: there is no such folder\. Use .*, or train one \(`dfdc train`",
    "predict videos --model empty": r"empty: it holds no .*--model pretrained",
    "predict videos --model model/model.keras": r"model holds .*not finished|no finished model",
    "predict videos --csv videos": r"'--csv': File 'videos' is a directory",
    "predict videos --html notes.txt/a.html": r"notes\.txt: a\.html cannot be written \(File exists\)",
    "predict videos --csv - --json -": r"Only one table can go to standard output",
    "predict videos --html -": r"and no page",
    "predict videos --csv videos/a.mp4": r"videos/a\.mp4 would be overwritten\. Write to another file",
    "predict videos/a.mp4 --html videos/../videos/a.mp4": r"videos/a\.mp4 would be overwritten",
    "predict videos --csv out --json ./out": r"/out would be overwritten",
    "predict videos --workers 0": r"'--workers': 0 is not in the range x>=1",
    "predict videos --workers -5": r"'--workers': -5 is not in the range x>=1",
    "predict videos --time-limit nan": r"'--time-limit': nan is not a number",
    "process": r"Missing argument 'LOCATION'",
    "process nowhere": r"Path 'nowhere' does not exist",
    "process empty": r"empty: no videos found",
    "process videos/a.mp4": r"videos/a\.mp4 is a file\. Give its folder, or score it: dfdc predict videos/a\.mp4",
    "process videos --save-path notes.txt": r"'--save-path': Directory 'notes\.txt' is a file",
    "process videos --capture-sec 0": r"'--capture-sec': 0\.0 is not in the range x>0",
    "process videos --capture-sec nan": r"'--capture-sec': nan is not a number",
    "process videos --num-vids -1": r"'--num-vids': -1 is not in the range x>=0",
    "process videos --num-vids 1": r"--num-vids=1: at least 2 videos",
    "process videos --margin 0.5": r"'--margin': 0\.5 is not in the range x>=1",
    "process videos --face-size 15": r"'--face-size': 15 is not in the range x>=16",
    "process videos --frame-count 0": r"'--frame-count': 0 is not in the range x>=1",
    "process videos --detector yolo": r"'yolo' is not one of 'auto', 'yunet', 'haar'",
    "process videos --for-model nomodel": r"nomodel: there is no such folder",
    "process videos --for-model pretrained --face-size 96": r"--face-size 96: pretrained needs 160\. Leave",
    "train --save-path nowhere": r"nowhere/manifest\.csv is not there.*dfdc process",
    "train --save-path faces": r"faces: no video with a face has a label",
    "train --epochs 0": r"'--epochs': 0 is not in the range x>=1",
    "train --epochs -1": r"'--epochs': -1 is not in the range x>=1",
    "train --batch-size 0": r"'--batch-size': 0 is not in the range x>=1",
    "train --learning-rate nan": r"'--learning-rate': nan is not a number",
    "train --weights imagenet": r"--weights needs a --backbone of keras\.applications",
    "train --backbone MobileNetV2 --weights nowhere.h5": r"--weights nowhere\.h5: there is no such file",
    "evaluate --save-path nowhere": r"nowhere/manifest\.csv is not there.*dfdc process",
    "evaluate --save-path faces --model nomodel": r"nomodel: there is no such folder\. Use .*--model pretrained",
    "evaluate --save-path faces --model pretrained": r"were made with --face-size 96 instead of 160",
    "pretrain nowhere": r"Directory 'nowhere' does not exist",
    "pretrain videos --weights nowhere.h5": r"--weights nowhere\.h5: there is no such file",
}

RUN_ALL = """
import contextlib, io, json, sys, time
from dfdc_utils.__main__ import main

answers = {}
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(line.split())
    answers[line] = [status, out.getvalue(), err.getvalue(), time.process_time() - started, "tensorflow" in sys.modules]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each mistake is answered, in one process: that TensorFlow is not loaded holds for all up to it."""
    folder = tmp_path_factory.mktemp("here")
    for name in ("videos", "empty", "model", "faces"):
        (folder / name).mkdir()
    clips.write_clip(folder / "videos" / "a.mp4", clips.numbered(5))
    shutil.copy(folder / "videos" / "a.mp4", folder / "videos" / "b.mp4")
    (folder / "notes.txt").write_text("a file where a folder should be")
    (folder / "model" / "model.keras").write_text("")
    (folder / "faces" / "manifest.csv").write_text(
        "video,path,label,original,part,problem,status,error\na,a.mp4,,a,,,ok,\n"
    )
    (folder / "faces" / "sequence.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(list(MISTAKES)), capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    left = {path.name for path in folder.iterdir()} - {"videos", "empty", "model", "faces", "notes.txt"}
    assert left <= {"data"}, "a mistake leaves nothing behind"
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_answered_at_once_in_one_line(answers: dict[str, Any], line: str) -> None:
    status, out, err, seconds, tensorflow = answers[line]
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and re.search(MISTAKES[line], err), err
    assert err.startswith(f"dfdc {line.split()[0]}: ") or "No such command" in err
    assert "location" not in err and "=True" not in err and "_path" not in err  # Python's words
    assert not tensorflow and seconds <= 1  # of the processor, which other work does not slow


@pytest.mark.parametrize(
    ("command", "text", "shown"),
    [
        ("process", "another save_path, or overwrite=True.", "another --save-path, or --overwrite."),
        ("process", "/a/face_size/b.mp4: raise time_limit.", "/a/face_size/b.mp4: raise --time-limit."),
        ("process", "num_vids=None takes all", "--num-vids 0 takes all"),
        ("train", "Discard it with resume=False (`dfdc train --afresh`).", "Discard it with --afresh."),
        ("train", "leave `replicas` out, mixed_precision=False", "leave --replicas out, no --mixed-precision"),
        ("train", "a seed, a model", "a seed, a model"),
        ("evaluate", "run processing(location, 'f') first", "run dfdc process FOLDER --save-path 'f' first"),
        ("evaluate", "Run processing again.\nRun pretrain again.", "Run dfdc process again. Run dfdc pretrain again."),
    ],
)
def test_remedies_are_in_the_shell_s_words(command: str, text: str, shown: str) -> None:
    assert explain(ValueError(text), cli.commands[command]) == shown


def test_without_a_command_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: dfdc ")
    positions = [shown.index(f"\n  {name} ") for name in COMMANDS]
    assert positions == sorted(positions)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_answers_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: dfdc {command} ") and "None" not in shown
    assert all(option.help for option in cli.commands[command].params if isinstance(option, click.Option))


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import dfdc_utils

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dfdc {dfdc_utils.__version__}\n"


def test_a_crash_is_one_line_and_never_the_status_of_a_fake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyError("frames")

    monkeypatch.setattr("dfdc_utils.sample.make_sample", crash)
    assert main(["sample", str(tmp_path)]) == 2
    assert re.fullmatch(r"dfdc sample: KeyError: 'frames'\..* please report it.*\n", capsys.readouterr().err)
    assert main(["sample", str(tmp_path), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("DFDC_DEBUG", "1")
    assert main(["sample", str(tmp_path)]) == 2
    assert "Traceback" in capsys.readouterr().err


# predict


@pytest.fixture(scope="module")
def three(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of the sample, the second of which is cut off; the others do not say that they are synthetic."""
    folder = tmp_path_factory.mktemp("three")
    truth = json.loads((sample / "truth.json").read_text())
    for name, kind in (("a", "real"), ("b", "cut_off"), ("c", "temporal")):
        source = next(sample.glob("dfdc*/" + next(one for one in truth if truth[one]["kind"] == kind)))
        (shutil.copy if kind == "cut_off" else clips.untagged)(source, folder / f"{name}.mp4")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an untrained model, which opens fast: for tests in which no verdict counts."""
    return str(save_model(tmp_path_factory.mktemp("tiny") / "model", sequence=replace(SMALL, detector="haar")))


@pytest.mark.slow
def test_predict_keeps_the_order_of_its_input_and_makes_folders(
    three: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = {kind: tmp_path / "new" / kind / f"out.{kind}" for kind in ("csv", "json", "html")}
    options = [text for kind, target in targets.items() for text in (f"--{kind}", str(target))]
    videos = [str(three / "c.mp4"), str(three), str(three / "b.mp4")]
    assert main(["predict", *videos, *options, "--model", tiny]) in (1, 3)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [re.search(r"\w\.mp4", line)[0] for line in lines] == ["c.mp4", "a.mp4", "b.mp4"]  # type: ignore[index]
    assert re.match(r"(fake|no sign of a fake|unsure) +0\.\d\d  c\.mp4$", lines[0])
    assert re.match(r"not judged +-  b\.mp4: \w", lines[2]) and lines[2].count("b.mp4") == 1
    assert printed.err.count("trained on") == 1 and "3 videos: " in printed.err
    assert pd.read_csv(targets["csv"])["video"].tolist() == ["c", "a", "b"]
    assert [entry["video"] for entry in json.loads(targets["json"].read_text())] == ["c", "a", "b"]
    assert "c.mp4" in targets["html"].read_text()
    assert main(["predict", str(three / "c.mp4"), "--verbose", "--model", tiny, "--csv", "-"]) in (0, 1)
    assert capsys.readouterr().out.startswith("video,path,status")  # and nothing else
    assert main(["predict", str(three / "c.mp4"), "--verbose", "--model", tiny]) in (0, 1)
    assert "when the faces are mirrored or shifted" in capsys.readouterr().out
    empty = clips.write_clip(tmp_path / "empty.mp4", clips.numbered(30))
    assert main(["predict", str(empty), "--model", tiny]) == 3
    printed = capsys.readouterr()
    assert printed.out.endswith(" or a larger version.\n") and "1 video: 1 not judged" in printed.err


@pytest.mark.slow
def test_predict_needs_no_metadata_and_no_name_ends_it(
    three: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is not UTF-8 is escaped, on every terminal and in every file."""
    names = ["a.mp4", "caf\udce9.mp4", "한국어 🎬.mp4"]
    try:
        for name in names:
            shutil.copy(three / "a.mp4", tmp_path / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes UTF-8")
    (tmp_path / "metadata.json").write_text("broken")
    (tmp_path / "notes.txt").touch()
    targets = [tmp_path / "out" / name for name in ("v.csv", "v.json", "v.html")]
    options = [part for target in targets for part in (f"--{target.suffix[1:]}", str(target))]
    assert main(["predict", str(tmp_path), "--model", tiny, *options]) in (0, 1)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "caf\\udce9.mp4" in out
    assert re.findall(r"(?m)^written: .*?(v\.\w+)$", err) == [target.name for target in targets]
    for target in targets:
        text = target.read_text(encoding="utf-8")  # strict
        assert "udce9" in text and "한국어" in text
    assert len(json.loads(targets[1].read_text())) == len(pd.read_csv(targets[0])) == 3
    command = [sys.executable, "-m", "dfdc_utils", "predict", str(tmp_path / names[2]), "--model", tiny, "--csv", "-"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert done.returncode in (0, 1) and b"\\ud55c" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["no sign of a fake", "unsure"], 0),
        (["unsure", "fake"], 1),
        (["fake", "not judged"], 1),
        (["not judged", "fake"], 1),
        (["unsure", "not judged"], 3),
    ],
)
def test_a_fake_wins_over_a_video_that_was_not_judged(
    verdicts: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [tmp_path / f"{number}.mp4" for number in range(len(verdicts))]
    for path in paths:
        path.touch()

    class Judge:
        def __init__(self, folder: object) -> None:
            pass

        def predict_many(self, asked: list[Path], **_: object) -> Iterator[SimpleNamespace]:
            for path, verdict in zip(asked, verdicts, strict=True):
                seen = SimpleNamespace(path=path, verdict=verdict, score=0.5, left_out=4, is_partial=True)
                yield SimpleNamespace(
                    **vars(seen), error=f"{path.name}: odd", windows_in_words=lambda: "3 of 9 windows score above 0.54."
                )

    monkeypatch.setattr("dfdc_utils.prediction.Detector", Judge)
    assert main(["predict", *map(str, paths)]) == status
    printed = capsys.readouterr()
    assert printed.out.count("4 more not judged, see --max-people") == printed.out.count("3 of 9 windows") == len(paths)
    assert f"{len(paths)} not looked at to the end: try --whole." in printed.err
    forged = tmp_path / "a.mp4\nfake               0.99  b\x1b[2K.mp4"
    forged.touch()
    main(["predict", str(forged)])
    assert (out := capsys.readouterr().out).count("\n") == 1 and "\x1b" not in out


# Stopping


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own, so that an interrupt can go to all its processes, as from a terminal."""
    command, pipe = [sys.executable, "-m", "dfdc_utils", *arguments], subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def is_quiet(err: str) -> bool:
    return not re.search(r"Traceback|Warning|Exception|\[Errno|Broken pipe", err)


@pytest.mark.slow
def test_predict_that_is_interrupted_writes_what_it_has(sample: Path, tiny: str, tmp_path: Path) -> None:
    options = ["--model", tiny, "--workers", "2", "--csv", "out.csv", "--json", "out.json"]
    with running("predict", str(sample), *options, cwd=tmp_path) as process:
        assert process.stdout is not None and "mp4" in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and is_quiet(err)
    stopped = re.search(r"^Stopped: (\d+) of 123 videos are done\.$", err, re.MULTILINE)
    assert stopped and int(stopped[1]) > 0
    rows, entries = pd.read_csv(tmp_path / "out.csv"), json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == len(entries) == int(stopped[1])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")
def test_ctrl_c_is_raised_once_and_not_within_tensorflow(
    interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within it, it may end the process; pressed twice, it would interrupt what the first one makes end."""
    from dfdc_utils.quiet import tf

    monkeypatch.setattr(command_line, "_interrupted_at", [-math.inf])
    assert main(["--version"]) == 0
    came_to = []

    @tf.function(autograph=False)
    def traced() -> Any:
        for _ in range(3):  # raised at once, it would end the first of these
            interrupt()
            time.sleep(0.02)
        came_to.append("its end")
        return tf.constant(1)

    with pytest.raises(KeyboardInterrupt):
        traced()
        time.sleep(10)
    assert came_to == ["its end"]
    command_line._interrupted_at[0] += 60  # however slow this machine is
    interrupt()
    tf.function(lambda: interrupt() or time.sleep(0.02) or tf.constant(1), autograph=False)()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0  # an alarm would end the process while it exits
    command_line._interrupted_at[0] -= 62
    came_to.clear()
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():  # the alarm comes in here
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(0.05)
        came_to.append("the end of the block")
    assert came_to == ["the end of the block"]
    command_line._interrupted_at[0] -= 62
    with pytest.raises(KeyboardInterrupt):
        interrupt()
        time.sleep(10)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")
def test_ctrl_c_is_not_lost_while_a_model_is_loaded(
    interrupt: Callable[[], None], tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras 3.15 catches whatever is raised there, and goes on."""
    from keras.src.saving import saving_lib

    from dfdc_utils.models import load_model

    monkeypatch.setattr(command_line, "_interrupted_at", [-math.inf])
    assert main(["--version"]) == 0
    opened = saving_lib.H5IOStore.__init__

    def open_slowly(*given: Any, **how: Any) -> None:
        interrupt()
        time.sleep(0.05)
        opened(*given, **how)

    monkeypatch.setattr(saving_lib.H5IOStore, "__init__", open_slowly)
    with pytest.raises(KeyboardInterrupt):
        load_model(tiny)
        time.sleep(10)


def test_ctrl_c_stays_ignored_where_it_was(interrupt: Callable[[], None]) -> None:
    """As in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.slow
def test_process_that_is_interrupted_says_how_far_it_is(sample: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    with running("process", str(sample), "--save-path", str(faces), "--detector", "haar", cwd=tmp_path) as process:
        while not list(faces.glob("*/faces.json")):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and is_quiet(err)
    assert re.search(r"^Stopped: \d+ of 123 videos are done\. Run the same command to continue\.$", err, re.MULTILINE)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_it_quietly(sample: Path, tiny: str, tmp_path: Path) -> None:
    """As `| head -1` does."""
    with running("predict", str(sample), "--model", tiny, "--workers", "2", cwd=tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "mp4" in process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141 and is_quiet(err)


# All the way


@pytest.mark.slow
def test_the_commands_go_the_whole_way(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Process, train, evaluate on a few videos of the sample, as a shell user would, who has copied them elsewhere."""
    faces = str(tmp_path / "faces")
    copied = Path(shutil.copytree(sample / "dfdc_train_part_0", tmp_path / "mine"))
    options = ["--num-vids", "24", "--frame-count", "4", "--face-size", "32", "--detector", "haar"]
    assert main(["process", str(copied), "--save-path", faces, *options]) == 0
    assert main(["train", "--save-path", faces, "--epochs", "1", "--seed", "1"]) == 0
    assert main(["evaluate", "--save-path", faces]) == 0
    printed = capsys.readouterr().out
    assert "epoch  1/1" in printed and "balanced accuracy" in printed
    assert "mean over frames" in printed and "The model " in printed
    card = (tmp_path / "model" / "card.md").read_text()
    assert "the embedded synthetic sample" in card
    assert (tmp_path / "results" / "scores.csv").is_file() and (tmp_path / "results" / "summary.csv").is_file()
    assert main(["process", str(copied), "--save-path", faces, *options, "--margin", "2"]) == 2
    assert "--overwrite to make the faces again" in capsys.readouterr().err


@pytest.mark.slow
def test_another_model_s_results_are_kept_apart(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluating the model in the package replaces no table of one's own, and writes nothing beside it."""
    from dfdc_utils.models import model_path

    faces = tmp_path / "faces"
    options = ["--num-vids", "8", "--for-model", "pretrained", "--detector", "haar"]
    assert main(["process", str(sample), "--save-path", str(faces), *options]) == 0
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "scores.csv").write_text("mine")
    before = sorted(model_path("pretrained").rglob("*"))
    evaluate = ["evaluate", "--save-path", str(faces), "--model", "pretrained"]
    assert main(evaluate) == 0
    assert sorted(model_path("pretrained").rglob("*")) == before
    assert (tmp_path / "results" / "scores.csv").read_text() == "mine"
    count = (pd.read_csv(faces / "manifest.csv")["status"] == "ok").sum()  # some clips of the sample show no face
    assert 4 <= count <= 8
    results = tmp_path / "results" / "pretrained"
    assert len(pd.read_csv(results / "scores.csv")) == count
    parts = pd.read_csv(results / "parts.csv")
    assert parts[["real", "fake"]].to_numpy().sum() == count and len(parts) > 1
    capsys.readouterr()
    manifest = faces / "manifest.csv"
    manifest.write_text(manifest.read_text().replace('"FAKE"', '""'))
    assert main(evaluate) == 2
    assert "metrics need REAL and FAKE videos" in capsys.readouterr().err


def test_process_counts_videos_by_label_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing label is said: an empty cell would look like the label above it."""
    for name in ("a.mp4", "b.mp4"):
        clips.write_clip(tmp_path / name, clips.numbered(5))
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,FAKE\n")
    assert main(["process", str(tmp_path), "--save-path", str(tmp_path / "faces"), "--detector", "haar"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:3] == [["FAKE", "no_face", "1"], ["no", "label", "no_face", "1"]]


@pytest.mark.slow
def test_self_blends_train_on_a_folder_without_fakes(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "videos"
    part.mkdir()
    source = sample / "dfdc_train_part_0"
    labels = json.loads((source / "metadata.json").read_text())
    real = [name for name, entry in labels.items() if entry["label"] == "REAL"][:14]
    (part / "metadata.json").write_text(json.dumps({name: labels[name] for name in real}))
    for name in real:
        shutil.copy(source / name, part / name)
    faces = str(tmp_path / "faces")
    options = ["--frame-count", "4", "--face-size", "32", "--detector", "haar"]
    assert main(["process", str(part), "--save-path", faces, *options]) == 0
    train = ["train", "--save-path", faces, "--epochs", "1", "--no-baseline"]
    assert main(train) == 2
    assert "there is no FAKE video" in capsys.readouterr().err
    assert main([*train, "--self-blend"]) == 0
    assert (tmp_path / "model" / "card.md").is_file()

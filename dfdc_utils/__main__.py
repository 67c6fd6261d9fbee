"""The command line: `dfdc COMMAND`, or `python -m dfdc_utils COMMAND`. Every command answers --help.

A command imports what it needs when it runs. It checks files before it imports TensorFlow, so mistakes show at once.
"""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from json import dumps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from tqdm import tqdm

import dfdc_utils

if TYPE_CHECKING:
    from dfdc_utils.prediction import Prediction

DATA = Path("data")
# Exit statuses. A failure never gives that of a fake.
NONE_FAKE, SOME_FAKE, FAILED, SOME_NOT_JUDGED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141
PRETRAINED = "pretrained"  # as in `dfdc_utils.models`, which takes longer to import than a mistake may
RESUMABLE = ("process", "train", "pretrain")
RESTARTS = 3  # how often a training waits for a worker that died
_interrupted_at = [-math.inf]  # when a Ctrl-C was raised, by time.monotonic


class Number(click.FloatRange):
    """A number in a range, which `nan` and `inf` are not."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number = super().convert(value, param, context)
        return number if math.isfinite(number) else self.fail(f"{value} is not a number.", param, context)


class Video(click.Path):
    """An existing file or folder, which an address is not."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if re.match(r"\w{2,}://", str(value)):
            self.fail(f"{value} is an address. Download the video first, then name the file.", param, context)
        return super().convert(value, param, context)


class Commands(click.Group):
    """All commands, in the order of the pipeline, with --debug. Reports in one line whatever one of them raises."""

    def add_command(self, command: click.Command, name: str | None = None) -> None:
        command.params.append(_DEBUG)
        super().add_command(command, name)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        try:
            status = super().invoke(context)
            sys.stdout.flush()  # raises here if the pipe is broken, and not at exit
            return status
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            context.exit(BROKEN_PIPE)
        except KeyboardInterrupt as stop:
            again = " Run the same command to continue." if context.invoked_subcommand in RESUMABLE else ""
            click.echo(f"\nStopped{': ' if str(stop) else ''}{stop}.{again}", err=True)
            context.exit(INTERRUPTED)
        except Exception as error:
            if context.meta.get("debug"):
                traceback.print_exc()
            command = self.commands[str(context.invoked_subcommand)]
            click.echo(f"dfdc {command.name}: {explain(error, command)}", err=True)
            context.exit(FAILED)


def explain(error: Exception, command: click.Command) -> str:
    """Say what went wrong and what to do, in one line."""
    if not isinstance(error, (ValueError, OSError, ImportError, RuntimeError)):
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"{what}. This is a bug: please report it, with what --debug shows."
    said = [error.filename, error.strerror] if isinstance(error, OSError) and error.strerror else [error]
    return in_shell_words(": ".join(str(part) for part in said if part), command)


def in_shell_words(text: str, command: click.Command) -> str:
    """Name options as the command line does, in a text that names Python's arguments; in one line."""
    text = re.sub(r"processing\(location, (.+?)\)", r"dfdc process FOLDER --save-path \1", text)
    text = re.sub(r"(?<=[Rr]un )(process|pretrain)(ing)?\b", r"dfdc \1", text)
    text = re.sub(r"resume=False( \(.+?\))?", "--afresh", text).replace("num_vids=None", "--num-vids 0")
    for option in {one.name: one for one in [*process.params, *command.params]}.values():  # `seed`, overwrite=True
        name, flag = str(option.name), option.opts[0]
        text = re.sub(rf"`{name}`|\b{name}=True\b", flag, text).replace(f"{name}=False", f"no {flag}")
        if "_" in name:  # others are English words, too; within a path it is none of ours
            text = re.sub(rf"(?<![\w/.-]){name}(?![\w/-]|\.\w)", flag, text)
    return " ".join(text.splitlines())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Return its exit status: 0, 2 after an error, 130 if interrupted; `predict` has more."""
    for stream in (sys.stdout, sys.stderr):  # names that the terminal cannot show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # raised in other threads than the main one, which alone is interrupted
            signal.signal(signal.SIGINT, _interrupt)
            signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))  # which may be held back now
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return cli.main(arguments, prog_name="dfdc", standalone_mode=False) or 0
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dfdc"
        click.echo(f"{where}: {error.format_message()}", err=True)
        return FAILED
    except click.Abort:  # interrupted before a command began
        return INTERRUPTED


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise a Ctrl-C, but once if it was pressed twice, not within TensorFlow (may crash) or Keras' files (lose it)."""
    while frame and not str(frame.f_globals.get("__name__")).startswith(("tensorflow.", "keras.src.saving.")):
        frame = frame.f_back
    if (now := time.monotonic()) > _interrupted_at[0] + 2:
        signal.setitimer(signal.ITIMER_REAL, 0.01 if frame else 0)  # asks again
        if frame is None:
            _interrupted_at[0] = now
            raise KeyboardInterrupt


_DEBUG = click.Option(
    ["--debug"],
    is_flag=True,
    envvar="DFDC_DEBUG",
    expose_value=False,
    callback=lambda context, _, value: context.meta.update(debug=value),
    help="Show the traceback of an error; so does DFDC_DEBUG=1.",
)
COUNT, COUNT_OR_ZERO, SECONDS = click.IntRange(1), click.IntRange(0), Number(0, min_open=True)
FOLDER, FILE = click.Path(file_okay=False, path_type=Path), click.Path(dir_okay=False, path_type=Path)
FILE_OR_STDOUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)

faces_option = click.option("--save-path", type=FOLDER, default=DATA / "sample/faces", help="Folder of the faces.")
workers_option = click.option("--workers", type=COUNT, help="Number of processes. By default one per core.")
limit_option = click.option("--time-limit", type=SECONDS, default=60.0, help="Time limit per video, in seconds.")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(dfdc_utils.__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Detect deepfakes in videos.

    Try it: dfdc predict video.mp4
    """
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("save_path", type=FOLDER, default=DATA / "sample")
@workers_option
def sample(save_path: Path, workers: int | None) -> None:
    """Draw the embedded sample into SAVE_PATH: synthetic videos in the layout of DFDC."""
    from dfdc_utils.sample import make_sample

    # In a log file, a progress bar is noise.
    print(make_sample(save_path, workers=workers, show_progress=sys.stderr.isatty()))


@cli.command()
@click.argument("location", type=EXISTING)
@click.option("--save-path", type=FOLDER, help="Folder for the faces. By default data/<name of LOCATION>/faces.")
@click.option("--num-vids", type=COUNT_OR_ZERO, default=500, help="Number of videos, half REAL, half FAKE. 0: all.")
@click.option("--capture-sec", type=SECONDS, default=5.0, help="Seconds to look at, from the start of each video.")
@click.option("--frame-count", type=COUNT, default=16, help="Number of frames in these seconds.")
@click.option("--face-size", type=click.IntRange(16), default=96, help="Side of a face crop, in pixels.")
@click.option("--margin", type=Number(1), default=1.3, help="Side of a crop, in multiples of the face's box.")
@click.option("--detector", type=click.Choice(["auto", "yunet", "haar"]), default="auto", help="Face detector.")
@click.option("--labels", type=EXISTING, help="CSV file with the columns path, label and, if known, original.")
@click.option("--for-model", metavar="MODEL", help="Use the settings of this model: a folder, or 'pretrained'.")
@click.option("--cluster", metavar="ADDRESS", help="Dask scheduler whose workers do the work: tcp://host:8786.")
@click.option("--overwrite", is_flag=True, help="Replace faces that were made with other settings.")
@workers_option
@limit_option
def process(location: Path, save_path: Path | None, num_vids: int, for_model: str | None, **settings: Any) -> None:
    """Extract the faces of the videos in the folder LOCATION.

    Labels come from metadata.json as in DFDC, --labels, or the folders of FaceForensics++ and Celeb-DF, or are missing.
    Writes face crops, and manifest.csv with one row per video. Finished videos are kept: run it again to continue.
    """
    if not location.is_dir():
        raise click.UsageError(f"{location} is a file. Give its folder, or score it: dfdc predict {location}")
    if for_model:
        settings |= _read_settings(for_model)
    from dfdc_utils.processing import processing
    from dfdc_utils.sample import data_folder

    save_path = save_path or data_folder(location, base=DATA) / "faces"
    manifest = processing(location, save_path, num_vids=num_vids or None, show_progress=sys.stderr.isatty(), **settings)
    print(manifest.replace({"label": {"": "no label"}}).value_counts(["label", "status"], sort=False).to_string())
    print(save_path / "manifest.csv")


def _read_settings(model: str) -> dict[str, Any]:
    """Read how a model's sequences are made. No option given beside it may say otherwise."""
    from dfdc_utils.models import ModelFolder

    context, needed = click.get_current_context(), ModelFolder.open(model).sequence.settings
    if needed["detector"] == "auto":  # any will do
        del needed["detector"]
    for name, value in needed.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and context.params[name] != value:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} {context.params[name]}: {model} needs {value}. Leave {flag} out.")
    return needed


@cli.command()
@faces_option
@click.option("--model", type=FOLDER, help="Folder for the model. By default 'model' beside the faces.")
@click.option("--epochs", type=COUNT, default=60, help="Maximum number of epochs.")
@click.option("--patience", type=COUNT_OR_ZERO, default=20, help="Epochs without improvement until it stops. 0: never.")
@click.option("--batch-size", type=COUNT, default=8, help="Sequences per step, over all replicas.")
@click.option("--learning-rate", type=Number(0, min_open=True), default=5e-3, help="The highest learning rate.")
@click.option("--backbone", default="small", help="The CNN: 'small', or a network of keras.applications.")
@click.option("--weights", help="Initial weights of a keras.applications backbone: 'imagenet', or a file.")
@click.option("--head", type=click.Choice(["lstm", "attention", "mean"]), default="lstm", help="Combines the frames.")
@click.option("--self-blend", is_flag=True, help="Train on REAL videos and blends of their faces. Needs no FAKE.")
@click.option("--mixed-precision", is_flag=True, help="Compute the CNN in bfloat16.")
@click.option("--replicas", type=COUNT, help="Number of devices. By default all GPUs, or one CPU.")
@click.option("--no-baseline", is_flag=True, help="Skip the baseline, which averages over frames.")
@click.option("--afresh", is_flag=True, help="Discard an unfinished training instead of continuing it.")
@click.option("--seed", type=COUNT_OR_ZERO, default=0, help="Seed of the split, the batches and the weights.")
def train(save_path: Path, model: Path | None, head: str, no_baseline: bool, afresh: bool, **settings: Any) -> None:
    """Train the CNN-LSTM, and a baseline that averages over frames.

    Splits the videos whose faces `dfdc process` extracted, and writes the model with its calibration and card. After
    an interruption, run the same command to continue.
    """
    build = {name: settings.pop(name) for name in ("backbone", "weights")}
    replicas, settings["patience"] = settings.pop("replicas"), settings["patience"] or None
    _check_weights(build["weights"], "imagenet")
    if build["weights"] and build["backbone"] == "small":
        raise click.UsageError("--weights needs a --backbone of keras.applications: 'small' has no such weights.")
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.sequences import split_by_group
    from dfdc_utils.videos import balance_classes

    manifest = read_manifest(save_path)
    usable = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")]
    if usable.empty:
        raise ValueError(f"{save_path}: no video with a face has a label. Process again with labels: see --labels.")
    chosen = usable if settings["self_blend"] else balance_classes(usable)
    table = split_by_group(chosen, need_fakes=not settings["self_blend"], seed=settings["seed"])
    model = model or save_path.parent / "model"
    _prepare_targets(model / "model.keras")
    from dfdc_utils import models, training

    shared: dict[str, Any] = {"config": training.TrainingConfig(**settings), "resume": not afresh}
    shared["strategy"] = training.choose_strategy(replicas)
    builder, cnn = partial(models.build_cnn_lstm, **build), None
    try:
        if not no_baseline and head != "mean":
            print(f"{model / models.MEAN_BASELINE}: mean over frames", flush=True)
            training.train_baseline(table, save_path, model, build=builder, **shared)
            cnn = models.ModelFolder.open(model / models.MEAN_BASELINE)
        print(f"{model}: {head} over frames", flush=True)
        training.train(table, save_path, model, build=partial(builder, head=head), cnn=cnn, **shared)
    except training.WorkerLost as error:
        if not (left := int(os.environ.get("DFDC_RESTARTS", RESTARTS))):
            raise
        print(f"{error}: waiting for it", flush=True)
        os.environ["DFDC_RESTARTS"] = str(left - 1)
        # TensorFlow cannot continue once a worker is gone: this command begins again in place of this process.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    print(models.ModelFolder.open(model).calibration.in_words(), model / "model.keras", sep="\n")


@cli.command()
@faces_option
@click.option("--model", help="A model's folder, or 'pretrained'. By default 'model' beside the faces.")
@click.option("--results", type=FOLDER, help="Folder for the tables. By default 'results' beside the faces.")
def evaluate(save_path: Path, model: str | None, results: Path | None) -> None:
    """Measure a model on videos that it was not trained on.

    These are its own test split, or for 'pretrained' all labelled videos. Prints each metric with its 95 % interval,
    and compares with baselines. Tables of a model from elsewhere go to a folder of its name, by default in 'results'.
    """
    from dfdc_utils.models import ModelFolder
    from dfdc_utils.processing import read_manifest

    own = save_path.parent / "model"
    read_manifest(save_path)
    folder = ModelFolder.open(model or str(own))
    folder.require_faces(save_path)
    name = "" if folder.path.resolve() == own.resolve() else folder.path.resolve().name
    results = results or save_path.parent / "results" / name
    _prepare_targets(results / "scores.csv")
    click.echo(f"scoring the faces in {save_path} with a model trained on {folder.data}\n", err=True)
    from dfdc_utils import evaluation

    evaluated = evaluation.evaluate(folder, save_path)
    for name in ("summary", "comparison", "parts"):
        if name in evaluated.tables:
            print(evaluated.tables[name].round(3).to_string(index=False, na_rep=""), end="\n\n")
    if folder.baseline:
        print(evaluation.judge(evaluated.comparison))
    if folder.split is not None:
        print(folder.path / "card.md")
    print(evaluated.save(results) / "scores.csv")


@cli.command()
@click.argument("videos", type=Video(exists=True, path_type=Path), nargs=-1, required=True)
@click.option("--model", default=PRETRAINED, help="A model's folder, or 'pretrained' for that in the package.")
@click.option("--whole", is_flag=True, help="Look at the whole video, not only at its first seconds.")
@click.option("--max-people", type=COUNT, default=8, help="Most people to judge in a video, the largest faces first.")
@click.option("--verbose", is_flag=True, help="Explain each verdict.")
@click.option("--csv", type=FILE_OR_STDOUT, metavar="FILE", help="Write one row per video; '-': standard output.")
@click.option("--json", type=FILE_OR_STDOUT, metavar="FILE", help="Write all numbers; '-': standard output.")
@click.option("--html", type=FILE, metavar="FILE", help="Write a page with the videos, faces boxed.")
@workers_option
@limit_option
def predict(videos: tuple[Path, ...], model: str, verbose: bool, html: Path | None, **options: Any) -> int:
    """Score VIDEOS, files or folders, from 0 (real) to 1 (fake).

    Prints one line per video: the verdict, the score, the file.

    \b
    Exit status:  0    no video looks fake
                  1    at least one video looks fake
                  2    the command failed
                  3    no video looks fake, but some were not judged
                  130  interrupted
    """
    targets = {kind: options.pop(kind) for kind in ("csv", "json")}
    prints = [str(target) for target in targets.values()].count("-")
    if prints > 1 or str(html) == "-":
        raise click.UsageError("Only one table can go to standard output, and no page. Name a file for the others.")
    from dfdc_utils.models import ModelFolder
    from dfdc_utils.videos import list_videos

    found = (path for one in videos for path in (list_videos(one) if one.is_dir() else [one]))
    listed = list({path.parent.resolve() / path.name: path.absolute() for path in found}.values())  # each once
    files = [*(one.resolve() for one in (html, *targets.values()) if one), *{path.resolve() for path in listed}]
    if len(set(files)) < len(files):
        raise click.UsageError(f"{max(files, key=files.count)} would be overwritten. Write to another file.")
    folder = ModelFolder.open(model)
    _prepare_targets(html, *targets.values())
    from dfdc_utils.prediction import Detector

    detector = Detector(folder)
    predictions = detector.predict_many(listed, show_progress=sys.stderr.isatty(), **options)
    twice = {name for name, count in Counter(path.name for path in listed).items() if count > 1}
    results = []
    try:
        for path, result in zip(listed, predictions, strict=True):
            results.append(result)
            if not prints:
                tqdm.write(_in_words(result, str(path) if path.name in twice else path.name, verbose=verbose))
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(results)} of {len(listed)} videos are done") from None
    finally:
        predictions.close()
        _write_tables(results, **targets)
    if html:
        from dfdc_utils.plots import write_page

        write_page(html, results, detector.gather_evidence(results, show_progress=sys.stderr.isatty()))
        click.echo(f"written: {html}", err=True)
    counts = Counter(one.verdict for one in results)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    partial = sum(one.is_partial for one in results)
    rest = f" {partial} not looked at to the end: try --whole." if partial else ""
    click.echo(f"\n{len(results)} video{'s' * (len(results) != 1)}: {summary}.{rest} {folder.caveats}", err=True)
    return SOME_FAKE if counts["fake"] else SOME_NOT_JUDGED if counts["not judged"] else NONE_FAKE


def _in_words(prediction: Prediction, name: str, *, verbose: bool) -> str:
    error = in_shell_words(prediction.error.removeprefix(f"{prediction.path.name}: "), predict)
    score = "   -" if prediction.score is None else f"{prediction.score:.2f}"
    left_out = f"{prediction.left_out} more not judged, see --max-people" if prediction.left_out else ""
    words = " ".join(filter(None, (error, prediction.windows_in_words(), left_out)))
    line = f"{prediction.verdict:17}  {score}  {': '.join(filter(None, (name, words)))}"
    if verbose:
        line = f"{name}: {in_shell_words(prediction.in_words(), predict)}"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)  # no line that a name forges


def _write_tables(predictions: Sequence[Prediction], *, csv: Path | None, json: Path | None) -> None:
    import pandas as pd

    from dfdc_utils.files import write_atomically

    texts = {}
    if csv:
        texts[csv] = pd.DataFrame([one.to_row() for one in predictions]).to_csv(index=False)
    if json:
        texts[json] = dumps([one.to_dict() for one in predictions], indent=1, ensure_ascii=False) + "\n"
    for target, text in texts.items() if predictions else ():
        if str(target) == "-":
            sys.stdout.write(text)
        else:
            write_atomically(target, text, errors="backslashreplace")  # names that are not UTF-8
            click.echo(f"written: {target}", err=True)


@cli.command()
@click.argument("location", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--save-path", type=FOLDER, default=DATA / "pretrained", help="Folder for the model.")
@click.option(
    "--weights",
    default=PRETRAINED,
    help="Initial weights: 'pretrained', such a model's folder, 'imagenet', a file with MobileNetV2's, or 'none'.",
)
@click.option("--mesh", type=EXISTING, help="MediaPipe's face_landmark.tflite, for blends of parts of a face.")
@click.option("--talking", type=EXISTING, help="Real clips of people speaking: the model then counts flicker, too.")
@click.option("--data", help="What the photographs are, in a few words; shown beside each score.")
@click.option("--notes", type=EXISTING, help="Markdown for the model card: whose photographs, on what terms.")
@click.option("--workers", type=COUNT_OR_ZERO, default=1, help="Processes that prepare batches. 0: none.")
def pretrain(location: Path, save_path: Path, weights: str, **options: Any) -> None:
    """Train on face photographs in LOCATION and blends of them.

    Needs no video and no deepfake. Takes hours; after an interruption, run the same command to continue.
    """
    if not Path(weights).is_dir():
        _check_weights(weights, PRETRAINED, "imagenet", "none")
    options["notes"] = options["notes"].read_text(encoding="utf-8") if options["notes"] else ""
    _prepare_targets(save_path / "model.keras")
    from dfdc_utils import pretraining

    options["mesh"] = pretraining.FaceMesh(options["mesh"]) if options["mesh"] else None
    encoder = pretraining.EncoderConfig(weights=None if weights == "none" else weights)
    pretraining.pretrain(location, save_path, config=pretraining.PretrainingConfig(encoder=encoder), **options)
    print(save_path / "card.md")


def _check_weights(weights: str | None, *names: str) -> None:
    if weights and weights not in names and not Path(weights).is_file():
        raise click.UsageError(f"--weights {weights}: there is no such file. Name a file, or {' or '.join(names)}.")


def _prepare_targets(*targets: Path | None) -> None:
    """Make the folders that files will be written to, and check that they can be, before the work begins."""
    from dfdc_utils.files import prepare_target

    for target in targets:
        if target and str(target) != "-":
            prepare_target(target.parent, what=target.name)


if __name__ == "__main__":
    sys.exit(main())

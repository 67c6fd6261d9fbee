"""The command line: python -m dfdc_utils sample | process | pack | train | evaluate | predict | pretrain.

Each answers --help.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

DATA = Path("data")


# Exit statuses of `predict`.
NONE_FAKE, SOME_FAKE, SOME_NOT_SCORED = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it went well, 2 if something was wrong with what it was given. `predict` has more."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        status: int | None = options.run(options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"dfdc_utils {options.command}: {error}", file=sys.stderr)
        return 2
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dfdc_utils", description="Deepfake detection on DFDC videos.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.set_defaults(run=run)
        return command

    sample = add("sample", _sample, "draw the embedded sample: synthetic clips in DFDC's layout")
    sample.add_argument("save_path", type=Path, nargs="?", default=DATA / "sample", help="folder to draw it into")
    sample.add_argument("--workers", type=int, help="processes; one a core by default")

    process = add("process", _process, "find the faces of every video in a folder; write crops and manifest.csv")
    process.add_argument("location", type=Path, help="folder with DFDC parts, or any folder of videos")
    process.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder for the faces")
    process.add_argument(
        "--num-vids",
        type=int,
        default=500,
        help="how many videos; of more, half REAL and half FAKE are chosen; 0 for all",
    )
    process.add_argument("--capture-sec", type=float, default=5.0, help="seconds looked at, from the start")
    process.add_argument("--frame-count", type=int, default=16, help="frames taken from these seconds")
    process.add_argument("--face-size", type=int, default=96, help="side of a face crop, pixels")
    process.add_argument("--margin", type=float, default=1.3, help="side of a crop in multiples of the face's box")
    process.add_argument("--detector", choices=("auto", "yunet", "haar"), default="auto", help="face detector")
    process.add_argument(
        "--fill-policy",
        choices=("past_mean", "interpolate", "hold", "drop"),
        default="past_mean",
        help="for missed faces",
    )
    process.add_argument("--max-tracks", type=int, default=2, help="people saved a video")
    process.add_argument(
        "--for-model", metavar="MODEL", help="a folder, or pretrained: prepare faces as that model needs them instead"
    )
    process.add_argument("--workers", type=int, help="processes; one a core by default")
    process.add_argument("--cluster", help="address of a Dask scheduler, whose workers then do the work: tcp://…")
    process.add_argument("--time-limit", type=float, default=60.0, help="seconds a video may take")
    process.add_argument("--overwrite", action="store_true", help="make faces again that other settings made")
    process.add_argument("--seed", type=int, default=0, help="which videos are chosen")

    pack = add("pack", _pack, "pack faces into a few large TFRecord files, for network file systems")
    pack.add_argument("target", type=Path, help="folder for them, which then serves as --save-path")
    pack.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")

    train = add("train", _train, "split by original, train the CNN-LSTM, write the model and history.csv")
    train.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")
    train.add_argument("--model", type=Path, default=DATA / "model", help="folder for the model")
    train.add_argument("--epochs", type=int, default=60, help="at most so many passes over the training videos")
    train.add_argument("--patience", type=int, default=20, help="epochs without a better one before it stops; 0: never")
    train.add_argument("--batch-size", type=int, default=8, help="sequences a step, over all replicas")
    train.add_argument("--learning-rate", type=float, default=2e-3, help="at its highest")
    train.add_argument("--backbone", default="small", help="the CNN: small, or a name in keras.applications")
    train.add_argument("--weights", help="of that backbone to start from: imagenet, or a file; none by default")
    train.add_argument("--head", choices=("lstm", "attention", "mean"), default="lstm", help="what sees the frames")
    train.add_argument("--self-blend", action="store_true", help="make the fakes from the real videos themselves")
    train.add_argument("--mixed-precision", action="store_true", help="compute the CNN in bfloat16")
    train.add_argument("--replicas", type=int, help="devices; all GPUs by default, else one")
    train.add_argument("--no-baseline", action="store_true", help="leave out the mean over frames that it must beat")
    train.add_argument("--afresh", action="store_true", help="do not go on with a training that was cut short")
    train.add_argument("--restarts", type=int, default=3, help="with TF_CONFIG: how often to go on after a worker died")
    train.add_argument("--seed", type=int, default=0, help="of the split and of the weights")

    text = "score the model's own test split, or what is labelled if it has none; print the figures, write scores.csv"
    evaluate = add("evaluate", _evaluate, text)
    evaluate.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")
    evaluate.add_argument(
        "--model", default=DATA / "model", help="folder of the model, or pretrained: that of the package"
    )
    evaluate.add_argument("--results", type=Path, default=DATA / "results", help="folder for the tables")

    predict = add("predict", _predict, "score videos: which face looks fake, when, and how sure that is")
    predict.epilog = (
        f"Exit status: {NONE_FAKE} if no video looks fake, {SOME_FAKE} if one does, {SOME_NOT_SCORED} if one could not "
        "be scored (no face, not readable), 2 if nothing could be done."
    )
    predict.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="a file, or a folder of them")
    predict.add_argument(
        "--model", default=DATA / "model", help="folder of the model, or pretrained: that of the package"
    )
    predict.add_argument("--whole", action="store_true", help="look at all of each video, not only its first seconds")
    predict.add_argument("--json", type=Path, metavar="FILE", help="write all figures there; - for standard output")
    predict.add_argument("--csv", type=Path, metavar="FILE", help="write a row a video there; - for standard output")
    predict.add_argument("--html", type=Path, metavar="FILE", help="write a page there, with faces and heat maps")
    predict.add_argument("--workers", type=int, help="processes; one a core by default")
    predict.add_argument("--time-limit", type=float, default=60.0, help="seconds a video may take")

    pretrain = add("pretrain", _pretrain, "train on photographs of real faces and blends of them")
    pretrain.add_argument("location", type=Path, help="folder of face photographs, or of faces that process made")
    pretrain.add_argument("--save-path", type=Path, default=DATA / "pretrained", help="folder for the model")
    pretrain.add_argument(
        "--weights", default="imagenet", help="MobileNetV2's to start from: imagenet, a file, or none"
    )
    pretrain.add_argument("--steps", type=int, default=36000, help="batches for the frame encoder")
    pretrain.add_argument("--people", type=int, default=16, help="real faces a batch, beside as many blends")
    pretrain.add_argument("--face-size", type=int, default=112, help="side of a face crop, pixels")
    pretrain.add_argument("--frame-count", type=int, default=16, help="frames of a sequence")
    pretrain.add_argument("--data", help="what the photographs are, in a line, wherever a score is shown")
    pretrain.add_argument("--notes", type=Path, help="Markdown for the card: whose photographs, on what terms")
    pretrain.add_argument("--workers", type=int, default=1, help="processes that make pairs; 0: none beside this one")
    pretrain.add_argument("--seed", type=int, default=0, help="of the split, the blends and the weights")
    return parser


def _pretrain(options: argparse.Namespace) -> None:
    from dfdc_utils.encoder import EncoderConfig
    from dfdc_utils.pretraining import PretrainingConfig, pretrain

    weights = None if options.weights == "none" else options.weights
    names = ("steps", "people", "face_size", "seed")
    encoder = EncoderConfig(weights=weights, **{name: getattr(options, name) for name in names})
    config = PretrainingConfig(encoder=encoder, frame_count=options.frame_count)
    notes = options.notes.read_text(encoding="utf-8") if options.notes else ""
    pretrain(
        options.location, options.save_path, config=config, data=options.data, notes=notes, workers=options.workers
    )
    print(options.save_path / "card.md")


def _sample(options: argparse.Namespace) -> None:
    from dfdc_utils.sample import make_sample

    print(make_sample(options.save_path, workers=options.workers))


def _process(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from dfdc_utils.config import SequenceConfig
    from dfdc_utils.model_files import model_folder
    from dfdc_utils.processing import processing

    names = ["save_path", "capture_sec", "frame_count", "face_size", "margin", "detector", "fill_policy", "max_tracks"]
    names += ["workers", "cluster", "time_limit", "overwrite", "seed"]
    settings = {name: getattr(options, name) for name in names}
    if options.for_model:
        needed = asdict(SequenceConfig.load(model_folder(options.for_model) / "sequence.json"))
        if needed["detector"] == "auto":  # any will do
            del needed["detector"]
        settings |= needed
    manifest = processing(options.location, num_vids=options.num_vids or None, **settings)
    print(manifest["status"].value_counts().to_string())
    print(options.save_path / "manifest.csv")


def _pack(options: argparse.Namespace) -> None:
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.shards import pack_faces
    from dfdc_utils.storage import write_atomically

    manifest = read_manifest(options.save_path)
    print(pack_faces(manifest[manifest["status"] == "ok"], options.save_path, options.target))
    write_atomically(options.target / "manifest.csv", (options.save_path / "manifest.csv").read_text(encoding="utf-8"))


def _train(options: argparse.Namespace) -> None:
    from dfdc_utils.catalog import balance_classes, split_by_original
    from dfdc_utils.config import TrainingConfig
    from dfdc_utils.models import build_cnn_lstm
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.strategies import WorkerLost, choose_strategy
    from dfdc_utils.training import MEAN_BASELINE, train

    strategy = choose_strategy(options.replicas)
    manifest = read_manifest(options.save_path)
    usable = balance_classes(manifest[(manifest["status"] == "ok") & (manifest["label"] != "")])
    names = ("epochs", "batch_size", "learning_rate", "self_blend", "mixed_precision", "seed")
    chosen = {name: getattr(options, name) for name in names}
    config = TrainingConfig(patience=options.patience or None, **chosen)
    table = split_by_original(usable, seed=options.seed)
    heads = {options.model: options.head}
    if not options.no_baseline:
        heads[options.model / MEAN_BASELINE] = "mean"
    for path, head in heads.items():
        print(f"{path}: {head} over frames")
        build = partial(build_cnn_lstm, backbone=options.backbone, weights=options.weights, head=head)
        try:
            train(
                table, options.save_path, path, config=config, strategy=strategy, build=build, resume=not options.afresh
            )
        except WorkerLost as error:
            _restart(options.restarts, error)
    print(options.model / "model.keras")


def _restart(restarts: int, error: Exception) -> None:
    """Begin this command again in this process's place: TensorFlow cannot go on once a worker is gone."""
    if not restarts:
        raise error
    print(f"{error}: waiting for it", flush=True)
    again = [*sys.orig_argv[1:], "--restarts", str(restarts - 1)]  # of two, the last one counts
    os.execv(sys.executable, [sys.executable, *again])


def _evaluate(options: argparse.Namespace) -> None:
    import pandas as pd

    from dfdc_utils.card import write_card
    from dfdc_utils.catalog import report_leaks
    from dfdc_utils.model_files import describe_data, model_folder
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.results import compare, compare_parts, judge, score_baselines, score_videos, summarise
    from dfdc_utils.storage import write_atomically

    folder = model_folder(options.model)
    if not (folder / "training.json").is_file():
        raise FileNotFoundError(f"{folder} holds no finished model: run python -m dfdc_utils train first")
    table = read_manifest(options.save_path)
    split = None
    if (folder / "split.csv").is_file():
        split = pd.read_csv(folder / "split.csv", dtype=str, keep_default_na=False)
        chosen = split.loc[split["split"] == "test", ["video", "split"]]
        table = table.merge(chosen, on="video")
        if len(table) < len(chosen):
            raise ValueError(f"{len(chosen) - len(table)} of the model's test videos are not in {options.save_path}")
    else:  # trained on photographs: no video was seen
        table = table[(table["status"] == "ok") & (table["label"] != "")].reset_index(drop=True)
        if table["label"].nunique() < 2 or table["original"].nunique() < 2:
            raise ValueError(f"{options.save_path}: figures need REAL and FAKE videos, of two originals or more")
        print(f"{len(table)} labelled videos, scored by a model of {describe_data(folder)}\n")
    scores = score_videos(table, options.save_path, options.model)
    baselines = score_baselines(scores, options.save_path, options.model)
    tables = {"summary": summarise(scores), "baselines": compare(scores, baselines)}
    if table["part"].nunique() > 1:
        tables["parts"] = compare_parts(scores)
    options.results.mkdir(parents=True, exist_ok=True)
    for name, rows in {"scores": scores, **tables}.items():
        write_atomically(options.results / f"{name}.csv", rows.to_csv(index=False))
    for rows in tables.values():
        print(rows.round(3).to_string(index=False, na_rep=""), end="\n\n")
    if "mean over frames" in baselines:
        print(judge(tables["baselines"]))
    if split is not None:
        leaks = report_leaks(split)
        print(write_card(folder, summary=tables["summary"], comparison=tables["baselines"], leaks=leaks))
    print(options.results / "scores.csv")


def _predict(options: argparse.Namespace) -> int:
    from dfdc_utils.catalog import read_catalog
    from dfdc_utils.prediction import Detector
    from dfdc_utils.report import write_report
    from dfdc_utils.verdicts import as_table

    named = [
        Path(path) for video in options.videos for path in (read_catalog(video)["path"] if video.is_dir() else [video])
    ]
    paths = list(dict.fromkeys(path.absolute() for path in named))  # each once
    detector = Detector.load(options.model)
    settings = {"whole": options.whole, "workers": options.workers, "time_limit": options.time_limit}
    talks = all(str(target) != "-" for target in (options.json, options.csv))
    predictions = []
    for prediction in detector.predict_many(paths, show_progress=len(paths) > 1, **settings):
        predictions.append(prediction)
        if talks:
            tqdm.write(f"{prediction.path.name}: {prediction.in_words()}")
    table = as_table(predictions)
    if options.csv:
        _write(options.csv, table.to_csv(index=False))
    if options.json:
        content = [prediction.to_dict() for prediction in predictions]
        _write(options.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if options.html:
        print(write_report(options.html, predictions, detector.gather_evidence(predictions)), file=sys.stderr)
    if (table["status"] != "ok").any():
        return SOME_NOT_SCORED
    return SOME_FAKE if (table["verdict"] == "fake").any() else NONE_FAKE


def _write(target: Path, text: str) -> None:
    from dfdc_utils.storage import write_atomically

    if str(target) == "-":
        sys.stdout.write(text)
    else:
        write_atomically(target, text)


if __name__ == "__main__":
    sys.exit(main())

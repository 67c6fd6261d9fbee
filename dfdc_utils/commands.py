"""What the commands of the command line do, each with the options that `__main__` reads for it.

What a command needs is imported within it, so that none waits for what another needs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

# Exit statuses of `predict`.
NONE_FAKE, SOME_FAKE, SOME_NOT_SCORED = 0, 1, 3


def sample(options: argparse.Namespace) -> None:
    from dfdc_utils.sample import make_sample

    print(make_sample(options.save_path, workers=options.workers))


def process(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from dfdc_utils.faces.config import SequenceConfig
    from dfdc_utils.models.folder import model_folder
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


def pack(options: argparse.Namespace) -> None:
    from dfdc_utils.faces.storage import write_atomically
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.sequences.shards import pack_faces

    manifest = read_manifest(options.save_path)
    print(pack_faces(manifest[manifest["status"] == "ok"], options.save_path, options.target))
    write_atomically(options.target / "manifest.csv", (options.save_path / "manifest.csv").read_text(encoding="utf-8"))


def train(options: argparse.Namespace) -> None:
    from dfdc_utils.faces.config import TrainingConfig
    from dfdc_utils.models.cnn_lstm import build_cnn_lstm
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.training.fit import MEAN_BASELINE, train
    from dfdc_utils.training.strategies import WorkerLost, choose_strategy
    from dfdc_utils.videos.catalog import balance_classes, split_by_original

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


def evaluate(options: argparse.Namespace) -> None:
    from dfdc_utils.evaluation.results import (
        choose_videos,
        compare,
        compare_parts,
        judge,
        score_baselines,
        score_videos,
        summarise,
    )
    from dfdc_utils.faces.storage import write_atomically
    from dfdc_utils.models.card import write_card
    from dfdc_utils.models.folder import describe_data, model_folder, read_split
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.videos.catalog import report_leaks

    folder = model_folder(options.model)
    table = choose_videos(read_manifest(options.save_path), options.save_path, options.model)
    split = read_split(folder)
    if split is None:
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


def predict(options: argparse.Namespace) -> int:
    from dfdc_utils.plots.page import write_report
    from dfdc_utils.prediction.detector import Detector
    from dfdc_utils.prediction.verdicts import as_table
    from dfdc_utils.videos.catalog import read_catalog

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
    from dfdc_utils.faces.storage import write_atomically

    if str(target) == "-":
        sys.stdout.write(text)
    else:
        write_atomically(target, text)


def pretrain(options: argparse.Namespace) -> None:
    from dfdc_utils.pretraining import PretrainingConfig, pretrain
    from dfdc_utils.pretraining.encoder import EncoderConfig

    weights = None if options.weights == "none" else options.weights
    names = ("steps", "people", "face_size", "seed")
    encoder = EncoderConfig(weights=weights, **{name: getattr(options, name) for name in names})
    config = PretrainingConfig(encoder=encoder, frame_count=options.frame_count)
    notes = options.notes.read_text(encoding="utf-8") if options.notes else ""
    pretrain(
        options.location, options.save_path, config=config, data=options.data, notes=notes, workers=options.workers
    )
    print(options.save_path / "card.md")

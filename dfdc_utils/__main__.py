"""The command line: python -m dfdc_utils sample | process | train | evaluate. Each answers --help."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

DATA = Path("data")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it went well, 2 if something was wrong with what it was given."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"dfdc_utils {options.command}: {error}", file=sys.stderr)
        return 2
    return 0


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
    process.add_argument("--workers", type=int, help="processes; one a core by default")
    process.add_argument("--cluster", help="address of a Dask scheduler, whose workers then do the work: tcp://…")
    process.add_argument("--time-limit", type=float, default=60.0, help="seconds a video may take")
    process.add_argument("--overwrite", action="store_true", help="make faces again that other settings made")
    process.add_argument("--seed", type=int, default=0, help="which videos are chosen")

    train = add("train", _train, "split by original, train the CNN-LSTM, write the model and history.csv")
    train.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")
    train.add_argument("--model", type=Path, default=DATA / "model", help="folder for the model")
    train.add_argument("--epochs", type=int, default=40)
    train.add_argument("--batch-size", type=int, default=8, help="sequences a step, over all replicas")
    train.add_argument("--learning-rate", type=float, default=2e-3)
    train.add_argument("--replicas", type=int, help="devices; all GPUs by default, else one")
    train.add_argument("--seed", type=int, default=0, help="of the split and of the weights")

    evaluate = add("evaluate", _evaluate, "score the model's own test split; print the figures, write scores.csv")
    evaluate.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")
    evaluate.add_argument("--model", type=Path, default=DATA / "model", help="folder of the model")
    evaluate.add_argument("--results", type=Path, default=DATA / "results", help="folder for the tables")
    return parser


def _sample(options: argparse.Namespace) -> None:
    from dfdc_utils.sample import make_sample

    print(make_sample(options.save_path, workers=options.workers))


def _process(options: argparse.Namespace) -> None:
    from dfdc_utils.processing import processing

    names = ["save_path", "capture_sec", "frame_count", "face_size", "margin", "detector", "fill_policy", "max_tracks"]
    names += ["workers", "cluster", "time_limit", "overwrite", "seed"]
    settings = {name: getattr(options, name) for name in names}
    manifest = processing(options.location, num_vids=options.num_vids or None, **settings)
    print(manifest["status"].value_counts().to_string())
    print(options.save_path / "manifest.csv")


def _train(options: argparse.Namespace) -> None:
    from dfdc_utils import training
    from dfdc_utils.catalog import balance_classes, split_by_original
    from dfdc_utils.processing import read_manifest

    strategy = training.choose_strategy(options.replicas)
    manifest = read_manifest(options.save_path)
    usable = balance_classes(manifest[(manifest["status"] == "ok") & (manifest["label"] != "")])
    names = ("epochs", "batch_size", "learning_rate", "seed")
    config = training.TrainingConfig(**{name: getattr(options, name) for name in names})
    table = split_by_original(usable, seed=options.seed)
    training.train(table, options.save_path, options.model, config=config, strategy=strategy)
    print(options.model / "model.keras")


def _evaluate(options: argparse.Namespace) -> None:
    import pandas as pd

    from dfdc_utils.processing import read_manifest
    from dfdc_utils.results import score_videos, summarise
    from dfdc_utils.storage import write_atomically

    if not (options.model / "training.json").is_file():
        raise FileNotFoundError(f"{options.model} holds no finished model: run python -m dfdc_utils train first")
    split = pd.read_csv(options.model / "split.csv", dtype=str, keep_default_na=False)
    chosen = split.loc[split["split"] == "test", ["video", "split"]]
    table = read_manifest(options.save_path).merge(chosen, on="video")
    if len(table) < len(chosen):
        raise ValueError(f"{len(chosen) - len(table)} of the model's test videos are not in {options.save_path}")
    scores = score_videos(table, options.save_path, options.model)
    options.results.mkdir(parents=True, exist_ok=True)
    write_atomically(options.results / "scores.csv", scores.to_csv(index=False))
    summary = summarise(scores)
    write_atomically(options.results / "summary.csv", summary.to_csv(index=False))
    print(summary.round(3).to_string(index=False))
    print(options.results / "scores.csv")


if __name__ == "__main__":
    sys.exit(main())

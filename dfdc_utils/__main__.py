"""The command line: python -m dfdc_utils sample | process | pack | train | evaluate | predict | pretrain.

Each answers --help.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dfdc_utils import commands

DATA = Path("data")


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
    subparsers = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = subparsers.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.set_defaults(run=run)
        return command

    sample = add("sample", commands.sample, "draw the embedded sample: synthetic clips in DFDC's layout")
    sample.add_argument("save_path", type=Path, nargs="?", default=DATA / "sample", help="folder to draw it into")
    sample.add_argument("--workers", type=int, help="processes; one a core by default")

    process = add(
        "process", commands.process, "find the faces of every video in a folder; write crops and manifest.csv"
    )
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

    pack = add("pack", commands.pack, "pack faces into a few large TFRecord files, for network file systems")
    pack.add_argument("target", type=Path, help="folder for them, which then serves as --save-path")
    pack.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")

    train = add("train", commands.train, "split by original, train the CNN-LSTM, write the model and history.csv")
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
    evaluate = add("evaluate", commands.evaluate, text)
    evaluate.add_argument("--save-path", type=Path, default=DATA / "faces", help="folder of the faces")
    evaluate.add_argument(
        "--model", default=DATA / "model", help="folder of the model, or pretrained: that of the package"
    )
    evaluate.add_argument("--results", type=Path, default=DATA / "results", help="folder for the tables")

    predict = add("predict", commands.predict, "score videos: which face looks fake, when, and how sure that is")
    predict.epilog = (
        f"Exit status: {commands.NONE_FAKE} if no video looks fake, {commands.SOME_FAKE} if one does, "
        f"{commands.SOME_NOT_SCORED} if one could not be scored (no face, not readable), 2 if nothing could be done."
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

    pretrain = add("pretrain", commands.pretrain, "train on photographs of real faces and blends of them")
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


if __name__ == "__main__":
    sys.exit(main())

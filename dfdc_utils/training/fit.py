"""Training under a distribution strategy; `models/folder.py` lists the files that it leaves.

While a training is under way, its folder holds `progress.npz`, from which a training that was killed goes on, and the
best weights so far. `training.json` is written last: a folder without it holds no finished model.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.models import MEAN_BASELINE, ModelFolder, StartFrom, build_cnn_lstm, calibrate, read_note, write_card
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import report_leaks
from dfdc_utils.training.checkpoints import Progress, load_progress, save_progress
from dfdc_utils.training.loop import TrainingConfig, TrainingLoop
from dfdc_utils.training.strategies import choose_strategy, explaining_lost_workers, workers_in_tf_config, writes_files
from dfdc_utils.videos import name_data

with quiet_import():
    import keras
    import tensorflow as tf

SPLIT_COLUMNS = ("video", "label", "original", "person", "part", "group", "split")
# Within an epoch a training that is killed loses at most so much; a save takes a fraction of a second.
SAVE_SEC = 600


def train(
    table: pd.DataFrame,
    save_path: str | Path,
    model_path: str | Path = "data/model",
    *,
    config: TrainingConfig | None = None,
    strategy: tf.distribute.Strategy | None = None,
    build: Callable[[int, int], keras.Model] = build_cnn_lstm,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = True,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the `train` rows of `table`, keep the weights that are best on `validation`, return the history.

    `table` is a manifest of `ok` videos with a `split` column, `save_path` the folder of their faces. `build` makes the
    model from a frame count and a face size; `start_from("pretrained")` goes on from weights that know real faces. The
    history has a row an epoch: `epoch`, `loss`, `accuracy`, `val_loss`,
    `val_accuracy`, also written to `history.csv` in `model_path`. `callbacks` are Keras' own kind; they see epochs and
    batches, and may set `stop_training`.

    Killed at any moment and called again with the same arguments, it goes on from the last state saved (each epoch, and
    every ten minutes), to the very weights and history of an undisturbed training; `resume=False` starts afresh. Any
    number of replicas computes the same for the same `batch_size`, but for rounding. Several workers do not begin a
    training again that is through: one that is restarted must find what the others find.

    Raises `ValueError` if a split is missing or the splits leak, `ConfigMismatch` if the faces are not such as the
    model to start from was trained on, `WorkerLost` if another worker dies. Taught in notebook 04.
    """
    config = config or TrainingConfig()
    strategy = strategy or choose_strategy()
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    parts = _check_splits(table, need_fakes=not config.self_blend)
    origin = _check_start(build, sequence, config) if isinstance(build, StartFrom) else {}
    with explaining_lost_workers():
        loop = TrainingLoop(parts, save_path, sequence, config, strategy, build)
        trained_on = _describe(table, sequence)
        # Layers that a process builds a second time get another number.
        architecture = re.sub(r'_\d+(?=")', "", loop.model.to_json())
        fingerprint = _digest(trained_on, json.dumps(asdict(config)), architecture, *origin.values())
        run = _Run(Path(model_path), fingerprint, writes=writes_files(strategy), show=show_progress)
        progress = run.resume() if resume else None
        if progress is None and resume and workers_in_tf_config() > 1 and run.is_finished():
            return pd.read_csv(Path(model_path) / "history.csv")
        progress = run.begin(loop, progress)
        run.write("split.csv", _split_columns(table).to_csv(index=False))
        run.write("sequence.json", json.dumps(asdict(sequence), indent=1))
        _train_epochs(loop, progress, run, callbacks)
    history = pd.DataFrame(progress.history)
    run.write("history.csv", history.to_csv(index=False))
    counted = "validation videos" if not config.self_blend else "validation videos and self-blends of them"
    run.write("calibration.json", replace(calibrate(loop.labels, progress.best_scores), counted=counted).to_json())
    data = name_data(table) + (f", begun from a model trained on {origin['data']}" if origin else "")
    note = {"fingerprint": fingerprint, "trained_on": trained_on, "data": data, "model": loop.model.name}
    note |= {"begun_from": origin} if origin else {}
    run.finish({**note, **asdict(config), "replicas": strategy.num_replicas_in_sync})
    return history


def train_missing(
    table: pd.DataFrame, save_path: str | Path, model_path: str | Path = "data/model", **settings: Any
) -> None:
    """Train the CNN-LSTM and, below it, its baseline, the mean over frames; each only where it is not there already.

    `settings` are those of `train`, which this raises like. Taught in notebook 05.
    """
    for path, head in ((Path(model_path), "lstm"), (Path(model_path) / MEAN_BASELINE, "mean")):
        if not is_trained(table, save_path, path):
            train(table, save_path, path, build=partial(build_cnn_lstm, head=head), **settings)


def is_trained(table: pd.DataFrame, save_path: str | Path, model_path: str | Path = "data/model") -> bool:
    """Whether `model_path` holds a finished model of just these videos, splits and sequences. Taught in notebook 05."""
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    return read_note(Path(model_path)).get("trained_on") == _describe(table, sequence)


def _train_epochs(
    loop: TrainingLoop, progress: Progress, run: _Run, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    config = loop.config
    listeners = keras.callbacks.CallbackList(list(callbacks), model=loop.model, epochs=config.epochs)
    loop.model.stop_training = False
    loop.start(progress)
    listeners.on_train_begin()
    while len(progress.history) < config.epochs and not (_has_settled(progress, config) or loop.model.stop_training):
        started = time.perf_counter()
        epoch = len(progress.history)
        listeners.on_epoch_begin(epoch)
        for step in range(progress.step - epoch * loop.steps, loop.steps):
            listeners.on_train_batch_begin(step)
            listeners.on_train_batch_end(step, loop.take_step(progress))
            if run.is_due and step + 1 < loop.steps:
                run.save(progress, loop)
        scores = loop.score_validation()
        row = {
            "epoch": epoch + 1,
            "loss": progress.sums[0],
            "accuracy": progress.sums[1],
            "val_loss": float(log_loss(loop.labels, scores, labels=[0, 1])),
            "val_accuracy": float(((scores > 0.5) == (loop.labels > 0.5)).mean()),
        }
        best = row["val_loss"] < min((past["val_loss"] for past in progress.history), default=np.inf)
        if best:
            progress.best_scores = scores.tolist()
            run.keep(loop.model)
        progress.history.append(row)
        progress.sums = [0.0, 0.0]
        run.save(progress, loop)
        listeners.on_epoch_end(epoch, row)
        figures = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "epoch")
        seconds = time.perf_counter() - started
        run.say(f"epoch {epoch + 1:2d}/{config.epochs}  {figures}  {seconds:4.1f} s{'  best' if best else ''}")
    listeners.on_train_end()


def _has_settled(progress: Progress, config: TrainingConfig) -> bool:
    """Whether none of the last `patience` epochs was the best so far."""
    losses = [row["val_loss"] for row in progress.history]
    return bool(losses) and config.patience is not None and len(losses) - int(np.argmin(losses)) > config.patience


class _Run:
    """What a training under way reads and writes. Of several workers only the first writes and prints; all may read."""

    def __init__(self, path: Path, fingerprint: str, *, writes: bool, show: bool) -> None:
        self._path, self._fingerprint, self._writes, self._show = path, fingerprint, writes, show and writes
        self._saved = time.monotonic()

    def resume(self) -> Progress | None:
        """The state that a training like this one left here."""
        return load_progress(self._path / "progress.npz", self._fingerprint)

    def is_finished(self) -> bool:
        """Whether a training like this one has finished."""
        return read_note(self._path).get("fingerprint") == self._fingerprint

    def begin(self, loop: TrainingLoop, progress: Progress | None) -> Progress:
        """Make the folder ready and say where the training begins."""
        self.say(f"train: {loop.store}\nvalidation: {loop.validation}")
        if self._writes:
            prepare_target(self._path, what="the model")
            # The note first: without it no finished model is here, whatever else is still to be removed.
            for name in ("training.json", "calibration.json", "card.md", "ood.npz", "history.csv"):
                (self._path / name).unlink(missing_ok=True)
        if progress is None:
            return Progress()
        epochs = len(progress.history)
        self.say(f"going on after {epochs} epochs and {progress.step - epochs * loop.steps} steps")
        return progress

    def say(self, text: str) -> None:
        if self._show:
            print(text)

    def write(self, name: str, text: str) -> None:
        if self._writes:
            write_atomically(self._path / name, text)

    @property
    def is_due(self) -> bool:
        return time.monotonic() > self._saved + SAVE_SEC

    def save(self, progress: Progress, loop: TrainingLoop) -> None:
        if self._writes:
            progress.variables = loop.state()
            save_progress(self._path / "progress.npz", progress, self._fingerprint)
        self._saved = time.monotonic()

    def keep(self, model: keras.Model) -> None:
        """Write the model whole or not at all."""
        if self._writes:
            with replacing(self._path / "model.keras") as partial:
                model.save(partial)

    def finish(self, note: dict[str, Any]) -> None:
        self.write("training.json", json.dumps(note, indent=1))
        if self._writes:
            write_card(ModelFolder.open(self._path))
            (self._path / "progress.npz").unlink(missing_ok=True)


def _check_splits(table: pd.DataFrame, *, need_fakes: bool) -> dict[str, pd.DataFrame]:
    if "split" not in table:
        raise ValueError("the table has no split column: use split_by_group first")
    leaks = report_leaks(table).query("not allowed and shared > 0")
    if not leaks.empty:
        raise ValueError(f"the splits leak ({leaks['check'].iloc[0]}, {leaks['example'].iloc[0]}): use split_by_group")
    parts = {name: table[table["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        missing = ({"REAL", "FAKE"} if need_fakes else {"REAL"}) - set(part["label"])
        if missing:
            raise ValueError(f"the {name} split has no {' and no '.join(sorted(missing))} video: process more videos")
    return parts


def _check_start(build: StartFrom, sequence: SequenceConfig, config: TrainingConfig) -> dict[str, str]:
    if config.mixed_precision:
        raise ValueError("a model that is trained already keeps its precision: leave mixed_precision out")
    build.folder.sequence.require(
        sequence, what="the faces to train on were made", remedy="Process the videos with the start model's settings."
    )
    return build.origin


def _describe(table: pd.DataFrame, sequence: SequenceConfig) -> str:
    """A fingerprint of what a model is trained on."""
    return _digest(_split_columns(table).sort_values("video").to_csv(index=False), json.dumps(asdict(sequence)))


def _split_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table[[column for column in SPLIT_COLUMNS if column in table]]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

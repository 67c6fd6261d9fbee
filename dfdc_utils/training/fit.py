"""Training under a distribution strategy; `models/folder.py` lists the files that a finished training leaves.

An unfinished training keeps its state in `progress.npz` and its best weights in `best.keras`. A finished model that was
in the folder before stays usable until the new one is complete.
"""

from __future__ import annotations

import hashlib
import inspect
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
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from dfdc_utils import models
from dfdc_utils.errors import TrainingDiverged
from dfdc_utils.faces import SequenceConfig, median_time_step
from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.quiet import keras, tf
from dfdc_utils.sequences import make_batches, report_leaks, score_people
from dfdc_utils.training.loop import Progress, TrainingConfig, TrainingLoop, load_progress, save_progress
from dfdc_utils.training.strategies import choose_strategy, explaining_lost_workers, workers_in_tf_config
from dfdc_utils.videos import name_data

SPLIT_COLUMNS = ("video", "label", "original", "person", "part", "group", "split")
SAVE_SEC = 600  # between saves within an epoch: a killed training loses no more. A save takes a fraction of a second
FRAMES_PER_VIDEO = 2  # of a batch that single frames are learned from


def train(
    table: pd.DataFrame,
    save_path: str | Path,
    model_path: str | Path,
    *,
    config: TrainingConfig | None = None,
    strategy: tf.distribute.Strategy | None = None,
    build: Callable[[int, int], keras.Model] = models.build_cnn_lstm,
    cnn: models.ModelFolder | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = True,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the `train` rows of `table`, keep the weights that are best on `validation`, return the history.

    `table` is a manifest of `ok` videos with a `split` column, `save_path` the folder of their faces. `build` makes the
    model from a frame count and a face size; `start_from("pretrained")` fine-tunes a trained model. `cnn` is the folder
    of a model of the same videos whose CNN this one starts with, such as the mean over frames. The history has one row
    per epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`; the losses are binary cross entropies
    against labels that are not smoothed. `callbacks` are Keras callbacks; they may set `stop_training`.

    An interrupted training continues when it is called again with the same arguments, from the last state saved (each
    epoch, and every ten minutes), and ends with the same weights and history as an uninterrupted one. `resume=False`
    starts over. A finished training with the same arguments is not repeated: its history is returned. The result does
    not depend on the number of replicas, except for rounding.

    Raises `ValueError` if a split is missing, the splits leak, or `cnn` was trained on other videos; `ConfigMismatch`
    if the folder holds an unfinished training with other settings, or if the faces do not suit the model to start from;
    `TrainingDiverged` if the loss becomes NaN; `WorkerLost` if another worker dies. Taught in notebook 04.
    """
    config = config or TrainingConfig()
    strategy = strategy or choose_strategy()
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    parts = _choose_parts(table, config)
    origin = _check_start(build, sequence, config) if isinstance(build, models.StartFrom) else {}
    if cnn and cnn.note.get("trained_on") != _digest_data(table, sequence):
        raise ValueError(f"{cnn.path} was trained on other videos or splits: train it again on these")
    with explaining_lost_workers():
        loop = TrainingLoop(parts, save_path, sequence, config, strategy, build, cnn.model if cnn else None)
        settings = _list_settings(table, sequence, loop, build, origin)
        if cnn:
            settings["cnn"] = cnn.note["fingerprint"][:8]
        run = _Run(Path(model_path), settings, loop, show=show_progress)
        progress = run.resume() if resume else None
        fingerprint = _digest(json.dumps(settings))
        is_finished = models.read_note(Path(model_path)).get("fingerprint") == fingerprint
        if is_finished and resume and progress is None:
            run.say(f"{model_path}: already trained with these settings")
            return pd.read_csv(Path(model_path) / "history.csv")
        progress = run.begin(progress)
        _train_epochs(run, progress, callbacks)
    data, kind = name_data(table)
    if origin:
        data += f", begun from a model trained on {origin['data']}"
        kind = "synthetic" if origin["data_kind"] == "synthetic" else kind
    note = {"fingerprint": fingerprint, "trained_on": _digest_data(table, sequence), "data": data, "data_kind": kind}
    note |= {"model": loop.model.name} | ({"begun_from": origin} if origin else {})
    note |= {**asdict(config), "replicas": strategy.num_replicas_in_sync}
    history = pd.DataFrame(progress.history)
    if run.writes:
        if not loop.model.name.endswith("mean"):  # a mean over frames does not see time
            step = median_time_step(save_path, table.loc[table["split"] == "train", "video"])
            sequence = replace(sequence, time_step=step, audio=models.hears(loop.model))
        # A run that was killed in `finish` has moved the best weights already.
        model = models.load_model(run.best if run.best.exists() else run.path / "model.keras")
        if config.sync:
            models.fit_sharpness(model, *_score_pairs(models.sync_part(model), loop))
        calibration = _calibrate(model, loop, progress, table[table["split"] == "validation"], save_path)
        folder = models.ModelFolder(run.path, sequence, calibration, note, _split_columns(table))
        run.finish(folder, history, model if config.sync else None)
    if workers_in_tf_config() > 1:  # the others go on when the files are there
        strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)
    return history


def train_missing(table: pd.DataFrame, save_path: str | Path, model_path: str | Path, **settings: Any) -> None:
    """Train the mean over frames, the baseline, in a folder below the model's; then the CNN-LSTM, from the same CNN.

    Each is only trained if it is not there. `settings` and errors are those of `train`. Taught in notebook 05.
    """
    path = Path(model_path)
    if not is_trained(table, save_path, path / models.MEAN_BASELINE):
        train_baseline(table, save_path, path, **settings)
    if not is_trained(table, save_path, path):
        train(table, save_path, path, cnn=models.ModelFolder.open(path / models.MEAN_BASELINE), **settings)


def train_baseline(
    table: pd.DataFrame,
    save_path: str | Path,
    model_path: str | Path,
    *,
    config: TrainingConfig | None = None,
    build: Callable[..., keras.Model] = models.build_cnn_lstm,
    **settings: Any,
) -> pd.DataFrame:
    """Train the mean over frames in a folder below `model_path`; return the history. It sees no time.

    It is the CNN-LSTM's baseline, and its CNN is where the CNN-LSTM starts: `train(..., cnn=...)`. It is trained on two
    frames each of twice as many videos per batch, for 0.4 times the epochs. The other arguments are those of `train`.
    """
    config = config or TrainingConfig()
    batch_size, epochs = 2 * config.batch_size, max(1, round(0.4 * config.epochs))
    config = replace(config, frames_per_video=FRAMES_PER_VIDEO, batch_size=batch_size, epochs=epochs)
    path = Path(model_path) / models.MEAN_BASELINE
    return train(table, save_path, path, config=config, build=partial(build, head="mean"), **settings)


def is_trained(table: pd.DataFrame, save_path: str | Path, model_path: str | Path) -> bool:
    """Say if `model_path` holds a finished model of just these videos, splits and sequences. Taught in notebook 05."""
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    return models.read_note(Path(model_path)).get("trained_on") == _digest_data(table, sequence)


def _train_epochs(run: _Run, progress: Progress, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    loop, epochs = run.loop, run.loop.config.epochs
    listeners = keras.callbacks.CallbackList(list(callbacks), model=loop.model, epochs=epochs)
    loop.model.stop_training = False
    loop.start(progress)
    listeners.on_train_begin()
    while len(progress.history) < epochs and not (_has_settled(progress, loop.config) or loop.model.stop_training):
        epoch, started = len(progress.history), time.perf_counter()
        listeners.on_epoch_begin(epoch)
        for step in range(progress.step - epoch * loop.steps, loop.steps):
            listeners.on_train_batch_begin(step)
            logs = loop.take_step(progress)
            run.require_finite(logs["loss"], progress)
            listeners.on_train_batch_end(step, logs)
            run.save(progress, every=SAVE_SEC)
        scores = loop.score_validation()
        run.require_finite(scores, progress)
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
        progress.history.append(row)
        progress.sums = [0.0, 0.0]
        run.save(progress, best=best)
        listeners.on_epoch_end(epoch, row)
        metrics = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "epoch")
        seconds = time.perf_counter() - started
        run.say(f"epoch {epoch + 1:2d}/{epochs}  {metrics}  {seconds:4.1f} s{'  best' if best else ''}")
    listeners.on_train_end()


def _calibrate(
    model: keras.Model, loop: TrainingLoop, progress: Progress, validation: pd.DataFrame, save_path: str | Path
) -> models.Calibration:
    """Calibrate on the scores that verdicts use: of each validation video the highest of the people in it.

    Fakes that were made of real videos, of one person each, count with their own scores.
    """
    fakes = ""
    made: NDArray[Any] = np.empty(0)
    if loop.config.self_blend:
        validation = validation[validation["label"] == "REAL"]
        fakes, made = "self-blends of them", np.array(progress.best_scores)[loop.labels == 1]
    elif loop.config.sync:
        fakes, made = "fakes, of them or of their sound", _score_pairs(model, loop)[1][1::2]
    scores = np.append(score_people(model, validation, save_path), made)
    calibration = models.calibrate(np.append(validation["label"] == "FAKE", np.ones(len(made))), scores)
    return replace(calibration, fakes=fakes) if fakes else calibration


def _score_pairs(model: keras.Model, loop: TrainingLoop) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score the validation pairs of own and wrong sounds, which alternate: labels and scores, (N,)."""
    pairs = make_batches(loop.validation, loop.validation.plan(2)).map(lambda sequences, *_: sequences)
    scores = model.predict(pairs, verbose=0)[:, 0]
    return np.tile(np.array([0, 1], np.float32), len(scores) // 2), scores


def _has_settled(progress: Progress, config: TrainingConfig) -> bool:
    """Say if the last `patience` epochs brought no lower validation loss."""
    losses = [row["val_loss"] for row in progress.history]
    return bool(losses) and config.patience is not None and len(losses) - int(np.argmin(losses)) > config.patience


class _Run:
    """The files of a training under way. Of several workers only the first writes and prints; all may read."""

    def __init__(self, path: Path, settings: dict[str, Any], loop: TrainingLoop, *, show: bool) -> None:
        self.path, self.loop, self._settings = path, loop, settings
        self.writes = loop.strategy.extended.should_checkpoint
        # Flushed: a log file shows each epoch as it ends.
        self.say: Callable[[str], None] = partial(print, flush=True) if show and self.writes else lambda _: None
        self._progress, self.best = path / "progress.npz", path / "best.keras"
        self._saved = time.monotonic()

    def resume(self) -> Progress | None:
        """Read the state of this training; None if there is none. Raises `ConfigMismatch` for another training's."""
        progress = load_progress(self._progress)
        if progress:
            reached = f"{len(progress.history)} of {progress.settings.get('epochs')} epochs"
            what = f"{self.path} holds an unfinished training, stopped after {reached},"
            remedy = "Use its settings to continue it, or discard it with resume=False (`dfdc train --afresh`)."
            progress.require(self._settings, what=what, remedy=remedy)
        return progress

    def begin(self, progress: Progress | None) -> Progress:
        """Prepare the folder; return the state to start from."""
        self.say(f"train: {self.loop.store}\nvalidation: {self.loop.validation}")
        if self.writes:
            prepare_target(self.path, what="the model")
        if progress:
            epochs = len(progress.history)
            self.say(f"going on after {epochs} epochs and {progress.step - epochs * self.loop.steps} steps")
        elif self.writes:
            self._progress.unlink(missing_ok=True)  # first: a state needs its best weights, but not the reverse
            self.best.unlink(missing_ok=True)
        return progress or Progress(self._settings)

    def save(self, progress: Progress, *, every: float = 0, best: bool = False) -> None:
        """Write the state, and before it the weights if they are the best; at most once in `every` seconds."""
        if not self.writes or time.monotonic() < self._saved + every:
            return
        if best:
            with replacing(self.best) as partial:
                self.loop.model.save(partial)
        progress.variables = self.loop.state()
        save_progress(self._progress, progress)
        self._saved = time.monotonic()

    def require_finite(self, values: Any, progress: Progress) -> None:
        """Raise `TrainingDiverged` unless all values are finite; remove the state, which would diverge again."""
        if np.isfinite(values).all():
            return
        if self.writes:
            self._progress.unlink(missing_ok=True)
        epoch, step = divmod(progress.step - 1, self.loop.steps)
        rate, lower = float(self.loop.model.optimizer.learning_rate), self.loop.config.learning_rate / 10
        what = f"{self.path}: the loss is NaN after step {step + 1} of epoch {epoch + 1} (learning rate {rate:.2g})"
        remedy = f"Try learning_rate={lower:.2g}, or mixed_precision=False."
        raise TrainingDiverged(f"{what}. {remedy} An older model here is kept.")

    def finish(self, folder: models.ModelFolder, history: pd.DataFrame, model: keras.Model | None) -> None:
        """Put the trained model in the place of the one that was here: the best weights, or `model`, made of these."""
        with folder.rewriting():
            if model:
                with replacing(self.path / "model.keras") as partial:
                    model.save(partial)
            elif self.best.exists():
                self.best.replace(self.path / "model.keras")
            write_atomically(self.path / "history.csv", history.to_csv(index=False))
            models.write_card(folder)
        self._progress.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)  # last: a run that is killed here makes `model` again


def _list_settings(
    table: pd.DataFrame, sequence: SequenceConfig, loop: TrainingLoop, build: Any, origin: dict[str, str]
) -> dict[str, Any]:
    """List all that the weights depend on, for people to read in which way two trainings differ."""
    options = inspect.signature(build).parameters.values()
    # Layers that a process builds a second time get another number.
    architecture = re.sub(r'_\d+(?=")', "", json.dumps(loop.model.get_config(), default=str))
    return {
        "videos": f"{len(table)} ({_digest_data(table, sequence)[:8]})",
        "model": f"{loop.model.name} ({_digest(architecture, *origin.values())[:8]})",
        **{one.name: str(one.default) for one in options if one.kind is one.KEYWORD_ONLY and not callable(one.default)},
        **asdict(sequence),
        **asdict(loop.config),
    }


def _choose_parts(table: pd.DataFrame, config: TrainingConfig) -> dict[str, pd.DataFrame]:
    """Choose the videos to train on of the splits `train` and `validation`, and check that they do not leak."""
    if "split" not in table:
        raise ValueError("the table has no split column: use split_by_group first")
    leaks = report_leaks(table).query("not allowed and shared > 0")
    if not leaks.empty:
        check, example = leaks[["check", "example"]].iloc[0]
        raise ValueError(f"the splits leak ({check}, {example}): use split_by_group")
    labels = {"REAL"} if config.self_blend or config.sync else {"REAL", "FAKE"}
    chosen = table[table["label"].isin(labels)]
    parts = {name: chosen[chosen["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        if missing := labels - set(part["label"]):
            raise ValueError(f"the {name} split has no {' and no '.join(sorted(missing))} video: process more videos")
    return parts


def _check_start(build: models.StartFrom, sequence: SequenceConfig, config: TrainingConfig) -> dict[str, str]:
    """Say what the start model was trained on, on what terms (`notes`), and the `digest` of its file."""
    if config.mixed_precision:
        raise ValueError("a trained model keeps the precision it was built with: leave mixed_precision out")
    remedy, folder = "Process the videos with the start model's settings.", build.folder
    folder.sequence.require(sequence, what="the faces to train on were made", remedy=remedy)
    notes = str(folder.note.get("notes", ""))
    return {"data": folder.data, "data_kind": folder.data_kind, "notes": notes, "digest": folder.digest}


def _digest_data(table: pd.DataFrame, sequence: SequenceConfig) -> str:
    """Hash what a model is trained on: videos, labels, splits, and how the faces were made."""
    return _digest(_split_columns(table).sort_values("video").to_csv(index=False), json.dumps(asdict(sequence)))


def _split_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table[[column for column in SPLIT_COLUMNS if column in table]]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

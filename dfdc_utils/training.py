"""Training under a distribution strategy, and what it leaves: `data/model/`.

- `model.keras`: the weights of the epoch with the lowest validation loss;
- `sequence.json`: how videos must be prepared for it; `split.csv`: which video was in which split;
- `history.csv`: a row an epoch; `training.json`: the settings it was trained with.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from dfdc_utils.catalog import report_leaks
from dfdc_utils.config import SequenceConfig
from dfdc_utils.models import build_cnn_lstm
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import make_dataset
from dfdc_utils.storage import write_atomically

with quiet_import():
    import keras
    import tensorflow as tf

# MirroredStrategy announces each variable and each reduction; the lines of interest are ours.
tf.get_logger().setLevel("ERROR")

# Decoded sequences are kept in memory up to this size, some 9,000 of the default ones; of more, each epoch reads.
CACHE_BYTES = 4 * 2**30

SPLIT_COLUMNS = ["video", "label", "original", "part", "split"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. `batch_size` counts the sequences of all replicas together."""

    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 2e-3
    label_smoothing: float = 0.05
    seed: int = 0


def choose_strategy(replicas: int | None = None) -> tf.distribute.Strategy:
    """The strategy for this machine: `MirroredStrategy` over all GPUs, else one device.

    `replicas` asks for that many: of the GPUs where there are so many, else of logical CPUs, so that everyone can see
    replicas work. Logical CPUs must be set up before TensorFlow computes anything; `RuntimeError` says so if it is too
    late, `ValueError` if `replicas` is not positive. Taught in notebook 04.
    """
    if replicas is not None and replicas < 1:
        raise ValueError(f"replicas={replicas}: at least one device is needed")
    gpus = len(tf.config.list_physical_devices("GPU"))  # asking for logical ones would start TensorFlow
    if gpus and (replicas is None or replicas <= gpus):
        return tf.distribute.MirroredStrategy([f"/gpu:{number}" for number in range(replicas or gpus)])
    if replicas is None or replicas == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(_logical_cpus(replicas))


def train(
    table: pd.DataFrame,
    save_path: str | Path,
    model_path: str | Path = "data/model",
    *,
    config: TrainingConfig | None = None,
    strategy: tf.distribute.Strategy | None = None,
    build: Callable[[int, int], keras.Model] = build_cnn_lstm,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the `train` rows of `table`, keep the weights that are best on `validation`, return the history.

    `table` is a manifest of `ok` videos with a `split` column, `save_path` the folder of their faces. `build` makes the
    model from a frame count and a face size. The history has a row an epoch: `epoch`, `loss`, `accuracy`, `val_loss`,
    `val_accuracy`, also written to `history.csv` in `model_path`.

    Raises `ValueError` if a split is missing or the splits leak, or if there are fewer sequences to train on than
    replicas. Taught in notebook 04.
    """
    config = config or TrainingConfig()
    strategy = strategy or choose_strategy()
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    parts = _check_splits(table)
    keras.utils.set_random_seed(config.seed)

    # Keras 3 crashes at a batch that its replicas cannot share out evenly. So batches are a multiple of the replicas,
    # and the last, smaller one is left out: other videos each epoch, since the order changes.
    replicas = strategy.num_replicas_in_sync
    batch_size = min(config.batch_size, len(parts["train"])) // replicas * replicas
    if not batch_size:
        raise ValueError(f"{len(parts['train'])} videos to train on cannot be shared out to {replicas} replicas")
    cache = len(table) * sequence.frame_count * sequence.face_size**2 * 3 <= CACHE_BYTES
    training_data = make_dataset(
        parts["train"],
        save_path,
        batch_size=batch_size,
        shuffle=True,
        drop_remainder=True,
        augment=True,
        cache=cache,
        seed=config.seed,
    )
    validation_data = make_dataset(parts["validation"], save_path, batch_size=batch_size, cache=cache)

    target = Path(model_path)
    target.mkdir(parents=True, exist_ok=True)
    for name in (
        "training.json",
        "model.keras",
        "history.csv",
    ):  # until this run is through, the folder holds no finished model
        (target / name).unlink(missing_ok=True)
    write_atomically(target / "split.csv", table[SPLIT_COLUMNS].to_csv(index=False))
    sequence.save(target / "sequence.json")
    steps = config.epochs * (len(parts["train"]) // batch_size)
    with strategy.scope():
        model = build(sequence.frame_count, sequence.face_size)
        model.compile(
            optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
            loss=keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing),
            metrics=["accuracy"],
        )
    keeper = _KeepBest(validation_data, target / "model.keras", config.epochs, show_progress)
    model.fit(training_data, epochs=config.epochs, callbacks=[keeper], shuffle=False, verbose=0)

    history = pd.DataFrame(keeper.rows)
    write_atomically(target / "history.csv", history.to_csv(index=False))
    settings = {"trained_on": _describe(table, sequence), **asdict(config), "replicas": replicas}
    write_atomically(target / "training.json", json.dumps(settings, indent=1))
    return history


def is_trained(table: pd.DataFrame, save_path: str | Path, model_path: str | Path = "data/model") -> bool:
    """Whether `model_path` holds a finished model of just these videos, splits and sequences. Taught in notebook 05."""
    try:
        settings = json.loads((Path(model_path) / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    sequence = SequenceConfig.load(Path(save_path) / "sequence.json")
    return bool(settings.get("trained_on") == _describe(table, sequence))


class _KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: score the validation videos, save the model if it is the best so far, print a line."""

    def __init__(self, data: tf.data.Dataset, path: Path, epochs: int, show_progress: bool) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._data, self._path, self._epochs, self._show = data, path, epochs, show_progress
        self._best = float("inf")
        self._started = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        # Not Keras' own evaluation, which under a strategy fails at a last batch smaller than the replica count.
        self._infer = tf.function(lambda sequences: self.model(sequences, training=False))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        pairs = [(self._infer(sequences).numpy(), labels.numpy()) for sequences, labels in self._data]
        scores, labels = (np.concatenate(column).ravel() for column in zip(*pairs, strict=True))
        row = {
            "epoch": epoch + 1,
            "loss": float((logs or {})["loss"]),
            "accuracy": float((logs or {})["accuracy"]),
            "val_loss": float(log_loss(labels, scores.astype(float), labels=[0, 1])),
            "val_accuracy": float(((scores > 0.5) == (labels > 0.5)).mean()),
        }
        self.rows.append(row)
        best = row["val_loss"] < self._best
        if best:
            self._best = row["val_loss"]
            partial = self._path.with_name("partial.keras")
            self.model.save(partial)
            partial.replace(self._path)
        if self._show:
            figures = "  ".join(f"{name} {value:.3f}" for name, value in row.items() if name != "epoch")
            seconds = time.perf_counter() - self._started
            print(f"epoch {epoch + 1:2d}/{self._epochs}  {figures}  {seconds:4.1f} s{'  best' if best else ''}")


def _check_splits(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if "split" not in table:
        raise ValueError("the table has no split column: use split_by_original first")
    leaks = report_leaks(table).query("harmful and leaks > 0")
    if not leaks.empty:
        raise ValueError(
            f"the splits leak ({leaks['check'].iloc[0]}, {leaks['example'].iloc[0]}): use split_by_original"
        )
    parts = {name: table[table["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        missing = {"REAL", "FAKE"} - set(part["label"])
        if missing:
            raise ValueError(f"the {name} split has no {' and no '.join(sorted(missing))} video: process more videos")
    return parts


def _describe(table: pd.DataFrame, sequence: SequenceConfig) -> str:
    """A fingerprint of what a model is trained on."""
    text = table[SPLIT_COLUMNS].sort_values("video").to_csv(index=False) + json.dumps(asdict(sequence))
    return hashlib.sha256(text.encode()).hexdigest()


def _logical_cpus(count: int) -> list[str]:
    device = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise RuntimeError(
                f"TensorFlow has started already and cannot make {count} logical CPUs. Call choose_strategy({count}) "
                "first thing, or restart the kernel."
            ) from error
    return [cpu.name for cpu in tf.config.list_logical_devices("CPU")[:count]]

"""The training loop: the step that all replicas take together, and the state between two steps."""

import contextlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.files import replacing
from dfdc_utils.models import contrast, copy_cnn, features_over_time, hears, picture_part, sync_part
from dfdc_utils.quiet import keras, tf
from dfdc_utils.sequences import OTHERS, SelfBlends, SequenceStore, Store, WrongSounds, with_judged_sound
from dfdc_utils.training.strategies import share_out
from dfdc_utils.workers import interrupts_held_back

# Decoded validation batches up to this size (bytes) are kept: with two replicas, each new iterator takes 0.1 s.
KEPT_SIZE = 5e8
SYNC_PASSES = 4  # through all videos in an epoch of sync training, each time with other changes


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. `batch_size` counts the sequences of all replicas together.

    The learning rate rises linearly for `warmup_epochs`, then falls along a cosine to 0 at the end of `epochs`.
    Training stops after `patience` epochs without a lower validation loss (None: never). `self_blend` trains and
    validates on real videos and self-blends of them, and ignores the fakes. `sync` takes real videos, too, and trains
    only the part of a model that compares mouth and sound, to tell the own sound of a video from that of the others in
    its replica's batch and from its own, moved. An epoch goes four times through all videos, and labels are not
    smoothed. `frames_per_video`, for a model that scores each frame by itself, takes that many random frames of a video
    at a time instead of whole sequences: a batch then shows more people, and an epoch has as many frames as before.
    `mixed_precision` computes the CNN in bfloat16, which is faster on recent GPUs and slower on most CPUs.
    `deterministic` makes TensorFlow repeatable for the rest of this process. Raises `ValueError` for impossible values.
    """

    epochs: int = 60
    batch_size: int = 8
    learning_rate: float = 5e-3
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.05
    patience: int | None = 20
    augment: bool = True
    self_blend: bool = False
    sync: bool = False
    frames_per_video: int | None = None
    mixed_precision: bool = False
    deterministic: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate < 0 or not 0 <= self.label_smoothing < 1:
            limits = "epochs and batch_size must be at least 1, learning_rate at least 0, label_smoothing in [0, 1)"
            raise ValueError(f"{self}: {limits}")


@dataclass
class Progress:
    """How far a training has come.

    `settings` are numbers and texts that people can read: all that its result depends on. `step` counts the steps
    taken, `sums` adds up loss and accuracy over the current epoch, `history` has one row per finished epoch, and
    `best_scores` are the validation scores of the best one. `variables` are those of model and optimizer.
    """

    settings: dict[str, Any]
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: list[dict[str, float]] = field(default_factory=list)
    best_scores: list[float] = field(default_factory=list)
    variables: list[NDArray[Any]] = field(default_factory=list, repr=False)

    def require(self, settings: dict[str, Any], *, what: str, remedy: str) -> None:
        """Raise `ConfigMismatch`, naming each setting that differs, unless the training has these settings."""
        mine = self.settings
        differ = [key for key in {**mine, **settings} if mine.get(key) != settings.get(key)]
        if differ:
            named = ", ".join(f"{key} {mine.get(key)!r} instead of {settings.get(key)!r}" for key in differ)
            raise ConfigMismatch(f"{what} with {named}. {remedy}")


def save_progress(path: Path, progress: Progress) -> None:
    """Write it to `path` (.npz). Raises `OSError` if that fails; the old file is then still there."""
    note = {item.name: getattr(progress, item.name) for item in fields(progress) if item.name != "variables"}
    arrays: dict[str, Any] = {f"{number:05d}": value for number, value in enumerate(progress.variables)}
    with replacing(path) as partial:
        np.savez(partial, progress=np.frombuffer(json.dumps(note).encode(), np.uint8), **arrays)


def load_progress(path: Path) -> Progress | None:
    """Read what `save_progress` wrote; None if there is no such file, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:  # pickles could run code
            note = json.loads(bytes(stored["progress"]))
            variables = [stored[name] for name in sorted(set(stored.files) - {"progress"})]
        return Progress(**note, variables=variables)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None


class TrainingLoop:
    """One training: its data, its model, and the step that all replicas of `strategy` take together.

    `parts` holds the videos to `train` on and those for `validation`; only REAL ones if `config.self_blend` is set.
    Keras' `fit` is not used: it fails on a last batch that the replicas cannot share, and with several workers (Keras
    3.15, https://github.com/keras-team/keras/issues/20585). A step depends only on the variables and on its number, so
    training can resume at any step. The CNN starts with the weights of that of `cnn`, if given. `steps` is the number
    of steps per epoch, `labels` (V,) those of the validation sequences.
    """

    def __init__(
        self,
        parts: dict[str, pd.DataFrame],
        save_path: Any,
        sequence: SequenceConfig,
        config: TrainingConfig,
        strategy: tf.distribute.Strategy,
        build: Callable[[int, int], keras.Model],
        cnn: keras.Model | None = None,
    ) -> None:
        self.config, self.strategy = config, strategy
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

        with strategy.scope(), _dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32"):
            self.model = build(sequence.frame_count, sequence.face_size)
        audio = hears(self.model)
        if (config.sync and not audio) or (audio and config.self_blend):
            what = "sync=True needs a model that hears (build_cnn_lstm with audio=True, or start_from with audio=True)"
            raise ValueError(f"{what}, and self_blend=True one that does not")
        if config.sync:
            parts = {name: with_judged_sound(part, save_path) for name, part in parts.items()}
        stores = [SequenceStore(parts[name], save_path, audio=audio) for name in ("train", "validation")]
        self.store: Store = SelfBlends(stores[0]) if config.self_blend else stores[0]
        wrap = SelfBlends if config.self_blend else WrongSounds if config.sync else lambda store: store
        self.validation: Store = wrap(stores[1])
        self._least_shift = stores[0].least_shift
        settings: dict[str, int] = {"replicas": strategy.num_replicas_in_sync, "seed": config.seed}
        batch_size = min(config.batch_size, len(self.store.labels))
        if config.sync:  # batches of one size: each clip is compared with the others of its batch
            batch_size = -(-len(self.store.labels) // -(-len(self.store.labels) // batch_size))
        taken = min(config.frames_per_video or sequence.frame_count, sequence.frame_count)
        self._frames = taken if config.frames_per_video else None
        self._passes = SYNC_PASSES if config.sync else sequence.frame_count // taken  # through all videos, per epoch
        self._plan = self.store.plan(batch_size, epochs=config.epochs * self._passes, shuffle=True, **settings)
        self.steps = len(self._plan.numbers) // config.epochs
        self._scoring_plan = self.validation.plan(batch_size, **settings)
        self._counted = self._scoring_plan.weights.ravel() > 0
        self.labels = self.validation.labels[self._scoring_plan.numbers.ravel()[self._counted]]
        with strategy.scope(), _dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32"):
            if cnn:
                copy_cnn(cnn, self.model)
            if config.frames_per_video and not self.model.name.endswith("mean"):
                raise ValueError(f"frames_per_video: {self.model.name} sees time. Use it for a mean over frames only.")
            # The weights do not depend on the number of frames.
            self._trained = build(taken, sequence.face_size) if config.frames_per_video else self.model
            if config.sync:
                picture_part(self.model).trainable = False
                self._trained, self._features = sync_part(self.model), features_over_time(self.model)
            self._optimizer = keras.optimizers.Adam(self._learning_rate())
            self._optimizer.build(self._trained.trainable_variables)
            # This loop needs no compiled model; whoever loads it and trains on does.
            loss = keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing)
            self.model.compile(self._optimizer, loss, metrics=["accuracy"])
        both = [*self._trained.variables, *self._optimizer.variables]
        self._variables = list({id(variable): variable for variable in both}.values())
        self._batches: Iterator[Any] = iter(())
        self._scoring: Any = None

    def start(self, progress: Progress) -> None:
        """Continue where `progress` stopped."""
        if progress.step:
            for variable, value in zip(self._variables, progress.variables, strict=True):
                variable.assign(value)
        how: dict[str, Any] = {"augment": self.config.augment, "frames": self._frames}
        self._batches = iter(share_out(self.strategy, self.store, self._plan, start=progress.step, **how))

    def state(self) -> list[NDArray[Any]]:
        """Return the values of all variables of model and optimizer."""
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables]

    @interrupts_held_back()
    def take_step(self, progress: Progress) -> dict[str, float]:
        """Take the next step and count it in `progress`; return the batch's loss (labels not smoothed) and accuracy."""
        loss, accuracy = (float(value) for value in self._step(next(self._batches)))
        # Each sequence has the same weight in an epoch's mean, also in a smaller last batch.
        fraction = np.count_nonzero(self._plan.weights[progress.step]) / len(self.store.labels) / self._passes
        progress.sums = [progress.sums[0] + fraction * loss, progress.sums[1] + fraction * accuracy]
        progress.step += 1
        return {"loss": loss, "accuracy": accuracy}

    @interrupts_held_back()
    def score_validation(self) -> NDArray[np.float64]:
        """Score the validation sequences: (V,), in the order of `labels`."""
        if self.config.frames_per_video:
            self.model.set_weights(self._trained.get_weights())
        if self._scoring is None:  # made once: it takes a second
            batches = share_out(self.strategy, self.validation, self._scoring_plan)
            size = self._scoring_plan.numbers.size * math.prod(self.validation.shape)
            self._scoring = list(batches) if size <= KEPT_SIZE else batches
        scores = [self._score(batch).numpy().ravel() for batch in self._scoring]
        return np.concatenate(scores)[self._counted].astype(np.float64)

    @tf.function(autograph=False)
    def _step(self, batch: Any) -> tuple[tf.Tensor, ...]:
        loss_of, smoothing = keras.losses.binary_crossentropy, self.config.label_smoothing

        def measure(sequences: Any, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
            """The loss to train with, the one to report, which is not smoothed, and the accuracy: (B,) each."""
            if self.config.sync:
                how: dict[str, Any] = {"others": OTHERS, "least_shift": self._least_shift}
                losses, right = contrast(self.model, self._features(sequences, training=True), weights > 0, **how)
                return losses, losses, right
            scores = self._trained(sequences, training=True)
            right = tf.cast((scores > 0.5) == (labels > 0.5), tf.float32)[:, 0]
            return loss_of(labels, scores, label_smoothing=smoothing), loss_of(labels, scores), right

        def on_replica(sequences: Any, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                smoothed, losses, right = measure(sequences, labels, weights)
                # The weights of a batch sum to 1 over all replicas, so its gradients only need to be added up.
                smoothed = tf.reduce_sum(smoothed * weights)
            self._optimizer.apply(tape.gradient(smoothed, self._trained.trainable_variables))  # adds them up
            return tf.reduce_sum(losses * weights), tf.reduce_sum(right * weights)

        sums = self.strategy.run(on_replica, args=batch)
        return tuple(self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in sums)

    @tf.function(autograph=False)
    def _score(self, batch: Any) -> tf.Tensor:
        def on_replica(sequences: Any, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            return (self._trained if self.config.sync else self.model)(sequences, training=False)

        return self.strategy.gather(self.strategy.run(on_replica, args=batch), axis=0)

    def _learning_rate(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Make the schedule: up along a line, then down along a cosine to 0 at the last step."""
        top, steps = self.config.learning_rate, len(self._plan.numbers)
        warmup = min(round(self.config.warmup_epochs * self.steps), steps - 1)
        start, target = (top / warmup, top) if warmup else (top, None)
        return keras.optimizers.schedules.CosineDecay(start, steps - warmup, warmup_target=target, warmup_steps=warmup)


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Set the Keras dtype policy of the layers that are built within this block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

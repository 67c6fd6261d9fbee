"""The loop that trains: the steps that all replicas take together, and the state between two of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import SelfBlends, SequenceStore
from dfdc_utils.training.checkpoints import Progress
from dfdc_utils.training.strategies import share_out

with quiet_import():
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. `batch_size` counts the sequences of all replicas together.

    The learning rate rises over `warmup_epochs` and falls along a cosine to 0 at the last of `epochs`. Training stops
    early after `patience` epochs without a lower validation loss; None for never. `self_blend` trains and validates on
    real videos and blends of them with themselves, and leaves the fakes out (see `blending`). `mixed_precision`
    computes the CNN in bfloat16, which is quicker on recent GPUs and slower on most CPUs. `deterministic` asks
    TensorFlow for ops that give the same result each time, for the rest of this process.
    """

    epochs: int = 60
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.05
    patience: int | None = 20
    augment: bool = True
    self_blend: bool = False
    mixed_precision: bool = False
    deterministic: bool = True
    seed: int = 0


class TrainingLoop:
    """One training: its data, its model, and the step that all replicas of `strategy` take together.

    TensorFlow's own loop and not Keras' `fit`: that fails at a last batch that the replicas cannot share, and with
    several workers altogether (Keras 3.15, https://github.com/keras-team/keras/issues/20585). All that happens in a
    step follows from the variables and the step's number, so that a training can go on from any step.

    `steps` counts those of an epoch, `labels` (V,) are those of the validation sequences. Used by `train`.
    """

    def __init__(
        self,
        parts: dict[str, pd.DataFrame],
        save_path: Any,
        sequence: SequenceConfig,
        config: TrainingConfig,
        strategy: tf.distribute.Strategy,
        build: Callable[[int, int], keras.Model],
    ) -> None:
        self.config, self.strategy = config, strategy
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.store, self.validation = (
            _open_sequences(parts[name], save_path, self_blend=config.self_blend) for name in ("train", "validation")
        )
        settings: dict[str, int] = {"replicas": strategy.num_replicas_in_sync, "seed": config.seed}
        batch_size = min(config.batch_size, len(self.store.labels))
        self._plan = self.store.plan(batch_size, epochs=config.epochs, shuffle=True, **settings)
        self.steps = len(self._plan.numbers) // config.epochs
        self._scoring_plan = self.validation.plan(batch_size, **settings)
        self._counted = self._scoring_plan.weights.ravel() > 0
        self.labels = self.validation.labels[self._scoring_plan.numbers.ravel()[self._counted]]
        with strategy.scope(), _policy("mixed_bfloat16" if config.mixed_precision else "float32"):
            self.model = build(sequence.frame_count, sequence.face_size)
            self._optimizer = keras.optimizers.Adam(self._learning_rate())
            self._optimizer.build(self.model.trainable_variables)
            # Not needed here, but by whoever loads the model and goes on with it.
            loss = keras.losses.BinaryCrossentropy(label_smoothing=config.label_smoothing)
            self.model.compile(self._optimizer, loss, metrics=["accuracy"])
        both = [*self.model.variables, *self._optimizer.variables]
        self._variables = list({id(variable): variable for variable in both}.values())
        self._batches: Iterator[Any] = iter(())

    def start(self, progress: Progress) -> None:
        """Go to where `progress` is."""
        if progress.step:
            for variable, value in zip(self._variables, progress.variables, strict=True):
                variable.assign(value)
        self._batches = share_out(
            self.strategy, self.store, self._plan, start=progress.step, augment=self.config.augment
        )

    def state(self) -> list[NDArray[Any]]:
        """The values of all variables of model and optimizer, in their order."""
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables]

    def take_step(self, progress: Progress) -> dict[str, float]:
        """Take the next step, count it in `progress`; the batch's loss and accuracy."""
        loss, accuracy = (float(value) for value in self._step(next(self._batches)))
        # Each sequence counts once, also those of a smaller last batch.
        share = np.count_nonzero(self._plan.weights[progress.step]) / len(self.store.labels)
        progress.sums = [progress.sums[0] + share * loss, progress.sums[1] + share * accuracy]
        progress.step += 1
        return {"loss": loss, "accuracy": accuracy}

    def score_validation(self) -> NDArray[np.float64]:
        """Scores (V,) of the validation sequences, as `labels`."""
        batches = share_out(self.strategy, self.validation, self._scoring_plan)
        scores = [self._score(batch).numpy().ravel() for batch in batches]
        return np.concatenate(scores)[self._counted].astype(np.float64)

    @tf.function
    def _step(self, batch: Any) -> tuple[tf.Tensor, ...]:
        def on_replica(sequences: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            smoothed = labels * (1 - self.config.label_smoothing) + self.config.label_smoothing / 2
            with tf.GradientTape() as tape:
                scores = self.model(sequences, training=True)
                losses = keras.losses.binary_crossentropy(smoothed, scores)
                # The weights of a batch sum to 1 over all replicas: its gradients only need to be added up.
                loss = tf.reduce_sum(losses * weights)
            self._optimizer.apply(tape.gradient(loss, self.model.trainable_variables))  # adds them up
            right = tf.cast((scores > 0.5) == (labels > 0.5), tf.float32)[:, 0]
            return loss, tf.reduce_sum(right * weights)

        sums = self.strategy.run(on_replica, args=batch)
        return tuple(self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in sums)

    @tf.function
    def _score(self, batch: Any) -> tf.Tensor:
        def on_replica(sequences: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            return self.model(sequences, training=False)

        return self.strategy.gather(self.strategy.run(on_replica, args=batch), axis=0)

    def _learning_rate(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Up along a line, then down along a cosine to 0 at the last step."""
        top, steps = self.config.learning_rate, len(self._plan.numbers)
        warmup = min(round(self.config.warmup_epochs * self.steps), steps - 1)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(top, steps)
        return keras.optimizers.schedules.CosineDecay(
            top / warmup, steps - warmup, warmup_target=top, warmup_steps=warmup
        )


def _open_sequences(table: pd.DataFrame, save_path: Any, *, self_blend: bool) -> SequenceStore | SelfBlends:
    if not self_blend:
        return SequenceStore(table, save_path)
    return SelfBlends(SequenceStore(table[table["label"] == "REAL"], save_path))


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Within this block layers that are built compute by this policy of Keras."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

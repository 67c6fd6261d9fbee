"""Pretraining's second stage: the frame encoder learns to distinguish single faces from their self-blends and swaps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from dfdc_utils.models import build_frame_encoder
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.quiet import quiet_import
from dfdc_utils.training import Progress, load_progress, save_progress
from dfdc_utils.videos import Image

with quiet_import():
    import keras
    import tensorflow as tf

ENCODER_SAVE_SEC = 120  # a training that is killed loses at most this much
VALIDATION_FRAMES_SEED = 10**9  # far from any step's


@dataclass(frozen=True)
class EncoderConfig:
    """How the frame encoder is trained: `steps` batches of `people` real faces and a fake of each.

    The steps are divided into `cycles`. In each, the learning rate falls along a cosine to 0, from half the value of
    the cycle before (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983). MobileNetV2 starts from `weights`:
    `"imagenet"`, a file, or None. The validation people are scored on self-blends `every` so many steps. `swaps` is the
    fraction of swaps among the fakes after the first cycle.
    """

    steps: int = 36000
    cycles: int = 3
    people: int = 16
    learning_rate: float = 4e-4
    face_size: int = 112
    weights: str | None = "imagenet"
    swaps: float = 0.5
    every: int = 500
    seed: int = 0

    def swaps_at(self, step: int) -> float:
        """The fraction of swaps at a step: none in the first cycle, in which the subtlest traces are learnt."""
        return self.swaps if step >= self.steps / self.cycles else 0.0


def train_encoder(
    train: PairSource,
    validation: PairSource,
    folder: Path,
    config: EncoderConfig,
    *,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Train on pairs of `train`; return the encoder and its history, one row for each time `validation` is scored.

    A training that was killed resumes from `folder / "encoder.npz"` when called with the same arguments, and ends with
    the same weights.
    """
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    encoder = build_frame_encoder(config.face_size, weights=config.weights)
    rate = keras.optimizers.schedules.CosineDecayRestarts(
        config.learning_rate, config.steps / config.cycles, t_mul=1.0, m_mul=0.5
    )
    optimizer = keras.optimizers.Adam(rate)
    encoder.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    optimizer.build(encoder.trainable_variables)
    variables = [*encoder.variables, *optimizer.variables]
    digests = {"weights": digest_weights(encoder), "training": train.digest, "validation": validation.digest}
    settings = asdict(config) | {what: digest[:8] for what, digest in digests.items()}
    path = folder / "encoder.npz"
    progress = load_progress(path) or Progress(settings)
    progress.require(settings, what=f"{path} belongs to a training", remedy="Remove that file to start over.")
    if progress.step:
        for variable, value in zip(variables, progress.variables, strict=True):
            variable.assign(value)
    seen = validation.make_frames(np.arange(len(validation)), VALIDATION_FRAMES_SEED)
    labels = np.repeat(np.array([[0.0], [1.0]], np.float32), config.people, axis=0)
    say(f"{len(train)} faces to train on, {len(validation)} of other people; step {progress.step} of {config.steps}")

    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        progress.variables = [keras.ops.convert_to_numpy(variable) for variable in variables]
        save_progress(path, progress)
        saved = time.monotonic()

    started, first = time.monotonic(), progress.step
    batches = train.batches(config.people, progress.step, config.steps, swaps=config.swaps_at, workers=workers)
    for reals, fakes in batches:
        encoder.reset_metrics()  # otherwise Keras returns the mean of all batches so far
        loss = float(encoder.train_on_batch(np.concatenate([reals, fakes]), labels))
        progress.sums[0] += loss
        progress.step += 1
        if progress.step % config.every == 0 or progress.step == config.steps:
            since = (progress.step - 1) % config.every + 1
            row = {"step": float(progress.step), "loss": progress.sums[0] / since, **_score_frames(encoder, *seen)}
            progress.history.append(row)
            progress.sums = [0.0, 0.0]
            save()
            pace = (time.monotonic() - started) / (progress.step - first)
            say(
                f"step {progress.step}/{config.steps}  loss {row['loss']:.3f}  validation loss "
                f"{row['val_loss']:.3f}, AUC {row['val_auc']:.3f}  {pace:.3f} s per step"
            )
        elif time.monotonic() > saved + ENCODER_SAVE_SEC:
            save()
    return encoder, progress.history


def _score_frames(encoder: keras.Model, reals: Image, fakes: Image) -> dict[str, float]:
    """`val_loss` and `val_auc` of single frames."""
    logits = np.concatenate([encoder.predict(part, batch_size=64, verbose=0)[:, 0] for part in (reals, fakes)])
    labels = np.repeat([0, 1], len(reals))
    probabilities = expit(logits.astype(np.float64))
    return {"val_loss": float(log_loss(labels, probabilities)), "val_auc": float(roc_auc_score(labels, logits))}


def digest_weights(model: keras.Model) -> str:
    """A fingerprint of all weights."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()

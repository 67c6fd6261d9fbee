"""Pretraining's second stage: the frame encoder learns to distinguish single faces from their self-blends and swaps."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from dfdc_utils.models import PRETRAINED, build_frame_encoder, copy_encoder, load_model
from dfdc_utils.pretraining.pairs import CELL, Frames, PairSource
from dfdc_utils.quiet import keras, tf
from dfdc_utils.training import Progress, load_progress, save_progress
from dfdc_utils.videos import Image

ENCODER_SAVE_SEC = 120  # a training that is killed loses at most this much
VALIDATION_FRAMES_SEED = 10**9  # far from any step's


@dataclass(frozen=True)
class EncoderConfig:
    """How the frame encoder is trained: `steps` batches of `people` real faces and a fake of each."""

    steps: int = 7000
    people: int = 16
    learning_rate: float = 3e-4  # falls along a cosine to 0
    ema: float = 0.998  # momentum of the moving average of the weights, which is what is scored and kept
    face_size: int = 160
    patch: int = 128  # pixels: it learns from random patches, which cost less than whole faces
    weights: str | None = "pretrained"  # to start from; or such a model's folder, "imagenet", a file of MobileNetV2's
    swaps: float = 0.5  # fraction of the fakes that are swaps; the others are self-blends
    every: int = 500  # steps between two scores of the validation people's self-blends; nothing is chosen by them
    seed: int = 0


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

    The loss is that of the frame plus that of its places. Called again with the same arguments, a training that was
    killed resumes from `folder / "encoder.npz"` and ends with the same weights.
    """
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    encoder = _start(config)
    whole = build_frame_encoder(config.face_size, weights=None)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    optimizer = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=config.ema)
    encoder.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    optimizer.build(encoder.trainable_variables)
    variables = [*encoder.variables, *optimizer.variables]
    begun_from = hashlib.sha256(b"".join(weight.tobytes() for weight in encoder.get_weights())).hexdigest()
    digests = {"weights": begun_from, "training": train.digest, "validation": validation.digest}
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

    started, first = time.monotonic(), progress.step
    saved = started
    for frames in train.batches(config.people, progress.step, config.steps, swaps=config.swaps, workers=workers):
        pictures, places = _cut_patches(frames, config.patch, np.random.default_rng((config.seed, 4, progress.step)))
        encoder.reset_metrics()  # otherwise Keras returns the mean of all batches so far
        loss = float(encoder.train_on_batch(pictures, [labels, places])[0])
        progress.sums[0] += loss
        progress.step += 1
        if scored := progress.step % config.every == 0 or progress.step == config.steps:
            since = (progress.step - 1) % config.every + 1
            _copy_average(encoder, whole)
            row = {"step": float(progress.step), "loss": progress.sums[0] / since, **_score_frames(whole, seen)}
            progress.history.append(row)
            progress.sums = [0.0, 0.0]
        if scored or time.monotonic() > saved + ENCODER_SAVE_SEC:
            progress.variables = [keras.ops.convert_to_numpy(variable) for variable in variables]
            save_progress(path, progress)
            saved = time.monotonic()
        if scored:
            pace = (saved - started) / (progress.step - first)
            metrics = f"validation loss {row['val_loss']:.3f}, AUC {row['val_auc']:.3f}"
            say(f"step {progress.step}/{config.steps}  loss {row['loss']:.3f}  {metrics}  {pace:.3f} s per step")
    _copy_average(encoder, whole)
    return whole, progress.history


def _start(config: EncoderConfig) -> keras.Model:
    """Build the encoder of patches with the weights that its training starts from."""
    weights = config.weights
    if weights not in (None, "imagenet") and (weights == PRETRAINED or Path(weights).is_dir()):
        encoder = build_frame_encoder(config.patch, weights=None)
        copy_encoder(load_model(weights), encoder)
        return encoder
    return build_frame_encoder(config.patch, weights=weights)


def _cut_patches(frames: Frames, size: int, generator: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
    """Cut the same random patch out of all frames: (2N, size, size, 3), and out of their masks: (2N, h, w, 1)."""
    row, column = generator.integers(0, (frames.reals.shape[1] - size) // CELL + 1, 2)
    cells = size // CELL
    pictures = np.concatenate([frames.reals, frames.fakes])
    masks = np.concatenate([np.zeros_like(frames.masks), frames.masks])[..., None]
    place = (slice(None), slice(CELL * row, CELL * row + size), slice(CELL * column, CELL * column + size))
    return pictures[place], masks[:, row : row + cells, column : column + cells]


def _copy_average(encoder: keras.Model, whole: keras.Model) -> None:
    """Give `whole` the moving average of the weights of `encoder`."""
    weights = encoder.get_weights()
    encoder.optimizer.finalize_variable_values(encoder.trainable_variables)
    whole.set_weights(encoder.get_weights())
    encoder.set_weights(weights)


def _score_frames(encoder: keras.Model, seen: Frames) -> dict[str, float]:
    """`val_loss` and `val_auc` of single frames."""
    parts = [encoder.predict(part, batch_size=64, verbose=0)[0] for part in (seen.reals, seen.fakes)]
    labels, logits = np.repeat([0, 1], len(seen.reals)), np.concatenate(parts)[:, 0].astype(np.float64)
    return {"val_loss": float(log_loss(labels, expit(logits))), "val_auc": float(roc_auc_score(labels, logits))}

"""Pretraining's second stage: the frame encoder learns to distinguish single faces from their self-blends and swaps."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from dfdc_utils.models import PRETRAINED, build_frame_encoder, copy_encoder, load_model
from dfdc_utils.pretraining.pairs import Frames, PairSource
from dfdc_utils.quiet import keras, tf
from dfdc_utils.training import Progress, load_progress, save_progress
from dfdc_utils.workers import interrupts_held_back

ENCODER_SAVE_SEC = 120  # a training that is killed loses at most this much
VALIDATION_FRAMES_SEED = 10**9  # far from any step's


@dataclass(frozen=True)
class EncoderConfig:
    """How the frame encoder is trained: `steps` batches of real and fake frames of `people`."""

    steps: int = 5000
    people: int = 16
    learning_rate: float = 3e-4  # rises in `warm_up` steps, then falls along a cosine to 0
    warm_up: int = 200
    ema: float = 0.999  # momentum of the moving average of the weights, which is what is scored and kept
    face_size: int = 160
    weights: str | None = "pretrained"  # to start from; or such a model's folder, "imagenet", a file of MobileNetV2's
    swaps: float = 0.5  # fraction of the fakes that are swaps; the others are self-blends
    parts: float = 0.25  # fraction of them in which a part of the face is fake; needs a face mesh
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
    start = config.weights
    if start not in (None, "imagenet") and (start == PRETRAINED or Path(start).is_dir()):
        encoder = copy_encoder(load_model(start), config.face_size)
    else:
        encoder = build_frame_encoder(config.face_size, weights=start)
    begun_from = hashlib.sha256(b"".join(weight.tobytes() for weight in encoder.get_weights())).hexdigest()
    warmup = {"warmup_target": config.learning_rate, "warmup_steps": config.warm_up}
    rate = keras.optimizers.schedules.CosineDecay(0.0, max(1, config.steps - config.warm_up), **warmup)
    optimizer = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=config.ema)
    encoder.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    optimizer.build(encoder.trainable_variables)
    variables = [*encoder.variables, *optimizer.variables]
    digests = {"weights": begun_from, "training": train.digest, "validation": validation.digest}
    settings = asdict(config) | {what: digest[:8] for what, digest in digests.items()}
    path = folder / "encoder.npz"
    progress = load_progress(path) or Progress(settings)
    progress.require(settings, what=f"{path} belongs to a training", remedy="Remove that file to start over.")
    if progress.step:
        for variable, value in zip(variables, progress.variables, strict=True):
            variable.assign(value)
    seen = validation.make_frames(np.arange(len(validation)), VALIDATION_FRAMES_SEED)
    say(f"{len(train)} faces to train on, {len(validation)} of other people; step {progress.step} of {config.steps}")

    first, started, saved = progress.step, time.monotonic(), time.monotonic()
    batches = train.batches(
        config.people, progress.step, config.steps, swaps=config.swaps, parts=config.parts, workers=workers
    )
    for reals, fakes, masks in batches:
        labels = np.repeat(np.array([[0.0], [1.0]], np.float32), len(reals), axis=0)
        places = np.concatenate([np.zeros_like(masks), masks])[..., None]
        encoder.reset_metrics()  # otherwise Keras returns the mean of all batches so far
        with interrupts_held_back():
            loss = float(encoder.train_on_batch(np.concatenate([reals, fakes]), [labels, places])[0])
        progress.sums[0] += loss
        progress.step += 1
        if scored := progress.step % config.every == 0 or progress.step == config.steps:
            since = (progress.step - 1) % config.every + 1
            weights = encoder.get_weights()
            optimizer.finalize_variable_values(encoder.trainable_variables)  # gives them their moving average
            row = {"step": float(progress.step), "loss": progress.sums[0] / since, **_score_frames(encoder, seen)}
            encoder.set_weights(weights)
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
    optimizer.finalize_variable_values(encoder.trainable_variables)
    return encoder, progress.history


def _score_frames(encoder: keras.Model, seen: Frames) -> dict[str, float]:
    """`val_loss` and `val_auc` of single frames."""
    parts = [encoder.predict(part, batch_size=64, verbose=0)[0] for part in seen[:2]]
    labels, logits = np.repeat([0, 1], len(seen[0])), np.concatenate(parts)[:, 0].astype(np.float64)
    return {"val_loss": float(log_loss(labels, expit(logits))), "val_auc": float(roc_auc_score(labels, logits))}

"""Why a model says FAKE: the places in each frame that speak for it, and the frames without which it would say less.

`heat_maps` is Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) with three changes, without which it
does not point at the fault:

- it takes all maps that the features are averages of, not the last ones alone, which know place to a sixth of the face;
- what the change from one frame to the next has to say lies where the maps changed, not wherever they show something;
- its gradients are integrated from nothing seen to all seen (Sattarzadeh et al. 2021, Integrated Grad-CAM,
  https://arxiv.org/abs/2102.07805), since those of a model that is sure are next to nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dfdc_utils.models import take_apart
from dfdc_utils.quiet import quiet_import
from dfdc_utils.videos import Image

with quiet_import():
    import keras
    import tensorflow as tf
    from keras import layers, ops

# Of the integral: the evidence then adds up to the logit within 0.02 on the sample; with 16 some videos are off by 0.6.
STEPS = 64


def heat_maps(model: keras.Model, sequence: Image) -> NDArray[np.float32]:
    """Where a model sees a fake: float32 (T, H, W), 0 to 1, of one sequence, uint8 RGB (T, H, W, 3).

    Only what speaks for FAKE is shown, on one scale for the whole sequence: the hottest place has the value of the
    model's own score, so that a quiet frame looks quiet, and a video that the model takes for real stays dark. What a
    change from one frame to the next has to say lies on the later one, in the places that changed. Places are as exact
    as the maps of the network: 4 pixels for the small one, 16 for the pretrained, 32 for most of `keras.applications`.

    `model` is one of `build_cnn_lstm` or `build_on_encoder`. Raises `ValueError` for another kind of model, or a
    sequence that does not fit. Taught in notebook 06.
    """
    logit, evidence = weigh_evidence(model, sequence)
    heat = np.maximum(evidence, 0)
    peak = heat.max()
    return heat / peak * np.float32(expit(logit)) if peak > 0 else heat


def frame_importance(model: keras.Model, sequence: Image) -> NDArray[np.float64]:
    """How much each frame makes a sequence look fake: float64 (T,), in logits; below 0 it makes it look real.

    It is by how much the logit falls when the frame is hidden: when the frame before it is shown twice (for the first
    frame, the one after it). A grey frame would not do: the model looks at changes, and would take it for a fault. What
    all frames share goes with none of them; only what sets a frame apart from its neighbour counts. `sequence` is uint8
    RGB (T, H, W, 3). Logits and not scores, since a score near 1 hardly moves.

    `model` is one of `build_cnn_lstm` or `build_on_encoder`. Raises `ValueError` for another kind of model, or a
    sequence that does not fit. Taught in notebook 06.
    """
    parts = _take_apart(model)
    features = parts.cnn(_as_batch(model, sequence), training=False)[-1]  # (T, F)
    count = len(sequence)
    shown = np.tile(np.arange(count), (count + 1, 1))  # a row a sequence: first all frames, then each hidden in turn
    hidden = np.arange(count)
    shown[hidden + 1, hidden] = np.where(hidden > 0, hidden - 1, min(1, count - 1))
    seen = parts.compare(tf.gather(features, shown.ravel()), training=False)
    logits = parts.judge(seen, training=False).numpy().ravel().astype(np.float64)
    fall: NDArray[np.float64] = logits[0] - logits[1:]
    return fall


def weigh_evidence(model: keras.Model, sequence: Image) -> tuple[float, NDArray[np.float32]]:
    """The logit of a sequence, and what each place adds to it, in logits: float32 (T, H, W), FAKE above 0.

    All places together add up to the logit less that of a sequence in which no map shows anything. Arguments and errors
    are those of `heat_maps`, which shows the part above 0. Taught in notebook 06.
    """
    parts = _take_apart(model)
    *maps, features = parts.cnn(_as_batch(model, sequence), training=False)
    logit, of_features, of_changes = _weigh_features(parts, maps, features)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        pooled = parts.pool(maps, training=False)
    by_features = tape.gradient(pooled, maps, output_gradients=of_features)
    by_changes = tape.gradient(pooled, maps, output_gradients=of_changes)
    height, width = sequence.shape[1:3]
    evidence = np.zeros(sequence.shape[:3], np.float32)
    for scale, weights, change_weights in zip(maps, by_features, by_changes, strict=True):
        shown, weights, change_weights = (tf.cast(one, tf.float32) for one in (scale, weights, change_weights))
        change = shown - tf.concat([shown[:1], shown[:-1]], axis=0)
        places = tf.reduce_sum(shown * weights + change * change_weights, axis=-1, keepdims=True)  # (T, h, w, 1)
        share = places.shape[1] * places.shape[2] / (height * width)  # what a cell adds is spread over its pixels
        evidence += share * tf.image.resize(places, (height, width))[..., 0].numpy()
    return logit, evidence


class _Parts(NamedTuple):
    """A model cut in four: `cnn` from one sequence to maps and features, `pool` from maps to features, both (T, …);
    `compare` from features (B·T, F) to what the head sees, `judge` from that to logits (B, 1)."""

    cnn: keras.Model
    pool: keras.Model
    compare: keras.Model
    judge: keras.Model


def _weigh_features(parts: _Parts, maps: list[tf.Tensor], features: tf.Tensor) -> tuple[float, tf.Tensor, tf.Tensor]:
    """The logit, what it gains by each feature, and by its change from the frame before: both (T, F)."""
    nothing = parts.pool([tf.zeros_like(scale) for scale in maps], training=False)
    # Dim all maps alike, and what the head sees moves on the line from that of nothing: no need to go through the CNN.
    start, end = (parts.compare(one, training=False) for one in (nothing, features))
    middles = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    path = tf.concat([start + share * (end - start) for share in middles], axis=0)
    with tf.GradientTape() as tape:
        tape.watch(path)
        logits = parts.judge(path, training=False)
    slopes = tf.reduce_mean(tf.reshape(tape.gradient(logits, path), (STEPS, *end.shape)), axis=0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        seen = parts.compare(features, training=False)
    is_change = np.arange(end.shape[-1]) >= features.shape[-1]  # the head sees features first, then their change
    of_features, of_changes = (
        tape.gradient(seen, features, output_gradients=tf.where(chosen, slopes, 0))
        for chosen in (~is_change, is_change)
    )
    # A change weighs on its frame and, reversed, on the one before. Summed from the end, each has its own weight back.
    of_changes = tf.cumsum(of_changes, axis=0, reverse=True)
    return float(parts.judge(end, training=False)[0, 0]), of_features, of_changes


def _take_apart(model: keras.Model) -> _Parts:
    found: dict[str, Any] = {layer.name: layer for layer in model.layers}
    if "frame_encoder" in found:
        return _take_pretrained_apart(model)
    pools = (layers.GlobalAveragePooling2D, layers.AveragePooling2D)
    maps = [layer.input for layer in model.layers if isinstance(layer, pools)]
    missing = [f"layer {name!r}" for name in ("features", "score") if name not in found]
    missing += [] if maps else ["maps that it averages"]
    if missing:
        raise ValueError(f"the model {model.name} has no {' and no '.join(missing)}: explain models of this package")
    features, score = found["features"].output, found["score"]
    seen = found["features_and_change"].output if "features_and_change" in found else features
    logit = score.input if isinstance(score, layers.Activation) else ops.matmul(score.input, score.kernel) + score.bias
    compare = keras.Model(features, seen if seen is not features else ops.copy(features))
    return _Parts(
        keras.Model(model.input, [*maps, features]), keras.Model(maps, features), compare, keras.Model(seen, logit)
    )


def _take_pretrained_apart(model: keras.Model) -> _Parts:
    """Of `build_on_encoder`: what its head sees are the features, and what changes in them it makes out by itself."""
    encoder, head = take_apart(model)
    frame_count, size = model.input_shape[1:3]
    maps, features, _ = encoder.outputs
    see = keras.Model(encoder.input, [maps, features])
    sequence, seen = keras.Input(model.input_shape[1:]), keras.Input(features.shape[1:])
    return _Parts(
        keras.Model(sequence, see(ops.reshape(sequence, (-1, size, size, 3)))),
        keras.Model([maps], features),
        keras.Model(seen, ops.reshape(seen, (-1, frame_count, features.shape[-1]))),
        keras.Model(head.input, head.get_layer("score").input),
    )


def _as_batch(model: keras.Model, sequence: Image) -> tf.Tensor:
    wanted = tuple(model.input_shape[1:])
    if sequence.shape != wanted or sequence.dtype != np.uint8:
        raise ValueError(
            f"the sequence is {sequence.dtype} {sequence.shape}, but the model {model.name} looks at uint8 {wanted}: "
            "prepare it with the model's own sequence.json"
        )
    return tf.cast(sequence[None], tf.float32)

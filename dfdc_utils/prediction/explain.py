"""Why a model says FAKE: the places and the frames that raise its score.

The heat maps are Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391), changed to point at the fault:

- It uses all maps that the features are averages of. The last ones alone locate to a sixth of the face.
- The evidence in a change between frames is placed where the maps changed, not wherever they are active.
- Gradients are integrated from no activation to the full one (Integrated Grad-CAM, Sattarzadeh et al. 2021,
  https://arxiv.org/abs/2102.07805), since the gradients of a confident model are close to zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dfdc_utils.models import take_apart
from dfdc_utils.prediction.verdicts import Explanation
from dfdc_utils.quiet import keras, layers, ops, tf
from dfdc_utils.videos import Image

# Of the integral. On the sample, the evidence then adds up to the logit within 0.02; with 16 steps within 0.6.
STEPS = 64


def explain_score(model: keras.Model, sequence: Image) -> Explanation:
    """Explain the score of one sequence, uint8 RGB (T, H, W, 3), by a model of `build_cnn_lstm` or `build_on_encoder`.

    `heat` shows only evidence for FAKE. Its maximum equals the model's own score, so a video with a low score stays
    dark. For a model of `build_on_encoder`, it shows the logits of its places, if any is above 0.
    Else it is the Grad-CAM: a change between two frames is shown on the later one. The resolution is that of the
    network's maps: 4 pixels for the small one, 16 for pretrained ones, 32 for most of `keras.applications`. Raises
    `ValueError` for another kind of model, or a sequence that does not fit. Taught in notebook 06.
    """
    logit, evidence = weigh_evidence(model, sequence)
    places, frame_logits = _see_frames(model, sequence)
    heat = np.maximum(evidence if places is None or places.max() <= 0 else places, 0)
    peak = heat.max()
    heat = heat / peak * np.float32(expit(logit)) if peak > 0 else heat
    return Explanation(heat, evidence.sum(axis=(1, 2)), logit, frame_logits)


def _see_frames(model: keras.Model, sequence: Image) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """What a model says of each place (T, H, W) and of each frame (T,), in logits; None where it says nothing."""
    encoder = next((layer for layer in model.layers if layer.name == "frame_encoder"), None)
    if encoder is None:
        return None, None
    _, places, features, _ = encoder(_as_batch(model, sequence)[0])  # places are (T, h, w, 1)
    logits = take_apart(model)[1].get_layer("frame_logit")(features)[:, 0]
    return np.asarray(tf.image.resize(places, sequence.shape[1:3])[..., 0]), np.asarray(logits)


def weigh_evidence(model: keras.Model, sequence: Image) -> tuple[float, NDArray[np.float32]]:
    """The logit of a sequence, and what each place adds to it, in logits: float32 (T, H, W), FAKE above 0.

    Their sum is the logit minus that of a sequence whose maps are all zero. Raises like `explain_score`.
    """
    parts = _take_apart(model)
    *maps, features = parts.cnn(_as_batch(model, sequence))
    logit, of_features, of_changes = _weigh_features(parts, maps, features)
    by_features, by_changes = _pull_back(parts.pool, maps, of_features, of_changes)
    height, width = sequence.shape[1:3]
    evidence = np.zeros(sequence.shape[:3], np.float32)
    for scale, weights, change_weights in zip(maps, by_features, by_changes, strict=True):
        shown, weights, change_weights = (tf.cast(one, tf.float32) for one in (scale, weights, change_weights))
        change = shown - tf.concat([shown[:1], shown[:-1]], axis=0)
        places = tf.reduce_sum(shown * weights + change * change_weights, axis=-1, keepdims=True)  # (T, h, w, 1)
        spread = places.shape[1] * places.shape[2] / (height * width)  # a cell's evidence, over its pixels
        evidence += spread * tf.image.resize(places, (height, width))[..., 0].numpy()
    return logit, evidence


class _Parts(NamedTuple):
    """A model in four parts. Of the head's input, the first `shown` (all if None) are features, the others changes."""

    cnn: Callable[[tf.Tensor], list[tf.Tensor]]  # from one sequence to maps and features, both (T, …)
    pool: Callable[[list[tf.Tensor]], tf.Tensor]  # from maps to features
    compare: Callable[[tf.Tensor], tf.Tensor]  # from features (B·T, F) to the head's input
    judge: Callable[[tf.Tensor], tf.Tensor]  # from that to logits (B, 1)
    shown: int | None = None


def _weigh_features(parts: _Parts, maps: list[tf.Tensor], features: tf.Tensor) -> tuple[float, tf.Tensor, tf.Tensor]:
    """The logit, and its gradients with respect to each feature and to its change from the frame before: (T, F)."""
    # Scaling all maps moves the head's input along a straight line, so the path need not go through the CNN.
    start, end = (parts.compare(one) for one in (parts.pool([tf.zeros_like(scale) for scale in maps]), features))
    middles = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    path = tf.concat([start + fraction * (end - start) for fraction in middles], axis=0)
    with tf.GradientTape() as tape:
        tape.watch(path)
        logits = parts.judge(path)
    slopes = tf.reduce_mean(tf.reshape(tape.gradient(logits, path), (STEPS, *end.shape)), axis=0)
    is_change = np.arange(end.shape[-1]) >= (parts.shown or end.shape[-1])
    by_kind = (tf.where(kind, slopes, 0) for kind in (~is_change, is_change))
    of_features, of_changes = _pull_back(parts.compare, features, *by_kind)
    # A change counts for its frame and, negated, for the one before. A sum from the end recovers each one's own weight.
    return float(parts.judge(end)[0, 0]), of_features, tf.cumsum(of_changes, axis=0, reverse=True)


def _pull_back(function: Callable[[Any], tf.Tensor], value: Any, *slopes: tf.Tensor) -> list[Any]:
    """The gradients with respect to `value`, for each of some gradients with respect to `function(value)`."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(value)
        result = function(value)
    return [tape.gradient(result, value, output_gradients=slope) for slope in slopes]


def _take_apart(model: keras.Model) -> _Parts:
    found: dict[str, Any] = {layer.name: layer for layer in model.layers}
    if "frame_encoder" in found:
        return _take_pretrained_apart(model)
    pools = (layers.GlobalAveragePooling2D, layers.AveragePooling2D)
    maps = [layer.input for layer in model.layers if isinstance(layer, pools)]
    missing = [f"layer {name!r}" for name in ("features", "score") if name not in found]
    missing += [] if maps else ["maps that it averages"]
    if missing:
        raise ValueError(f"the model {model.name} has no {' and no '.join(missing)}: only this package's are explained")
    projected = [found[name].output for name in ("features", "moving_features") if name in found]
    features = ops.concatenate(projected, axis=-1)
    seen = found["features_and_change"].output if len(projected) > 1 else projected[0]
    score, logit = found["score"], found["score"].input
    if isinstance(score, layers.Dense):
        logit = ops.matmul(logit, score.kernel) + score.bias
    cnn, pool = keras.Model(model.input, [*maps, features]), keras.Model(maps, features)
    judge = keras.Model(seen, logit)
    if len(projected) == 1:
        return _Parts(cnn, pool, tf.identity, judge)
    side_by_side = keras.Model(projected, seen)
    return _Parts(cnn, pool, lambda both: side_by_side(tf.split(both, 2, axis=-1)), judge, features.shape[-1] // 2)


def _take_pretrained_apart(model: keras.Model) -> _Parts:
    """The parts of a model of `build_on_encoder`, whose head sees the features themselves."""
    encoder, head = take_apart(model)
    maps, *_, features, _ = encoder.outputs
    see, pool = keras.Model(encoder.input, [maps, features]), keras.Model([maps], features)
    judge, shape = keras.Model(head.input, head.get_layer("score").input), (-1, *head.input_shape[1:])
    return _Parts(lambda sequences: see(sequences[0]), pool, lambda features: tf.reshape(features, shape), judge)


def _as_batch(model: keras.Model, sequence: Image) -> tf.Tensor:
    wanted = tuple(model.input_shape[1:])
    if sequence.shape != wanted or sequence.dtype != np.uint8:
        what = f"the sequence is {sequence.dtype} {sequence.shape}, but the model {model.name} takes uint8 {wanted}"
        raise ValueError(f"{what}: prepare it with the model's own sequence.json")
    return tf.cast(sequence[None], tf.float32)

"""The pretrained model: a frame encoder and a head over time; plain Keras, like `cnn_lstm`."""

from __future__ import annotations

from dfdc_utils.models.cnn_lstm import application_maps, prepare_frames
from dfdc_utils.quiet import quiet_import

with quiet_import():
    import keras
    from keras import layers, ops


def build_frame_encoder(
    face_size: int = 112, *, weights: str | None = "imagenet", feature_count: int = 128
) -> keras.Model:
    """Build the model that scores single frames: MobileNetV2 up to `block_12_add`, its maps, their average, a logit.

    Takes frames (B, H, W, 3), uint8 or float in 0..255 RGB, H = W = `face_size`; returns logits (B, 1). The layer
    `features` holds the averaged maps (B, `feature_count`). `weights` is `"imagenet"`, a local file or None.
    BatchNormalization is frozen. Raises `FileNotFoundError` if the weights are not there and cannot be fetched.

    A blend's edge is fine and can be anywhere: deeper blocks encode objects rather than edges, and cost more.
    """
    frames = keras.Input((face_size, face_size, 3), name="frame")
    maps = application_maps(frames, "MobileNetV2", weights, until="block_12_add")  # (B, H/16, W/16, 96)
    maps = layers.Conv2D(feature_count, 1, activation="relu", name="traces")(maps)
    features = layers.GlobalAveragePooling2D(name="features")(maps)
    return keras.Model(frames, layers.Dense(1, name="frame_logit")(features), name="frame_encoder")


def see_frames(encoder: keras.Model) -> keras.Model:
    """Build a model on what `build_frame_encoder` made: it returns maps (B, h, w, F), features (B, F), style (B, S).

    Weights are shared. Each frame is seen as it is and mirrored, and the maps are the mean of both. Features and logit
    are linear in the maps, so a mirrored video gets the same score. The style, which `OODDetector` judges, is the mean
    and the standard deviation of the maps of `block_6_project_BN` and `block_9_add`, each scaled to length 1: layers
    that respond to textures and parts, and so to the kind of picture.
    """
    network = next(layer for layer in encoder.layers if layer.name.startswith("MobileNetV2"))
    early = [network.get_layer(name).output for name in ("block_6_project_BN", "block_9_add")]
    seen = keras.Model(network.input, [*early, network.output], name=network.name)
    frames = keras.Input(encoder.input_shape[1:], name="frame")
    *early, maps = seen(prepare_frames("MobileNetV2", frames))
    *_, mirrored = seen(prepare_frames("MobileNetV2", ops.flip(frames, axis=2)))
    traces = encoder.get_layer("traces")
    maps = layers.Average(name="both_ways")([traces(maps), ops.flip(traces(mirrored), axis=2)])
    features = encoder.get_layer("features")(maps)
    summaries = [summary(part, axis=(1, 2)) for part in early for summary in (ops.mean, ops.std)]
    style = layers.Concatenate(name="style")([layers.UnitNormalization()(part) for part in summaries])
    return keras.Model(frames, [maps, features, style], name="frame_encoder")


def build_on_encoder(encoder: keras.Model, frame_count: int = 16) -> keras.Model:
    """Build the sequence model on what `build_frame_encoder` made: the mean of the frames' logits.

    Takes sequences (B, T, H, W, 3) like `build_cnn_lstm` and returns scores (B, 1); weights are shared with `encoder`.
    """
    size, count = encoder.input_shape[1], encoder.get_layer("features").output.shape[-1]
    inputs = keras.Input((frame_count, count), name="features")
    frame_logit = layers.Dense(1, dtype="float32", name="frame_logit")
    logit = ops.mean(frame_logit(inputs), axis=1)  # (B, 1)
    head = keras.Model(inputs, layers.Activation("sigmoid", dtype="float32", name="score")(logit), name="head_mean")
    frame_logit.set_weights(encoder.get_layer("frame_logit").get_weights())
    sequence = keras.Input((frame_count, size, size, 3), name="sequence")
    frames = ops.reshape(sequence, (-1, size, size, 3))  # (B·T, H, W, 3)
    _, features, _ = see_frames(encoder)(frames)
    return keras.Model(sequence, head(ops.reshape(features, (-1, frame_count, count))), name="pretrained_mean")


def take_apart(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Give the two parts of a model of `build_on_encoder`, new or loaded: the frame encoder, and the head over time.

    Raises `ValueError` if the model is not one of `build_on_encoder`.
    """
    parts = {layer.name: layer for layer in model.layers}
    head = next((layer for name, layer in parts.items() if name.startswith("head_")), None)
    if "frame_encoder" not in parts or head is None:
        raise ValueError(f"{model.name} has no frame_encoder: only pretrained models have a style to judge")
    return parts["frame_encoder"], head


def with_style(model: keras.Model) -> keras.Model:
    """Build the same model with two outputs: scores (B, 1), and the style averaged over time (B, S) for `OODDetector`.

    Raises `ValueError` if the model is not one of `build_on_encoder`.
    """
    see, head = take_apart(model)
    frame_count, size = model.input_shape[1:3]
    sequence = keras.Input(model.input_shape[1:], name="sequence")
    _, features, style = see(ops.reshape(sequence, (-1, size, size, 3)))
    score = head(ops.reshape(features, (-1, frame_count, features.shape[-1])))
    return keras.Model(sequence, [score, ops.mean(ops.reshape(style, (-1, frame_count, style.shape[-1])), axis=1)])

"""The pretrained model: a frame encoder and a head over time; plain Keras, like `cnn_lstm`."""

from typing import Any

from dfdc_utils.models.cnn_lstm import application_maps, prepare_frames
from dfdc_utils.quiet import keras, layers, ops


def build_frame_encoder(
    face_size: int = 160, *, weights: str | None = "imagenet", feature_count: int = 128
) -> keras.Model:
    """Build the model that scores single frames and places in them: MobileNetV2 up to `block_12_add`, and two heads.

    Takes frames (B, H, W, 3), uint8 or float in 0..255 RGB, H = W = `face_size`; returns logits (B, 1), and logits of
    places (B, h, w, 1), each of 16 x 16 pixels. A frame's logit is linear in its `features` (B, `feature_count` + 1):
    the averaged maps, and the highest of its places. `weights` is `"imagenet"`, a local file or None.
    BatchNormalization is frozen. Raises `FileNotFoundError` if the weights are not there and cannot be fetched.
    A blend's edge is fine and can be anywhere: deeper blocks encode objects rather than edges, and cost more.
    """
    frames = keras.Input((face_size, face_size, 3), name="frame")
    maps = application_maps(frames, "MobileNetV2", weights, until="block_12_add")  # (B, H/16, W/16, 96)
    maps = layers.Conv2D(feature_count, 1, activation="relu", name="traces")(maps)
    places = layers.Conv2D(1, 1, dtype="float32", name="place_logits")(maps)
    logit = layers.Dense(1, dtype="float32", name="frame_logit")(_pool(maps, places))
    return keras.Model(frames, [logit, places], name="frame_encoder")


def _pool(maps: keras.KerasTensor, places: keras.KerasTensor) -> keras.KerasTensor:
    """Features (B, F + 1) of maps (B, h, w, F) and logits of their places (B, h, w, 1)."""
    parts = [layers.GlobalAveragePooling2D(name="average")(maps), layers.GlobalMaxPooling2D(name="highest")(places)]
    return layers.Concatenate(dtype="float32", name="features")(parts)


def copy_encoder(source: keras.Model, face_size: int) -> keras.Model:
    """Build a frame encoder with the weights of a model of `build_on_encoder`. Raises `ValueError` for another kind."""
    see, head = take_apart(source)
    encoder = build_frame_encoder(face_size, weights=None, feature_count=see.get_layer("traces").filters)
    network_of(encoder).set_weights(network_of(see).get_weights())
    for name, part in (("traces", see), ("place_logits", see), ("frame_logit", head)):
        encoder.get_layer(name).set_weights(part.get_layer(name).get_weights())
    return encoder


def network_of(encoder: keras.Model) -> keras.Model:
    """Give the network of `keras.applications` in an encoder of `build_frame_encoder`."""
    return next(layer for layer in encoder.layers if layer.name.startswith("MobileNetV2"))


def see_frames(encoder: keras.Model) -> keras.Model:
    """Build a model that shares the weights of `build_frame_encoder`'s and returns more of what it sees.

    This is maps (B, h, w, F), logits of places (B, h, w, 1), features (B, F + 1) and style (B, S), which `OODDetector`
    judges: mean and standard deviation of the maps of `block_6_project_BN`, `block_9_add` and the last block, each
    scaled to length 1. They respond to textures and parts, and so to the kind of picture. A frame is seen as it is and
    mirrored, and the maps are the mean of both: a mirrored video gets the same score.
    """
    network = network_of(encoder)
    early = [network.get_layer(name).output for name in ("block_6_project_BN", "block_9_add")]
    seen = keras.Model(network.input, [*early, network.output], name=network.name)
    frames = keras.Input(encoder.input_shape[1:], name="frame")
    *early, maps = seen(prepare_frames("MobileNetV2", frames))
    *_, mirrored = seen(prepare_frames("MobileNetV2", ops.flip(frames, axis=2)))
    traces = encoder.get_layer("traces")
    both = layers.Average(name="both_ways")([traces(maps), ops.flip(traces(mirrored), axis=2)])
    places = encoder.get_layer("place_logits")(both)
    summaries = [summary(part, axis=(1, 2)) for part in (*early, maps) for summary in (ops.mean, ops.std)]
    style = layers.Concatenate(name="style")([layers.UnitNormalization()(part) for part in summaries])
    return keras.Model(frames, [both, places, _pool(both, places), style], name="frame_encoder")


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
    *_, features, _ = see_frames(encoder)(ops.reshape(sequence, (-1, size, size, 3)))  # of (B·T, H, W, 3)
    return keras.Model(sequence, head(ops.reshape(features, (-1, frame_count, count))), name="pretrained_mean")


def take_apart(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Give the two parts of a model of `build_on_encoder`, new or loaded: the frame encoder, and the head over time.

    Raises `ValueError` if the model is not one of `build_on_encoder`.
    """
    try:
        return model.get_layer("frame_encoder"), model.get_layer("head_mean")
    except ValueError as error:
        raise ValueError(f"{model.name} has no frame_encoder: only pretrained models have a style to judge") from error


class WithStyle(keras.Model):  # type: ignore[misc]
    """A model of `build_on_encoder`, called with sequences (B, T, H, W, 3), that returns two things.

    They are the scores (B, 1), and the style averaged over time (B, `style_size`) for `OODDetector`. Layers are shared,
    and not called anew before the first batch, which would take seconds. Raises `ValueError` for another model.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="with_style")
        self.see, self.head = take_apart(model)
        self.frame_count, self.style_size = model.input_shape[1], self.see.output_shape[-1][-1]

    def call(self, sequences: Any, training: bool = False) -> tuple[Any, Any]:
        *_, features, style = self.see(ops.reshape(sequences, (-1, *sequences.shape[2:])), training=training)
        features, style = (ops.reshape(one, (-1, self.frame_count, one.shape[-1])) for one in (features, style))
        return self.head(features, training=training), ops.mean(style, axis=1)

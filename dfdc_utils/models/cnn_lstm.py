"""The CNN-LSTM, a plain Keras functional model: it loads without this package, on any backend of Keras."""

import inspect
import sys
from pathlib import Path

from dfdc_utils.models.sync import add_sound
from dfdc_utils.quiet import keras, layers, ops

HEADS = ("lstm", "attention", "mean")

# Features are some ten times larger than their change from frame to frame. Scaled to a similar size, the LSTM learns
# from both; unscaled, it memorises the faces of a small data set and learns nothing from the change.
FEATURE_SCALE, CHANGE_SCALE = 0.3, 8.0


def build_cnn_lstm(
    frame_count: int = 16,
    face_size: int = 96,
    *,
    backbone: str = "small",
    weights: str | None = None,
    head: str = "lstm",
    filters: tuple[int, ...] = (16, 32, 48, 64),
    feature_count: int = 24,
    lstm_units: int = 16,
    audio: bool = False,
) -> keras.Model:
    """Build the CNN-LSTM: a CNN on each frame, an LSTM over time, a dense head.

    Takes sequences (B, T, H, W, 3), uint8 or float in 0..255 RGB, with T = `frame_count` and H = W = `face_size`;
    returns scores (B, 1), the probability that a video is fake.

    Time is folded into the batch: `TimeDistributed` without a copy of the CNN for each frame in the graph. `backbone`
    is `"small"`, in which each stage halves the image and `filters` are the channels per stage, or a network of
    `keras.applications`, with `weights` from `"imagenet"`, a local file or None. The small CNN has no
    BatchNormalization, so replicas compute the same, and brightness over time is not normalised away; others freeze it.

    `head` is `"lstm"`, over each frame's features and the change since the previous frame of other features, since
    those that show a fault in a single frame hardly move; `"attention"`, a learned weighted mean of the same; or
    `"mean"`, the baseline without time, which averages the scores of frames. With `audio` see `add_sound`.

    Raises `ValueError` for an unknown name, for `weights` of the small CNN, or if a face is too small to be halved that
    often; `FileNotFoundError` if the weights are not there and cannot be fetched. Taught in notebook 04.

        model = build_cnn_lstm(16, 96)
        scores = model(np.zeros((2, 16, 96, 96, 3), "uint8"))  # (2, 1)
    """
    if head not in HEADS:
        raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
    if backbone == "small" and weights is not None:
        raise ValueError(f"weights={weights!r}: there are none for the small CNN. Name a backbone, like MobileNetV2.")
    sequence = keras.Input((frame_count, face_size, face_size, 3), name="sequence")
    frames = ops.reshape(sequence, (-1, face_size, face_size, 3))  # (B·T, H, W, 3)
    x = _small_cnn(frames, filters) if backbone == "small" else application_maps(frames, backbone, weights)

    def project(name: str) -> keras.KerasTensor:  # (B, T, F)
        # In float32 from here on: half precision would lose the small changes from frame to frame.
        return ops.reshape(layers.Dense(feature_count, dtype="float32", name=name)(x), (-1, frame_count, feature_count))

    features = project("features")
    if head == "mean":
        hidden = layers.Dense(lstm_units, activation="tanh", dtype="float32", name="seen")(features * FEATURE_SCALE)
        logits = layers.Dense(1, dtype="float32", name="frame_logits")(hidden)  # (B, T, 1)
        score = layers.Activation("sigmoid", dtype="float32", name="score")(ops.mean(logits, axis=1))  # (B, 1)
        return keras.Model(sequence, score, name="cnn_mean")
    moving = project("moving_features")
    change = ops.pad(ops.absolute(moving[:, 1:] - moving[:, :-1]), [[0, 0], [1, 0], [0, 0]])  # 0 at the first frame
    both = [features * FEATURE_SCALE, change * CHANGE_SCALE]
    x = layers.Concatenate(dtype="float32", name="features_and_change")(both)  # (B, T, 2·F)
    if head == "lstm":
        x = layers.LSTM(lstm_units, dtype="float32", name="lstm")(x)  # (B, units)
    else:
        x = layers.Dense(lstm_units, activation="tanh", dtype="float32", name="seen")(x)  # (B, T, units)
        attention = layers.Dense(1, dtype="float32", name="attention_logits")(x)  # (B, T, 1)
        x = ops.sum(x * ops.softmax(attention, axis=1), axis=1)  # (B, units)
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name="score")(x)  # (B, 1)
    model = keras.Model(sequence, score, name=f"cnn_{head}")
    return add_sound(model) if audio else model


def copy_cnn(source: keras.Model, target: keras.Model) -> None:
    """Give the CNN of `target`, as far as to its `features`, the weights of that of `source`.

    Both are of `build_cnn_lstm`, with the same settings. Raises `ValueError` if their CNNs differ.
    """
    heads = ("moving_features", "lstm", "seen", "frame_logits", "attention_logits", "score")
    cnns = [[one for one in model.layers if one.weights and one.name not in heads] for model in (source, target)]
    shapes = [[[tuple(weight.shape) for weight in layer.weights] for layer in cnn] for cnn in cnns]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the CNN of {source.name} is not that of {target.name}: build both with the same settings")
    for one, other in zip(*cnns, strict=True):
        other.set_weights(one.get_weights())


def _small_cnn(frames: keras.KerasTensor, filters: tuple[int, ...]) -> keras.KerasTensor:
    """Averages of the maps at every scale, and over a grid of cells: (B·T, H, W, 3) to (B·T, all of them)."""
    face_size = frames.shape[1]
    if face_size < 2 ** (len(filters) + 1):
        raise ValueError(f"face_size={face_size} is too small to be halved {len(filters)} times: use fewer `filters`")
    x = layers.Rescaling(1 / 64, offset=-2, name="to_minus_two_to_two")(frames)
    settings = {"strides": 2, "padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    scales = []
    for stage, channels in enumerate(filters):
        x = layers.Conv2D(channels, 3, **settings, name=f"conv_{stage}")(x)
        scales.append(layers.GlobalAveragePooling2D(name=f"average_{stage}")(x))
        if stage == min(1, len(filters) - 1):
            # Averages over 4 x 4 cells show where on the face something is; a global average hides a shift.
            maps = layers.Conv2D(8, 1, activation="relu", name="maps")(x)
            cells = layers.AveragePooling2D(maps.shape[1] // 4, name="cells")(maps)
            scales.append(layers.Flatten(name="cells_flat")(cells))
    # Every scale: a blending edge is fine, a face that drifts is coarse.
    return layers.Concatenate(name="all_scales")(scales)


def application_maps(
    frames: keras.KerasTensor, name: str, weights: str | None, *, until: str | None = None
) -> keras.KerasTensor:
    """The averaged last maps of a network of `keras.applications`: (B·T, H, W, 3) in 0..255 to (B·T, C).

    With `until`, the network ends at the layer of that name, and its maps (B·T, h, w, C) are not averaged.
    """
    networks = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if name not in networks:
        raise ValueError(f"backbone {name!r} is neither 'small' nor in keras.applications: {', '.join(networks)}")
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f"{weights}: no such file of weights for {name}. Name a file, 'imagenet', or None.")
    try:
        network = networks[name](include_top=False, weights=weights, input_shape=tuple(frames.shape[1:]))
    except Exception as error:  # the class that Keras raises
        if "URL fetch failure" not in str(error):
            raise
        what = f"{name}'s ImageNet weights are not on this machine and cannot be fetched ({error})"
        remedy = "Fetch them where there is a network and name the file in `weights`, or start from None."
        raise FileNotFoundError(f"{what}. {remedy}") from error
    if until:
        network = keras.Model(network.input, network.get_layer(until).output, name=f"{name}_to_{until}")
    # Frames of one video are no batch of independent images: batch statistics over them would be wrong.
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    maps = network(prepare_frames(name, frames))  # (B·T, h, w, C)
    # The average is outside the network, so that `explain` finds the maps in the model's own graph.
    return maps if until else layers.GlobalAveragePooling2D(name="average")(maps)


def prepare_frames(name: str, frames: keras.KerasTensor) -> keras.KerasTensor:
    """Scale frames in 0..255 to the range that a network of `keras.applications` was trained on."""
    return sys.modules[getattr(keras.applications, name).__module__].preprocess_input(ops.cast(frames, "float32"))

"""Architectures. All are plain Keras functional models: they load without this package, on any backend of Keras."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.quiet import quiet_import

with quiet_import():
    import keras
    from keras import layers, ops

PRETRAINED = "pretrained"  # names the model that is part of the package
HEADS = ("lstm", "attention", "mean")

# An untrained CNN's features are some ten times larger than their change from frame to frame. Brought to like size, the
# LSTM learns from both; left as they are, it learns 80 faces by heart and nothing from the change.
FEATURE_SCALE, CHANGE_SCALE = 0.3, 4.0


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
    dropout: float = 0.0,
) -> keras.Model:
    """Build the CNN-LSTM: a CNN on each frame, an LSTM over time, a dense head.

    Takes sequences (B, T, H, W, 3), uint8 or float in 0..255 RGB, with T = `frame_count` and H = W = `face_size`; gives
    scores (B, 1), the probability that a video is fake.

    The same CNN sees every frame: time is folded into the batch, which is what `TimeDistributed` means, without a copy
    of the CNN for each frame in the graph. `backbone` is `"small"`, whose stages each halve the image and have as many
    channels as `filters` says, or any name in `keras.applications`, with `weights` from `"imagenet"`, a local file or
    None. The small one has no BatchNormalization, so that one and two replicas compute the same and the light of a
    frame is not normalised away; that of the others stays as it is, frozen. `dropout` draws its masks a replica, so
    with it two replicas no longer equal one; on the sample it did no good.

    `head` is `"lstm"` over each frame's features and how much they changed since the frame before; `"attention"`, a
    weighted mean of the same, with weights that are learned; or `"mean"`, each frame scored by itself and averaged,
    which cannot know time: the baseline that the others must beat.

    Raises `ValueError` for an unknown name or a face too small for that many halvings, `FileNotFoundError` if weights
    cannot be had.

        model = build_cnn_lstm(16, 96)
        scores = model(np.zeros((2, 16, 96, 96, 3), "uint8"))  # (2, 1)

    Taught in notebook 04.
    """
    if head not in HEADS:
        raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
    sequence = keras.Input((frame_count, face_size, face_size, 3), name="sequence")
    frames = ops.reshape(sequence, (-1, face_size, face_size, 3))  # (B·T, H, W, 3)
    x = _small_cnn(frames, filters) if backbone == "small" else _application(frames, backbone, weights)
    # In float32 from here on: half precision would lose the small changes from frame to frame.
    x = layers.Dense(feature_count, dtype="float32", name="features")(x)  # (B·T, F)
    features = ops.reshape(x, (-1, frame_count, feature_count))  # (B, T, F)
    kept = layers.Dropout(dropout, dtype="float32", name="dropout_features")(features) if dropout else features
    if head == "mean":
        x = layers.Dense(lstm_units, activation="tanh", dtype="float32", name="seen")(kept * FEATURE_SCALE)
        logits = layers.Dense(1, dtype="float32", name="frame_logits")(x)  # (B, T, 1)
        score = layers.Activation("sigmoid", dtype="float32", name="score")(ops.mean(logits, axis=1))  # (B, 1)
        return keras.Model(sequence, score, name="cnn_mean")
    both = [kept * FEATURE_SCALE, _change(features) * CHANGE_SCALE]
    x = layers.Concatenate(dtype="float32", name="features_and_change")(both)  # (B, T, 2·F)
    if head == "lstm":
        x = layers.LSTM(lstm_units, dtype="float32", name="lstm")(x)  # (B, units)
    else:
        x = layers.Dense(lstm_units, activation="tanh", dtype="float32", name="seen")(x)  # (B, T, units)
        attention = layers.Dense(1, dtype="float32", name="attention_logits")(x)  # (B, T, 1)
        x = ops.sum(x * ops.softmax(attention, axis=1), axis=1)  # (B, units)
    x = layers.Dropout(dropout, dtype="float32", name="dropout_head")(x) if dropout else x
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name="score")(x)  # (B, 1)
    return keras.Model(sequence, score, name=f"cnn_{head}")


def build_frame_encoder(
    face_size: int = 112, *, weights: str | None = "imagenet", feature_count: int = 128
) -> keras.Model:
    """Build what scores single frames: MobileNetV2 as far as `block_12_add`, its maps, their average, a logit.

    Takes frames (B, H, W, 3), uint8 or float in 0..255 RGB, H = W = `face_size`; gives logits (B, 1). The layer
    `features` holds the averaged maps (B, `feature_count`). `weights` is `"imagenet"`, a local file or None.
    BatchNormalization stays as it is, frozen. Raises `FileNotFoundError` if weights cannot be had.

    A blend's edge is fine and lies anywhere: deeper blocks know more of objects and less of edges, and cost more.
    """
    frames = keras.Input((face_size, face_size, 3), name="frame")
    maps = _application(frames, "MobileNetV2", weights, until="block_12_add")  # (B, H/16, W/16, 96)
    maps = layers.Conv2D(feature_count, 1, activation="relu", name="traces")(maps)
    features = layers.GlobalAveragePooling2D(name="features")(maps)
    return keras.Model(frames, layers.Dense(1, name="frame_logit")(features), name="frame_encoder")


def see_frames(encoder: keras.Model) -> keras.Model:
    """What `build_frame_encoder` made, giving maps (B, h, w, F), features (B, F) and style (B, S).

    Weights are shared. Each frame is seen as it is and mirrored, and maps are the mean of both: a mirrored video has
    the same score, and the logit is the mean of both, for only an average and a sum lie between. The style is the
    averaged maps of `block_3_project_BN` and `block_6_project_BN`, each brought to length 1: what kind of picture it
    is, for layers that still know more of pictures than of blends. `Familiarity` judges it.
    """
    network = next(layer for layer in encoder.layers if layer.name.startswith("MobileNetV2"))
    early = [network.get_layer(name).output for name in ("block_3_project_BN", "block_6_project_BN")]
    seen = keras.Model(network.input, [*early, network.output], name=network.name)
    frames = keras.Input(encoder.input_shape[1:], name="frame")
    *early, maps = seen(_prepare("MobileNetV2", frames))
    *_, mirrored = seen(_prepare("MobileNetV2", ops.flip(frames, axis=2)))
    traces = encoder.get_layer("traces")
    maps = layers.Average(name="both_ways")([traces(maps), ops.flip(traces(mirrored), axis=2)])
    features = encoder.get_layer("features")(maps)
    average = layers.GlobalAveragePooling2D(name="style_averages")
    style = layers.Concatenate(name="style")([layers.UnitNormalization()(average(part)) for part in early])
    return keras.Model(frames, [maps, features, style], name="frame_encoder")


def build_on_encoder(
    encoder: keras.Model, frame_count: int = 16, *, head: str = "lstm", units: int = 16
) -> tuple[keras.Model, keras.Model]:
    """Put a head over time on what `build_frame_encoder` made: the whole model, and its head alone.

    The whole takes sequences (B, T, H, W, 3) like `build_cnn_lstm` and gives scores (B, 1). The head takes the features
    of their frames (B, T, F), which `see_frames` gives: it can be trained on these alone, and the two share their
    weights. `"mean"` averages the encoder's own logits; `"lstm"` adds to that average what an LSTM makes of the
    features and of how much they changed since the frame before. At first it adds nothing.

    Raises `ValueError` for another head. Taught in notebook 04.
    """
    if head not in ("lstm", "mean"):
        raise ValueError(f"head {head!r} is neither lstm nor mean")
    size, count = encoder.input_shape[1], encoder.get_layer("features").output.shape[-1]
    inputs = keras.Input((frame_count, count), name="features")
    frame_logit = layers.Dense(1, dtype="float32", name="frame_logit")
    logit = ops.mean(frame_logit(inputs), axis=1)  # (B, 1)
    if head == "lstm":
        scaled = layers.Normalization(name="standard")(inputs)
        seen = layers.Dense(2 * units, dtype="float32", name="seen")(scaled)  # (B, T, 2·units)
        both = layers.Concatenate(dtype="float32", name="features_and_change")([seen, _change(seen)])
        told = layers.LSTM(units, dtype="float32", name="lstm")(both)
        added = layers.Dense(1, kernel_initializer="zeros", dtype="float32", name="over_time")(told)
        logit = layers.Add(name="logit")([logit, added])
    top = keras.Model(inputs, layers.Activation("sigmoid", dtype="float32", name="score")(logit), name=f"head_{head}")
    frame_logit.set_weights(encoder.get_layer("frame_logit").get_weights())
    sequence = keras.Input((frame_count, size, size, 3), name="sequence")
    frames = ops.reshape(sequence, (-1, size, size, 3))  # (B·T, H, W, 3)
    _, features, _ = see_frames(encoder)(frames)
    return keras.Model(sequence, top(ops.reshape(features, (-1, frame_count, count))), name=f"pretrained_{head}"), top


def take_apart(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Of a model that `build_on_encoder` made, also one loaded from its file: what sees frames, and the head over time.

    Raises `ValueError` if the model is not one of `build_on_encoder`.
    """
    parts = {layer.name: layer for layer in model.layers}
    head = next((layer for name, layer in parts.items() if name.startswith("head_")), None)
    if "frame_encoder" not in parts or head is None:
        raise ValueError(f"{model.name} has no frame_encoder: only pretrained models know what they have seen")
    return parts["frame_encoder"], head


def with_style(model: keras.Model) -> keras.Model:
    """The same model, giving scores (B, 1) and the style averaged over time (B, S), which `Familiarity` judges.

    Raises `ValueError` if the model is not one of `build_on_encoder`.
    """
    see, head = take_apart(model)
    frame_count, size = model.input_shape[1:3]
    sequence = keras.Input(model.input_shape[1:], name="sequence")
    _, features, style = see(ops.reshape(sequence, (-1, size, size, 3)))
    score = head(ops.reshape(features, (-1, frame_count, features.shape[-1])))
    return keras.Model(sequence, [score, ops.mean(ops.reshape(style, (-1, frame_count, style.shape[-1])), axis=1)])


def model_folder(name_or_path: str | Path) -> Path:
    """The folder of a model: that of the one in the package for `"pretrained"`, else the path itself.

    Raises `FileNotFoundError` if `"pretrained"` is asked for and the package came without it.
    """
    if name_or_path != PRETRAINED:  # a folder of that name is a `Path`, or "./pretrained"
        return Path(name_or_path)
    folder = Path(__file__).parent / "weights" / PRETRAINED
    if not (folder / "model.keras").is_file():
        raise FileNotFoundError(
            f"{folder} holds no model: install the package again, or run python -m dfdc_utils pretrain"
        )
    return folder


def load_model(path: str | Path) -> keras.Model:
    """Load `model.keras` from a file, or from the folder that training left it in; `"pretrained"` is in the package.

    No file can run code by being loaded: Keras' safe mode stays on, and anything but Keras' own zip format (a pickle,
    an HDF5 file) is not opened at all. Raises `FileNotFoundError` saying how to make one, `ValueError` for such a file.
    Taught in notebook 04.
    """
    file = model_folder(path)
    file = file / "model.keras" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no model. Train one: notebook 04, or python -m dfdc_utils train.")
    if not zipfile.is_zipfile(file) or file.suffix != ".keras":  # by its name Keras picks the reader
        raise ValueError(f"{file} is not a model in Keras 3's format (.keras). Other formats can run code: not loaded.")
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{file} cannot be loaded safely ({error}). Models of this project need no code of their own: get it from "
            "where it was trained."
        ) from error


@dataclass(frozen=True)
class StartFrom:
    """For `train(build=…)`: builds no new model, but loads the one in `folder`, to go on from its weights."""

    folder: Path

    @property
    def origin(self) -> dict[str, str]:
        """What the model had learned from, on what terms (`notes`), and a `digest` of its file."""
        digest = hashlib.sha256((self.folder / "model.keras").read_bytes()).hexdigest()
        try:
            note = json.loads((self.folder / "training.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            note = {}
        data = str(note.get("data", "videos that nothing here names"))
        return {"data": data, "notes": str(note.get("notes", "")), "digest": digest}

    def __call__(self, frame_count: int, face_size: int) -> keras.Model:
        """The model. Raises `ConfigMismatch` if sequences are not as long or faces not as large as it needs."""
        model = load_model(self.folder)
        if tuple(model.input_shape[1:3]) != (frame_count, face_size):
            raise ConfigMismatch(
                f"the model in {self.folder} looks at {model.input_shape[1]} frames of {model.input_shape[2]} pixels, "
                f"but these are {frame_count} of {face_size}: process the videos as its sequence.json says"
            )
        return model


def start_from(name_or_path: str | Path = PRETRAINED) -> StartFrom:
    """Go on from a trained model, of a folder or `"pretrained"`: `train(…, build=start_from("pretrained"))`.

    Raises `FileNotFoundError` if there is none. Taught in notebook 04.
    """
    folder = model_folder(name_or_path)
    if not (folder / "model.keras").is_file():
        raise FileNotFoundError(f"{folder} holds no model to start from")
    return StartFrom(folder)


def save_small(model: keras.Model, path: Path) -> None:
    """Save a model with its weights in half precision on disk; plain Keras loads it into full precision again."""
    import h5py

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(parts["model.weights.h5"]), "r") as full, h5py.File(buffer, "w") as half:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = half.require_group(name)
            else:
                is_float = item.dtype == np.float32 and np.abs(item[()]).max(initial=0) < 60_000  # half's largest
                made = half.create_dataset(name, data=item[()].astype(np.float16) if is_float else item[()])
            made.attrs.update(item.attrs)

        full.visititems(copy)
        half.attrs.update(full.attrs)
    parts["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _small_cnn(frames: keras.KerasTensor, filters: tuple[int, ...]) -> keras.KerasTensor:
    """Averages of the maps at every scale, and of a grid of cells: (B·T, H, W, 3) to (B·T, all of them)."""
    face_size = frames.shape[1]
    if face_size < 2 ** (len(filters) + 1):
        raise ValueError(f"face_size={face_size} is too small to be halved {len(filters)} times: use fewer `filters`")
    x = layers.Rescaling(1 / 64, offset=-2, name="to_minus_two_to_two")(frames)
    scales = []
    for stage, channels in enumerate(filters):
        x = layers.Conv2D(
            channels,
            3,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"conv_{stage}",
        )(x)
        scales.append(layers.GlobalAveragePooling2D(name=f"average_{stage}")(x))
        if stage == min(1, len(filters) - 1):
            scales.append(_cells(x))
    # Every scale: a blending edge is fine, a face that drifts is coarse.
    return layers.Concatenate(name="all_scales")(scales)


def _cells(x: keras.KerasTensor) -> keras.KerasTensor:
    """Where on the face: eight maps of (B·T, H, W, C), averaged over 4 x 4 cells. An average over all hides a shift."""
    maps = layers.Conv2D(8, 1, activation="relu", name="maps")(x)
    return layers.Flatten(name="cells_flat")(layers.AveragePooling2D(x.shape[1] // 4, name="cells")(maps))


def _application(
    frames: keras.KerasTensor, name: str, weights: str | None, *, until: str | None = None
) -> keras.KerasTensor:
    """The averaged last maps of a network of `keras.applications`: (B·T, H, W, 3) in 0..255 to (B·T, C).

    With the name of a layer in `until` it ends there, and its maps are not averaged.
    """
    networks = {key: value for key, value in vars(keras.applications).items() if key[0].isupper()}
    if name not in networks:
        raise ValueError(f"backbone {name!r} is neither 'small' nor in keras.applications: {', '.join(networks)}")
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f"{weights}: no such file of weights for {name}. Name a file, 'imagenet', or None.")
    shape = tuple(frames.shape[1:])
    try:
        network = networks[name](include_top=False, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises just that
        if "URL fetch failure" not in str(error):
            raise
        raise FileNotFoundError(
            f"{name}'s ImageNet weights are not on this machine and cannot be fetched ({error}). Fetch them where "
            "there is a network and name the file in `weights`, or start from None."
        ) from error
    if until:
        network = keras.Model(network.input, network.get_layer(until).output, name=f"{name}_to_{until}")
    # Frames of one video are nothing like a batch of independent images: statistics of such batches would be wrong.
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    maps = network(_prepare(name, frames))  # (B·T, h, w, C)
    if until:
        return maps
    # Out here and not in the network, so that `explain` finds the maps in the model's own graph.
    return layers.GlobalAveragePooling2D(name="average")(maps)


def _prepare(name: str, frames: keras.KerasTensor) -> keras.KerasTensor:
    """0..255 in the range that a network of `keras.applications` was trained in."""
    module = sys.modules[getattr(keras.applications, name).__module__]
    return module.preprocess_input(ops.cast(frames, "float32"))


def _change(features: keras.KerasTensor) -> keras.KerasTensor:
    """|f[t] − f[t−1]| of (B, T, F), 0 at the first frame."""
    change = ops.absolute(features[:, 1:] - features[:, :-1])  # (B, T−1, F)
    return ops.pad(change, [[0, 0], [1, 0], [0, 0]])

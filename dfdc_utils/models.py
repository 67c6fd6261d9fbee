"""Architectures. All are plain Keras functional models: they load without this package."""

from __future__ import annotations

from pathlib import Path

from dfdc_utils.quiet import quiet_import

with quiet_import():
    import keras
    from keras import layers, ops


# An untrained CNN's features are some ten times larger than their change from frame to frame. Brought to like size, the
# LSTM learns from both; left as they are, it learns 80 faces by heart and nothing from the change.
FEATURE_SCALE, CHANGE_SCALE = 0.3, 4.0


def build_cnn_lstm(
    frame_count: int = 16,
    face_size: int = 96,
    *,
    filters: tuple[int, ...] = (16, 32, 48, 64),
    feature_count: int = 24,
    lstm_units: int = 16,
    dropout: float = 0.3,
) -> keras.Model:
    """Build the CNN-LSTM: a CNN on each frame, an LSTM over time, a dense head.

    Takes sequences (B, T, H, W, 3), uint8 or float in 0..255 RGB, with T = `frame_count` and H = W = `face_size`; gives
    scores (B, 1), the probability that a video is fake. Each stage of the CNN halves the image and has as many channels
    as `filters` says. Raises `ValueError` if the face is too small for that many halvings.

    The same CNN sees every frame: time is folded into the batch, which is what `TimeDistributed` means, without a copy
    of the CNN for each frame in the graph. There is no BatchNormalization, so one and two replicas compute the same,
    and the light of a frame is not normalised away. The LSTM sees each frame's features and how much they changed since
    the frame before.

        model = build_cnn_lstm(16, 96)
        scores = model(np.zeros((2, 16, 96, 96, 3), "uint8"))  # (2, 1)

    Taught in notebook 04.
    """
    if face_size < 2 ** (len(filters) + 1):
        raise ValueError(f"face_size={face_size} is too small to be halved {len(filters)} times: use fewer `filters`")
    sequence = keras.Input((frame_count, face_size, face_size, 3), name="sequence")
    frames = ops.reshape(sequence, (-1, face_size, face_size, 3))  # (B·T, H, W, 3)
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
    x = layers.Concatenate(name="all_scales")(scales)
    x = layers.Dense(feature_count, name="features")(x)  # (B·T, F)
    features = ops.reshape(x, (-1, frame_count, feature_count))  # (B, T, F)
    change = _change(features)  # (B, T, F)
    kept = layers.Dropout(dropout, name="dropout_features")(features)
    x = layers.Concatenate(name="features_and_change")([kept * FEATURE_SCALE, change * CHANGE_SCALE])  # (B, T, 2·F)
    x = layers.LSTM(lstm_units, name="lstm")(x)  # (B, units)
    x = layers.Dropout(dropout, name="dropout_head")(x)
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name="score")(x)  # (B, 1)
    return keras.Model(sequence, score, name="cnn_lstm")


def load_model(path: str | Path) -> keras.Model:
    """Load `model.keras` from a file, or from the folder that training left it in.

    Keras' safe mode stays on: a model file that carries code is refused. Raises `FileNotFoundError` saying how to make
    one. Taught in notebook 04.
    """
    file = Path(path)
    file = file / "model.keras" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no model. Train one: notebook 04, or python -m dfdc_utils train.")
    return keras.saving.load_model(file, safe_mode=True)


def _cells(x: keras.KerasTensor) -> keras.KerasTensor:
    """Where on the face: eight maps of (B·T, H, W, C), averaged over 4 x 4 cells. An average over all hides a shift."""
    maps = layers.Conv2D(8, 1, activation="relu", name="maps")(x)
    return layers.Flatten(name="cells_flat")(layers.AveragePooling2D(x.shape[1] // 4, name="cells")(maps))


def _change(features: keras.KerasTensor) -> keras.KerasTensor:
    """|f[t] − f[t−1]| of (B, T, F), 0 at the first frame."""
    change = ops.absolute(features[:, 1:] - features[:, :-1])  # (B, T−1, F)
    return ops.pad(change, [[0, 0], [1, 0], [0, 0]])

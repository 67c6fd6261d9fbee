"""Sound as a further input: a second branch that compares the movement of a mouth with what is heard."""

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces import SLICE, mouth_region
from dfdc_utils.quiet import keras, layers, ops
from dfdc_utils.videos import SOUND_RATE

CHANNELS = (8, 12, 16)  # of the convolutions over a mouth, and of those over a spectrogram
FEATURE_COUNT = 8  # of a mouth, and of a sound
MOUTH_PIXELS = (24, 28)  # height and width
MEL = {"num_mel_bins": 64, "sequence_length": 400, "sequence_stride": 160, "fft_length": 512}  # 25 ms every 10 ms
LEAST = 0.1  # added to a deviation over time: what hardly changes must not be blown up to look like speech


def add_sound(picture: keras.Model) -> keras.Model:
    """Let a model of pictures hear: a video is fake if its pictures are, or if its sound does not belong to the mouth.

    `picture` takes `sequence` (B, T, H, W, 3) and gives scores (B, 1). The result takes a dictionary: `sequence`,
    `audio` float32 (B, T, 3200) in -1..1, the sound about each frame at 16 kHz, and `has_audio` (B, 1), 1 or 0. Its
    score is `p + s (1 - p)`: p of the pictures, s of the sound, which counts only where `has_audio` is 1. So a video
    without sound has exactly the score of `picture`.

    A CNN on the mouth and one on the log-mel spectrogram, normalised per clip, give features per frame. Their
    correlation over time decides: AUC .92 on other people. An LSTM learned the sample's 42 clips by heart: AUC .84.
    """
    (sequence,), (score,) = picture.inputs, picture.outputs
    frame_count, height, width = sequence.shape[1:4]
    audio = keras.Input((frame_count, SLICE), name="audio")
    has_audio = keras.Input((1,), name="has_audio")
    score = layers.Activation("linear", dtype="float32", name="picture")(score)
    # A model of its own, and named layers: names that Keras numbers could be in `picture` already.
    seen, heard = _build_features((frame_count, height, width))([sequence, audio])
    seen = layers.Activation("linear", dtype="float32", name="mouth_over_time")(seen)
    heard = layers.Activation("linear", dtype="float32", name="sound_over_time")(heard)
    products = layers.Multiply(dtype="float32", name="agreement")([seen, heard])
    correlations = layers.GlobalAveragePooling1D(dtype="float32", name="correlations")(products)
    sync = layers.Dense(1, activation="sigmoid", dtype="float32", name="sync")(correlations)
    sync = layers.Multiply(dtype="float32", name="heard")([sync, has_audio])
    either = layers.Add(dtype="float32", name="either")([score, sync])
    both = layers.Multiply(dtype="float32", name="both")([score, sync])
    together = layers.Subtract(dtype="float32", name="together")([either, both])
    inputs = {"sequence": sequence, "audio": audio, "has_audio": has_audio}
    return keras.Model(inputs, together, name=f"{picture.name}_with_sound")


def _build_features(shape: tuple[int, int, int]) -> keras.Model:
    """Build what turns a sequence and its sound into features (B, T, F) of mouth and of sound; `shape` is (T, H, W)."""
    frame_count, height, width = shape
    sequence, audio = keras.Input((*shape, 3)), keras.Input((frame_count, SLICE))
    mouth = sequence[(slice(None), slice(None), *mouth_region(height, width))]
    mouth = ops.reshape(mouth, (-1, *mouth.shape[2:]))
    mouth = ops.image.resize(ops.cast(mouth, "float32"), MOUTH_PIXELS, antialias=True)
    mouth = layers.Rescaling(1 / 64, offset=-2, name="mouth_scaled")(mouth)
    seen = _features(mouth, "mouth", frame_count)

    waves = ops.reshape(audio, (-1, SLICE))
    mel = layers.MelSpectrogram(**MEL, sampling_rate=SOUND_RATE, min_freq=50, max_freq=7600, name="log_mel")(waves)
    mel = ops.reshape(mel, (-1, frame_count, *mel.shape[1:]))
    mel = (mel - ops.mean(mel, axis=(1, 2, 3), keepdims=True)) / (ops.std(mel, axis=(1, 2, 3), keepdims=True) + 1e-3)
    heard = _features(ops.reshape(mel, (-1, *mel.shape[2:], 1)), "sound", frame_count)
    return keras.Model([sequence, audio], [seen, heard], name="mouth_and_sound")


def hears(model: keras.Model) -> bool:
    """Say if a model takes sound beside pictures."""
    return isinstance(model.input, dict)


def picture_part(model: keras.Model) -> keras.Model:
    """The part of a model that sees: the model itself if it takes no sound."""
    return keras.Model(model.input["sequence"], model.get_layer("picture").output) if hears(model) else model


def sync_part(model: keras.Model) -> keras.Model:
    """The part of a model that compares mouth and sound: the same inputs, scores (B, 1), 0 without sound."""
    return keras.Model(model.input, model.get_layer("heard").output, name="sync")


def features_over_time(model: keras.Model) -> keras.Model:
    """What `sync` compares: the same inputs, features (B, 2, T, F) of mouth and sound."""
    both = [model.get_layer(f"{name}_over_time").output for name in ("mouth", "sound")]
    return keras.Model(model.input, ops.stack(both, axis=1), name="features_over_time")


def contrast(
    model: keras.Model, features: keras.KerasTensor, counts: keras.KerasTensor, *, others: float, least_shift: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Loss and accuracy (B,) of telling the own sound of each REAL clip of a batch from wrong ones.

    `features` are those of `features_over_time`. Wrong are the sounds of all other clips that bool `counts` (B,) names,
    with the weight `others`, and the own sound moved by at least `least_shift` frames, round the end of the clip. The
    own sound weighs as much as all wrong ones. Source of the idea: Chung and Zisserman 2016, "Out of time".
    """
    layer, (seen, heard), frames = model.get_layer("sync"), (features[:, 0], features[:, 1]), features.shape[2]
    every = layer(ops.mean(seen[:, None] * heard[None], axis=-2))[..., 0]  # (B, B): mouths by sounds, correlated
    shifts = range(least_shift, frames - least_shift + 1)
    moved = ops.concatenate([layer(ops.mean(seen * ops.roll(heard, by, axis=1), axis=-2)) for by in shifts], axis=1)
    is_own = ops.eye(ops.shape(every)[0])
    chosen = (1 - is_own) * ops.cast(counts, "float32")
    others = others * ops.cast(ops.any(chosen > 0, axis=1), "float32")  # a clip may be alone
    chosen = chosen / ops.maximum(ops.sum(chosen, axis=1, keepdims=True), 1.0)

    def weigh(own: keras.KerasTensor, wrong: keras.KerasTensor, moved: keras.KerasTensor) -> keras.KerasTensor:
        both = others * ops.sum(wrong * chosen, axis=1) + (1 - others) * ops.mean(moved, axis=1)
        return (ops.sum(own * is_own, axis=1) + both) / 2

    loss = weigh(-ops.log(1 - every + 1e-7), -ops.log(every + 1e-7), -ops.log(moved + 1e-7))
    return loss, weigh(*(ops.cast(right, "float32") for right in (every <= 0.5, every > 0.5, moved > 0.5)))


def fit_sharpness(model: keras.Model, labels: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    """Fit how sharply the part of a model that compares mouth and sound decides, to other people than in training.

    `labels` (N,) are 1 for a wrong sound, `scores` (N,) are those of `sync_part`. Training hardly moves the scale of
    its last layer, so a clear case scores little above 0.5, less than a false alarm of the pictures. A logistic
    regression gives this layer its scale and offset, unless the scores are no better than chance. Source: Platt 1999.
    """
    from sklearn.linear_model import LogisticRegression  # here, since importing it takes longer than opening a model

    clipped = np.clip(np.asarray(scores, np.float64), 1e-6, 1 - 1e-6)
    fitted = LogisticRegression().fit(np.log(clipped / (1 - clipped))[:, None], labels)
    scale, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if scale > 0:
        layer = model.get_layer("sync")
        layer.kernel.assign(scale * layer.kernel)
        layer.bias.assign(scale * layer.bias + offset)


def frame_evidence(model: keras.Model) -> keras.Model:
    """How much each frame speaks for a wrong sound: the same inputs, (B, T). Its mean and a bias are the logit."""
    seen, heard = (model.get_layer(f"{name}_over_time").output for name in ("mouth", "sound"))
    evidence = ops.matmul(seen * heard, ops.convert_to_tensor(model.get_layer("sync").kernel))
    return keras.Model(model.input, evidence[:, :, 0], name="frame_evidence")


def _features(maps: keras.KerasTensor, name: str, frame_count: int) -> keras.KerasTensor:
    """Features of each frame, with their mean and deviation over time removed: (B·T, h, w, C) to (B, T, F)."""
    for stage, channels in enumerate(CHANNELS):
        settings = {"strides": 2, "padding": "same", "activation": "relu", "name": f"{name}_conv_{stage}"}
        maps = layers.Conv2D(channels, 3, **settings)(maps)
    x = layers.Dense(FEATURE_COUNT, dtype="float32", name=f"{name}_features")(layers.Flatten(name=f"{name}_flat")(maps))
    x = ops.reshape(x, (-1, frame_count, FEATURE_COUNT))
    return (x - ops.mean(x, axis=1, keepdims=True)) / (ops.std(x, axis=1, keepdims=True) + LEAST)

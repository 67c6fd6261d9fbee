"""Augmentation that respects time: each change applies to a whole sequence, never to single frames."""

import math

from dfdc_utils.quiet import tf

# All are small, so as not to hide the differences between frames that give a fake away.
SHIFT = 5  # pixels in either direction: a face detector's error at 96 px
SCALE = 0.06  # fraction by which the face grows or shrinks: how much a detector's boxes differ in size
GAIN = 0.15  # fraction by which a colour channel is raised or lowered
CONTRAST = 0.25  # fraction by which contrast about mid grey is raised or lowered
QUALITY = (60, 95)  # of JPEG; below 60 the edge of a blend at 96 px is gone
BLUR = 0.8  # pixels, the largest standard deviation
# Each of these removes some of the traces of a fake, so most sequences are spared.
SCALED, COMPRESSED, BLURRED = 0.3, 0.2, 0.1  # fractions of the sequences
BANDED, CODED = 0.2, 0.1  # fractions of the sounds that lose high frequencies, that are coded


def augment_sequence(sequence: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror, scale, shift, relight, recolour, compress and blur a sequence uint8 (T, H, W, 3) at random.

    All T frames change alike: light that changed from frame to frame would look like the flicker of a fake. `seed` is
    int64 (2,); the same seed changes any sequence in the same way. Taught in notebook 03.
    """
    uniform = tf.random.stateless_uniform((12,), seed)
    moved = tf.ensure_shape(_move(sequence, uniform[:5]), sequence.shape)
    gain = 1 + GAIN * (2 * uniform[5:8] - 1)  # a colour cast
    contrast = 1 + CONTRAST * (2 * uniform[8] - 1)
    lit = tf.cast(moved, tf.float32) * (gain * contrast) + 128.0 * (1 - contrast)
    lit = tf.cond(uniform[9] < BLURRED, lambda: _blur(lit, BLUR * uniform[9] / BLURRED), lambda: lit)
    pixels = tf.ensure_shape(tf.cast(tf.clip_by_value(lit, 0.0, 255.0), tf.uint8), sequence.shape)
    quality = tf.cast(QUALITY[0] + (QUALITY[1] - QUALITY[0]) * uniform[11], tf.int32)
    return tf.cond(uniform[10] < COMPRESSED, lambda: _compress(pixels, quality), lambda: pixels)


def augment_sound(samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change the loudness, bandwidth, noise and coding of a sound float32 (T, N) in -1..1 at random, alike for all T.

    The coding is the telephone's, 8-bit mu-law (ITU-T G.711). A seed changes any sound alike. Taught in notebook 07.
    """
    uniform = tf.random.stateless_uniform((6,), seed)
    spectrum = tf.signal.rfft(samples)
    top = tf.cond(uniform[0] < BANDED, lambda: 0.35 + 0.65 * uniform[1], lambda: 1.0)  # of the highest frequency
    passed = tf.linspace(0.0, 1.0, spectrum.shape[-1]) <= top
    sound = tf.signal.irfft(tf.where(passed, spectrum, 0), [samples.shape[-1]])
    level = tf.sqrt(tf.reduce_mean(tf.square(sound))) * 10 ** (-0.5 - 5 * uniform[2])  # in 3 of 10 over -40 dB
    sound += level * tf.random.stateless_normal(tf.shape(samples), seed)
    sound = tf.clip_by_value(sound * 10 ** (uniform[3] - 0.5), -1.0, 1.0)  # by up to 10 dB
    coded = tf.round(127 * tf.math.log1p(255 * tf.abs(sound)) / math.log(256)) / 127
    coded = tf.sign(sound) * tf.math.expm1(coded * math.log(256)) / 255
    return tf.ensure_shape(tf.where(uniform[4] < CODED, coded, sound), samples.shape)


def _move(sequence: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Mirror, scale and shift by five numbers in 0..1; by whole pixels unless scaled: resampling softens edges."""
    size = sequence.shape[1]
    shift = tf.cast(tf.round(SHIFT * (2 * uniform[:2] - 1)), tf.int32)
    mirrored = uniform[4] < 0.5

    def pixels(start: tf.Tensor, length: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
        """The pixels from `start` on; beyond its edges the face is reflected. To gather them is faster than to pad."""
        inside = size - 1 - tf.abs(size - 1 - tf.abs(start + tf.range(length)))
        return tf.cond(turned, lambda: inside[::-1], lambda: inside)

    def cut(start: tf.Tensor, length: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
        rows, columns = pixels(start[0], length, tf.constant(False)), pixels(start[1], length, turned)
        return tf.gather(tf.gather(sequence, rows, axis=1), columns, axis=2)

    def scaled() -> tf.Tensor:
        change = tf.cast(tf.round((2 * uniform[3] / SCALED - 1) * size * SCALE / 2), tf.int32)  # pixels at each edge
        window = cut(shift - change, size + 2 * change, tf.constant(False))
        resized = tf.cast(tf.round(tf.image.resize(window, (size, size))), tf.uint8)
        return tf.cond(mirrored, lambda: tf.reverse(resized, axis=[2]), lambda: resized)

    return tf.cond(uniform[3] < SCALED, scaled, lambda: cut(shift, size, mirrored))


def _blur(sequence: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Blur each frame of float32 (T, H, W, 3) by a Gaussian of `sigma` pixels."""
    offsets = tf.range(-2.0, 3.0)  # two pixels to either side hold 98 % of the widest one
    kernel = tf.exp(-0.5 * tf.square(offsets / tf.maximum(sigma, 1e-3)))
    kernel = tf.tile((kernel / tf.reduce_sum(kernel))[:, None, None, None], [1, 1, 3, 1])
    edged = tf.pad(sequence, [[0, 0], [2, 2], [2, 2], [0, 0]], mode="REFLECT")
    down = tf.nn.depthwise_conv2d(edged, kernel, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(down, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")


def _compress(sequence: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Compress all frames as one tall JPEG: one call, and the same quantisation tables for each frame."""
    frame_count, height, width = sequence.shape[:3]
    # JPEG works in blocks of 16 and smooths colour across their edges; a margin keeps frames from mixing.
    below = 8 + -height % 16
    padded = tf.pad(sequence, [[0, 0], [8, below], [0, 0], [0, 0]], mode="SYMMETRIC")
    tall = tf.reshape(padded, (frame_count * (8 + height + below), width, 3))
    # tf.io.encode_jpeg takes quality as a constant only; this op takes a tensor.
    decoded = tf.io.decode_jpeg(tf.raw_ops.EncodeJpegVariableQuality(images=tall, quality=quality), channels=3)
    frames = tf.reshape(decoded, (frame_count, 8 + height + below, width, 3))
    return tf.ensure_shape(frames[:, 8 : 8 + height], sequence.shape)

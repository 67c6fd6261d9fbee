"""How a clip moves: head, eyes and mouth over time, and the voice that goes with the mouth."""

import math

import numpy as np

from dfdc_utils.sample.heads import Pose
from dfdc_utils.videos import FRAME_RATE, SAMPLE_RATE


def smooth_path(rng: np.random.Generator, frame_count: int, slowest: float, fastest: float) -> np.ndarray:
    """Draw a smooth random curve (T,), roughly within -1..1: sines with periods between the two (seconds)."""
    seconds = np.arange(frame_count) / FRAME_RATE
    path = np.zeros(frame_count)
    for weight in (0.6, 0.3, 0.2):
        path += weight * np.sin(2 * np.pi * (seconds / rng.uniform(fastest, slowest) + rng.random()))
    return path


def _blinks(rng: np.random.Generator, frame_count: int) -> np.ndarray:
    """Draw how far the lids are shut (T,), 0..1: blinks of about 0.2 s every one to three seconds."""
    shut = np.zeros(frame_count)
    seconds = np.arange(frame_count) / FRAME_RATE
    at = rng.uniform(0.2, 1.5)
    while at < frame_count / FRAME_RATE:
        shut = np.maximum(shut, np.clip(1.25 - np.abs(seconds - at) / rng.uniform(0.08, 0.11), 0, 1))
        at += rng.uniform(0.9, 3.0)
    return shut


def _speech(rng: np.random.Generator, frame_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw opening 0..1 and spread -1..1 of the mouth (T,): about four syllables per second, with pauses."""
    seconds = np.arange(frame_count) / FRAME_RATE
    pace = rng.uniform(3.2, 4.8) * (1 + 0.25 * smooth_path(rng, frame_count, 1, 0.4))
    phase = 2 * np.pi * np.cumsum(pace) / FRAME_RATE
    talking = np.clip(0.6 + 1.5 * np.sin(2 * np.pi * (seconds / rng.uniform(1.5, 3) + rng.random())), 0, 1)
    loudness = np.clip(0.65 + 0.4 * smooth_path(rng, frame_count, 0.9, 0.3), 0, 1)
    opening = talking * loudness * (0.5 - 0.5 * np.cos(phase)) ** 1.2
    return opening, 0.8 * smooth_path(rng, frame_count, 1.0, 0.35)


def draw_motion(rng: np.random.Generator, frame_count: int, rest: Pose) -> list[Pose]:
    """Draw the pose of each frame, with what the face does, of a head that is at `rest` in the mean."""
    # Angles at which the Haar cascade for frontal faces still works: 16 degrees yaw, 8 pitch, 7 roll.
    yaw = 0.10 * rng.normal() + rng.uniform(0.05, 0.20) * smooth_path(rng, frame_count, 4.0, 1.4)
    pitch = 0.04 * rng.normal() + rng.uniform(0.03, 0.09) * smooth_path(rng, frame_count, 3.0, 1.1)
    roll = 0.04 * rng.normal() + rng.uniform(0.02, 0.07) * smooth_path(rng, frame_count, 4.0, 1.5)
    yaw, pitch, roll = np.clip(yaw, -0.28, 0.28), np.clip(pitch, -0.13, 0.13), np.clip(roll, -0.12, 0.12)
    # The head moves by a tenth of its width, and a little to and fro.
    x = rest.x + rest.size * (0.20 * smooth_path(rng, frame_count, 4.0, 1.6) + 0.2 * yaw)
    y = rest.y + rest.size * (0.10 * smooth_path(rng, frame_count, 3.0, 1.2) + 0.2 * pitch)
    zoom = rest.size * (1 + 0.025 * smooth_path(rng, frame_count, 4.0, 2.0))
    blinks = _blinks(rng, frame_count)
    opening, spread = _speech(rng, frame_count)
    # Eyes hold a direction for a while, then jump; when the head turns, they partly stay on what they looked at.
    gaze = np.repeat(rng.normal(0, 0.016, (frame_count // 12 + 1, 2)), 12, axis=0)[:frame_count]
    gaze_x = np.clip(gaze[:, 0] - 0.08 * yaw, -0.045, 0.045)
    gaze_y = np.clip(gaze[:, 1] * 0.5, -0.02, 0.02)
    rows = np.stack([x, y, zoom, roll, yaw, pitch, blinks, gaze_x, gaze_y, opening, spread], axis=1).tolist()
    return [Pose(*row) for row in rows]


def draw_voice(rng: np.random.Generator, poses: list[Pose], pitch: float) -> np.ndarray:
    """Draw a voice-like sound for these lips, as long as the clip: int16 (samples,), mono.

    It is a buzz of 24 overtones at the speaker's pitch (Hz), shaped by two formants that follow the mouth.
    """
    frame_count = len(poses)
    count = frame_count * SAMPLE_RATE // FRAME_RATE
    at = np.arange(count) * (FRAME_RATE / SAMPLE_RATE)
    frames = np.arange(frame_count)
    opening = np.interp(at, frames, [pose.mouth_open for pose in poses])
    melody = pitch * (1 + 0.10 * np.interp(at, frames, smooth_path(rng, frame_count, 1.6, 0.5)))
    first = 320 + 480 * opening
    second = 1000 + 700 * np.interp(at, frames, smooth_path(rng, frame_count, 0.8, 0.3))
    angle = 2 * np.pi * np.cumsum(melody) / SAMPLE_RATE
    # sin(n a) from its two predecessors: two multiplications per overtone instead of a sine.
    doubled, before, wave = 2 * np.cos(angle), np.zeros(count), np.sin(angle)
    sound = np.zeros(count)
    for overtone in range(1, 25):
        tone = overtone * melody
        level = 1 / (1 + ((tone - first) / 160) ** 2) + 0.5 / (1 + ((tone - second) / 220) ** 2) + 0.02
        sound += level / math.sqrt(overtone) * wave
        before, wave = wave, doubled * wave - before
    sound = sound * (0.04 + opening) + 0.01 * rng.standard_normal(count)
    # A third of full scale: loud enough, never clipped.
    return np.asarray(sound / max(np.abs(sound).max(), 1e-9) * 10_000).astype(np.int16)

"""The sound beside the faces: what is kept of it, what a model hears with each frame, and when it may not be judged."""

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import SOUND_RATE, Clip, Image, read_sound

SLICE = 3200  # samples that a model hears with each frame: 0.2 s about it, a syllable
SILENCE = -60.0  # dB below full scale: a microphone that nobody speaks into is louder
# Where the mouth is in a face crop, as fractions of its height and width: top, bottom, left, right.
MOUTH = (0.46, 0.96, 0.21, 0.79)
STILL = 2.0  # grey levels: in speech, a mouth changes by 3 and more (14 clips of LRW-AR, 12 of the sample)
# Deviation of the loudness over 10 ms, by its root mean square. Speech had 0.27 and more in each clip that was tried.
STEADY = 0.2


@dataclass(frozen=True)
class Speech:
    """The sound of a window: `samples` int16 (N,) at 16 kHz, from `start`, in seconds from the video's first frame.

    `loudness` is in dB below full scale; `flaw` says why it cannot be compared with a mouth, empty if it can.
    """

    samples: NDArray[np.int16]
    start: float = 0.0
    loudness: float = -120.0
    has_audio: bool = False
    flaw: str = "there is no sound track"

    @classmethod
    def of(cls, clip: Clip) -> Self:
        """Read the sound of the time that a clip covers. A fault of the sound is a `flaw`."""
        if not clip.info.has_sound:
            return cls(np.zeros(0, np.int16))
        half = float(np.median(np.diff(clip.times))) / 2 if len(clip) > 1 else SLICE / SOUND_RATE / 2
        start = max(0.0, float(clip.times[0]) - half)
        sound = read_sound(clip.info.path, float(clip.times[-1]) + half - start, start=clip.begin + start)
        flaw = sound.problem or ("it is silent" if sound.loudness < SILENCE else "")
        flaw = flaw or ("it is steady, as music or noise" if _unsteadiness(sound.samples) < STEADY else "")
        samples = np.round(sound.samples * 32767).astype(np.int16)
        return cls(samples, round(start, 4), sound.loudness, not sound.problem, flaw)

    def slices(self, times: NDArray[np.float64]) -> NDArray[np.int16]:
        """Cut the sound about each frame, at `times` (T,) seconds from the video's first frame: int16 (T, SLICE)."""
        padded = np.pad(self.samples, SLICE)
        middles = np.round((np.asarray(times) - self.start) * SOUND_RATE).astype(int)
        return np.asarray(padded[np.clip(middles + SLICE // 2, 0, len(padded) - SLICE)[:, None] + np.arange(SLICE)])

    def save(self, folder: Path) -> dict[str, Any]:
        """Write `audio.wav` into a video's folder, unless there is no sound; return what `faces.json` says of it."""
        if self.has_audio:
            with wave.open(str(folder / "audio.wav"), "wb") as file:
                file.setparams((1, 2, SOUND_RATE, len(self.samples), "NONE", ""))
                file.writeframes(self.samples.astype("<i2").tobytes())
        return {name: getattr(self, name) for name in ("start", "loudness", "has_audio", "flaw")}

    @classmethod
    def load(cls, folder: Path, record: dict[str, Any]) -> Self:
        """Read it from a video's folder; `record` is what `save` returned."""
        if not record["has_audio"]:
            return cls(np.zeros(0, np.int16), **record)
        with wave.open(str(folder / "audio.wav"), "rb") as file:
            return cls(np.frombuffer(file.readframes(file.getnframes()), "<i2"), **record)


def _unsteadiness(samples: NDArray[np.float32]) -> float:
    blocks = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loudness = np.sqrt(np.square(blocks, dtype=np.float64).mean(axis=1))
    return float(loudness.std() / max(np.sqrt(np.mean(loudness**2)), 1e-9)) if len(blocks) else 0.0


def mouth_region(height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a face crop that show its mouth."""
    top, bottom, left, right = MOUTH
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))


def judge_mouth(movements: list[float]) -> str:
    """Say why a sound cannot be compared with the mouths of a video, by how much they move; empty if it can."""
    if len(movements) > 1:
        return "more than one person may be speaking"
    return "the mouth does not move" if max(movements, default=0.0) < STILL else ""


def measure_mouth(crops: list[Image]) -> float:
    """Measure how much a mouth changes over face crops (H, W, 3): the mean deviation of its places, in grey levels."""
    part = mouth_region(*crops[0].shape[:2])
    mouths = [cv2.resize(crop[part], (7, 6), interpolation=cv2.INTER_AREA) for crop in crops]
    grey = np.mean(mouths, axis=-1)  # (T, 6, 7)
    grey -= grey.mean(axis=(1, 2), keepdims=True)  # changing light is no speech
    return round(float(grey.std(axis=0).mean()), 2)

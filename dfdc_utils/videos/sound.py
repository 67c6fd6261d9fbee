"""The sound of a video, on the clock of its pictures."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos.decoding import open_video, reason
from dfdc_utils.workers import check_time

SOUND_RATE = 16_000  # Hz: speech has little above 8 kHz
# Seconds by which a frame of sound may lie off its place before it is put there. Clocks round; players do the same.
TOLERANCE = 0.04


@dataclass(frozen=True)
class Sound:
    """The sound of a window of a video: mono, 16 kHz, `samples` float32 (N,) in -1..1, silence where there is none.

    `loudness` is the root mean square in dB below full scale, -120 for digital silence. `problem` says why there is no
    sound: no track, or one that cannot be decoded; empty if there is some.
    """

    samples: NDArray[np.float32]
    loudness: float
    problem: str = ""


def read_sound(path: str | Path, seconds: float, *, start: float = 0.0) -> Sound:
    """Read `seconds` of the first sound track of a video, from `start`, in seconds on the clock of its container.

    A track that starts late, drifts or has gaps keeps to the pictures: each frame is put where its time stamp says. A
    fault of the sound is said in `problem`. Raises `UnreadableVideo` if there is no video.
    """
    samples = np.zeros(round(seconds * SOUND_RATE), np.float32)
    with open_video(path) as video:
        container = video.container
        if not container.streams.audio:
            return Sound(samples, -120.0, "it has no sound track")
        if start > 1:
            container.seek(int(start * av.time_base))
        decoded, fault = 0, "its sound track is empty"
        runs = _Runs(samples, start)
        try:
            for packet in container.demux(audio=0):
                check_time()
                try:
                    frames = packet.decode()
                except (av.error.FFmpegError, ValueError) as error:  # a damaged packet; the next may be whole
                    fault = f"its sound cannot be decoded ({reason(error)})"
                    continue
                decoded += sum(runs.add(frame) for frame in frames)
                if runs.is_over:
                    break
            runs.flush()
        except (av.error.FFmpegError, ValueError) as error:
            fault = f"its sound cannot be decoded ({reason(error)})"
    if not decoded:
        return Sound(samples, -120.0, fault)
    np.clip(np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0), -1, 1, out=samples)
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return Sound(samples, round(max(-120.0, 10 * float(np.log10(max(power, 1e-12)))), 1))


class _Runs:
    """Resamples frames of sound and puts them into `samples`, which begin at `start` seconds.

    Frames that follow one another are resampled as one run; a run ends where the clock jumps or the format changes.
    """

    def __init__(self, samples: NDArray[np.float32], start: float) -> None:
        self._samples, self._start = samples, start
        self._run: list[NDArray[np.generic]] = []
        self._kind = ("", "", 0)  # sample format, layout and rate of the run
        self._begin = self._next = 0.0  # seconds: where the run begins, and where its next frame does
        self.is_over = False

    def add(self, frame: av.AudioFrame) -> int:
        """Add a frame; return its number of samples, 0 for one that is not placed."""
        if not frame.samples or not frame.sample_rate:
            return 0
        time = self._next if frame.time is None else frame.time - self._start
        if time >= len(self._samples) / SOUND_RATE:
            self.is_over = True
            return 0
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if not self._run or kind != self._kind or abs(time - self._next) > TOLERANCE:
            self.flush()
            self._kind, self._begin, self._next = kind, time, time
        self._run.append(frame.to_ndarray())
        self._next += frame.samples / frame.sample_rate
        return frame.samples

    def flush(self) -> None:
        """End the run: resample it at once, not frame by frame, which takes longer."""
        if not self._run:
            return
        name, layout, rate = self._kind
        frame = av.AudioFrame.from_ndarray(np.concatenate(self._run, axis=1), name, layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler("fltp", "mono", SOUND_RATE)
        self._run, at = [], round(self._begin * SOUND_RATE)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            block = part.to_ndarray()[0]
            begin, end = max(0, at), min(len(self._samples), at + len(block))
            if begin < end:
                self._samples[begin:end] = block[begin - at : end - at]
            at += len(block)

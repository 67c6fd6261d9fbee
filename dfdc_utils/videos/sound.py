"""The sound of a video, on the clock of its pictures."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos.decoding import open_video, reason
from dfdc_utils.workers import check_time

SOUND_RATE = 16_000  # Hz: speech has little above 8 kHz
# Seconds by which a frame of sound may lie off its place before it is put there. Clocks round; players do the same.
TOLERANCE = 0.04


class Sound(NamedTuple):
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
    faults = ["its sound track is empty"]
    # Frames that follow one another are one run; it ends where the clock jumps or the format changes.
    runs: list[tuple[tuple[str, str, int], float, list[NDArray[Any]]]] = []  # format, when it begins in seconds, frames
    following = 0.0  # the second at which the next frame of the run begins
    with open_video(path) as video:
        if not video.container.streams.audio:
            return Sound(samples, -120.0, "it has no sound track")
        if start > 1:
            video.container.seek(int(start * av.time_base))
        for frame, block in _decode(video.container, faults):
            time = following if frame.time is None else frame.time - start
            if time >= len(samples) / SOUND_RATE:
                break
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if not runs or kind != runs[-1][0] or abs(time - following) > TOLERANCE:
                runs.append((kind, time, []))
                following = time
            runs[-1][2].append(block)
            following += frame.samples / frame.sample_rate
    if not runs:
        return Sound(samples, -120.0, faults[-1])
    with contextlib.suppress(av.error.FFmpegError, ValueError):
        for kind, begin, blocks in runs:
            _place(samples, kind, begin, np.concatenate(blocks, axis=1))
    np.clip(np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0), -1, 1, out=samples)
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return Sound(samples, round(max(-120.0, 10 * float(np.log10(max(power, 1e-12)))), 1))


def _decode(container: av.container.InputContainer, faults: list[str]) -> Iterator[tuple[av.AudioFrame, NDArray[Any]]]:
    """Decode the first sound track; add to `faults` what fails."""
    try:
        for packet in container.demux(audio=0):
            check_time()
            try:
                for frame in packet.decode():
                    if frame.samples and frame.sample_rate:
                        yield frame, frame.to_ndarray()
            except (av.error.FFmpegError, ValueError) as error:  # a damaged packet; the next may be whole
                faults.append(f"its sound cannot be decoded ({reason(error)})")
    except (av.error.FFmpegError, ValueError) as error:
        faults.append(f"its sound cannot be decoded ({reason(error)})")


def _place(samples: NDArray[np.float32], kind: tuple[str, str, int], begin: float, run: NDArray[Any]) -> None:
    """Resample a run at once, not frame by frame, which takes longer, and put it into `samples` at `begin` seconds."""
    name, layout, rate = kind
    frame = av.AudioFrame.from_ndarray(run, name, layout)
    frame.sample_rate = rate
    resampler = av.AudioResampler("fltp", "mono", SOUND_RATE)
    at = round(begin * SOUND_RATE)
    parts = (part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None)))
    block, place = np.concatenate([samples[:0], *parts])[max(0, -at) :], samples[max(0, at) :]
    place[: len(block)] = block[: len(place)]

"""Clips with sound in every shape, made on the spot, and faces on disk whose mouths follow what is heard."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from clips import SIZE, numbered
from faces_on_disk import SMALL
from numpy.typing import NDArray

from dfdc_utils.faces import SequenceConfig, Speech, Track, write_faces
from dfdc_utils.faces.tracks import CroppedTrack

CLICK_EVERY = 0.5  # seconds, from 0.25 on


def clicks(seconds: float, rate: int, channels: int = 1) -> NDArray[np.float32]:
    """Bursts of 20 ms of a tone at 0.25, 0.75, 1.25 … s: (channels, samples)."""
    times = np.arange(round(seconds * rate)) / rate
    burst = np.abs((times % CLICK_EVERY) - 0.25) < 0.01
    return np.tile((0.8 * burst * np.sin(2 * np.pi * 1000 * times)).astype(np.float32), (channels, 1))


def heard_at(samples: NDArray[np.float32], rate: int = 16_000) -> NDArray[np.float64]:
    """The middles of the bursts, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate // 10) + 1)
    return np.array([(group[0] + group[-1]) / 2 / rate for group in groups if len(group)])


def sounding(
    path: Path,
    wave: NDArray[np.float32] | None,
    *,
    seconds: float = 2.0,
    codec: str = "aac",
    rate: int = 44_100,
    layout: str = "mono",
    start: float = 0.0,
    container: str | None = None,
    second: NDArray[np.float32] | None = None,
) -> Path:
    """A clip of numbered frames with a sound track, which begins at `start` seconds; with `second`, one more track."""
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        tracks = [output.add_stream(codec, rate=rate, layout=layout) for one in (wave, second) if one is not None]
        for number, image in enumerate(numbered(round(seconds * 30))):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for stream, samples in zip(tracks, (wave, second), strict=False):
            resampler = av.AudioResampler(stream.format.name, layout, rate, frame_size=stream.frame_size or 1024)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            block.sample_rate, block.pts, block.time_base = rate, round(start * rate), Fraction(1, rate)
            for frame in [*resampler.resample(block), *resampler.resample(None)]:
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def talking_faces(target: Path, count: int, config: SequenceConfig = SMALL, *, seed: int = 0) -> pd.DataFrame:
    """Faces on disk whose mouths are as bright as the sound about each frame is loud; a manifest of REAL videos."""
    target.mkdir(parents=True, exist_ok=True)
    rng, size, frames = np.random.default_rng(seed), config.face_size, config.frame_count
    rows = []
    for number in range(count):
        opening = rng.random(frames)
        faces = np.tile(rng.integers(60, 190, 3), (frames, size, size, 1)).astype(float)
        faces[:, round(0.6 * size) : round(0.8 * size), round(0.35 * size) : round(0.65 * size)] = (
            40 + 180 * opening[:, None, None, None]
        )
        faces = np.clip(faces + rng.normal(0, 4, faces.shape), 0, 255).astype(np.uint8)
        wave = rng.normal(0, 1, (frames, 4000)) * (0.02 + 0.3 * opening[:, None])
        speech = Speech(np.clip(wave.ravel() * 32767, -32767, 32767).astype(np.int16), 0.0, -20.0, True, "")
        track = Track(
            boxes=np.tile([10.0, 10.0, 40.0, 40.0], (frames, 1)),
            scores=np.ones(frames),
            detected=np.ones(frames, bool),
            filled=np.zeros(frames, bool),
        )
        video = f"real_{seed}_{number:02d}"
        record = {"video": video, "config": {}, "source_bytes": 1, "status": "ok", "error": "", "frames": frames}
        person = CroppedTrack(track, list(range(frames)), list(faces), 100.0, mouth=20.0)
        write_faces(target, record, [person], (np.arange(frames) + 0.5) * 0.25, speech=speech)
        rows.append({"video": video, "label": "REAL", "original": video, "part": "p", "status": "ok"})
    config.save(target / "sequence.json")
    return pd.DataFrame(rows)

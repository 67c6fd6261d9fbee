"""Encode frames and sound as H.264 and AAC in MP4, with the same bytes every time."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np

from dfdc_utils.videos.decoding import SYNTHETIC

# As DFDC's files have them: frames per second, and samples per second of the sound.
FRAME_RATE, SAMPLE_RATE = 30, 44_100
# One thread, so that the bytes do not depend on the number of cores. A key frame every 250 and B-frames, as in x264's
# defaults and DFDC's files. A preset that takes 2 ms per frame of 640x360.
ENCODER = {"preset": "superfast", "g": "250", "bf": "3", "threads": "1"}


def _encode_frames(
    container: av.container.OutputContainer, stream: av.VideoStream, frames: Iterable[np.ndarray]
) -> None:
    for frame in frames:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode(None))


def add_video(container: av.container.OutputContainer, size: tuple[int, int], crf: int) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FRAME_RATE, options={**ENCODER, "crf": str(crf)})
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def write_clip(
    path: Path, frames: Iterable[np.ndarray], *, sound: np.ndarray | None, size: tuple[int, int], crf: int
) -> None:
    """Write drawn frames (H, W, 3) uint8 RGB and mono sound int16 (samples,) to an MP4 file of `size` width, height."""
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["comment"] = SYNTHETIC
        video = add_video(container, size, crf)
        if sound is None:
            _encode_frames(container, video, frames)
            return
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000  # plenty for one voice
        _encode_frames(container, video, frames)
        for start in range(0, len(sound), 1024):  # AAC's own frame length
            block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="s16", layout="mono")
            block.sample_rate = SAMPLE_RATE
            block.pts = start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def encode_and_decode(frames: Iterable[np.ndarray], *, size: tuple[int, int], crf: int) -> Iterator[np.ndarray]:
    """Give the frames after one generation of compression, as when a clip is uploaded and downloaded again."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _encode_frames(container, add_video(container, size, crf), frames)
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        source.streams.video[0].codec_context.thread_count = 1
        for frame in source.decode(video=0):
            yield frame.to_ndarray(format="rgb24")

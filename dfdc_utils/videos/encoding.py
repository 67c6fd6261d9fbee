"""Encode frames and sound as H.264 and AAC in MP4, with the same bytes every time."""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dfdc_utils.videos.decoding import SYNTHETIC, Image, display, open_video, probe_video

# As DFDC's files have them: frames per second, and samples per second of the sound.
FRAME_RATE, SAMPLE_RATE = 30, 44_100
# One thread, so that the bytes do not depend on the number of cores. A key frame every 250 and B-frames, as in x264's
# defaults and DFDC's files. A preset that takes 2 ms per frame of 640x360.
ENCODER = {"preset": "superfast", "g": "250", "bf": "3", "threads": "1"}
# Of a preview: most pixels on its shorter side, rate factor (ten seconds of a talking head take half a megabyte), and
# bits per second of its sound (mono: enough for voices).
SHORTER_SIDE, PREVIEW_CRF, SOUND_BIT_RATE = 360, 27, 48_000


def add_video(container: av.container.OutputContainer, size: tuple[int, int], crf: int) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FRAME_RATE, options={**ENCODER, "crf": str(crf)})
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def write_clip(
    file: Path | io.BytesIO, frames: Iterable[np.ndarray], *, sound: np.ndarray | None, size: tuple[int, int], crf: int
) -> None:
    """Write drawn frames (H, W, 3) uint8 RGB and mono sound int16 (samples,) to an MP4 file of `size` width, height."""
    with av.open(file, "w", format="mp4") as container:
        container.metadata["comment"] = SYNTHETIC
        video = add_video(container, size, crf)
        if sound is not None:
            audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            audio.bit_rate = 64_000  # plenty for one voice
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        if sound is None:
            return
        for start in range(0, len(sound), 1024):  # AAC's own frame length
            block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="s16", layout="mono")
            block.sample_rate = SAMPLE_RATE
            block.pts = start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def encode_and_decode(frames: Iterable[np.ndarray], *, size: tuple[int, int], crf: int) -> Iterator[np.ndarray]:
    """Give the frames after one generation of compression, as when a clip is uploaded and downloaded again."""
    buffer = io.BytesIO()
    write_clip(buffer, frames, sound=None, size=size, crf=crf)
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        source.streams.video[0].codec_context.thread_count = 1
        for frame in source.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


@dataclass(frozen=True)
class Preview:
    """A part of a video as MP4: H.264, at most 360 pixels on the shorter side, and AAC.

    Times are in seconds from the video's first frame; `still` is uint8 RGB; `width` and `height` are the full video's.
    """

    mp4: bytes = field(repr=False)
    still: Image = field(repr=False)
    still_at: float
    start: float
    end: float
    width: int
    height: int


def make_preview(path: str | Path, *, start: float, end: float, still_at: float) -> Preview:
    """Encode a video from `start` to `end` seconds again, with its sound; the still is the frame nearest `still_at`.

    Of more than 30 frames per second some are left out. Raises `ValueError` if there is no frame in that part.
    """
    info = probe_video(path)
    scale = min(1.0, SHORTER_SIDE / min(info.width, info.height))
    with open_video(path) as source:
        first, clock = source.read_window(1.0).start, source.clock
    shown: list[tuple[float, Image]] = []  # the still so far, and the last frame
    with (
        tempfile.TemporaryDirectory() as folder,
        av.open(file := f"{folder}/preview.mp4", "w", options={"movflags": "faststart"}) as target,
    ):
        with open_video(path) as source:
            if start > 0:
                source.container.seek(first + int(start / clock), stream=source.stream)
            tick = -1
            for time, picture in source.decode(source.read_packets(), first, skip="DEFAULT"):
                if time > end:
                    break
                if time < start or round((time - start) * FRAME_RATE) <= tick:
                    continue
                image = display(picture, info, scale)
                image = image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2]  # colour planes have half the size
                if not shown:
                    video = add_video(target, (image.shape[1], image.shape[0]), PREVIEW_CRF)
                    sound = target.add_stream("aac", SAMPLE_RATE, layout="mono") if info.has_sound else None
                shown = [min([*shown[:1], (time, image)], key=lambda one: abs(one[0] - still_at)), (time, image)]
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = tick = round((time - start) * FRAME_RATE)
                target.mux(video.encode(frame))
        if not shown:
            raise ValueError(f"{info.path.name}: none of its frames from {start:.1f} to {end:.1f} s can be decoded.")
        target.mux(video.encode(None))
        if sound:
            sound.bit_rate = SOUND_BIT_RATE
            with contextlib.suppress(av.error.FFmpegError, ValueError), open_video(path) as source:
                source.container.seek(int((first * clock + start) * av.time_base))
                for heard in source.container.decode(audio=0):  # damaged sound ends early
                    time = (heard.time or 0.0) - first * clock - start
                    if time > shown[1][0] - start:
                        break
                    heard.time_base, heard.pts = Fraction(1, heard.sample_rate), round(time * heard.sample_rate)
                    if time >= 0:
                        target.mux(sound.encode(heard))
            target.mux(sound.encode(None))
        target.close()
        return Preview(Path(file).read_bytes(), shown[0][1], shown[0][0], start, shown[1][0], info.width, info.height)

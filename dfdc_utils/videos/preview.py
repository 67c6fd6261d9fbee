"""A small copy of a part of a video, which browsers play."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from dfdc_utils.videos.decoding import (
    Image,
    decode,
    display,
    open_video,
    probe_video,
    read_packets,
    read_window,
    unreadable,
)
from dfdc_utils.videos.encoding import FRAME_RATE, SAMPLE_RATE, add_video
from dfdc_utils.videos.sampling import span

SHORTER_SIDE = 360  # pixels at most
CRF = 27  # with x264's `superfast`, ten seconds of a talking head take half a megabyte
SOUND_BIT_RATE = 48_000  # mono: enough for voices
HEADER_SEC = 1.0  # of the stream are read to find its first tick


@dataclass(frozen=True)
class Preview:
    """A part of a video as MP4: H.264, at most 360 pixels on the shorter side, and AAC.

    It lasts from `start` to `end`, in seconds from the video's first frame. `still` is the frame at `still_at`, uint8
    RGB (H, W, 3). `width` and `height` are the full video's, in which boxes are given.
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

    Of more than 30 frames per second some are left out. Raises `UnreadableVideo` if the file is missing or no frame of
    that part can be decoded.
    """
    info = probe_video(path)
    scale = min(1.0, SHORTER_SIDE / min(info.width, info.height))
    with open_video(path) as (container, stream):
        first, _, clock = span(path, stream, read_window(path, container, stream, HEADER_SEC))
    still: tuple[float, Image] | None = None
    video: av.VideoStream | None = None
    tick, last = -1, start
    with (
        open_video(path) as (source, stream),
        tempfile.TemporaryDirectory() as folder,
        av.open(file := f"{folder}/preview.mp4", "w", options={"movflags": "faststart"}) as target,
    ):
        if start > 0:
            source.seek(first + int(start / clock), stream=stream)
        for time, picture in decode(stream, read_packets(path, source, stream), first, clock, skip="DEFAULT"):
            if time > end:
                break
            if time < start or round((time - start) * FRAME_RATE) <= tick:
                continue
            tick, last = round((time - start) * FRAME_RATE), time
            image = display(picture, info, scale)
            image = image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2]  # colour planes have half the size
            if video is None:
                video = add_video(target, (image.shape[1], image.shape[0]), CRF)
                sound = target.add_stream("aac", SAMPLE_RATE, layout="mono") if source.streams.audio else None
            if still is None or abs(time - still_at) < abs(still[0] - still_at):
                still = time, image
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = tick
            target.mux(video.encode(frame))
        if video is None or still is None:
            raise unreadable(path, f"none of its frames from {start:.1f} to {end:.1f} s can be decoded")
        target.mux(video.encode(None))
        if sound is not None:
            sound.bit_rate = SOUND_BIT_RATE
            with contextlib.suppress(av.error.FFmpegError, ValueError):  # damaged sound ends early
                for heard in _read_sound(path, first * clock + start, last - start):
                    target.mux(sound.encode(heard))
            target.mux(sound.encode(None))
        target.close()
        return Preview(Path(file).read_bytes(), still[1], still[0], start, last, info.width, info.height)


def _read_sound(path: str | Path, start: float, seconds: float) -> Iterator[av.AudioFrame]:
    """Decode the sound from `start`, on the file's own clock; times of the frames count from there."""
    with open_video(path) as (container, _):
        container.seek(int(start * av.time_base))
        for frame in container.decode(container.streams.audio[0]):
            time = (frame.time or 0.0) - start
            if time >= seconds:
                break
            if time >= 0:
                frame.time_base = Fraction(1, frame.sample_rate)
                frame.pts = round(time * frame.sample_rate)
                yield frame

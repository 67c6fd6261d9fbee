"""A small copy of a part of a video, which browsers play."""

import contextlib
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from dfdc_utils.videos.decoding import Image, display, open_video, probe_video
from dfdc_utils.videos.encoding import FRAME_RATE, SAMPLE_RATE, add_video

SHORTER_SIDE = 360  # pixels at most
CRF = 27  # ten seconds of a talking head take half a megabyte
SOUND_BIT_RATE = 48_000  # mono: enough for voices


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
                    video = add_video(target, (image.shape[1], image.shape[0]), CRF)
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

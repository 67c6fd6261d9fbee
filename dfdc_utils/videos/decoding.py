"""Video files to packets to frames to pixels: opening, reading and decoding, with limits on what a file can ask for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from dfdc_utils.errors import UnreadableVideo

Image = NDArray[np.uint8]
Skip = Literal["NONREF", "DEFAULT"]  # frames that no other refers to, or none
Packet: TypeAlias = "av.Packet[av.VideoStream]"  # only type checkers may subscript it

# Packets are collected for one window before they are decoded. 64 MiB is over 100 Mbit/s for five seconds, ten times
# what DFDC's best clips need; a file that exceeds it is hostile or no camera's.
MAX_WINDOW_BYTES = 64 * 2**20
# What a packet takes besides its content, so that a million empty ones count too.
PACKET_BYTES = 500
# 8K, in any shape. A few bytes of a header can ask for more memory than any machine has.
MAX_PIXELS = 8192 * 4352


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, as it is displayed (rotation applied).

    `width` and `height` are in pixels, `fps` in frames a second (0.0 where unknown), `duration` in seconds (0.0 where
    the header does not say), `rotation` in degrees clockwise (0, 90, 180 or 270).
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    codec: str
    rotation: int
    has_audio: bool


def probe_video(path: str | Path) -> VideoInfo:
    """Read a video's header and decode its first frame.

    Raises `UnreadableVideo`, naming the file and the remedy, if there is no frame to decode.
    Taught in notebook 01.
    """
    with open_video(path) as (container, stream):
        try:
            first = next(container.decode(stream), None)
        except (av.error.FFmpegError, ValueError) as error:
            raise unreadable(path, f"its first frame cannot be decoded ({reason(error)})") from error
        if first is None:
            raise unreadable(path, "it holds no frame")
        return describe_video(path, container, stream, first)


@contextlib.contextmanager
def open_video(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    file = Path(path)
    if not file.is_file():
        raise UnreadableVideo(f"{file.name}: there is no such file in {file.parent}. Check the path.")
    if file.stat().st_size == 0:
        raise unreadable(file, "it is empty (0 bytes)")
    try:
        # As an address, so that a colon in a name does not make one of it.
        container = av.open(f"file:{file}", metadata_errors="replace", options={"max_pixels": str(MAX_PIXELS)})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable(file, f"it cannot be opened as a video ({reason(error)})") from error
    with container:
        if not len(container.streams):
            raise unreadable(file, "nothing in it can be read as a video")
        if not container.streams.video:
            raise UnreadableVideo(f"{file.name}: it has no video stream, only sound or data. Leave it out.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise unreadable(file, "its codec is not known here")
        yield container, stream


def read_packets(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, check_time: Callable[[], None]
) -> Iterator[Packet]:
    """The compressed packets of a stream, up to its end or to where the file breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.size == 0:  # the end
                continue
            check_time()
            yield packet
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # the disk or the network failed, which says nothing about the file
            raise unreadable(path, f"reading it failed ({reason(error)})") from error
        # Cut off further on: what came before is good.


def read_window(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    capture_sec: float,
    check_time: Callable[[], None],
) -> list[Packet]:
    """The packets of the first `capture_sec` seconds."""
    packets: list[Packet] = []
    size = 0
    start: float | None = None
    for packet in read_packets(path, container, stream, check_time):
        size += packet.size + PACKET_BYTES
        if size > MAX_WINDOW_BYTES:
            raise unreadable(path, f"its first {capture_sec:g} s take more than {MAX_WINDOW_BYTES >> 20} MiB")
        packets.append(packet)
        # The first packets of a Matroska file have no decoding time, those of others may have no other.
        tick = packet.pts if packet.dts is None else packet.dts
        if tick is None or stream.time_base is None:
            continue
        start = tick if start is None else start
        # Reordered frames are stored up to a few frames early, so read half a second further.
        if (tick - start) * stream.time_base > capture_sec + 0.5:
            break
    return packets


def decode(
    stream: av.VideoStream,
    packets: Iterable[Packet],
    start: int,
    clock: float,
    check: Callable[[av.VideoFrame | None], None],
    *,
    skip: Skip,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode packets to (seconds since tick `start`, frame), leaving out frames that are broken or patched up.

    Frames that nothing refers to need not be decoded to decode the rest: `skip="NONREF"` leaves them out. Codecs
    without such frames ignore it.
    """
    if stream.codec_context.is_open:  # a second pass
        stream.codec_context.flush_buffers()
    else:
        stream.codec_context.thread_count = 1  # videos run side by side in processes, so one thread each
        # A damaged frame is an error, not a guess patched together from its neighbours.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    stream.codec_context.skip_frame = skip
    intact = True
    for packet in itertools.chain(packets, (None,)):
        check(None)
        try:
            decoded = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            intact = False  # what follows is made from what is missing, up to the next key frame
            continue
        for frame in decoded:
            check(frame)
            intact = (intact or bool(frame.key_frame)) and not frame.is_corrupt
            if intact and frame.pts is not None:
                yield (frame.pts - start) * clock, frame


@dataclass(frozen=True)
class FrameView:
    """A frame as the decoder left it: `view[top:bottom, left:right]` is that part alone as uint8 RGB, (H, W, 3).

    Of a 1080p frame a face takes a tenth, and converting the rest costs more than cutting out the face.
    """

    _decoded: av.VideoFrame = field(repr=False)
    rotation: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole frame as it is displayed."""
        height, width = self._decoded.height, self._decoded.width
        return (width, height, 3) if self.rotation % 180 else (height, width, 3)

    def __getitem__(self, part: tuple[slice, slice]) -> Image:
        (top, bottom, _), (left, right, _) = (
            where.indices(side) for where, side in zip(part, self.shape[:2], strict=True)
        )
        height, width = self._decoded.height, self._decoded.width
        # Where the part lies before the frame is turned.
        rows, columns = {
            0: ((top, bottom), (left, right)),
            90: ((height - right, height - left), (top, bottom)),
            180: ((height - bottom, height - top), (width - right, width - left)),
            270: ((left, right), (width - bottom, width - top)),
        }[self.rotation]
        if self._decoded.format.chroma_width(4) < 2 or self._decoded.format.chroma_height(4) < 2:
            y, x, cut = (
                0,
                0,
                to_rgb(self._decoded),
            )  # old camcorders' planes of a quarter: not worth a path of their own
        else:
            # Colour planes are halved: cut along their pixels, or every colour shifts.
            y, x = rows[0] // 2 * 2, columns[0] // 2 * 2
            y_end, x_end = min(height, rows[1] + rows[1] % 2), min(width, columns[1] + columns[1] % 2)
            cut = to_rgb(_cut(self._decoded, x, y, x_end - x, y_end - y))
        inner = cut[rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x]
        return np.ascontiguousarray(turn(inner, self.rotation))


def to_rgb(frame: av.VideoFrame, **size: Any) -> Image:
    """Convert, and scale if asked to, on one thread: by default each conversion starts a pool of its own."""
    return np.asarray(frame.reformat(format="rgb24", threads=1, **size).to_ndarray(), dtype=np.uint8)


def turn(image: Image, clockwise: int) -> Image:
    """Turn by `clockwise` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, k=-clockwise // 90)) if clockwise else image


def _cut(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """A part of a frame, still in the decoder's format: FFmpeg's crop filter moves pointers and copies nothing."""
    graph = Graph()
    # Some frames have no clock; the filter wants one and makes no use of it.
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    crop, sink = graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    graph.push(frame)
    part = graph.pull()
    assert isinstance(part, av.VideoFrame)  # a graph of pictures gives pictures
    return part


def describe_video(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame
) -> VideoInfo:
    rotation = round(-frame.rotation / 90) % 4 * 90
    width, height = (frame.width, frame.height) if rotation % 180 == 0 else (frame.height, frame.width)
    duration = 0.0
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration = container.duration / av.time_base
    return VideoInfo(
        path=Path(path),
        width=width,
        height=height,
        fps=float(stream.average_rate or 0),
        duration=duration,
        codec=stream.codec_context.name,
        rotation=rotation,
        has_audio=bool(container.streams.audio),
    )


def unreadable(path: str | Path, what: str) -> UnreadableVideo:
    return UnreadableVideo(f"{Path(path).name}: {what}. Get the file again from its source, or leave it out.")


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

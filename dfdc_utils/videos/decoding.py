"""From a video file to packets, frames and pixels, with limits on the memory that a file can ask for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.workers import check_time

Image = NDArray[np.uint8]
# What the header of a drawn clip says, so that it never passes for a filmed one.
SYNTHETIC = "synthetic, drawn by dfdc_utils"
Skip = Literal["NONREF", "DEFAULT"]  # which frames not to decode: those that no other refers to, or none
Packet: TypeAlias = "av.Packet[av.VideoStream]"  # only type checkers may subscript it

# The packets of one window are read before they are decoded. 64 MiB is over 100 Mbit/s for five seconds, ten times what
# DFDC's best clips need. A file that exceeds it is hostile, or no camera made it.
MAX_WINDOW_BYTES = 64 * 2**20
# Memory for a packet besides its content, so that a million empty ones count too.
PACKET_BYTES = 500
# 8K, in any shape. A few bytes in a header can ask for more memory than any machine has.
MAX_PIXELS = 8192 * 4352


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says.

    `width` and `height` are in pixels, as displayed (rotation applied), `fps` in frames per second (0.0 if unknown),
    `duration` in seconds (0.0 if unknown), `rotation` in degrees clockwise (0, 90, 180 or 270). `is_synthetic` is true
    for the clips of the embedded sample.
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    rotation: int
    is_synthetic: bool = False


def probe_video(path: str | Path) -> VideoInfo:
    """Read a video's header and decode its first frame.

    Raises `UnreadableVideo`, saying what to do, if there is no frame to decode. Taught in notebook 01.
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
    """Open a file and its first video stream. Raises `UnreadableVideo` if there is none."""
    file = Path(path)
    if not file.is_file():
        raise UnreadableVideo(f"{file.name}: file not found in {file.parent}. Check the path.")
    if file.stat().st_size == 0:
        raise unreadable(file, "it is empty (0 bytes)")
    try:
        # As a URL: a name with a colon in it would be taken for one.
        container = av.open(f"file:{file}", metadata_errors="replace", options={"max_pixels": str(MAX_PIXELS)})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise unreadable(file, f"it cannot be opened as a video ({reason(error)})") from error
    with container:
        if not len(container.streams):
            raise unreadable(file, "it holds nothing that can be read as a video")
        if not container.streams.video:
            raise UnreadableVideo(f"{file.name}: it has sound or data, but no video stream. Leave it out.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise unreadable(file, "its codec is unknown to this version of FFmpeg")
        yield container, stream


def read_packets(path: str | Path, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[Packet]:
    """Read the compressed packets of a stream, up to its end or to where the file breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.size == 0:  # the end
                continue
            check_time()
            yield packet
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # the disk or the network failed, not the file
            raise unreadable(path, f"reading it failed ({reason(error)})") from error
        # The file is cut off here. The packets before are good.


def read_window(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, capture_sec: float
) -> list[Packet]:
    """Read the packets of the first `capture_sec` seconds. Raises `UnreadableVideo` if they take too much memory."""
    packets: list[Packet] = []
    size = 0
    start: float | None = None
    for packet in read_packets(path, container, stream):
        size += packet.size + PACKET_BYTES
        if size > MAX_WINDOW_BYTES:
            raise unreadable(path, f"its first {capture_sec:g} s take more than {MAX_WINDOW_BYTES >> 20} MiB")
        packets.append(packet)
        # The first packets of a Matroska file have no decoding time; in other files they may have nothing else.
        tick = packet.pts if packet.dts is None else packet.dts
        if tick is None or stream.time_base is None:
            continue
        start = tick if start is None else start
        # Some frames are stored after later ones, so read half a second more.
        if (tick - start) * stream.time_base > capture_sec + 0.5:
            break
    return packets


def decode(
    stream: av.VideoStream, packets: Iterable[Packet], start: int, clock: float, *, skip: Skip
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Decode packets to (seconds since tick `start`, frame), without frames that are damaged or depend on damaged ones.

    `skip="NONREF"` leaves out frames that no other frame refers to; the rest can be decoded without them. Codecs
    without such frames ignore it.
    """
    if stream.codec_context.is_open:  # a second pass
        stream.codec_context.flush_buffers()
    else:
        stream.codec_context.thread_count = 1  # videos run side by side in processes, so one thread each
        # A damaged frame is an error; FFmpeg would else fill it in from its neighbours.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    stream.codec_context.skip_frame = skip
    intact = True
    for packet in itertools.chain(packets, (None,)):
        check_time()
        try:
            decoded = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            intact = False  # the frames up to the next key frame depend on the missing one
            continue
        for frame in decoded:
            intact = (intact or bool(frame.key_frame)) and not frame.is_corrupt
            if intact and frame.pts is not None:
                yield (frame.pts - start) * clock, frame


@dataclass(frozen=True)
class FrameView:
    """A decoded frame. `view[top:bottom, left:right]` converts that part only, to uint8 RGB, (H, W, 3).

    A face takes a tenth of a 1080p frame, and converting the rest costs more than cropping the face.
    """

    _decoded: av.VideoFrame = field(repr=False)
    rotation: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and 3 of the whole frame, as displayed."""
        height, width = self._decoded.height, self._decoded.width
        return (width, height, 3) if self.rotation % 180 else (height, width, 3)

    def __getitem__(self, part: tuple[slice, slice]) -> Image:
        (top, bottom, _), (left, right, _) = (
            where.indices(side) for where, side in zip(part, self.shape[:2], strict=True)
        )
        planes = self._decoded.format
        if self.rotation or planes.chroma_width(4) < 2 or planes.chroma_height(4) < 2:
            # Rare, so simple: phones held upright, and the colour planes of old camcorders, of a quarter of the size.
            return np.ascontiguousarray(turn(to_rgb(self._decoded), self.rotation)[part])
        # Colour planes have half the size: crop along their pixels, or every colour shifts.
        y, x = top // 2 * 2, left // 2 * 2
        y_end, x_end = min(self._decoded.height, bottom + bottom % 2), min(self._decoded.width, right + right % 2)
        cut = to_rgb(_cut(self._decoded, x, y, x_end - x, y_end - y))
        return np.ascontiguousarray(cut[top - y : bottom - y, left - x : right - x])


def to_rgb(frame: av.VideoFrame, **size: Any) -> Image:
    """Convert, and scale if `size` says so, on one thread: by default each conversion starts its own thread pool."""
    return np.asarray(frame.reformat(format="rgb24", threads=1, **size).to_ndarray(), dtype=np.uint8)


def turn(image: Image, clockwise: int) -> Image:
    """Turn an image by `clockwise` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, k=-clockwise // 90)) if clockwise else image


def _cut(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """Crop a frame in the decoder's format: FFmpeg's crop filter moves pointers and copies nothing."""
    graph = Graph()
    # The filter needs a time base, which some frames do not have, and does not use it.
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    crop, sink = graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink")
    graph.link_nodes(source, crop, sink).configure()
    graph.push(frame)
    part = graph.pull()
    assert isinstance(part, av.VideoFrame)  # a graph of video filters gives video frames
    return part


def describe_video(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, frame: av.VideoFrame
) -> VideoInfo:
    """Describe a video by its header and one of its frames, which holds the rotation."""
    rotation = round(-frame.rotation / 90) % 4 * 90
    width, height = (frame.width, frame.height) if rotation % 180 == 0 else (frame.height, frame.width)
    duration = 0.0
    if stream.duration is not None and stream.time_base is not None:
        duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration = container.duration / av.time_base
    drawn = container.metadata.get("comment") == SYNTHETIC
    return VideoInfo(Path(path), width, height, float(stream.average_rate or 0), duration, rotation, drawn)


def unreadable(path: str | Path, what: str) -> UnreadableVideo:
    """Return an error that says what is wrong with a file."""
    return UnreadableVideo(f"{Path(path).name}: {what}. Get the file again from its source, or leave it out.")


def reason(error: Exception) -> str:
    """Return FFmpeg's or the system's message without the path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

"""Video files → packets → frames: opening, reading and decoding, with limits on what a hostile file can ask for."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import av

from dfdc_utils.errors import UnreadableVideo

Skip = Literal["NONREF", "DEFAULT"]  # frames that no other refers to, or none
Packet: TypeAlias = "av.Packet[av.VideoStream]"  # only type checkers may subscript it

# Packets are collected for one window before they are decoded. 64 MiB is over 100 Mbit/s for five seconds, ten times
# what DFDC's best clips need; a file that exceeds it is hostile or no camera's.
MAX_WINDOW_BYTES = 64 * 2**20
# What a packet takes besides its content, so that a million empty ones count too.
PACKET_BYTES = 500
# 8K, in any shape. A few bytes of a header can ask for more memory than any machine has.
MAX_PIXELS = 8192 * 4352


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


def unreadable(path: str | Path, what: str) -> UnreadableVideo:
    return UnreadableVideo(f"{Path(path).name}: {what}. Get the file again from its source, or leave it out.")


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

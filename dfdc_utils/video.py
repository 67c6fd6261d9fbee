"""Containers, codecs and clocks: from a video file to frames with their times.

Frames are decoded with PyAV, since it can skip the frames that no other frame refers to: half the work on DFDC's H.264,
and evenly spaced samples are still found within two frame times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.frames import FrameView, Image, to_rgb, turn

Skip = Literal["NONREF", "DEFAULT"]  # frames that no other refers to, or none

# Packets are collected for one window before they are decoded. 64 MiB is over 100 Mbit/s for five seconds, ten times
# what DFDC's best clips need; a file that exceeds it is hostile or no camera's.
MAX_WINDOW_BYTES = 64 * 2**20
# What a packet takes besides its content, so that a million empty ones count too.
PACKET_BYTES = 500
# 8K, in any shape. A few bytes of a header can ask for more memory than any machine has.
MAX_PIXELS = 8192 * 4352
# All frames of a clip are held until the faces in them are known: 16 of 8K, 300 of 1080p.
MAX_CLIP_BYTES = 2**30


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


@dataclass(frozen=True)
class Clip:
    """Frames sampled from one video, in order of time.

    `times` is (T,), seconds from the video's first frame. Pixels are converted only when asked for, so that a clip of
    1080p frames stays small: detection asks for small frames, cropping for full ones.
    """

    info: VideoInfo
    times: NDArray[np.float64]
    _decoded: tuple[av.VideoFrame, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self._decoded)

    def frame(self, index: int) -> Image:
        """Frame `index` as uint8 RGB, (H, W, 3)."""
        return turn(to_rgb(self._decoded[index]), self.info.rotation)

    def view(self, index: int) -> FrameView:
        """Frame `index`, of which only the parts asked for are converted."""
        return FrameView(self._decoded[index], self.info.rotation)

    def small_frame(self, index: int, longest_side: int) -> Image:
        """Frame `index` as uint8 RGB with no side over `longest_side` pixels; never enlarged."""
        decoded = self._decoded[index]
        scale = min(1.0, longest_side / max(decoded.width, decoded.height))
        width, height = max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale))
        return turn(to_rgb(decoded, width=width, height=height, interpolation="AREA"), self.info.rotation)

    @property
    def frames(self) -> Image:
        """All frames as uint8 RGB, (T, H, W, 3)."""
        return np.stack([self.frame(index) for index in range(len(self))])


def probe_video(path: str | Path) -> VideoInfo:
    """Read a video's header and decode its first frame.

    Raises `UnreadableVideo`, naming the file and the remedy, if there is no frame to decode.
    Taught in notebook 01.
    """
    with _open(path) as (container, stream):
        try:
            first = next(container.decode(stream), None)
        except (av.error.FFmpegError, ValueError) as error:
            raise _unreadable(path, f"its first frame cannot be decoded ({_reason(error)})") from error
        if first is None:
            raise _unreadable(path, "it holds no frame")
        return _describe(path, container, stream, first)


def sample_frames(
    path: str | Path,
    frame_count: int = 16,
    *,
    capture_sec: float = 5.0,
    check_time: Callable[[], None] = lambda: None,
) -> Clip:
    """Decode `frame_count` frames, evenly spaced over the first `capture_sec` seconds of a video.

    Returns a `Clip` of at most `frame_count` distinct frames: a video that holds fewer gives all that it holds, and no
    frame is given twice. The window is cut into equal parts and the frame nearest the middle of each is taken, by the
    stream's own clock (variable frame rate and an odd start time included), within two frame times.

    `check_time` is called at every packet, and may raise. Raises `UnreadableVideo` if no frame decodes
    or those asked for take more than `MAX_CLIP_BYTES`, `ValueError` for a count or a window that is not positive.
    Taught in notebook 01.
    """
    if not (frame_count >= 1 and capture_sec > 0):  # put so that NaN fails too
        raise ValueError(f"frame_count={frame_count} and capture_sec={capture_sec} must both be positive")

    def check(frame: av.VideoFrame | None = None) -> None:
        check_time()
        if frame is not None and frame_count * sum(plane.buffer_size for plane in frame.planes) > MAX_CLIP_BYTES:
            size = f"{frame_count} frames of {frame.width} x {frame.height} pixels"
            raise UnreadableVideo(
                f"{Path(path).name}: {size} take more than {MAX_CLIP_BYTES >> 20} MiB. Take fewer, or scale it down."
            )

    with _open(path) as (container, stream):
        packets = _read_packets(path, container, stream, capture_sec, check_time)
        spans = [
            (packet.pts, packet.pts + (packet.duration or 1))
            for packet in packets
            if packet.pts is not None and not packet.is_discard
        ]
        if not spans or stream.time_base is None:
            raise _unreadable(path, "it holds no frame with a time stamp")
        clock = float(stream.time_base)
        start = min(begin for begin, _ in spans)
        window = min(capture_sec, (max(end for _, end in spans) - start) * clock)
        middles = (np.arange(frame_count) + 0.5) * window / frame_count
        held = (np.sort([begin for begin, _ in spans]) - start) * clock

        chosen = _nearest(_decode(stream, packets, start, clock, check, skip="NONREF"), middles)
        if not _as_promised(np.array([time for time, _ in chosen]), held[held < window], middles):
            # Too few of the others: decode all. Damage may cost this pass more frames, so keep the better.
            again = _nearest(_decode(stream, packets, start, clock, check, skip="DEFAULT"), middles)
            chosen = max(again, chosen, key=len)
        if not chosen:
            raise _unreadable(path, "none of its frames can be decoded")
        info = _describe(path, container, stream, chosen[0][1])
    return Clip(info=info, times=np.array([time for time, _ in chosen]), _decoded=tuple(frame for _, frame in chosen))


def _nearest(
    timed: Iterator[tuple[float, av.VideoFrame]], targets: NDArray[np.float64]
) -> list[tuple[float, av.VideoFrame]]:
    """The frame nearest each of the rising `targets`, each frame once; stops decoding after the last target."""
    chosen: list[tuple[float, av.VideoFrame]] = []
    waiting = list(targets)
    before: tuple[float, av.VideoFrame] | None = None
    for after in timed:
        while waiting and waiting[0] <= after[0]:
            target = waiting.pop(0)
            # Half-way, as all are where every frame is wanted, the earlier one: it is still on show then.
            nearest = after if before is None or after[0] - target < target - before[0] - 0.001 else before
            if not chosen or chosen[-1][0] < nearest[0]:
                chosen.append(nearest)
        if not waiting:
            return chosen
        before = after
    if before is not None and (not chosen or chosen[-1][0] < before[0]):
        chosen.append(before)
    return chosen


def _as_promised(times: NDArray[np.float64], held: NDArray[np.float64], targets: NDArray[np.float64]) -> bool:
    """Whether `times` are as many and as near the targets as a stream with frames at `held` can give, to two frames."""

    def nearest(available: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.asarray(np.argmin(np.abs(available[:, None] - targets), axis=0))

    if not len(held) or len(times) < min(len(targets), len(held)):
        return False
    two_frames = 2.01 * (targets[-1] + targets[0]) / len(held)  # a hundredth for clocks that round
    best = np.abs(held[nearest(held)] - targets)
    return bool(np.all(np.abs(times[nearest(times)] - targets) <= np.maximum(best, two_frames)))


def _decode(
    stream: av.VideoStream,
    packets: list[av.Packet[av.VideoStream]],
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
    for packet in [*packets, None]:
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


def _read_packets(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    capture_sec: float,
    check_time: Callable[[], None],
) -> list[av.Packet[av.VideoStream]]:
    """The compressed packets of the window. Reading stops at the window's end, or where the file breaks off."""
    packets: list[av.Packet[av.VideoStream]] = []
    size = 0
    start: float | None = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:  # the end
                continue
            check_time()
            size += packet.size + PACKET_BYTES
            if size > MAX_WINDOW_BYTES:
                raise _unreadable(path, f"its first {capture_sec:g} s take more than {MAX_WINDOW_BYTES >> 20} MiB")
            packets.append(packet)
            # The first packets of a Matroska file have no decoding time, those of others may have no other.
            tick = packet.pts if packet.dts is None else packet.dts
            if tick is None or stream.time_base is None:
                continue
            start = tick if start is None else start
            # Reordered frames are stored up to a few frames early, so read half a second further.
            if (tick - start) * stream.time_base > capture_sec + 0.5:
                break
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # the disk or the network failed, which says nothing about the file
            raise _unreadable(path, f"reading it failed ({_reason(error)})") from error
        # Cut off further on: what came before is good.
    return packets


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    file = Path(path)
    if not file.is_file():
        raise UnreadableVideo(f"{file.name}: there is no such file in {file.parent}. Check the path.")
    if file.stat().st_size == 0:
        raise _unreadable(file, "it is empty (0 bytes)")
    try:
        # As an address, so that a colon in a name does not make one of it.
        container = av.open(f"file:{file}", metadata_errors="replace", options={"max_pixels": str(MAX_PIXELS)})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(file, f"it cannot be opened as a video ({_reason(error)})") from error
    with container:
        if not len(container.streams):
            raise _unreadable(file, "nothing in it can be read as a video")
        if not container.streams.video:
            raise UnreadableVideo(f"{file.name}: it has no video stream, only sound or data. Leave it out.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise _unreadable(file, "its codec is not known here")
        yield container, stream


def _describe(
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


def _unreadable(path: str | Path, what: str) -> UnreadableVideo:
    return UnreadableVideo(f"{Path(path).name}: {what}. Get the file again from its source, or leave it out.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

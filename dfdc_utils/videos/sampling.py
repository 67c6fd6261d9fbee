"""Containers, codecs and clocks: from a video file to frames with their times.

Frames are decoded with PyAV, since it can skip the frames that no other frame refers to: half the work on DFDC's H.264,
and evenly spaced samples are still found within two frame times.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.videos.decoding import (
    FrameView,
    Image,
    Packet,
    Skip,
    VideoInfo,
    decode,
    describe_video,
    open_video,
    read_packets,
    read_window,
    to_rgb,
    turn,
    unreadable,
)

# All frames of a clip are held until the faces in them are known: 16 of 8K, 300 of 1080p.
MAX_CLIP_BYTES = 2**30


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
    check = _limits(path, frame_count, capture_sec, check_time)
    with open_video(path) as (container, stream):
        packets = read_window(path, container, stream, capture_sec, check_time)
        start, end, clock = _span(path, stream, packets)
        window = min(capture_sec, (end - start) * clock)
        middles = (np.arange(frame_count) + 0.5) * window / frame_count
        held = np.sort(_begins(packets, start, clock))

        def sample(skip: Skip) -> list[_Sample]:
            return list(_nearest(decode(stream, packets, start, clock, check, skip=skip), iter(middles)))

        chosen = sample("NONREF")
        if not _as_promised(np.array([time for _, time, _ in chosen]), held[held < window], middles):
            # Too few of the others: decode all. Damage may cost this pass more frames, so keep the better.
            chosen = max(sample("DEFAULT"), chosen, key=len)
        if not chosen:
            raise unreadable(path, "none of its frames can be decoded")
        return _as_clip(describe_video(path, container, stream, chosen[0][2]), chosen)


def sample_windows(
    path: str | Path,
    frame_count: int = 16,
    *,
    capture_sec: float = 5.0,
    check_time: Callable[[], None] = lambda: None,
) -> Iterator[Clip]:
    """Sample a whole video as clips of `capture_sec` seconds, each beginning half of that after the one before.

    Each clip is sampled as `sample_frames` does it, from where it begins; `times` are seconds from the video's first
    frame. The last one ends with the video, or where the file breaks off; a video of at most `capture_sec` gives one
    clip. The video is decoded once, and one and a half clips are held at a time. Raises like `sample_frames`.
    Taught in notebook 06.
    """
    _limits(path, frame_count, capture_sec, check_time)
    with open_video(path) as (container, stream):
        start, end, clock = _span(path, stream, read_window(path, container, stream, capture_sec, check_time))
    if (end - start) * clock <= capture_sec:
        yield sample_frames(path, frame_count, capture_sec=capture_sec, check_time=check_time)
        return
    passes: tuple[Skip, Skip] = ("NONREF", "DEFAULT")
    done = 0
    for skip in passes:
        for number, (clip, as_promised) in enumerate(_windows(path, frame_count, capture_sec, start, check_time, skip)):
            if skip == "NONREF" and not as_promised:
                break  # from here on decode all
            if number >= done:
                yield clip
                done += 1
        else:
            break
    if not done:
        raise unreadable(path, "none of its frames can be decoded")


def _windows(
    path: str | Path, frame_count: int, capture_sec: float, start: int, check_time: Callable[[], None], skip: Skip
) -> Iterator[tuple[Clip, bool]]:
    """The clips of `sample_windows` by one pass of the decoder, each with whether it is what the stream promised."""
    check = _limits(path, 2 * frame_count, capture_sec, check_time)
    step, hop = capture_sec / frame_count, max(1, frame_count // 2)
    with open_video(path) as (container, stream):
        clock = float(stream.time_base or 1)
        held: list[float] = []  # when the frames begin whose packets have been read
        end = 0.0  # of the last of them

        def read() -> Iterator[Packet]:
            nonlocal end
            for packet in read_packets(path, container, stream, check_time):
                for begins in _begins([packet], start, clock):
                    held.append(begins)
                    end = max(end, begins + (packet.duration or 1) * clock)
                yield packet

        def cut(begin: int) -> tuple[Clip, bool]:
            chosen = [sample for sample in kept if begin <= sample[0] < begin + frame_count]
            middles = np.array([(number + 0.5) * step for number in range(begin, begin + frame_count)])
            there = np.sort([time for time in held if begin * step <= time < begin * step + capture_sec])
            return _as_clip(info, chosen), _as_promised(np.array([time for _, time, _ in chosen]), there, middles)

        targets = ((number + 0.5) * step for number in itertools.count())
        kept: list[_Sample] = []
        begin = 0
        for sample in _nearest(decode(stream, read(), start, clock, check, skip=skip), targets):
            if (sample[0] + 0.5) * step >= end:  # the last frame, for a target that lies beyond it
                break
            if not kept:
                info = describe_video(path, container, stream, sample[2])
            while sample[0] >= begin + frame_count:
                if any(begin <= number < begin + frame_count for number, _, _ in kept):
                    yield cut(begin)
                begin += hop
            # The last clip may begin up to a hop before the next one would.
            kept = [*(old for old in kept if old[0] >= begin - hop), sample]
            held[:] = [time for time in held if time >= (begin - hop) * step]
        if kept:
            yield cut(max(0, kept[-1][0] + 1 - frame_count))


_Sample = tuple[int, float, av.VideoFrame]  # the number of its target, its time in seconds, the frame


def _limits(
    path: str | Path, frame_count: int, capture_sec: float, check_time: Callable[[], None]
) -> Callable[[av.VideoFrame | None], None]:
    """A function to be called at each packet and frame, which raises if so many of these would not fit into memory."""
    if not (frame_count >= 1 and capture_sec > 0):  # put so that NaN fails too
        raise ValueError(f"frame_count={frame_count} and capture_sec={capture_sec} must both be positive")

    def check(frame: av.VideoFrame | None = None) -> None:
        check_time()
        if frame is not None and frame_count * sum(plane.buffer_size for plane in frame.planes) > MAX_CLIP_BYTES:
            size = f"{frame_count} frames of {frame.width} x {frame.height} pixels"
            raise UnreadableVideo(
                f"{Path(path).name}: {size} take more than {MAX_CLIP_BYTES >> 20} MiB. Take fewer, or scale it down."
            )

    return check


def _span(path: str | Path, stream: av.VideoStream, packets: list[Packet]) -> tuple[int, int, float]:
    """Of these packets the first tick and the last, and the seconds of a tick."""
    shown = [packet for packet in packets if packet.pts is not None and not packet.is_discard]
    if not shown or stream.time_base is None:
        raise unreadable(path, "it holds no frame with a time stamp")
    end = max((packet.pts or 0) + (packet.duration or 1) for packet in shown)
    return min(packet.pts or 0 for packet in shown), end, float(stream.time_base)


def _begins(packets: list[Packet], start: int, clock: float) -> NDArray[np.float64]:
    """When the frames in these packets begin, in seconds from tick `start`."""
    ticks = [packet.pts for packet in packets if packet.pts is not None and not packet.is_discard]
    return (np.array(ticks, np.float64) - start) * clock


def _as_clip(info: VideoInfo, chosen: list[_Sample]) -> Clip:
    return Clip(info, np.array([time for _, time, _ in chosen]), tuple(frame for _, _, frame in chosen))


def _nearest(timed: Iterator[tuple[float, av.VideoFrame]], targets: Iterator[float]) -> Iterator[_Sample]:
    """The frame nearest each of the rising `targets`, each frame once; stops decoding after the last target."""
    number, target = 0, next(targets, None)
    before: tuple[float, av.VideoFrame] | None = None
    last = -np.inf
    for after in timed:
        while target is not None and target <= after[0]:
            # Half-way, as all are where every frame is wanted, the earlier one: it is still on show then.
            nearest = after if before is None or after[0] - target < target - before[0] - 0.001 else before
            if last < nearest[0]:
                last = nearest[0]
                yield number, *nearest
            number, target = number + 1, next(targets, None)
        if target is None:
            return
        before = after
    if before is not None and last < before[0]:
        yield number, *before


def _as_promised(times: NDArray[np.float64], held: NDArray[np.float64], targets: NDArray[np.float64]) -> bool:
    """Whether `times` are as many and as near the targets as a stream with frames at `held` can give, to two frames."""

    def nearest(available: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.asarray(np.argmin(np.abs(available[:, None] - targets), axis=0))

    if not len(held) or len(times) < min(len(targets), len(held)):
        return False
    two_frames = 2.01 * (targets[-1] + targets[0]) / len(held)  # a hundredth for clocks that round
    best = np.abs(held[nearest(held)] - targets)
    return bool(np.all(np.abs(times[nearest(times)] - targets) <= np.maximum(best, two_frames)))

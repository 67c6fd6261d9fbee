"""From a video file to frames that are evenly spaced in time.

PyAV decodes, since it can skip the frames that no other frame refers to: half of the work on DFDC's H.264. Evenly
spaced samples are still found within two frame times.
"""

import itertools
from collections.abc import Iterable, Iterator
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
    Picture,
    Skip,
    VideoInfo,
    Window,
    decode,
    describe_video,
    display,
    open_video,
    orientation_of,
    read_packets,
    read_window,
    stamp_of,
    unreadable,
)

# All frames of a clip are in memory until its faces are found. This holds 16 of 8K, 300 of 1080p.
MAX_CLIP_BYTES = 2**30

_Sample = tuple[int, float, Picture]  # the number of its target, its time in seconds, the frame


@dataclass(frozen=True)
class Clip:
    """Frames sampled from one video, in order of time.

    `times` is (T,), seconds from the video's first frame, which is at `begin` seconds of the container's clock. Pixels
    are converted to RGB when they are asked for, which saves memory: detection needs small frames, cropping a part of
    each full one.
    """

    info: VideoInfo
    times: NDArray[np.float64]
    _pictures: tuple[Picture, ...] = field(repr=False)
    begin: float = 0.0

    def __len__(self) -> int:
        return len(self._pictures)

    def frame(self, index: int) -> Image:
        """Return frame `index` as uint8 RGB, (H, W, 3)."""
        return display(self._pictures[index], self.info)

    def view(self, index: int) -> FrameView:
        """Return frame `index` as a view that converts only the parts that are asked for."""
        return FrameView(self._pictures[index], self.info)

    def small_frame(self, index: int, longest_side: int) -> Image:
        """Return frame `index` as uint8 RGB, shrunk until no side is longer than `longest_side` pixels."""
        scale = min(1.0, longest_side / max(self.info.width, self.info.height))
        return display(self._pictures[index], self.info, scale)

    @property
    def frames(self) -> Image:
        """All frames as uint8 RGB, (T, H, W, 3)."""
        return np.stack([self.frame(index) for index in range(len(self))])


def sample_frames(path: str | Path, frame_count: int = 16, *, capture_sec: float = 5.0) -> Clip:
    """Decode `frame_count` frames, evenly spaced over the first `capture_sec` seconds of a video.

    The window is cut into `frame_count` equal parts, and the `Clip` holds the frame nearest the middle of each, within
    two frame times. Times are those of the stream's own clock, also if its frame rate varies or it does not start at
    zero. No frame is used twice: a video with fewer frames gives all of them.

    Raises `UnreadableVideo` if no frame can be decoded or they take more than `MAX_CLIP_BYTES`, `ValueError` for a
    count or a window that is not positive. Taught in notebook 01.
    """
    _require_positive(frame_count, capture_sec)
    with open_video(path) as (container, stream):
        read = read_window(path, container, stream, capture_sec)
        start, end, clock = span(path, stream, read)
        window = min(capture_sec, (end - start) * clock)
        middles = (np.arange(frame_count) + 0.5) * window / frame_count
        held = (np.sort([tick for tick, _ in read.shown]) - start) * clock
        first = _First()

        def sample(stream: av.VideoStream, packets: Iterable[Packet], skip: Skip) -> list[_Sample]:
            decoded = first.look(decode(stream, packets, start, clock, skip=skip))
            return list(_nearest(_bounded(decoded, path, frame_count), iter(middles)))

        def sample_again(skip: Skip) -> list[_Sample]:  # opened again, since a decoder keeps a state
            with open_video(path) as (again, other):
                return sample(other, read_packets(path, again, other), skip)

        chosen = sample_again("NONREF") if read.packets is None else sample(stream, read.packets, "NONREF")
        if not _as_promised(chosen, held[held < window], middles):
            # Too few frames are referred to: decode all. Damage may cost this pass more frames, so keep the better one.
            chosen = max(sample_again("DEFAULT"), chosen, key=len)
        if not chosen:
            raise unreadable(path, "none of its frames can be decoded")
        info = describe_video(path, container, stream, [sample[2] for sample in chosen], first.orientation)
        return _as_clip(info, chosen, start * clock)


def sample_windows(path: str | Path, frame_count: int = 16, *, capture_sec: float = 5.0) -> Iterator[Clip]:
    """Sample a whole video as clips of `capture_sec` seconds that overlap by half.

    Each clip is sampled as by `sample_frames`; `times` are seconds from the video's first frame. The last clip ends
    with the video, or where the file breaks off. A video of at most `capture_sec` gives one clip. The video is decoded
    once, and one and a half clips are in memory at a time. Raises the errors of `sample_frames`. Taught in notebook 06.
    """
    _require_positive(frame_count, capture_sec)
    with open_video(path) as (container, stream):
        start, end, clock = span(path, stream, read_window(path, container, stream, capture_sec))
    if (end - start) * clock <= capture_sec:
        yield sample_frames(path, frame_count, capture_sec=capture_sec)
        return
    passes: tuple[Skip, Skip] = ("NONREF", "DEFAULT")
    done = 0
    for skip in passes:
        for number, (clip, as_promised) in enumerate(_windows(path, frame_count, capture_sec, start, skip)):
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
    path: str | Path, frame_count: int, capture_sec: float, start: int, skip: Skip
) -> Iterator[tuple[Clip, bool]]:
    """Sample the clips of `sample_windows` in one pass of the decoder, each with the result of `_as_promised`."""
    step, hop = capture_sec / frame_count, max(1, frame_count // 2)
    with open_video(path) as (container, stream):
        clock = float(stream.time_base or 1)
        held: list[float] = []  # the times of the frames whose packets have been read
        end = 0.0  # when the last of them ends

        def read() -> Iterator[Packet]:
            nonlocal end
            for packet in read_packets(path, container, stream):
                if stamp := stamp_of(packet):
                    held.append((stamp[0] - start) * clock)
                    end = max(end, (sum(stamp) - start) * clock)
                yield packet

        def cut(begin: int) -> tuple[Clip, bool]:
            chosen = [sample for sample in kept if begin <= sample[0] < begin + frame_count]
            info = describe_video(path, container, stream, [sample[2] for sample in chosen], first.orientation)
            middles = np.array([(number + 0.5) * step for number in range(begin, begin + frame_count)])
            there = np.sort([time for time in held if begin * step <= time < begin * step + capture_sec])
            return _as_clip(info, chosen, start * clock), _as_promised(chosen, there, middles)

        targets = ((number + 0.5) * step for number in itertools.count())
        kept: list[_Sample] = []
        begin = 0
        first = _First()
        decoded = first.look(decode(stream, read(), start, clock, skip=skip))
        for sample in _nearest(_bounded(decoded, path, 2 * frame_count), targets):
            if (sample[0] + 0.5) * step >= end:  # the target lies beyond the last frame
                break
            while sample[0] >= begin + frame_count:
                if any(begin <= number < begin + frame_count for number, _, _ in kept):
                    yield cut(begin)
                begin += hop
            # The last clip may begin up to one hop earlier than the next one would.
            kept = [*(old for old in kept if old[0] >= begin - hop), sample]
            held[:] = [time for time in held if time >= (begin - hop) * step]
        if kept:
            yield cut(max(0, kept[-1][0] + 1 - frame_count))


class _First:
    """Keeps how the first frame that is decoded is to be shown, which holds for all of the video."""

    orientation = (0, False)

    def look(self, timed: Iterator[tuple[float, Picture]]) -> Iterator[tuple[float, Picture]]:
        for number, (time, picture) in enumerate(timed):
            if number == 0:
                self.orientation = orientation_of(picture.decoded)
            yield time, picture


def _require_positive(frame_count: int, capture_sec: float) -> None:
    if not (frame_count >= 1 and capture_sec > 0):  # this way round it refuses NaN too
        raise ValueError(f"frame_count={frame_count} and capture_sec={capture_sec} must both be positive")


def _bounded(
    timed: Iterator[tuple[float, Picture]], path: str | Path, frame_count: int
) -> Iterator[tuple[float, Picture]]:
    """Pass frames on, and raise `UnreadableVideo` if `frame_count` of them do not fit into memory."""
    for time, picture in timed:
        frame = picture.decoded
        if frame_count * sum(plane.buffer_size for plane in frame.planes) > MAX_CLIP_BYTES:
            size = f"{frame_count} frames of {frame.width} x {frame.height} pixels"
            limit = f"{MAX_CLIP_BYTES >> 20} MiB"
            raise UnreadableVideo(f"{Path(path).name}: {size} take more than {limit}. Sample fewer, or scale it down.")
        yield time, picture


def span(path: str | Path, stream: av.VideoStream, window: Window) -> tuple[int, int, float]:
    """Return the first and the last tick of a window, and the seconds per tick."""
    if not window.shown or stream.time_base is None:
        if window.packets:
            name, remedy = Path(path).name, "Put them into a container first"
            command = f"ffmpeg -i {name} -c copy {Path(path).stem}.mp4"
            raise UnreadableVideo(f"{name}: its frames have no time stamps. {remedy}: {command}")
        raise unreadable(path, "it holds no frame with a time stamp")
    end = max(tick + duration for tick, duration in window.shown)
    return min(tick for tick, _ in window.shown), end, float(stream.time_base)


def _as_clip(info: VideoInfo, chosen: list[_Sample], begin: float) -> Clip:
    return Clip(info, np.array([time for _, time, _ in chosen]), tuple(frame for _, _, frame in chosen), begin)


def _nearest(timed: Iterator[tuple[float, Picture]], targets: Iterator[float]) -> Iterator[_Sample]:
    """Give the frame nearest each of the rising `targets`, each frame once; stop decoding after the last target."""
    number, target = 0, next(targets, None)
    before: tuple[float, Picture] | None = None
    last = -np.inf
    for after in timed:
        while target is not None and target <= after[0]:
            # Half-way between two frames the earlier one counts, since it is still shown then.
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


def _as_promised(chosen: list[_Sample], held: NDArray[np.float64], targets: NDArray[np.float64]) -> bool:
    """Return whether frames are as many, and as near the targets, as frames at `held` allow, within two frames."""
    times = np.array([time for _, time, _ in chosen])

    def nearest(available: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.asarray(np.argmin(np.abs(available[:, None] - targets), axis=0))

    if not len(held) or len(times) < min(len(targets), len(held)):
        return False
    two_frames = 2.01 * (targets[-1] + targets[0]) / len(held)  # a hundredth more for clocks that round
    best = np.abs(held[nearest(held)] - targets)
    return bool(np.all(np.abs(times[nearest(times)] - targets) <= np.maximum(best, two_frames)))

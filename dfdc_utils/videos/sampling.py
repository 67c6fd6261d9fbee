"""From a video file to frames that are evenly spaced in time.

Frames that no other frame refers to are not decoded, which saves half of the work on DFDC's H.264.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.videos import decoding
from dfdc_utils.videos.decoding import Clip, OpenVideo, Packet, Picture, Skip, open_video, stamp_of, unreadable

BESIDE = 0.125  # seconds between the frames before and after: those of 16 per second are neighbours
_Sample = tuple[int, float, Picture]  # the number of its target, its time in seconds, the frame


def sample_frames(path: str | Path, frame_count: int = 16, *, capture_sec: float = 5.0, beside: bool = False) -> Clip:
    """Decode `frame_count` frames, evenly spaced over the first `capture_sec` seconds of a video.

    The window is cut into `frame_count` equal parts, and the `Clip` holds the frame nearest the middle of each, within
    two frame times of the stream's own clock. No frame is used twice: a video with fewer frames gives all of them. With
    `beside`, those before and after each sampled one are decoded and kept, too.

    Raises `UnreadableVideo` if no frame can be decoded or they take more than `MAX_CLIP_BYTES`, `ValueError` for a
    count or a window that is not positive. Taught in notebook 01.
    """
    _require_positive(frame_count, capture_sec)
    with open_video(path) as video:
        window = video.read_window(capture_sec)
        seconds = min(capture_sec, (window.end - window.start) * video.clock)
        middles = (np.arange(frame_count) + 0.5) * seconds / frame_count
        held = (np.sort([tick for tick, _ in window.shown]) - window.start) * video.clock

        def skip_far(packet: Packet) -> Skip:
            """Frames beside a target are wanted, too, if the clock is even; what is far from all may be left out."""
            if not (stamp := stamp_of(packet)) or not len(held):
                return "DEFAULT"
            step, frame = seconds / frame_count, (window.end - window.start) * video.clock / len(held)
            away = abs((stamp[0] - window.start) * video.clock / step % 1 - 0.5) * step
            return "DEFAULT" if away < 2.1 * frame else "NONREF"

        def sample(skip: Skip | Callable[[Packet], Skip], packets: list[Packet] | None = None) -> list[_Sample]:
            # Opened again to read again, and since a decoder keeps a state.
            with open_video(path) if packets is None else contextlib.nullcontext(video) as source:
                decoded = source.decode(packets or source.read_packets(), window.start, frame_count, skip=skip)
                decoded = _keep_beside(decoded, frame_count) if beside else decoded
                chosen = list(_nearest(decoded, iter(middles)))
                video.orientation = source.orientation
                return chosen

        chosen = sample(skip_far if beside else "NONREF", window.packets)
        if not _as_promised(chosen, held[held < seconds], middles):
            # Too few frames are referred to: decode all. Damage may cost this pass more frames, so keep the better one.
            chosen = max(sample("DEFAULT"), chosen, key=len)
        if not chosen:
            raise unreadable(path, "none of its frames can be decoded")
        return _as_clip(video, chosen, window.start)


def sample_windows(
    path: str | Path, frame_count: int = 16, *, capture_sec: float = 5.0, beside: bool = False
) -> Iterator[Clip]:
    """Sample a whole video as clips of `capture_sec` seconds that overlap by half.

    Each clip is sampled as by `sample_frames`, with its errors. The last one ends with the video, or where the file
    breaks off. The video is decoded once, and one and a half clips are in memory at a time. Taught in notebook 06.
    """
    _require_positive(frame_count, capture_sec)
    with open_video(path) as video:
        window, clock = video.read_window(capture_sec), video.clock
    if (window.end - window.start) * clock <= capture_sec:
        yield sample_frames(path, frame_count, capture_sec=capture_sec, beside=beside)
        return
    passes: tuple[Skip, ...] = ("DEFAULT",) if beside else ("NONREF", "DEFAULT")
    done = 0
    for skip in passes:
        clips = _windows(path, frame_count, capture_sec, window.start, skip, beside)
        for number, (clip, as_promised) in enumerate(clips):
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
    path: str | Path, frame_count: int, capture_sec: float, start: int, skip: Skip, beside: bool
) -> Iterator[tuple[Clip, bool]]:
    """Sample the clips of `sample_windows` in one pass of the decoder, each with the result of `_as_promised`."""
    step, hop = capture_sec / frame_count, max(1, frame_count // 2)
    with open_video(path) as video:
        clock = video.clock
        held: list[float] = []  # the times of the frames whose packets have been read
        end = 0.0  # when the last of them ends

        def read() -> Iterator[Packet]:
            nonlocal end
            for packet in video.read_packets():
                if stamp := stamp_of(packet):
                    held.append((stamp[0] - start) * clock)
                    end = max(end, (sum(stamp) - start) * clock)
                yield packet

        def cut(begin: int) -> tuple[Clip, bool]:
            chosen = [sample for sample in kept if begin <= sample[0] < begin + frame_count]
            middles = (np.arange(begin, begin + frame_count, dtype=float) + 0.5) * step
            there = np.sort([time for time in held if begin * step <= time < begin * step + capture_sec])
            return _as_clip(video, chosen, start), _as_promised(chosen, there, middles)

        targets = ((number + 0.5) * step for number in itertools.count())
        kept, begin = list[_Sample](), 0
        decoded = video.decode(read(), start, 2 * frame_count, skip=skip)
        for sample in _nearest(_keep_beside(decoded, 2 * frame_count) if beside else decoded, targets):
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


def _require_positive(frame_count: int, capture_sec: float) -> None:
    if not (frame_count >= 1 and capture_sec > 0):  # this way round it refuses NaN too
        raise ValueError(f"frame_count={frame_count} and capture_sec={capture_sec} must both be positive")


def _as_clip(video: OpenVideo, chosen: list[_Sample], start: int) -> Clip:
    _, times, pictures = zip(*chosen, strict=True)
    return Clip(video.describe(list(pictures)), np.array(times), pictures, start * video.clock)


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


def _keep_beside(timed: Iterator[tuple[float, Picture]], frame_count: int) -> Iterator[tuple[float, Picture]]:
    """Let each picture keep those before and after, if they have its size and are less than `BESIDE` seconds apart.

    It keeps none where `frame_count` frames with theirs do not fit into `MAX_CLIP_BYTES`, as of 8K.
    """
    before, now = None, next(timed, None)
    while now is not None:
        after, beside = next(timed, None), None
        if before and after and after[0] - before[0] < BESIDE and before[1][1:3] == now[1][1:3] == after[1][1:3]:
            size = sum(plane.buffer_size for plane in now[1].decoded.planes)
            beside = (before[1], after[1]) if 3 * frame_count * size <= decoding.MAX_CLIP_BYTES else None
        yield now[0], now[1]._replace(beside=beside)
        before, now = now, after


def _as_promised(chosen: list[_Sample], held: NDArray[np.float64], targets: NDArray[np.float64]) -> bool:
    """Return whether frames are as many, and as near the targets, as frames at `held` allow, within two frames."""
    if not len(held) or len(chosen) < min(len(targets), len(held)):
        return False
    times = np.array([time for _, time, _ in chosen])
    gaps, least = (np.abs(those[:, None] - targets).min(axis=0) for those in (times, held))
    two_frames = 2.01 * (targets[-1] + targets[0]) / len(held)  # a hundredth more for clocks that round
    return bool(np.all(gaps <= np.maximum(least, two_frames)))

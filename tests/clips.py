"""Tiny clips in every shape that breaks people, made on the spot. What each frame shows is known exactly."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces import Face

Image = NDArray[np.uint8]

SIZE = (160, 96)  # width, height: small, so that a hundred clips are made in seconds
BITS = 10  # bars a frame's number is drawn in: up to 1,023
MAGENTA, CYAN = (255, 0, 255), (0, 255, 255)

# Reordered frames, three that nothing refers to after each that is referred to, and one key frame: the hard case.
WITH_B_FRAMES = {"preset": "ultrafast", "x264-params": "bframes=3:b-adapt=0:b-pyramid=none:keyint=250:scenecut=0"}


def numbered_frame(number: int, size: tuple[int, int] = SIZE) -> Image:
    """A frame that shows its own number in `BITS` black and white bars, so that one can tell which frame it is."""
    width, height = size
    bits = [number >> bit & 1 for bit in reversed(range(BITS))]
    row = np.array(bits, np.uint8)[np.arange(width) * BITS // width] * 220 + 16
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def numbered(count: int, size: tuple[int, int] = SIZE) -> Iterator[Image]:
    return (numbered_frame(number, size) for number in range(count))


def read_number(image: Image) -> int:
    """The number a frame shows. Fails if its top, middle and bottom show different ones, as in a patched-up frame."""
    width = image.shape[1]
    numbers = set()
    for band in np.array_split(image.mean(axis=2), 6):
        bars = band[:, [int((bar + 0.5) * width / BITS) for bar in range(BITS)]].mean(axis=0) > 126
        numbers.add(sum(1 << bit for bit, white in zip(reversed(range(BITS)), bars, strict=True) if white))
    assert len(numbers) == 1, f"a torn frame: its bands show {sorted(numbers)}"
    return numbers.pop()


def square_box(
    index: int, *, start: tuple[int, int] = (30, 40), step: tuple[int, int] = (2, 0), side: int = 40
) -> list:
    """Where the square is in frame `index`: x, y, width, height."""
    return [start[0] + step[0] * index, start[1] + step[1] * index, side, side]


def untagged(source: Path, target: Path) -> Path:
    """Copy a clip of the sample without the words in its header that call it synthetic."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in clip.streams}
        for packet in clip.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return target


def remuxed(source: Path, target: Path, *, shift: int = 0) -> Path:
    """Copy a clip with all its times moved by `shift` ticks of 1/30 s: frames before 0 are there, but not shown."""
    with av.open(str(source)) as clip, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as copy:
        stream = copy.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                ticks = round(shift / 30 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                copy.mux(packet)
    return target


def squares(
    count: int,
    size: tuple[int, int] = (320, 180),
    people: Sequence[tuple[tuple[int, int, int], dict]] = ((MAGENTA, {}),),
    hidden: Iterable[int] = (),
) -> Iterator[Image]:
    """Frames in which coloured squares move as `square_box` says, in place of faces; in `hidden` frames is none."""
    width, height = size
    unseen = set(hidden)
    backdrop = np.linspace(60, 120, width).astype(np.uint8)
    for index in range(count):
        image = np.broadcast_to(backdrop[None, :, None], (height, width, 3)).copy()
        if index not in unseen:
            for colour, where in people:
                x, y, w, h = square_box(index, **where)
                image[y : y + h, x : x + w] = colour
                image[y + h // 4 : y + h // 2, x + w // 4 : x + w // 2] = 0  # an eye, so that crops have some texture
        yield image


class SquareDetector:
    """Finds the coloured squares of `squares`, in place of faces: boxes are known to a pixel or two."""

    name = "haar"  # what a SequenceConfig may hold
    enough = np.inf

    def detect(self, image: Image, *, smallest: float | None = None) -> list[Face]:
        red, green, blue = (image[..., channel].astype(int) for channel in range(3))
        faces = []
        for mask in ((red > 150) & (blue > 150) & (green < 110), (green > 150) & (blue > 150) & (red < 110)):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows) > 4 and len(columns) > 4:
                box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
                faces.append(Face(np.array(box, float), 0.9))
        return faces


def write_clip(
    path: Path,
    frames: Iterable[Image],
    *,
    fps: Fraction | int = 30,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    audio: bool = False,
    rotation: int = 0,
    faststart: bool = False,
    container: str | None = None,
) -> Path:
    """Encode RGB frames. `pts` are ticks of `time_base`; `rotation` is what a player turns it by, clockwise."""
    images = list(frames)
    if options is None and codec == "libx264":
        options = WITH_B_FRAMES
    with av.open(str(path), "w", format=container, options={"movflags": "faststart"} if faststart else {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base or 1 / Fraction(fps)
        sound = output.add_stream("aac", rate=16000, layout="mono") if audio else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = stream.codec_context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _mux_tone(output, sound, seconds=float(len(images) / Fraction(fps)))
    if rotation:
        _rotate(path, rotation)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with a tone and no picture."""
    with av.open(str(path), "w") as output:
        _mux_tone(output, output.add_stream("aac", rate=16000, layout="mono"), seconds=seconds)
    return path


def cut_off(source: Path, target: Path, fraction: float) -> Path:
    """The first `fraction` of a file's bytes, as a broken download leaves them."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * fraction)])
    return target


def _mux_tone(output: av.container.OutputContainer, sound: av.AudioStream, *, seconds: float) -> None:
    tone = np.sin(np.arange(int(16000 * seconds)) * 2 * np.pi * 440 / 16000).astype(np.float32)
    for start in range(0, len(tone), 1024):
        frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def _rotate(path: Path, clockwise: int) -> None:
    """Write the turn into the MP4's first track header, as phones do: (x, y) goes to (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    matrix = header + (52 if content[header] == 1 else 40)
    a, b, c, d = TURNS[clockwise]
    one = 1 << 16
    struct.pack_into(">9i", content, matrix, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}

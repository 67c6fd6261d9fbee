"""From a video file to packets, frames and pixels, with limits on the memory that a file can ask for."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import av
import numpy as np
from av.filter import Graph
from av.stream import Disposition
from numpy.typing import NDArray

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.videos.hdr import HDR_CURVES, tone_map
from dfdc_utils.workers import check_time

Image = NDArray[np.uint8]
# What the header of a drawn clip says, so that it never passes for a filmed one.
SYNTHETIC = "synthetic, drawn by dfdc_utils"
Skip = Literal["NONREF", "DEFAULT"]  # which frames not to decode: those that no other refers to, or none
Packet: TypeAlias = "av.Packet[av.VideoStream]"  # only type checkers may subscript it

# The packets of a window are read before they are decoded. Above 64 MiB, 100 Mbit/s for five seconds, as in raw or
# editing formats, they are not kept, but read a second time.
KEPT_BYTES = 64 * 2**20
PACKET_BYTES = 500  # memory for a packet besides its content, so that a million empty ones count too
MAX_FRAMES = 2**20  # of a window, an hour of 240 frames per second: a file that holds more is hostile
MAX_PIXELS = 8192 * 4352  # 8K, in any shape. A few bytes in a header can ask for more memory than any machine has.
MAX_CLIP_BYTES = 2**30  # of decoded frames in memory at a time: 16 of 8K, 300 of 1080p
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says.

    `width` and `height` are as displayed, in square pixels: those of the largest frame, turned. `fps` is in frames per
    second and `duration` in seconds (0.0 if unknown). The stored frames are mirrored left to right if `mirrored`, then
    turned by `rotation` degrees clockwise (0, 90, 180 or 270). Clips of the embedded sample are `is_synthetic`.
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    rotation: int
    is_synthetic: bool = False
    mirrored: bool = False
    has_sound: bool = False


class Picture(NamedTuple):
    """A decoded frame, and its size in square pixels: anamorphic video stores fewer columns or rows.

    `beside` are the frames before and after it, where they were asked for and are there.
    """

    decoded: av.VideoFrame
    width: int
    height: int
    beside: "tuple[Picture, Picture] | None" = None


def probe_video(path: str | Path) -> VideoInfo:
    """Read a header and decode the first frame. Raises `UnreadableVideo` if there is none. Taught in notebook 01."""
    with open_video(path) as video:
        try:
            first = next(video.container.decode(video.stream), None)
        except (av.error.FFmpegError, ValueError) as error:
            raise unreadable(path, f"its first frame cannot be decoded ({reason(error)})") from error
        if first is None:
            raise unreadable(path, "it holds no frame")
        video.orientation = orientation_of(first)
        return video.describe([as_picture(first, video.stream.sample_aspect_ratio)])


def is_video(path: str | Path) -> bool:
    """Say if a file, by its content, is a video: not sound, a picture or text."""
    with contextlib.suppress(UnreadableVideo), open_video(path) as video:
        kind = video.container.format.name
        return not kind.endswith("_pipe") and kind not in ("image2", "tty")
    return False


@contextlib.contextmanager
def open_video(path: str | Path) -> Iterator["OpenVideo"]:
    """Open a file and the video stream that a player would show. Raises `UnreadableVideo` if there is none."""
    file = Path(path)
    if scheme := re.match(r"\w{2,}:/+", str(path)):
        raise UnreadableVideo(f"{path}: this is an address ({scheme[0]}). Download the video first, and name the file.")
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
        if container.metadata.get("major_brand", "").strip() in ("heic", "heix", "mif1", "msf1", "avif"):
            # Their tiles are streams of their own, so one of them would be taken for the whole.
            raise UnreadableVideo(f"{file.name}: HEIC and AVIF pictures are not supported. Save it as JPEG.")
        if not len(container.streams):
            raise unreadable(file, "it holds nothing that can be read as a video")
        shown = [one for one in container.streams.video if not one.disposition & PICTURES]
        if not shown:
            holds = "a cover picture" if container.streams.video else "sound or data"
            raise UnreadableVideo(f"{file.name}: it has {holds}, but no video stream. Leave it out.")
        # As players do: the default stream, else the first.
        stream = max(shown, key=lambda one: bool(one.disposition & Disposition.default))
        if stream.codec_context is None:
            raise unreadable(file, "its codec is unknown to this version of FFmpeg")
        if stream.width * stream.height > MAX_PIXELS:
            what = f"its pictures are {stream.width} x {stream.height} pixels, and {MAX_PIXELS / 1e6:.0f} million"
            raise UnreadableVideo(f"{file.name}: {what} are the most that can be read. Scale it down.")
        yield OpenVideo(file, container, stream)


class Window(NamedTuple):
    """The first seconds of a stream, from tick `start` to `end`: tick and duration of each frame that is `shown`.

    If its `packets` take more than `KEPT_BYTES`, they are None and must be read again.
    """

    start: int
    end: int
    shown: list[tuple[int, int]]
    packets: list[Packet] | None


@dataclass
class OpenVideo:
    """An open file and the stream in it that a player would show.

    `orientation` is that of its first decoded frame, which holds for all: degrees clockwise, and if it is mirrored.
    """

    path: Path
    container: av.container.InputContainer
    stream: av.VideoStream
    orientation: tuple[int, bool] | None = None

    @property
    def clock(self) -> float:
        """Seconds per tick. Arithmetic with fractions is slow."""
        return float(self.stream.time_base or 1)

    def read_packets(self) -> Iterator[Packet]:
        """Read the compressed packets of the stream, up to its end or to where the file breaks off.

        Where the clock starts anew, as in joined files, it goes on from the packet before.
        """
        offset, end, last, ordered, second = 0, 0, None, False, 1 / (self.stream.time_base or 1)
        try:
            for packet in self.container.demux(self.stream):
                if packet.size == 0:  # the end
                    continue
                check_time()
                tick = packet.pts if packet.dts is None else packet.dts
                if tick is not None:
                    # Decoding times never fall, nor do key frames come too late; others may be stored after later ones.
                    known = packet.is_keyframe or packet.dts not in (None, packet.pts)
                    shown = tick if packet.pts is None else packet.pts
                    if last is not None and tick + offset < last - (0 if known and ordered else second):
                        offset = end - shown
                    last, ordered = tick + offset, packet.dts is not None
                    end = max(end, shown + offset + (packet.duration or 1))
                if offset:
                    packet.pts = None if packet.pts is None else packet.pts + offset
                    packet.dts = None if packet.dts is None else packet.dts + offset
                yield packet
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):  # the disk or the network failed, not the file
                raise unreadable(self.path, f"reading it failed ({reason(error)})") from error
            # The file is cut off here. The packets before are good.

    def read_window(self, capture_sec: float) -> Window:
        """Read the packets of the first `capture_sec` seconds, counted from the first frame that is shown.

        Frames before a cut made without encoding again are not shown. Raises `UnreadableVideo` if none is.
        """
        shown: list[tuple[int, int]] = []
        packets: list[Packet] | None = []
        size, start, clock = 0, None, self.clock
        for packet in self.read_packets():
            size += packet.size + PACKET_BYTES
            if packets is not None:
                packets.append(packet)
                packets = packets if size <= KEPT_BYTES else None
            if stamp := stamp_of(packet):
                shown.append(stamp)
                if len(shown) > MAX_FRAMES:
                    raise unreadable(self.path, f"its first {capture_sec:g} s hold more than {MAX_FRAMES:,} frames")
                start = stamp[0] if start is None else min(start, stamp[0])
            # The first packets of a Matroska file have no decoding time; in other files they may have nothing else.
            tick = packet.pts if packet.dts is None else packet.dts
            # Some frames are stored after later ones, so read half a second more.
            if tick is not None and start is not None and (tick - start) * clock > capture_sec + 0.5:
                break
        if shown and self.stream.time_base is not None:
            return Window(min(shown)[0], max(tick + duration for tick, duration in shown), shown, packets)
        if not packets:
            raise unreadable(self.path, "it holds no frame with a time stamp")
        command = f"ffmpeg -i {self.path.name} -c copy {self.path.stem}.mp4"
        what = f"{self.path.name}: its frames have no time stamps"
        raise UnreadableVideo(f"{what}. Put them into a container first: {command}")

    def decode(
        self, packets: Iterable[Packet], start: int, frame_count: int = 1, *, skip: Skip | Callable[[Packet], Skip]
    ) -> Iterator[tuple[float, Picture]]:
        """Decode packets to (seconds since tick `start`, picture), without frames that are or depend on damaged ones.

        `skip="NONREF"` leaves out frames that no other frame refers to; the rest can be decoded without them. A
        function says it of each packet.

        Raises `UnreadableVideo` if `frame_count` frames do not fit into `MAX_CLIP_BYTES`.
        """
        codec, clock = self.stream.codec_context, self.clock
        codec.thread_count = 1  # videos run side by side in processes, so one thread each
        # A damaged frame is an error; FFmpeg would else fill it in from its neighbours.
        codec.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        codec.skip_frame = "DEFAULT" if callable(skip) else skip
        of_file, first, intact = self.stream.sample_aspect_ratio, codec.sample_aspect_ratio, True
        for packet in itertools.chain(packets, (None,)):
            check_time()
            if callable(skip) and packet is not None:
                codec.skip_frame = skip(packet)
            try:
                decoded = codec.decode(packet)
            except av.error.FFmpegError:
                intact = False  # the frames up to the next key frame depend on the missing one
                continue
            for frame in decoded:
                intact = (intact or bool(frame.key_frame)) and not frame.is_corrupt
                if intact and frame.pts is not None:
                    if frame_count * sum(plane.buffer_size for plane in frame.planes) > MAX_CLIP_BYTES:
                        what = f"{frame_count} frames of {frame.width} x {frame.height} pixels take more than"
                        remedy = f"{MAX_CLIP_BYTES >> 20} MiB. Sample fewer, or scale it down."
                        raise UnreadableVideo(f"{self.path.name}: {what} {remedy}")
                    self.orientation = self.orientation or orientation_of(frame)
                    now = codec.sample_aspect_ratio  # where it changes, the codec says so
                    yield (frame.pts - start) * clock, as_picture(frame, of_file if now == first else now)

    def describe(self, pictures: list[Picture]) -> VideoInfo:
        """Describe the video by its header, by the largest of some frames, and by the orientation of its first one."""
        rotation, mirrored = self.orientation or (0, False)
        largest = max(pictures, key=lambda one: one.width * one.height)
        width, height = largest[1:3] if rotation % 180 == 0 else largest[2:0:-1]
        ticks, whole = self.stream.duration, (self.container.duration or 0) / av.time_base
        duration = whole if ticks is None else float(ticks * (self.stream.time_base or 1))
        drawn = self.container.metadata.get("comment") == SYNTHETIC
        sound, rate = bool(self.container.streams.audio), float(self.stream.average_rate or 0)
        return VideoInfo(self.path, width, height, rate, duration, rotation, drawn, mirrored, sound)


def stamp_of(packet: Packet) -> tuple[int, int] | None:
    """Return tick and duration of the frame in a packet, None if it has no time or is not shown."""
    return None if packet.pts is None or packet.is_discard else (packet.pts, packet.duration or 1)


def as_picture(frame: av.VideoFrame, aspect: Fraction | None) -> Picture:
    """Give a frame its size in square pixels; `aspect` is a pixel's width by its height."""
    stretch = aspect if aspect and aspect != 1 and 1 / 8 <= aspect <= 8 else 1  # nearly always 1: no fractions then
    return Picture(frame, round(frame.width * max(stretch, 1)), round(frame.height / min(stretch, 1)))


@dataclass(frozen=True)
class FrameView:
    """A decoded frame. `view[top:bottom, left:right]` converts that part only, to uint8 RGB, (H, W, 3).

    A face takes a tenth of a 1080p frame, and converting the rest costs more than cropping the face.
    """

    _picture: Picture = field(repr=False)
    info: VideoInfo

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and 3 of the whole frame, as displayed."""
        return self.info.height, self.info.width, 3

    def __getitem__(self, part: tuple[slice, slice]) -> Image:
        top, bottom, _ = part[0].indices(self.info.height)
        left, right, _ = part[1].indices(self.info.width)
        frame = self._picture.decoded
        as_stored = (frame.height, frame.width) == self.shape[:2] and not self.info.rotation and not self.info.mirrored
        if not as_stored or frame.format.chroma_width(4) < 2 or frame.format.chroma_height(4) < 2:
            # Rare, so simple: phones held upright, pixels that are not square, colour planes of a quarter of the size.
            return np.ascontiguousarray(display(self._picture, self.info)[part])
        # Colour planes have half the size: crop along their pixels, or every colour shifts.
        y, x = top // 2 * 2, left // 2 * 2
        y_end, x_end = min(frame.height, bottom + bottom % 2), min(frame.width, right + right % 2)
        cut = to_rgb(_cut(frame, x, y, x_end - x, y_end - y))
        return np.ascontiguousarray(cut[top - y : bottom - y, left - x : right - x])


@dataclass(frozen=True)
class Clip:
    """Frames sampled from one video, in order of time. Pixels are converted to RGB when they are asked for.

    `times` is (T,), seconds from the video's first frame, which is at `begin` seconds of the container's clock.
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

    def views_beside(self, index: int) -> tuple[FrameView, ...]:
        """Return the frames before and after frame `index` as views; none where they were not kept or are not there."""
        return tuple(FrameView(picture, self.info) for picture in self._pictures[index].beside or ())

    def small_frame(self, index: int, longest_side: int) -> Image:
        """Return frame `index` as uint8 RGB, shrunk until no side is longer than `longest_side` pixels."""
        scale = min(1.0, longest_side / max(self.info.width, self.info.height))
        return display(self._pictures[index], self.info, scale)

    @property
    def frames(self) -> Image:
        """All frames as uint8 RGB, (T, H, W, 3)."""
        return np.stack([self.frame(index) for index in range(len(self))])


def display(picture: Picture, info: VideoInfo, scale: float = 1.0) -> Image:
    """Show a frame as a player does, uint8 RGB (`info.height`, `info.width`, 3), scaled by `scale`.

    A frame of another size than most, in a stream whose size changes, is scaled to fit; the rest is black.
    """
    width, height = (info.width, info.height) if info.rotation % 180 == 0 else (info.height, info.width)
    fit = min(width / picture.width, height / picture.height) * scale
    size = max(1, round(picture.width * fit)), max(1, round(picture.height * fit))
    frame = picture.decoded
    shrinks = size[0] <= frame.width and size[1] <= frame.height
    scaled = {"width": size[0], "height": size[1], "interpolation": "AREA" if shrinks else "BICUBIC"}
    image = to_rgb(frame, **({} if size == (frame.width, frame.height) else scaled))
    right, below = max(1, round(width * scale)) - size[0], max(1, round(height * scale)) - size[1]
    if right or below:
        image = np.pad(image, ((0, max(0, below)), (0, max(0, right)), (0, 0)))
    image = image[:, ::-1] if info.mirrored else image
    return np.ascontiguousarray(np.rot90(image, k=-info.rotation // 90)) if info.rotation or info.mirrored else image


def to_rgb(frame: av.VideoFrame, **size: Any) -> Image:
    """Convert, and scale if `size` says so, on one thread: by default each conversion starts its own thread pool."""
    if frame.color_trc in HDR_CURVES:
        return tone_map(frame, **size)
    return np.asarray(frame.reformat(format="rgb24", threads=1, **size).to_ndarray(), dtype=np.uint8)


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return how a frame is to be shown, by its display matrix: degrees clockwise, and if it is mirrored before.

    The matrix is that of the file, or one in the stream itself, which only the first frame has.
    """
    found = cast(Any, frame.side_data).get("DISPLAYMATRIX")
    if found is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].astype(float)
    mirrored = a * d - b * c < 0
    angle = np.degrees(np.arctan2(-b if mirrored else b, -a if mirrored else a))
    return round(float(angle) / 90) % 4 * 90, bool(mirrored)


def _cut(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """Crop a frame in the decoder's format: FFmpeg's crop filter moves pointers and copies nothing."""
    graph = Graph()
    graph.threads = 1
    # The filter needs a time base, which some frames do not have, and does not use it.
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    crop, sink = graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink")
    graph.link_nodes(source, crop, sink).configure()
    graph.push(frame)
    part = graph.pull()
    assert isinstance(part, av.VideoFrame)  # a graph of video filters gives video frames
    return part


def unreadable(path: str | Path, what: str) -> UnreadableVideo:
    """Return an error that says what is wrong with a file, and what to do, by its first bytes."""
    start, remedy = b"", "Get the file again from its source, or leave it out"
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        start = file.read(200)
    if start[8:12] == b"WEBP":
        remedy = "FFmpeg does not decode animated WebP: convert it, for example to GIF"
    elif re.fullmatch(rb"[\t\n\r -~]+", start):
        remedy = "It is text, such as a playlist or a web page: give the video that it names, or leave it out"
    return UnreadableVideo(f"{Path(path).name}: {what}. {remedy}.")


def reason(error: Exception) -> str:
    """Return FFmpeg's or the system's message without the path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

"""Files that store their frames otherwise than a player shows them: the frames are the player's all the same."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.videos import probe_video, sample_frames, sample_windows
from dfdc_utils.videos.hdr import TO_BT709, _light, tone_map

SIZE = clips.SIZE
CORNERS = np.zeros((96, 160, 3), np.uint8) + np.array([200, 40, 40], np.uint8)  # red, with three marked corners
CORNERS[:32, :40], CORNERS[:32, -40:], CORNERS[-32:, :40] = (40, 200, 40), (40, 40, 200), (230, 230, 230)


def shown_by_ffmpeg(path: Path) -> list[int]:
    with av.open(str(path)) as clip:
        return [clips.read_number(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]


@pytest.mark.parametrize("hidden", [1, 40, 200])
def test_the_window_begins_with_the_first_frame_that_is_shown(tmp_path: Path, hidden: int) -> None:
    """A clip that was cut without encoding again; with 200 frames, nearly seven seconds are hidden."""
    long = clips.write_clip(tmp_path / "long.mp4", clips.numbered(270))
    cut = clips.remuxed(long, tmp_path / "cut.mp4", shift=-hidden)
    assert min(shown_by_ffmpeg(cut)) == hidden
    clip = sample_frames(cut, 6, capture_sec=2.0)
    numbers = [clips.read_number(image) for image in clip.frames]
    wanted = hidden + (np.arange(6) + 0.5) * 2 * 30 / 6
    assert len(numbers) == 6 and np.abs(np.array(numbers) - wanted).max() <= 2
    assert np.abs(clip.times - (np.array(numbers) - hidden) / 30).max() < 0.02
    last = list(sample_windows(cut, 6, capture_sec=2.0))[-1]
    assert clips.read_number(last.frame(len(last) - 1)) >= 262


def test_a_first_picture_that_stays_is_no_reason_to_stop(tmp_path: Path) -> None:
    """A screen recording with reordered frames: the first one is shown for four seconds, then 30 a second."""
    pts = [0, *(120 + number for number in range(89))]
    still = clips.write_clip(tmp_path / "still.mp4", clips.numbered(90), pts=pts, time_base=Fraction(1, 30))
    clip = sample_frames(still, 14, capture_sec=7.0)
    assert clip.times[-1] > 6.0 and len(clip) >= 7
    assert list(sample_windows(still, 14, capture_sec=3.5))[-1].times[-1] > 6.5


ORIENTATIONS = {  # a, b, c, d of the display matrix: how a player shows the corners green, blue, white
    "as it is": (1, 0, 0, 1),
    "turned by 90": (0, 1, -1, 0),
    "turned by 180": (-1, 0, 0, -1),
    "turned by 270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_all_eight_orientations_are_shown_upright(tmp_path: Path, name: str) -> None:
    a, b, c, d = ORIENTATIONS[name]
    path = clips.write_clip(tmp_path / "plain.mp4", [CORNERS] * 6)
    _set_matrix(path, a, b, c, d)
    clip = sample_frames(path, 3)
    height, width = CORNERS.shape[:2]
    ys, xs = np.mgrid[:height, :width]  # where each pixel goes
    x, y = a * xs + c * ys, b * xs + d * ys
    x, y = x - x.min(), y - y.min()
    wanted = np.empty((y.max() + 1, x.max() + 1, 3), np.uint8)
    wanted[y, x] = CORNERS
    assert (clip.info.height, clip.info.width) == wanted.shape[:2]
    assert np.abs(clip.frame(1).astype(int) - wanted).mean() < 12
    box = (slice(10, 50), slice(4, 60))
    assert np.abs(clip.view(1)[box].astype(int) - wanted[box]).mean() < 12
    assert np.abs(clip.small_frame(1, 80).astype(int) - wanted[::2, ::2]).mean() < 15
    assert probe_video(path) == clip.info


def _set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write the display matrix into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    for number, value in zip((0, 1, 3, 4), (a, b, c, d), strict=True):
        content[at + 4 * number : at + 4 * number + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("stored", "aspect"), [((80, 96), 2), ((160, 48), Fraction(1, 2)), ((120, 96), Fraction(4, 3))]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pixels_become_square(tmp_path: Path, stored: tuple[int, int], aspect: Fraction, suffix: str) -> None:
    path = tmp_path / f"anamorphic.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        (stream.width, stream.height), stream.pix_fmt = stored, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for image in clips.numbered(12, SIZE):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(*stored, "yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    clip = sample_frames(path, 3)
    assert (clip.info.width, clip.info.height) == SIZE
    assert clip.frame(0).shape == clip.view(0).shape == (96, 160, 3)
    assert clips.read_number(clip.frame(1)) == clips.read_number(clip.view(1)[0:96, 0:160])
    assert max(clip.small_frame(1, 80).shape) == 80


@pytest.mark.parametrize("sizes", [((160, 96), (320, 192)), ((320, 192), (80, 48)), ((160, 96), (96, 160))])
def test_a_picture_that_changes_its_size_has_one_scale(tmp_path: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    path = tmp_path / "call.ts"
    parts = []
    for number, size in enumerate(sizes):
        part = clips.write_clip(
            tmp_path / f"{number}.ts", clips.numbered(30, size), pts=range(30 * number, 30 * number + 30)
        )
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    clip = sample_frames(path, 8)
    largest = max(sizes, key=lambda size: size[0] * size[1])
    assert (clip.info.width, clip.info.height) == largest
    assert {clip.frame(index).shape for index in range(len(clip))} == {(*largest[::-1], 3)}
    assert clip.times[0] < 0.5 and clip.times[-1] > 1.5  # both parts
    if sizes[1] != sizes[0][::-1]:  # of one shape: the picture fills the frame
        assert clips.read_number(clip.frame(1)) < 30 > clips.read_number(clip.frame(6))


@pytest.mark.parametrize(("count", "seconds"), [(2, 2.0), (3, 2.0), (4, 0.5)])
def test_joined_files_whose_clock_starts_anew_are_looked_at_to_the_end(
    tmp_path: Path, count: int, seconds: float
) -> None:
    one = clips.write_clip(tmp_path / "one.ts", clips.numbered(round(30 * seconds)))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(count * one.read_bytes())
    length = seconds * count
    clip = sample_frames(joined, 12, capture_sec=length)
    assert len(clip) == 12 and length - 0.5 < clip.times[-1] < length
    assert (np.diff(clip.times) > 0).all()
    last = list(sample_windows(joined, 6, capture_sec=1.0))[-1]
    assert last.times[-1] > length - 0.3


@pytest.mark.parametrize("length", [8, 60])
@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_times_go_on_without_a_gap_where_files_were_joined(tmp_path: Path, suffix: str, length: int) -> None:
    """With frames stored after later ones, whose decoding times FFmpeg knows in one container and not in the other."""
    frames, joined = list(clips.numbered(2 * length)), tmp_path / f"joined.{suffix}"
    parts = (clips.write_clip(tmp_path / f"part.{suffix}", some) for some in (frames[:length], frames[length:]))
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = sample_frames(joined, 16, capture_sec=2 * length / 30)
    assert len(clip) == 16
    shown = [clips.read_number(clip.frame(index)) for index in range(16)]
    np.testing.assert_allclose(clip.times, np.array(shown) / 30, atol=0.002)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_stream_that_a_player_shows_is_looked_at(tmp_path: Path, suffix: str) -> None:
    """A cover picture or another angle comes first in the file."""
    for number, (first, second) in enumerate(
        [(Disposition.attached_pic, Disposition(0)), (Disposition(0), Disposition.default), (Disposition.default,) * 2]
    ):
        if suffix == "mkv" and not number:
            continue  # Matroska keeps covers as attachments, which are no streams
        path = tmp_path / f"{number}.{suffix}"
        with av.open(str(path), "w") as output:
            streams = [output.add_stream("mjpeg" if first & Disposition.attached_pic else "libx264", rate=30)]
            streams.append(output.add_stream("libx264", rate=30))
            for stream, disposition in zip(streams, (first, second), strict=True):
                stream.width, stream.height, stream.disposition = *SIZE, disposition
                stream.pix_fmt = "yuvj420p" if stream.name == "mjpeg" else "yuv420p"
            for stream, start in zip(streams, (500, 0), strict=True):
                for image in [
                    clips.numbered_frame(start + index) for index in range(1 if start and not number else 20)
                ]:
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                output.mux(stream.encode(None))
        clip = sample_frames(path, 3)
        assert clips.read_number(clip.frame(0)) >= 500 if number == 2 else clips.read_number(clip.frame(0)) < 20


def test_a_cover_picture_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        output.mux(stream.encode(av.VideoFrame.from_ndarray(CORNERS, format="rgb24")))
        output.mux(stream.encode(None))
    with pytest.raises(UnreadableVideo, match="cover picture, but no video"):
        sample_frames(path)


def test_an_address_is_called_one() -> None:
    for address in ("https://example.org/a.mp4", "rtsp://camera/1"):
        with pytest.raises(UnreadableVideo, match=r"this is an address.*Download the video first"):
            sample_frames(address)


def test_raw_video_without_times_says_how_to_get_them(tmp_path: Path) -> None:
    raw = clips.write_clip(tmp_path / "camera.h264", clips.numbered(20), container="h264")
    with pytest.raises(UnreadableVideo, match=r"no time stamps.*ffmpeg -i camera\.h264 -c copy camera\.mp4"):
        sample_frames(raw)


@pytest.mark.parametrize("curve", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67])
@pytest.mark.parametrize("primaries", [ColorPrimaries.BT709, ColorPrimaries.BT2020])
def test_high_dynamic_range_looks_like_the_same_scene_in_standard(curve: ColorTrc, primaries: ColorPrimaries) -> None:
    """Skin, grey and colours below the knee come out as they went in; a lamp is white, and not wrapped around."""
    standard = np.array([[200, 150, 120], [90, 90, 90], [40, 120, 60], [30, 30, 110], [180, 60, 60]], np.float32)
    light = (standard / 255) ** 2.4
    if primaries == ColorPrimaries.BT2020:
        light = light @ np.linalg.inv(TO_BT709).T.astype(np.float32)
    lamp = np.full((1, 3), 4.0, np.float32)  # four times as bright as white
    light = np.concatenate([light, lamp])
    if curve == ColorTrc.ARIB_STD_B67:  # undo the system's gamma
        shown = light * 203 / 1000
        luminance = shown @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = shown * (np.maximum(luminance, 1e-6) ** (1 / 1.2 - 1))[:, None]
    codes = np.searchsorted(_light(curve == ColorTrc.ARIB_STD_B67), light).clip(0, 65535).astype(np.uint16)
    image = np.repeat(np.repeat(codes[None], 8, axis=0), 8, axis=1)  # stripes of 8 pixels
    frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
    frame.color_trc, frame.color_primaries = curve, primaries
    got = tone_map(frame)[4, 4::8].astype(int)
    assert np.abs(got[:-1] - standard).max() <= 4
    assert got[-1].min() > 240


def test_high_dynamic_range_video_is_mapped_in_whole_frames_and_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=30)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = ColorTrc.SMPTE2084, ColorPrimaries.BT2020, 9
        grey = np.searchsorted(_light(False), np.float32((120 / 255) ** 2.4)) / 65535
        image = np.full((96, 160, 3), round(255 * grey), np.uint8)
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace=Colorspace.BT2020)
            frame.color_trc, frame.color_primaries, frame.colorspace = 16, 9, 9
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    clip = sample_frames(path, 3)
    for part in (clip.frame(1), clip.view(1)[10:50, 20:60], clip.small_frame(1, 80)):
        assert part.dtype == np.uint8 and np.abs(part.astype(int) - 120).max() <= 6


def test_uncompressed_video_is_read(tmp_path: Path) -> None:
    for name, codec, pixels in (
        ("raw.avi", "rawvideo", "bgr24"),
        ("huffyuv.avi", "huffyuv", "yuv422p"),
        ("prores.mov", "prores_ks", "yuv422p10le"),
    ):
        path = clips.write_clip(tmp_path / name, clips.numbered(30), codec=codec, pix_fmt=pixels, options={})
        clip = sample_frames(path, 4)
        assert [clips.read_number(image) for image in clip.frames] == pytest.approx([3, 11, 18, 26], abs=1)


def test_what_is_shown_does_not_depend_on_the_container(tmp_path: Path) -> None:
    source = clips.write_clip(tmp_path / "a.mp4", clips.numbered(45))
    wanted = [clips.read_number(image) for image in sample_frames(source, 6).frames]
    for suffix in ("mkv", "ts", "mov", "nut"):
        copy = clips.remuxed(source, tmp_path / f"b.{suffix}")
        assert [clips.read_number(image) for image in sample_frames(copy, 6).frames] == pytest.approx(wanted, abs=2)
    shutil.copy(source, tmp_path / "no suffix")
    assert [clips.read_number(image) for image in sample_frames(tmp_path / "no suffix", 6).frames] == wanted

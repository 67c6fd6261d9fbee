from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.videos import Clip, decoding, probe_video, sample_frames, sample_windows, sampling
from dfdc_utils.videos.decoding import OpenVideo

EVERY_FRAME = {"preset": "ultrafast", "x264-params": "bframes=0:keyint=250:scenecut=0"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 30 frames a second, numbered, with sound, one key frame and frames that nothing refers to."""
    return clips.write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", clips.numbered(90), audio=True)


def numbers(clip: Clip) -> list[int]:
    return [clips.read_number(clip.frame(index)) for index in range(len(clip))]


def middles(frame_count: int, window: float) -> np.ndarray:
    return (np.arange(frame_count) + 0.5) * window / frame_count


# What a clip is sampled to


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.integers(1, 120),
    fps=st.sampled_from([Fraction(12), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
    frame_count=st.integers(1, 24),
    capture_sec=st.floats(0.2, 6),
    b_frames=st.integers(0, 9),
)
def test_frames_are_distinct_evenly_spaced_and_what_their_time_says(
    tmp_path: Path, held: int, fps: Fraction, frame_count: int, capture_sec: float, b_frames: int
) -> None:
    options = {"preset": "ultrafast", "x264-params": f"bframes={b_frames}:b-adapt=0:b-pyramid=none:keyint=250"}
    path = clips.write_clip(tmp_path / "any.mp4", clips.numbered(held, (80, 48)), fps=fps, options=options)

    clip = sample_frames(path, frame_count, capture_sec=capture_sec)

    shown = numbers(clip)
    assert shown == sorted(set(shown)), "a frame came twice, or out of order"
    assert shown == np.round(clip.times * float(fps)).astype(int).tolist(), "content and time disagree"
    window = min(capture_sec, held / float(fps))
    in_window = np.arange(held)[np.arange(held) / float(fps) < window]
    asked = middles(frame_count, window)
    # Rounded, so that a middle half-way between two frames counts for the earlier.
    possible = len(np.unique(np.argmin(np.abs(in_window[:, None] / float(fps) - asked).round(6), axis=0)))
    assert possible <= len(clip) <= frame_count
    nearest = np.abs(clip.times[:, None] - asked).min(axis=0)
    assert nearest.max() <= 2 / float(fps) + 0.001


@pytest.mark.parametrize("held", [1, 2, 7, 16])
def test_a_clip_with_fewer_frames_than_asked_gives_all_that_it_holds(tmp_path: Path, held: int) -> None:
    clip = sample_frames(clips.write_clip(tmp_path / "short.mp4", clips.numbered(held)), 16)
    assert numbers(clip) == list(range(held))


@pytest.mark.parametrize("sample", [sample_frames, lambda *args, **how: next(iter(sample_windows(*args, **how)))])
@pytest.mark.parametrize("seconds", [2.0, 5.0])
def test_the_frames_before_and_after_are_kept_where_they_are_asked_for(
    plain: Path, sample: Callable[..., Clip], seconds: float
) -> None:
    clip = sample(plain, 8, capture_sec=seconds, beside=True)
    assert len(clip) == 8
    for index, number in enumerate(numbers(clip)):
        views = clip.views_beside(index)
        beside = [clips.read_number(view[0 : view.shape[0], 0 : view.shape[1]]) for view in views]
        assert beside == [number - 1, number + 1]
    assert clip.views_beside(0) and not sample(plain, 8, capture_sec=seconds).views_beside(0)


def test_large_frames_do_without_their_neighbours(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sum(plane.buffer_size for plane in sample_frames(plain, 1)._pictures[0].decoded.planes)
    for fits, count in ((24, 8), (23, 0)):
        monkeypatch.setattr(decoding, "MAX_CLIP_BYTES", fits * one)
        clip = sample_frames(plain, 8, beside=True)
        assert len(clip) == 8 and sum(len(clip.views_beside(index)) == 2 for index in range(8)) == count


def test_the_first_and_last_frame_and_slow_ones_have_no_neighbours(tmp_path: Path) -> None:
    three = sample_frames(clips.write_clip(tmp_path / "three.mp4", clips.numbered(3)), 16, beside=True)
    assert [len(three.views_beside(index)) for index in range(3)] == [0, 2, 0]
    slow = clips.write_clip(tmp_path / "slow.mp4", clips.numbered(20), fps=Fraction(10))
    assert not any(sample_frames(slow, 8, beside=True).views_beside(index) for index in range(8))


def test_long_runs_of_unreferenced_frames_do_not_thin_the_sample(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "x264-params": "bframes=16:b-adapt=0:b-pyramid=none:keyint=250:scenecut=0"}
    clip = sample_frames(clips.write_clip(tmp_path / "b.mp4", clips.numbered(90), options=options), 16)
    assert len(clip) == 16
    assert np.abs(clip.times - middles(16, 3.0)).max() <= 2 / 30 + 1e-6


def test_frames_that_nothing_refers_to_are_not_decoded(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    nearest = sampling._nearest

    def spy(timed, targets):  # type: ignore[no-untyped-def]
        return nearest((seen.append(time) or (time, frame) for time, frame in timed), targets)

    monkeypatch.setattr(sampling, "_nearest", spy)
    sample_frames(plain, 16)
    assert len(seen) <= 25, "of 90 frames only the 23 that others refer to need decoding"


def test_the_window_ends_at_capture_sec(plain: Path) -> None:
    clip = sample_frames(plain, 5, capture_sec=1.0)
    assert clip.times.max() < 1.0
    assert np.abs(clip.times - middles(5, 1.0)).max() <= 2 / 30 + 1e-6


def test_a_window_longer_than_the_clip_is_the_whole_clip(plain: Path) -> None:
    whole, longer = sample_frames(plain, 16, capture_sec=3.0), sample_frames(plain, 16, capture_sec=1e6)
    assert np.array_equal(whole.times, longer.times)
    assert longer.times[-1] > 2.8


def test_reading_stops_soon_after_the_window(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    read = OpenVideo.read_packets
    monkeypatch.setattr(OpenVideo, "read_packets", lambda video: (taken.append(p) or p for p in read(video)))
    sample_frames(plain, 4, capture_sec=0.5)
    assert len(taken) <= 35, "half a second, and half a second of reordering, at 30 frames a second"


@pytest.mark.parametrize(
    ("name", "made_with"),
    [
        ("h264.mov", {}),
        ("h264.m4v", {}),
        ("h264.mkv", {}),
        ("h264.3gp", {}),
        ("h264.mts", {"container": "mpegts"}),
        ("h265.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("mpeg1.mpg", {"codec": "mpeg1video", "options": {"bf": "2"}}),
        ("mpeg2.mpeg", {"codec": "mpeg2video", "options": {"bf": "2"}}),
        ("wmv2.wmv", {"codec": "wmv2"}),
        ("ffv1.mkv", {"codec": "ffv1"}),
    ],
)
def test_every_container_and_codec_gives_sixteen_frames_at_their_times(
    tmp_path: Path, name: str, made_with: dict
) -> None:
    path = clips.write_clip(tmp_path / name, clips.numbered(75), **made_with)
    clip = sample_frames(path, 16)
    assert len(clip) == 16
    assert numbers(clip) == np.round(clip.times * 30).astype(int).tolist()
    assert np.abs(clip.times - middles(16, 2.5)).max() <= 2.1 / 30


def test_h264_in_avi_which_has_no_presentation_times_is_still_spread_evenly(tmp_path: Path) -> None:
    clip = sample_frames(clips.write_clip(tmp_path / "a.avi", clips.numbered(90)), 16)
    assert len(clip) == 16
    assert np.abs(np.array(numbers(clip)) / 30 - middles(16, 3.0)).max() <= 5 / 30


def test_variable_frame_rate_goes_by_the_clock_not_by_the_count(tmp_path: Path) -> None:
    # 60 frames in the first second, then 10 in the next: by count nearly all samples would lie in the first.
    ticks = [*range(0, 600, 10), *range(600, 1200, 60)]
    path = clips.write_clip(
        tmp_path / "vfr.mp4", clips.numbered(70), pts=ticks, time_base=Fraction(1, 600), options=EVERY_FRAME
    )
    clip = sample_frames(path, 8)
    assert numbers(clip) == [ticks.index(round(time * 600)) for time in clip.times]
    assert np.abs(clip.times - middles(8, 1.9 + 1 / 30)).max() <= 0.051, "the last of 60 ms frames is told as 33 ms"
    assert (clip.times < 1).sum() == 4


def test_times_count_from_the_first_frame_wherever_the_clock_starts(tmp_path: Path) -> None:
    offset = 30 * 3600
    frames = list(clips.numbered(90))
    path = clips.write_clip(
        tmp_path / "late.mkv", frames, pts=range(offset, offset + 90), time_base=Fraction(1, 30), options=EVERY_FRAME
    )
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time >= 3600 * 1000
    clip = sample_frames(path, 16)
    assert np.abs(clip.times - middles(16, 3.0)).max() <= 1 / 30
    assert numbers(clip) == np.round(clip.times * 30).astype(int).tolist()


# What the frames look like


def corner_of(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    green = (image[..., 1].astype(int) - image[..., 0]) > 100
    rows, columns = np.nonzero(green)
    assert len(rows) > 50
    return f"{'top' if rows.mean() < height / 2 else 'bottom'} {'left' if columns.mean() < width / 2 else 'right'}"


def corner_frames(count: int, size: tuple[int, int] = (160, 96)) -> list[np.ndarray]:
    image = np.full((size[1], size[0], 3), 40, np.uint8)
    image[:24, :24] = (0, 250, 0)
    return [image] * count


@pytest.mark.parametrize(
    ("rotation", "corner", "shape"),
    [
        (0, "top left", (96, 160)),
        (90, "top right", (160, 96)),
        (180, "bottom right", (96, 160)),
        (270, "bottom left", (160, 96)),
    ],
)
def test_frames_are_turned_as_a_player_turns_them(
    tmp_path: Path, rotation: int, corner: str, shape: tuple[int, int]
) -> None:
    clip = sample_frames(clips.write_clip(tmp_path / "phone.mp4", corner_frames(6), rotation=rotation), 3)
    assert clip.info.rotation == rotation
    assert (clip.info.height, clip.info.width) == shape
    for image in (clip.frame(1), clip.small_frame(1, 80)):
        assert corner_of(image) == corner
        assert image.flags.c_contiguous
    assert clip.frame(1).shape == (*shape, 3)
    assert clip.small_frame(1, 80).shape == (shape[0] // 2, shape[1] // 2, 3)
    assert probe_video(clip.info.path) == clip.info


@pytest.mark.parametrize(
    ("name", "made_with"),
    [
        ("odd.mp4", {"pix_fmt": "yuv444p"}),
        ("odd.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("odd.mkv", {"codec": "ffv1"}),
    ],
)
@pytest.mark.parametrize("size", [(321, 181), (53, 99)])
def test_odd_sizes_keep_every_pixel_row(tmp_path: Path, name: str, made_with: dict, size: tuple[int, int]) -> None:
    width, height = size
    clip = sample_frames(clips.write_clip(tmp_path / name, clips.numbered(20, size), **made_with), 4)
    assert clip.frames.shape == (4, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert numbers(clip) == np.round(clip.times * 30).astype(int).tolist()


def test_small_frames_fit_and_are_never_enlarged(plain: Path) -> None:
    clip = sample_frames(plain, 2)
    assert clip.small_frame(0, 40).shape == (24, 40, 3)
    assert clip.small_frame(0, 1).shape == (1, 1, 3)
    assert clip.small_frame(0, 640).shape == (96, 160, 3)
    assert np.array_equal(clip.small_frame(0, 640), clip.frame(0))
    assert clips.read_number(clip.small_frame(1, 80)) == clips.read_number(clip.frame(1))


def test_colours_survive_and_channels_are_red_green_blue(tmp_path: Path) -> None:
    image = np.zeros((96, 160, 3), np.uint8)
    image[:, :80], image[:, 80:] = (220, 30, 30), (30, 30, 220)
    clip = sample_frames(clips.write_clip(tmp_path / "colour.mp4", [image] * 3), 1)
    for small in (clip.frame(0), clip.small_frame(0, 80)):
        left, right = small[:, : small.shape[1] // 3].mean((0, 1)), small[:, -small.shape[1] // 3 :].mean((0, 1))
        assert np.abs(left - (220, 30, 30)).max() < 20
        assert np.abs(right - (30, 30, 220)).max() < 20


def test_probe_says_what_the_file_is(plain: Path) -> None:
    info = probe_video(plain)
    assert (info.width, info.height, info.fps, info.rotation) == (160, 96, 30.0, 0)
    assert info.duration == pytest.approx(3.0, abs=0.1)
    assert info.path == plain


# Bad input


def write_nothing(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def write_text(path: Path) -> Path:
    path.write_text("This was to be a film.\n" * 100)
    return path


def write_noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    return path


def without_index(path: Path) -> Path:
    return clips.cut_off(clips.write_clip(path.with_name("whole.mp4"), clips.numbered(60)), path, 0.4)


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


BAD_FILES = {
    "empty": write_nothing,
    "text": write_text,
    "noise": write_noise,
    "no index": without_index,
    "sound only": clips.write_sound,
    "a folder": make_folder,
    "missing": lambda path: path,
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("read", [sample_frames, probe_video])
def test_what_is_no_video_is_named_with_a_remedy(tmp_path: Path, kind: str, read) -> None:  # type: ignore[no-untyped-def]
    path = BAD_FILES[kind](tmp_path / "bad clip.mp4")
    remedies = "Get the file again|It is text|Leave it out|Check the path"
    with pytest.raises(UnreadableVideo, match=rf"^bad clip\.mp4: .+\. ({remedies})"):
        read(path)


def test_the_reason_tells_the_kinds_apart(tmp_path: Path) -> None:
    reasons = {}
    for number, (kind, make) in enumerate(BAD_FILES.items()):
        folder = make_folder(tmp_path / str(number))
        with pytest.raises(UnreadableVideo) as caught:
            sample_frames(make(folder / "x.mp4"))
        reasons[kind] = str(caught.value)
    assert "empty (0 bytes)" in reasons["empty"]
    assert "no video stream" in reasons["sound only"]
    assert "file not found" in reasons["missing"]
    assert "cannot be opened" in reasons["no index"]
    assert len(set(reasons.values())) >= 5


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"#EXTM3U\n#EXTINF:5,\nx.mp4\n", "playlist or a web page: give the video that it names"),
        (b"<!DOCTYPE html>\r\n\t<title>404</title>", "playlist or a web page: give the video that it names"),
        (b'{"error": "expired"}', "playlist or a web page: give the video that it names"),
        (b"RIFF\x1a\0\0\0WEBPVP8X", "does not decode animated WebP: convert it"),
        (bytes(range(256)), "Get the file again"),
    ],
)
def test_the_remedy_fits_what_the_file_is(tmp_path: Path, content: bytes, remedy: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=remedy):
        probe_video(path)


@pytest.mark.parametrize("fraction", [0.4, 0.55, 0.7, 0.85, 0.97])
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.mts"])
def test_a_clip_cut_off_in_the_middle_gives_the_frames_before_the_cut(
    tmp_path: Path, name: str, fraction: float
) -> None:
    whole = tmp_path / f"whole-{name}"
    clips.write_clip(
        whole,
        clips.numbered(90),
        faststart=name.endswith("mp4"),
        container="mpegts" if name.endswith("mts") else None,
    )
    clip = sample_frames(clips.cut_off(whole, tmp_path / name, fraction), 16)
    shown = numbers(clip)  # fails on a torn frame
    assert shown == np.round(clip.times * 30).astype(int).tolist()
    assert len(shown) >= 5
    assert max(shown) < 90 * fraction + 25, "frames that the file no longer holds"
    assert np.diff(shown).max() <= 2 * (max(shown) + 1) / 16 + 4, "spread over what is there"


@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.5, 0.6, 0.7])
def test_damage_in_the_middle_leaves_frames_out_and_invents_none(tmp_path: Path, fraction: float) -> None:
    rng = np.random.default_rng(0)
    backdrop = np.kron(rng.integers(0, 256, (12, 100, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [np.ascontiguousarray(backdrop[:, 3 * i : 3 * i + 160]) for i in range(90)]
    options = {"preset": "ultrafast", "x264-params": "bframes=0:keyint=30:scenecut=0"}
    whole = clips.write_clip(tmp_path / "whole.mp4", frames, options=options, faststart=True)
    content = bytearray(whole.read_bytes())
    start = content.index(b"mdat") + int((len(content) - content.index(b"mdat")) * fraction)
    content[start : start + 1500] = rng.bytes(1500)
    (tmp_path / "damaged.mp4").write_bytes(content)

    intact, damaged = sample_frames(whole, 16), sample_frames(tmp_path / "damaged.mp4", 16)

    def errors(clip: Clip) -> np.ndarray:
        seen = clip.frames.astype(int)
        return np.abs(seen - np.stack([frames[round(time * 30)] for time in clip.times])).mean(axis=(1, 2, 3))

    assert 10 <= len(damaged) <= 16
    assert errors(damaged).max() <= errors(intact).max() + 2
    assert damaged.times.max() > 1.9, "after the damage the next key frame starts anew"


@pytest.mark.parametrize("name", ["two words.mp4", "Übergröße.mp4", "new\nline.mp4", "'quoted' & %20;.mp4", "-x.mp4"])
def test_names_that_break_shells(tmp_path: Path, plain: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(plain, tmp_path / name)
    assert len(sample_frames(tmp_path / name, 4)) == 4
    monkeypatch.chdir(tmp_path)
    assert len(sample_frames(name, 4)) == 4
    assert probe_video(name).width == 160


def test_a_name_is_never_taken_for_an_address_or_a_pattern(tmp_path: Path, plain: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    shutil.copy(plain, tmp_path / "take:2 %03d.mp4")
    assert len(sample_frames("take:2 %03d.mp4", 4)) == 4


def test_names_that_are_not_utf8(tmp_path: Path, plain: Path) -> None:
    path = tmp_path / "caf\udce9.mp4"  # a Latin-1 é, as old archives hold it
    try:
        shutil.copy(plain, path)
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes UTF-8")
    assert len(sample_frames(path, 4)) == 4


@pytest.mark.parametrize(
    "asked",
    [
        {"frame_count": 0},
        {"frame_count": -1},
        {"capture_sec": 0.0},
        {"capture_sec": -2.0},
        {"capture_sec": float("nan")},
    ],
)
def test_counts_and_windows_that_are_not_positive(plain: Path, asked: dict) -> None:
    with pytest.raises(ValueError, match="must both be positive"):
        sample_frames(plain, **asked)


@pytest.mark.parametrize("kept", [0, 10_000])
def test_a_window_too_large_to_keep_is_read_again(plain: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """Uncompressed and editing formats have hundreds of megabytes in five seconds."""
    usual = sample_frames(plain)
    monkeypatch.setattr(decoding, "KEPT_BYTES", kept)
    again = sample_frames(plain)
    np.testing.assert_array_equal(again.times, usual.times)
    np.testing.assert_array_equal(again.frames, usual.frames)


def test_real_clips_give_sixteen_frames_without_decoding_everything(
    real_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    decode = OpenVideo.decode
    monkeypatch.setattr(OpenVideo, "decode", lambda *args, skip: passes.append(skip) or decode(*args, skip=skip))
    paths = sorted(real_clips.rglob("*.mp4"))[::3]
    for path in paths:
        clip = sample_frames(path, 16)
        assert len(clip) == 16
        assert clip.small_frame(0, 640).std() > 5
    assert passes == ["NONREF"] * len(paths)


# Limits


def test_frames_of_more_pixels_than_allowed_are_not_decoded(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligned = 192 * 96  # FFmpeg counts rows with their padding
    monkeypatch.setattr(decoding, "MAX_PIXELS", aligned - 1)
    with pytest.raises(UnreadableVideo, match="none of its frames can be decoded"):
        sample_frames(plain)
    monkeypatch.setattr(decoding, "MAX_PIXELS", aligned)
    assert len(sample_frames(plain, 4)) == 4
    info = probe_video(plain)
    monkeypatch.setattr(decoding, "MAX_PIXELS", info.width * info.height - 1)
    for read in (probe_video, sample_frames):
        with pytest.raises(UnreadableVideo, match=rf"are {info.width} x {info.height} pixels, .*Scale it down"):
            read(plain)


def test_the_number_of_frames_in_a_window_is_limited(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_FRAMES", 50)
    with pytest.raises(UnreadableVideo, match="its first 5 s hold more than 50 frames"):
        sample_frames(plain)


@pytest.mark.parametrize("packets", [0, 50, 120])
def test_the_time_is_checked_at_every_packet(plain: Path, monkeypatch: pytest.MonkeyPatch, packets: int) -> None:
    """90 packets are read and then decoded."""
    left = [None] * packets
    monkeypatch.setattr(decoding, "check_time", left.pop)
    with pytest.raises(IndexError):
        sample_frames(plain)


def test_all_frames_together_are_bounded(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_CLIP_BYTES", 4 * 192 * 96 * 2)
    assert len(sample_frames(plain, 4)) == 4
    with pytest.raises(
        UnreadableVideo, match=r"^plain\.mp4: 16 frames of 160 x 96 pixels take more than .*Sample fewer"
    ):
        sample_frames(plain, 16)


def test_a_drive_that_fails_is_no_end_of_the_file(plain: Path) -> None:
    """Else the first half of a video would be called all of it."""

    class Drive:
        def demux(self, stream: object) -> Iterator[object]:
            raise av.error.OSError(5, "Input/output error")
            yield

    with av.open(str(plain)) as container, pytest.raises(UnreadableVideo, match="reading it failed") as caught:
        OpenVideo(plain, Drive(), container.streams.video[0]).read_window(5.0)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, OSError)


# Parts of frames


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("size", "pix_fmt"),
    [
        ((160, 96), "yuv420p"),
        ((161, 97), "yuv444p"),
        ((160, 96), "yuv422p"),
        ((160, 96), "gray"),
        ((162, 98), "yuv411p"),
    ],
)
def test_a_part_of_a_frame_is_the_same_as_in_the_whole(
    tmp_path: Path, rotation: int, size: tuple[int, int], pix_fmt: str
) -> None:
    rng = np.random.default_rng(0)
    noise = [cv2.resize(rng.integers(0, 255, (12, 20, 3), np.uint8), size) for _ in range(3)]
    if pix_fmt == "yuv411p":
        path = clips.write_clip(tmp_path / "a.avi", noise, pix_fmt=pix_fmt, codec="ffv1")
    else:
        options = {"preset": "ultrafast", "qp": "0"} if pix_fmt != "gray" else {}
        path = clips.write_clip(tmp_path / "a.mp4", noise, pix_fmt=pix_fmt, options=options, rotation=rotation)
    clip = sample_frames(path, 2)
    whole, view = clip.frame(1), clip.view(1)
    assert view.shape == whole.shape
    height, width = whole.shape[:2]
    assert np.array_equal(view[0:height, 0:width], whole)
    for _ in range(20):
        top, left = int(rng.integers(0, height - 1)), int(rng.integers(0, width - 1))
        bottom, right = int(rng.integers(top + 1, height + 1)), int(rng.integers(left + 1, width + 1))
        part = view[top:bottom, left:right]
        assert part.shape == (bottom - top, right - left, 3)
        assert np.abs(part.astype(int) - whole[top:bottom, left:right]).max() <= 1


# A whole video, window by window


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """340 frames at 30 frames a second: 11.33 seconds."""
    return clips.write_clip(tmp_path_factory.mktemp("long") / "long.mp4", clips.numbered(340))


def test_windows_cover_a_whole_video_each_half_over_the_one_before(long: Path) -> None:
    windows = list(sample_windows(long, 16, capture_sec=5.0))
    begins = (0.0, 2.5, 5.0, 6.25)  # the last one ends with the video, on the grid of 5 s / 16
    assert [len(window) for window in windows] == [16] * 4
    for window, begin in zip(windows, begins, strict=True):
        assert np.abs(window.times - begin - middles(16, 5.0)).max() <= 2 / 30 + 1e-6
    assert windows[-1].times[-1] > 11.0


def test_the_first_window_is_what_sample_frames_gives(long: Path) -> None:
    first, alone = next(sample_windows(long, 16)), sample_frames(long, 16)
    assert np.array_equal(first.times, alone.times)
    assert np.array_equal(first.frames, alone.frames)


def test_every_frame_of_a_window_is_the_one_of_its_time(long: Path) -> None:
    for window in sample_windows(long, 8, capture_sec=2.0):
        shown = [clips.read_number(window.frame(index)) for index in range(len(window))]
        assert shown == np.round(window.times * 30).astype(int).tolist()


@pytest.mark.parametrize("seconds", [1.0, 3.0, 100.0])
def test_a_video_no_longer_than_a_window_gives_one_clip(plain: Path, seconds: float) -> None:
    windows = list(sample_windows(plain, 6, capture_sec=seconds))
    assert len(windows) == (5 if seconds < 3 else 1)
    if seconds >= 3:
        assert np.array_equal(windows[0].times, sample_frames(plain, 6, capture_sec=seconds).times)


def test_a_whole_video_is_decoded_once_and_few_frames_are_held(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[float] = []
    decode = OpenVideo.decode

    def spy(*args, skip):  # type: ignore[no-untyped-def]
        for time, frame in decode(*args, skip=skip):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(OpenVideo, "decode", spy)
    held = [len(decoded) for _ in sample_windows(long, 16)]
    assert len(decoded) <= 340 / 3
    assert held[0] < 60, "a window is given as soon as its frames are there"


def test_windows_stop_where_the_file_breaks_off(long: Path, tmp_path: Path) -> None:
    whole = clips.write_clip(tmp_path / "whole.mp4", clips.numbered(340), faststart=True)
    windows = list(sample_windows(clips.cut_off(whole, tmp_path / "broken.mp4", 0.7), 16))
    assert 2 <= len(windows) < 4
    assert windows[-1].times[-1] < 10


def test_a_few_frames_a_second_give_windows_of_fewer_frames(tmp_path: Path) -> None:
    slow = clips.write_clip(tmp_path / "slow.mp4", clips.numbered(12), fps=1)
    windows = list(sample_windows(slow, 16, capture_sec=5.0))
    assert all(4 <= len(window) <= 6 for window in windows)
    seen = {clips.read_number(window.frame(index)) for window in windows for index in range(len(window))}
    assert seen >= set(range(11))


def test_when_every_frame_is_needed_all_windows_have_them(tmp_path: Path) -> None:
    """Three of four frames are such that nothing refers to them: too few are left, and all are decoded."""
    dense = clips.write_clip(tmp_path / "dense.mp4", clips.numbered(100))
    windows = list(sample_windows(dense, 30, capture_sec=1.0))
    assert all(len(window) == 30 for window in windows)
    assert [round(window.times[0], 2) for window in windows] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.33]


def test_windows_of_nothing_say_so(tmp_path: Path, plain: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UnreadableVideo, match=r"empty\.mp4: it is empty"):
        next(sample_windows(tmp_path / "empty.mp4"))
    with pytest.raises(ValueError, match="must both be positive"):
        next(sample_windows(plain, 0))

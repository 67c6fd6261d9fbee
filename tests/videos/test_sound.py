"""The sound of a window, on the clock of its pictures, whatever the track is like."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from outside import outside
from sounds import clicks, heard_at, sounding

from dfdc_utils.videos import SOUND_RATE, probe_video, read_sound

EXPECTED = [0.25, 0.75, 1.25, 1.75]


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "layout"),
    [
        ("mp4", "aac", 44_100, "mono"),
        ("mp4", "aac", 48_000, "stereo"),
        ("mp4", "aac", 8_000, "mono"),
        ("mkv", "libopus", 48_000, "stereo"),
        ("avi", "mp2", 44_100, "stereo"),
        ("mkv", "libmp3lame", 22_050, "mono"),
        ("mov", "pcm_s16le", 16_000, "mono"),
        ("avi", "pcm_u8", 11_025, "mono"),
        ("mov", "aac", 48_000, "5.1"),
    ],
)
def test_every_codec_rate_and_layout_is_heard_at_its_time(
    tmp_path: Path, suffix: str, codec: str, rate: int, layout: str
) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    wave = clicks(2.0, rate, channels)
    path = sounding(tmp_path / f"clip.{suffix}", wave, codec=codec, rate=rate, layout=layout)
    sound = read_sound(path, 2.0)
    assert sound.samples.shape == (2 * SOUND_RATE,) and sound.samples.dtype == np.float32
    assert sound.problem == "" and -45 < sound.loudness < -10
    found = heard_at(sound.samples / np.abs(sound.samples).max())
    assert len(found) == 4 and np.abs(found - EXPECTED).max() < 0.04, found


def test_a_late_start_keeps_to_the_pictures(tmp_path: Path) -> None:
    path = sounding(tmp_path / "late.mp4", clicks(1.5, 44_100), start=0.5)
    assert np.abs(heard_at(read_sound(path, 2.0).samples) - [0.75, 1.25, 1.75]).max() < 0.04


def test_a_part_begins_where_it_is_asked_for(tmp_path: Path) -> None:
    path = sounding(tmp_path / "long.mp4", clicks(6.0, 44_100), seconds=6.0)
    part = read_sound(path, 1.0, start=4.0)
    assert np.abs(heard_at(part.samples) - [0.25, 0.75]).max() < 0.04


def test_a_track_that_is_shorter_or_longer_than_the_pictures(tmp_path: Path) -> None:
    short = read_sound(sounding(tmp_path / "short.mp4", clicks(1.0, 44_100)), 2.0)
    assert len(heard_at(short.samples)) == 2 and not short.samples[20_000:].any()
    long = read_sound(sounding(tmp_path / "long.mp4", clicks(9.0, 44_100)), 2.0)
    assert len(long.samples) == 2 * SOUND_RATE and len(heard_at(long.samples)) == 4


def test_the_first_of_several_tracks(tmp_path: Path) -> None:
    both = {"second": np.zeros((1, 44_100), np.float32), "container": "matroska"}
    assert len(heard_at(read_sound(sounding(tmp_path / "two.mkv", clicks(2.0, 44_100), **both), 2.0).samples)) == 4


def test_no_track_silence_and_damage_are_said_not_raised(tmp_path: Path) -> None:
    none = sounding(tmp_path / "none.mp4", None)
    assert not probe_video(none).has_sound
    assert read_sound(none, 1.0).problem == "it has no sound track"
    silent = sounding(tmp_path / "silent.mp4", np.zeros((1, 88_200), np.float32))
    assert probe_video(silent).has_sound
    assert read_sound(silent, 1.0).loudness < -90
    # A track that begins after the window holds nothing of it.
    late = read_sound(sounding(tmp_path / "late.mkv", clicks(1.0, 44_100), start=5.0), 1.0)
    assert late.problem == "its sound track is empty" and not late.samples.any()


def test_not_a_number_is_silence(tmp_path: Path) -> None:
    wave = clicks(2.0, 16_000)
    wave[0, 8000:8100] = np.nan
    sound = read_sound(sounding(tmp_path / "nan.mov", wave, codec="pcm_f32le", rate=16_000), 2.0)
    assert np.isfinite(sound.samples).all() and np.abs(sound.samples).max() <= 1


def test_damaged_sound_leaves_a_problem_or_samples(tmp_path: Path, fuzz_count: int) -> None:
    content = sounding(tmp_path / "whole.mkv", clicks(2.0, 44_100), codec="libmp3lame").read_bytes()
    rng = np.random.default_rng(0)
    for number in range(fuzz_count // 4):
        damaged = bytearray(content)
        for place in rng.integers(200, len(content), rng.integers(1, 60)):
            damaged[place] = rng.integers(256)
        path = tmp_path / f"{number}.mkv"
        path.write_bytes(bytes(damaged[: rng.integers(len(content) // 2, len(content) + 1)]))
        try:
            sound = read_sound(path, 2.0)
        except Exception as error:  # of the file as a whole
            assert type(error).__name__ == "UnreadableVideo", error
            continue
        assert np.isfinite(sound.samples).all() and len(sound.samples) == 2 * SOUND_RATE
        path.unlink()


@pytest.mark.parametrize("name", ["DFDC_CLIPS", "DFDC_VALIDATION"])
def test_sound_of_real_clips_is_there_where_the_header_says_so(name: str) -> None:
    if not (folder := outside(name)):
        pytest.skip(f"{name} does not name real clips")
    paths = sorted(Path(folder).rglob("*.mp4"))
    for path in paths:
        with av.open(str(path)) as container:
            sounds = any(frame.samples for frame in container.decode(audio=0)) if container.streams.audio else False
        assert (read_sound(path, 5.0).problem == "") == probe_video(path).has_sound == sounds, path.name
    assert paths

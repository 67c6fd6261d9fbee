from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.videos import Preview, make_preview, write_clip as write_sound_clip


def brighter(count: int, height: int = 480, width: int = 640) -> list[np.ndarray]:
    """Grey frames, each brighter than the one before."""
    return [np.full((height, width, 3), 20 + 2 * number, np.uint8) for number in range(count)]


def times(preview: Preview, kind: str) -> list[float]:
    with av.open(io.BytesIO(preview.mp4)) as container:
        return [float(frame.time or 0) for frame in container.decode(**{kind: 0})]


def test_a_preview_is_small_and_plays_in_a_browser(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", brighter(60), fps=20)
    preview = make_preview(clip, start=0, end=2, still_at=1.5)
    with av.open(io.BytesIO(preview.mp4)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (480, 360)
    assert preview.mp4.index(b"moov") < preview.mp4.index(b"mdat")  # it starts before all of it is there
    assert (preview.width, preview.height, preview.start) == (640, 480, 0)
    assert preview.end == pytest.approx(2, abs=0.06) and times(preview, "video")[-1] == pytest.approx(2, abs=0.06)
    assert preview.still_at == pytest.approx(1.5) and preview.still.mean() == pytest.approx(80, abs=3)


def test_a_preview_may_begin_later(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", brighter(100), fps=20)
    preview = make_preview(clip, start=3, end=4, still_at=0)
    assert preview.still_at == pytest.approx(3, abs=0.06) and preview.still.mean() == pytest.approx(140, abs=3)
    assert times(preview, "video")[0] == pytest.approx(0, abs=0.06)
    assert times(preview, "video")[-1] == pytest.approx(1, abs=0.06)


def test_a_preview_keeps_the_sound_in_time(tmp_path: Path) -> None:
    sound = np.zeros(3 * 44_100, np.int16)
    sound[2 * 44_100 :: 50] = 20_000  # clicks in the third second
    frames = brighter(90, 120, 160)
    write_sound_clip(tmp_path / "a.mp4", frames, sound=sound, size=(160, 120), crf=23)
    preview = make_preview(tmp_path / "a.mp4", start=1, end=3, still_at=1)
    with av.open(io.BytesIO(preview.mp4)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = [(frame.time, np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0)]
    assert next(time for time, loud in heard if loud > 0.05) == pytest.approx(1, abs=0.1)
    assert heard[-1][0] == pytest.approx(2, abs=0.1)


def test_a_file_without_frames_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="file not found"):
        make_preview(tmp_path / "gone.mp4", start=0, end=1, still_at=0)
    clip = write_clip(tmp_path / "a.mp4", brighter(20), fps=20)
    with pytest.raises(ValueError, match=r"none of its frames from 5\.0 to 6\.0 s"):
        make_preview(clip, start=5, end=6, still_at=5)

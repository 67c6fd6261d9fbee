"""A clip and the same clip stored otherwise have the same score, within what encoding it again does."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from dfdc_utils import Detector
from dfdc_utils.videos.hdr import TO_BT709, _light

pytestmark = pytest.mark.slow
LIKE = 0.05
FINE = {"crf": "0", "preset": "ultrafast", "bf": "3"}  # lossless, so that only the way of storing differs


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("pretrained")


@pytest.fixture(scope="module")
def frames(sample: Path) -> list[np.ndarray]:
    """The first five and a half seconds of a clip of the sample, so many frames that three parts hold all of them."""
    path = sorted(sample.glob("dfdc*/*.mp4"))[3]
    with av.open(str(path)) as clip:
        shown = [frame.to_ndarray(format="rgb24") for frame, _ in zip(clip.decode(video=0), range(165), strict=False)]
    return shown[: len(shown) // 3 * 3]


def write(
    path: Path,
    images: list[np.ndarray],
    *,
    aspect: Fraction | None = None,
    size: tuple[int, int] | None = None,
    keys: int = 250,
) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30, options={**FINE, "g": str(keys)})
        stream.height, stream.width = size[::-1] if size else images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            output.mux(stream.encode(frame.reformat(stream.width, stream.height, "yuv420p", interpolation="BICUBIC")))
        output.mux(stream.encode(None))
    return path


def write_hdr(path: Path, images: list[np.ndarray], curve: ColorTrc) -> Path:
    """The same light as PQ or HLG in BT.2020, lossless in 10 bits."""
    is_hlg = curve == ColorTrc.ARIB_STD_B67
    table = _light(is_hlg)
    # To look codes up by the fourth root of the light, in fine steps, is faster than to search for each pixel.
    codes_by_root = np.searchsorted(table, np.linspace(0, 1, 2**16) ** 4 * table[-1]).clip(0, 65535).astype(np.uint16)
    linear = (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.4)
    to_bt2020 = np.linalg.inv(TO_BT709).T.astype(np.float32)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=30)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context  # what is set on frames alone is not stored
        context.color_trc, context.color_primaries, context.colorspace = curve, ColorPrimaries.BT2020, Colorspace.BT2020
        for image in images:
            light = np.maximum(linear[image] @ to_bt2020, 0)
            if is_hlg:
                light = light * 203 / 1000
                light *= np.maximum(light @ np.float32([0.2627, 0.678, 0.0593]), 1e-6)[..., None] ** (1 / 1.2 - 1)
            codes = codes_by_root[(np.sqrt(np.sqrt(light / table[-1])) * 65535).round().astype(np.uint16)]
            frame = av.VideoFrame.from_ndarray(codes, format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace=Colorspace.BT2020)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with av.open(str(path)) as stored:
        assert stored.streams.video[0].codec_context.color_trc == curve
    return path


def rewrapped(folder: Path, plain: Path, frames: list[np.ndarray]) -> Iterator[tuple[str, Path]]:
    height, width = frames[0].shape[:2]
    for suffix in ("mkv", "mov", "ts"):
        yield suffix, clips.remuxed(plain, folder / f"wrapped.{suffix}")
    yield (
        "trimmed",
        clips.remuxed(write(folder / "longer.mp4", [frames[0][::-1]] * 40 + frames), folder / "trimmed.mp4", shift=-40),
    )
    for degrees in (90, 180, 270):
        turned = write(folder / f"turned_{degrees}.mp4", [np.rot90(image, degrees // 90) for image in frames])
        clips._rotate(turned, degrees)
        yield f"turned by {degrees}", turned
    wide = write(folder / "wide.mp4", frames, aspect=Fraction(1, 2), size=(2 * width, height))
    yield "twice as many columns", wide
    yield "twice as many rows", write(folder / "tall.mp4", frames, aspect=Fraction(2), size=(width, 2 * height))
    third = len(frames) // 3
    parts = [write(folder / f"part_{number}.ts", frames[third * number : third * (number + 1)]) for number in range(3)]
    joined = folder / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    yield "joined", joined
    for curve in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        yield curve.name, write_hdr(folder / f"{curve.name}.mkv", frames, curve)


def test_scores_do_not_depend_on_how_a_clip_is_stored(
    detector: Detector, frames: list[np.ndarray], tmp_path: Path
) -> None:
    plain = write(tmp_path / "plain.mp4", frames)

    def score(path: Path) -> float:
        found = detector.predict(path)
        assert found.status == "ok", found.error
        return found.people[0].score

    usual = score(plain)
    # What encoding again does, also in parts, and another choice of frames: samples are within two frame times.
    again = [write(tmp_path / "again.mp4", list(_images(plain)))]
    again += [write(tmp_path / "parts.mp4", frames, keys=len(frames) // 3)]
    again += [write(tmp_path / f"{late}_later.mp4", frames[late:]) for late in (1, 2)]
    allowed = max(LIKE, *(abs(score(path) - usual) for path in again))
    scores = {name: score(path) for name, path in rewrapped(tmp_path, plain, frames)}
    away = {name: round(value - usual, 3) for name, value in scores.items()}
    print(f"{usual:.3f}", away)
    assert max(map(abs, away.values())) <= allowed, away


def _images(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            yield frame.to_ndarray(format="rgb24")

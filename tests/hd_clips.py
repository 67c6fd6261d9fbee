"""Clips as large and as hard to decode as DFDC's, drawn for the benchmarks, and the floor: decoding them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import joblib
import numpy as np

from dfdc_utils.videos import read_catalog

WINDOW = 5.0  # seconds
FRAMES = 180  # of a drawn clip
SCALE = 2  # of the sample's clips in it
# Sensor noise, grey levels: gives 2.3 to 2.8 Mbit/s at x264's default quality, as DFDC's two clips at hand have.
GRAIN = 1.5


def draw_hd_clips(sample: Path, folder: Path, *, cores: int = 2) -> Path:
    """Draw four of the sample's originals drawn out to 1080p, six seconds long, with fine texture and sensor noise."""
    catalog = read_catalog(sample)
    truth = json.loads((sample / "truth.json").read_text())
    originals = [Path(path) for path in catalog.loc[catalog["label"] == "REAL", "path"]]
    chosen = [path for path in originals if truth[path.name]["kind"] == "real"][:4]
    jobs = [joblib.delayed(draw_hd_clip)(path, folder / path.name, seed) for seed, path in enumerate(chosen)]
    drawn = joblib.Parallel(n_jobs=cores)(jobs)
    boxes = {}
    for path, (length, corner) in zip(chosen, drawn, strict=True):
        there = np.array(truth[path.name]["boxes"], float) * SCALE + [*corner, 0, 0]
        boxes[path.stem] = [there[index].tolist() for index in sweep(length, FRAMES)]
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


def sweep(length: int, count: int) -> list[int]:
    """`count` indices forth and back through `length` frames."""
    forth = list(range(length))
    return [(forth + forth[-2:0:-1])[index % (2 * length - 2)] for index in range(count)]


def draw_hd_clip(source: Path, target: Path, seed: int) -> tuple[int, list[int]]:
    """The clip at twice its size in a frame of three times its size: faces are then as large as DFDC's, about 250 px.

    Returns how many frames it had and where its corner lies.
    """
    cv2.setNumThreads(1)
    with av.open(str(source)) as container:
        small = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = small[0].shape[:2]
    x, y = width // 2, height // 2
    size = (3 * width, 3 * height)
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 1, size[::-1]).astype(np.float32), (0, 0), 1.0)
    grain = [texture * (6 / texture.std()) + rng.normal(0, GRAIN, size[::-1]) for _ in range(7)]
    with av.open(str(target), "w") as container:
        options = {"preset": "medium", "crf": "23", "g": "250", "bf": "3", "threads": "1"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, index in enumerate(sweep(len(small), FRAMES)):
            double = cv2.resize(small[index], None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
            large = cv2.copyMakeBorder(double, y, height - y, x, width - x, cv2.BORDER_REFLECT_101)
            image = np.clip(large + grain[number % 7][..., None], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return len(small), [x, y]


def decode_and_forget(path: Path) -> int:
    """The floor: every frame of the window decoded on one thread, and thrown away."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for count, frame in enumerate(container.decode(stream)):
            if frame.time >= WINDOW:
                return count
    return count

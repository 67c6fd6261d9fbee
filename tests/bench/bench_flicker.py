"""How well flicker tells fakes, alone and beside the pretrained model, which sees single frames and so no flicker.

A fake is made frame by frame, so its face may have details that the frames before and after it have not. How much of
this a real face has depends on its texture and motion: that is fitted on real clips, encoded again at random qualities.
`DFDC_TALKING` names these, `DFDC_VALIDATION` labelled clips, `DFDC_YUNET` the weights of YuNet. Run by `make bench`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from numpy.typing import NDArray
from outside import outside

from dfdc_utils.errors import NoFaceFound
from dfdc_utils.evaluation import METRICS
from dfdc_utils.faces import SequenceConfig, extract_tracks, load_face_detector
from dfdc_utils.faces.tracks import crop_face, smooth_boxes
from dfdc_utils.prediction import Detector
from dfdc_utils.videos import Clip, Image, list_videos, read_catalog, sample_frames
from dfdc_utils.videos.decoding import FrameView, VideoInfo, open_video
from dfdc_utils.videos.encoding import encode_and_decode

SIDE, MARGIN = 224, 1.7  # pixels of a crop, and its side in multiples of the face's box
FACE = 0.45  # half the width of what counts as the face, in multiples of the box
LEAST = 0.05  # grey levels, or pixels, added before a logarithm
CLIPS, QUALITIES = (
    250,
    (None, 20, 23, 26, 30, 34, 38, 42),
)  # that a real face is fitted on; H.264's constant rate factor
FALSE_ALARMS = 0.05  # fraction of the real clips that may be called fake


def decode_all(path: Path, info: VideoInfo) -> Iterator[tuple[float, FrameView]]:
    with open_video(path) as video:
        start = video.read_window(5.0).start
    with open_video(path) as video:
        for time, picture in video.decode(video.read_packets(), start, skip="DEFAULT"):
            yield time, Clip(info, np.array([time]), (picture,)).view(0)


def encode_again(timed: Iterator[tuple[float, FrameView]], crf: int) -> Iterator[tuple[float, Image]]:
    times, views = zip(*timed, strict=True)
    height, width = views[0].shape[:2]
    shown = (view[0:height, 0:width] for view in views)
    return zip(times, encode_and_decode(shown, size=(width, height), crf=crf), strict=True)


def measure(before: Image, frame: Image, after: Image) -> tuple[float, float, float]:
    """What a face has that neither neighbour has where it was, its texture and its motion, as logarithms.

    The crops are grey, (SIDE, SIDE).
    """
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
    face = np.linalg.norm((places - SIDE / 2) * MARGIN / SIDE, axis=-1) < FACE
    missed, moved = [], []
    for other in (before, after):
        motion = flow.calc(frame, other, None)
        missed.append(frame - cv2.remap(other, places + motion, None, cv2.INTER_CUBIC).astype(np.float32))
        moved.append(np.linalg.norm(motion, axis=-1)[face])
    new = np.where(missed[0] * missed[1] > 0, np.minimum(*np.abs(missed)), 0)[face]
    texture = np.abs(cv2.Laplacian(frame, cv2.CV_32F))[face]
    return tuple(float(np.log(np.mean(one) + LEAST)) for one in (new, texture, moved))


def look(path: Path, weights: str, crf: int | None = None) -> NDArray[np.float64]:
    """The mean of `measure` (3,) over 16 frames of a clip; NaN without a face."""
    os.environ["DFDC_YUNET"] = weights
    cv2.setNumThreads(1)
    clip = sample_frames(path)
    try:
        track = extract_tracks(clip, load_face_detector("yunet"), SequenceConfig(detector="yunet"))[0]
    except NoFaceFound:
        return np.full(3, np.nan)
    kept = np.flatnonzero(track.detected | track.filled)
    wanted = list(zip(clip.times[kept], smooth_boxes(track.boxes[kept]), strict=True))
    timed = decode_all(path, clip.info)
    found = []
    for (_, *before), (time, *frame), (_, *after) in triples(encode_again(timed, crf) if crf else timed):
        if not wanted:
            break
        if wanted[0][0] <= time + 1e-6:
            box = wanted.pop(0)[1]
            crops = [crop_face(one, box, SIDE, margin=MARGIN) for (one,) in (before, frame, after)]
            found.append(measure(*(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops)))
    return np.mean(found, axis=0)


def triples(items: Iterator) -> Iterator[tuple]:
    first, second, third = itertools.tee(items, 3)
    return zip(first, itertools.islice(second, 1, None), itertools.islice(third, 2, None), strict=False)


def test_flicker_shows_fakes_that_single_frames_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, talking, weights = outside("DFDC_VALIDATION"), os.environ.get("DFDC_TALKING"), outside("DFDC_YUNET")
    if not (folder and talking and weights):
        pytest.skip("set DFDC_VALIDATION, DFDC_TALKING and DFDC_YUNET to measure flicker")
    monkeypatch.setenv("DFDC_YUNET", weights)
    generator = np.random.default_rng(0)
    talks = list_videos(talking)
    real = [talks[number] for number in generator.permutation(len(talks))[:CLIPS]]
    crfs = [QUALITIES[number] for number in generator.integers(len(QUALITIES), size=len(real))]
    table = read_catalog(folder)
    paths = [Path(path) for path in table["path"]]
    with Parallel(n_jobs=-1) as pool:
        seen = np.array(pool(delayed(look)(path, weights, crf) for path, crf in zip(real, crfs, strict=True)))
        measured = np.array(pool(delayed(look)(path, weights) for path in paths))
    seen = seen[np.isfinite(seen).all(axis=1)]
    expected = np.linalg.lstsq(np.c_[np.ones(len(seen)), seen[:, 1:]], seen[:, 0])[0]
    spread = np.std(seen[:, 0] - np.c_[np.ones(len(seen)), seen[:, 1:]] @ expected)
    table["flicker"] = (measured[:, 0] - np.c_[np.ones(len(measured)), measured[:, 1:]] @ expected) / spread
    scores = np.array(
        [one.score for one in Detector.load("pretrained").predict_many(paths, show_progress=False)], float
    )
    table["model"] = np.log(scores / (1 - scores))
    table = table.dropna(subset=["model", "flicker"])
    table["both"] = table["model"] / table["model"].std() + table["flicker"]
    rows = []
    for part, clips in [("all", table), *table.groupby("part")]:
        fake = (clips["label"] == "FAKE").to_numpy()
        for name in ("model", "flicker", "both"):
            alarm = table.loc[table["label"] == "REAL", name].quantile(1 - FALSE_ALARMS)
            auc = METRICS["AUC"](fake, clips[name].to_numpy()) if 0 < fake.sum() < len(fake) else np.nan
            found, wrong = ((clips.loc[kind, name] > alarm).sum() for kind in (fake, ~fake))
            rows.append((part, name, auc, f"{found} of {fake.sum()}", f"{wrong} of {(~fake).sum()}"))
    shown = pd.DataFrame(rows, columns=["clips", "scored by", "AUC", "fakes above", "real ones above"])
    print(f"\na real face: {expected.round(2).tolist()} for 1, texture and motion, standard deviation {spread:.2f}")
    print(shown.round(3).to_string(index=False, na_rep=""))
    auc = shown[shown["clips"] == "all"].set_index("scored by")["AUC"]
    assert auc["both"] >= auc["model"] + 0.05

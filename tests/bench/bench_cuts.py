"""How well cuts are told from motion: pairs of frames of two videos, and videos without a cut. Run by `make bench`.

Real clips are taken where DFDC_CLIPS and DFDC_VALIDATION name folders of them, beside the sample.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from outside import outside

from dfdc_utils.errors import UnreadableVideo
from dfdc_utils.faces.extraction import THUMBNAIL, is_cut
from dfdc_utils.videos import Image, list_videos, sample_frames

PAIRS = 3000


def look(path: Path) -> list[Image]:
    try:
        clip = sample_frames(path)
    except UnreadableVideo:  # the sample holds one
        return []
    frames = (clip.small_frame(index, 640) for index in range(len(clip)))
    return [cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in frames]  # what `is_cut` sees


def test_cuts(sample: Path) -> None:
    folders = [sample, *(Path(outside(name)) for name in ("DFDC_CLIPS", "DFDC_VALIDATION") if outside(name))]
    videos = [path for folder in folders for path in list_videos(folder)]
    seen = Parallel(n_jobs=-1)(delayed(look)(path) for path in videos)
    videos, seen = zip(*((path, one) for path, one in zip(videos, seen, strict=True) if one), strict=True)
    middles = [frames[len(frames) // 2] for frames in seen]
    names = [path.name for path in videos]  # the same video is there in two qualities
    drawn = np.random.default_rng(0).integers(0, len(videos), (2 * PAIRS, 2))
    pairs = [(one, other) for one, other in drawn if names[one] != names[other]][:PAIRS]
    found = np.mean([is_cut(middles[one], middles[other]) for one, other in pairs])
    wrong = sum(any(is_cut(a, b) for a, b in itertools.pairwise(one)) for one in seen)
    print(f"\n{found:.1%} of {len(pairs)} pairs of two videos are told apart; {wrong} of {len(videos)} videos are cut")
    assert found >= 0.97
    assert wrong == 0

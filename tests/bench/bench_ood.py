"""What the pretrained model's out-of-distribution detector flags: clips of no photographed face, and of real ones.

`DFDC_FACES` names photographs of people, `DFDC_YUNET` the weights of YuNet. The table is `outliers.csv` beside the
pretrained weights. Run by `make bench`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces import FaceDetector, YuNetDetector
from dfdc_utils.models import OOD_PERCENTILE, ModelFolder, WithStyle
from dfdc_utils.pretraining.filming import Encoding, film_together, move_still
from dfdc_utils.pretraining.pairs import TOGETHER, PairSource, Still
from dfdc_utils.pretraining.photographs import POINTS, cut_photograph, find_photographs, prepare_pictures
from dfdc_utils.sample import ClipRenderer, plan_clips
from dfdc_utils.videos import Image

DRAWN_SEED = 1_000_000  # far from the seed of any sample, so that other people are drawn
COUNT = 80  # clips of each kind


def make_outliers(
    source: PairSource, face_detector: FaceDetector, *, count: int, frame_count: int, face_size: int, seed: int
) -> Iterator[tuple[str, Image]]:
    """Make outliers: for each kind its name and `count` clips (N, T, H, W, 3), filmed and encoded like the pairs.

    All but the drawn ones are made of photographs of `source`, different ones for each kind. Drawn faces are the
    sample's; where `face_detector` finds no face they are left out. The same seed makes the same clips.
    """
    people = np.random.default_rng((seed, 1)).permutation(len(source))
    for order, (kind, change) in enumerate(_CHANGES.items()):
        generator = np.random.default_rng((seed, 2, order))
        numbers = np.take(people, range(order * count, (order + 1) * count), mode="wrap")
        stills = []
        for number in numbers:
            still = source.still(number)
            stills.append(still._replace(picture=np.ascontiguousarray(change(still.picture, generator))))
        yield kind, _film(stills, frame_count, face_size, generator)
    stills = _draw_faces(count, face_detector, DRAWN_SEED + seed)
    if stills:
        yield "drawn", _film(stills, frame_count, face_size, np.random.default_rng((seed, 3)))


def _film(stills: list[Still], frame_count: int, face_size: int, generator: np.random.Generator) -> Image:
    crops = []
    for start in range(0, len(stills), TOGETHER):
        encoding = Encoding.sample(generator)
        part = stills[start : start + TOGETHER]
        clips = np.stack([move_still(*still, frame_count, encoding.size, generator)[0] for still in part])
        crops.append(film_together(clips[:, None], encoding, face_size, generator)[:, 0])
    return np.concatenate(crops)


def _draw_faces(count: int, face_detector: FaceDetector, seed: int) -> list[Still]:
    """A still of each of `count` drawn people, cut like a photograph."""
    stills = []
    for plan in plan_clips(count, max(count, 6), seed):
        if plan.kind == "real" and (cut := cut_photograph(next(ClipRenderer(plan, seed).frames()), face_detector)):
            picture, side, points = cut
            landmarks = np.array([points[name] for name in POINTS], np.float32).reshape(5, 2)
            stills.append(Still(picture, side, landmarks))
    return stills


def _paint(picture: Image, generator: np.random.Generator) -> Any:
    """Remove texture, and most tones."""
    for _ in range(int(generator.integers(2, 5))):
        picture = np.asarray(cv2.bilateralFilter(picture, 7, generator.uniform(30, 90), generator.uniform(3, 12)))
    tones = int(generator.integers(4, 32))
    width = 256 // tones
    return np.clip(picture // width * width + width // 2, 0, 255).astype(np.uint8)


def _outline(picture: Image, generator: np.random.Generator) -> Any:
    """Make it look like a comic strip: flat, with lines along the edges."""
    return cv2.stylization(picture, sigma_s=generator.uniform(5, 60), sigma_r=generator.uniform(0.1, 0.6))


def _shuffle(picture: Image, generator: np.random.Generator) -> Any:
    """Put squares of it in another order: still a photograph, but no face."""
    across = int(generator.choice((4, 5, 8)))
    side = len(picture) // across
    squares = picture[: across * side, : across * side].reshape(across, side, across, side, 3).swapaxes(1, 2)
    shuffled = squares.reshape(-1, side, side, 3)[generator.permutation(across**2)].reshape(squares.shape)
    whole = shuffled.swapaxes(1, 2).reshape(across * side, across * side, 3)
    return cv2.resize(whole, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _pattern(picture: Image, generator: np.random.Generator) -> Any:
    """Replace it by stripes, or by blotches of any size and colour."""
    height, width = picture.shape[:2]
    if generator.random() < 0.5:
        cells = generator.uniform(0, 255, (*(int(generator.integers(2, 60)),) * 2, 3)).astype(np.float32)
        return np.clip(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:height, :width] / height
    angle, waves = generator.uniform(0, np.pi), generator.uniform(1, 30)
    mix = 0.5 + 0.5 * np.sin(2 * np.pi * waves * (columns * np.cos(angle) + rows * np.sin(angle)))[..., None]
    colours: NDArray[np.float64] = generator.uniform(0, 255, (2, 3))
    return (mix * colours[0] + (1 - mix) * colours[1]).astype(np.uint8)


_CHANGES = {
    "painted": _paint,
    "outlined": _outline,
    "negative": lambda picture, generator: 255 - picture,
    "upside down": lambda picture, generator: picture[::-1],
    "shuffled": _shuffle,
    "pattern": _pattern,
}


def test_what_is_flagged(face_photographs: Path, yunet_path: Path, tmp_path: Path) -> None:
    folder, location = ModelFolder.open("pretrained"), face_photographs
    assert folder.ood
    photographs = find_photographs(location, seed=0)
    unseen = photographs[photographs["split"] == "validation"].head(COUNT * len(_CHANGES))
    face_detector = YuNetDetector(yunet_path)
    pictures = prepare_pictures(unseen, location, tmp_path, face_detector, show_progress=False)
    see, size = WithStyle(folder.model), folder.sequence.face_size
    source = PairSource(tmp_path, pictures, face_size=size, seed=0)
    settings = {"count": COUNT, "frame_count": folder.sequence.frame_count, "face_size": size, "seed": 1}
    rows = []
    for kind, clips in make_outliers(source, face_detector, **settings):
        percentiles = folder.ood.percentile(see.predict(clips, batch_size=8, verbose=0)[1])
        rows.append((kind, len(clips), (percentiles >= OOD_PERCENTILE).mean()))
    table = pd.DataFrame(rows, columns=["kind", "sequences", "flagged"]).round(3)
    print(f"\n{table.to_csv(index=False)}")
    assert table.set_index("kind").loc[["shuffled", "pattern"], "flagged"].min() >= 0.6

"""Training, validation and test splits, and data leakage between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces import sequence_paths
from dfdc_utils.videos import LABELS, count_labels

# Hashes of `hash_faces` count as near-identical if they differ in at most so many of 255 bits. On 14 real clips, a fake
# and its original differ in at most 34 bits, faces of two scenes in at least 84.
NEARLY_IDENTICAL = 38


def split_by_original(
    table: pd.DataFrame, *, test: float = 0.3, validation: float = 0.15, seed: int = 0
) -> pd.DataFrame:
    """Add a column `split` (`train`, `validation`, `test`), with a fake always in the split of its original.

    `test` and `validation` are fractions of the originals. A random split would separate fakes from their originals,
    and a model would then recognise the scene instead of the fake. Raises `ValueError` if the fractions leave nothing
    to train on, if a video has no label, or if there are too few originals to give each split both classes. Taught in
    notebook 03.
    """
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise ValueError(f"test={test} and validation={validation} must be positive fractions with a sum below 1")
    if not table["label"].isin(LABELS).all():
        unlabelled = table.loc[~table["label"].isin(LABELS), "video"]
        raise ValueError(f"{len(unlabelled)} videos have no label, {unlabelled.iloc[0]} first: leave them out")
    labels = table.groupby("original")["label"].agg(set)
    order = labels.sort_index().sample(frac=1, random_state=seed)
    # Source groups with both classes come first: each split then has both classes as soon as it has one group.
    order = order.iloc[np.argsort([-len(classes) for classes in order], kind="stable")]
    fractions = {"test": test, "validation": validation, "train": 1 - test - validation}
    chosen: dict[str, str] = {}
    has: dict[str, set[str]] = {split: set() for split in fractions}
    sizes = dict.fromkeys(fractions, 0)
    for original, classes in order.items():
        # The group goes to a split that lacks one of its classes, else to the one furthest below its fraction.
        behind = {name: fractions[name] * (len(chosen) + 1) - sizes[name] for name in fractions}
        split = max(fractions, key=lambda name: (bool(classes - has[name]), behind[name]))
        chosen[original] = split
        has[split] |= classes
        sizes[split] += 1
    result = table.assign(split=table["original"].map(chosen))
    for split in fractions:
        missing = set(LABELS) - set(result.loc[result["split"] == split, "label"])
        if missing:
            raise ValueError(
                f"the {split} split has no {' and no '.join(sorted(missing))} video: {len(labels)} originals are too "
                f"few ({count_labels(table)}). Add videos of that class, or process more with a larger num_vids."
            )
    return result


def report_leaks(table: pd.DataFrame, hashes: NDArray[np.uint64] | None = None) -> pd.DataFrame:
    """Count what the splits of `table` share, one row per check: `check`, `leaks`, `example`, `harmful`.

    `harmful` checks must be 0. The others are reported for information: a part is a batch of uploads, and actors may
    recur in it. `hashes` are those of `hash_faces`, one row per video. With them, the report counts videos whose face
    looks nearly identical to one in another split: a video uploaded under two names, or a person filmed twice. Look at
    the example. Taught in notebook 03.
    """
    rows: list[dict[str, Any]] = []
    for check, column, harmful in (
        ("videos in two splits", "video", True),
        ("originals in two splits", "original", True),
        ("parts in two splits", "part", False),
    ):
        spread = table.groupby(column)["split"].nunique()
        shared = spread[spread > 1].index.tolist()
        rows.append({"check": check, "leaks": len(shared), "example": next(iter(shared), ""), "harmful": harmful})
    if hashes is not None:
        nearest, distance = _nearest_in_other_split(table["split"].to_numpy(str), hashes)
        near = np.flatnonzero(distance <= NEARLY_IDENTICAL)
        closest = near[np.argsort(distance[near], kind="stable")[:1]]
        example = " and ".join(table["video"].iloc[[*closest, *nearest[closest]]])
        rows.append({"check": "near-identical faces", "leaks": len(near), "example": example, "harmful": False})
    return pd.DataFrame(rows)


def _nearest_in_other_split(
    splits: NDArray[np.str_], hashes: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row, find the row of another split whose hash differs in the fewest bits; return rows and bit counts."""
    nearest = np.zeros(len(splits), np.intp)
    distance = np.full(len(splits), hashes.shape[1] * 64 + 1, np.intp)
    for split in np.unique(splits):
        others = np.flatnonzero(splits != split)
        mine = np.flatnonzero(splits == split)
        for start in range(0, len(mine) if len(others) else 0, 64):  # blocks of 64 keep memory small for 100,000 videos
            block = mine[start : start + 64]
            bits = sum(
                np.bitwise_count(hashes[block, None, word] ^ hashes[None, others, word]).astype(np.int32)
                for word in range(hashes.shape[1])
            )
            best = np.argmin(bits, axis=1)
            nearest[block], distance[block] = others[best], bits[np.arange(len(block)), best]
    return nearest, distance


def hash_faces(table: pd.DataFrame, save_path: str | Path, frame_count: int = 16) -> NDArray[np.uint64]:
    """A perceptual hash of each video's face, uint64 (N, 4): pictures that look alike differ in few of its 255 bits.

    It says which of the 16 x 16 lowest frequencies of the mean face, at 32 x 32 pixels, lie above their median.
    Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions". Taught in notebook 03.
    """
    hashes = np.zeros((len(table), 4), np.uint64)
    for row, video in enumerate(table["video"]):
        files = sequence_paths(save_path, video, frame_count)
        # Channels are averaged, so OpenCV's BGR order does not matter here.
        grey = np.mean([cv2.imread(file) for file in files], axis=(0, 3)).astype(np.float32)
        spectrum = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))[:16, :16].ravel()
        spectrum[0] = np.median(spectrum[1:])  # mean brightness carries no information
        hashes[row] = np.packbits(spectrum > spectrum[0]).view(np.uint64)
    return hashes

"""Training, validation and test splits, and data leakage between them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfdc_utils.faces import SequenceConfig, sequence_paths
from dfdc_utils.processing import processing
from dfdc_utils.sample import data_folder
from dfdc_utils.videos import LABELS, balance_classes, count_labels

# Of 255 bits of `hash_faces`. In 14 real clips, a fake and its original differ in up to 34, two scenes in at least 84.
NEARLY_IDENTICAL = 38
MANY_PARTS = 10  # splits follow the parts: DFDC has 50, and one actor may appear in many videos of a part


def prepare(
    location: str | Path, base: str | Path = "data", *, seed: int = 0, **settings: Any
) -> tuple[Path, pd.DataFrame]:
    """Extract the faces of the videos in `location` and split them; return the folder of the faces and the table.

    The faces go to `faces` in `data_folder(location, base=base)`, by `processing` with its `settings`. Those that are
    not given are the ones that the faces there were made with, and at first `processing`'s own (on the sample with
    Haar). The table holds the labelled videos with faces, as many REAL as FAKE ones (`balance_classes`), and a column
    `split` (`split_by_group` with `seed`). Raises like these functions. Taught in notebook 02.
    """
    faces = data_folder(location, base=base) / "faces"
    if (faces / "sequence.json").is_file():
        settings = SequenceConfig.load(faces / "sequence.json").settings | settings
    elif faces.parent.name == "sample":
        settings = {"detector": "haar"} | settings  # it comes with OpenCV, so everyone sees the same numbers
    manifest = processing(location, faces, **settings)
    usable = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")]
    return faces, split_by_group(balance_classes(usable), seed=seed)


def split_by_group(
    table: pd.DataFrame,
    *,
    by: str | None = None,
    test: float = 0.3,
    validation: float = 0.15,
    need_fakes: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Add the columns `split` (`train`, `validation`, `test`) and `group`; no group is in two splits.

    `by` is the column whose values stay together: by default `person` if the table knows the person in every video,
    `part` if there are at least `MANY_PARTS`, else `original`. A fake is always in the group of its original: in a
    random split a model is rewarded for recognising the scene or the person.

    `test` and `validation` are fractions of the videos. Raises `ValueError` if they leave nothing to train on, if a
    video has no label, or if there are too few groups to give each split both classes (only REAL videos unless
    `need_fakes`). Source: Dolhansky et al. 2020, https://arxiv.org/abs/2006.07397. Taught in notebook 03.
    """
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise ValueError(f"test={test} and validation={validation} must be positive and leave some for training")
    if not table["label"].isin(LABELS).all():
        unlabelled = table.loc[~table["label"].isin(LABELS), "video"]
        raise ValueError(f"{len(unlabelled)} videos have no label, {unlabelled.iloc[0]} first: leave them out")
    many_parts = "part" in table and table["part"].nunique() >= MANY_PARTS
    by = by or ("person" if _knows_people(table) else "part" if many_parts else "original")
    groups = _connect(table, by)
    labels = table.groupby(groups)["label"].agg(set)
    sizes = table.groupby(groups).size()
    order = labels.sort_index().sample(frac=1, random_state=seed)
    # Groups with both classes come first: each split then has both classes as soon as it has one group.
    order = order.iloc[np.argsort([-len(classes) for classes in order], kind="stable")]
    fractions = {"test": test, "validation": validation, "train": 1 - test - validation}
    split_of: dict[str, str] = {}
    has: dict[str, set[str]] = {split: set() for split in fractions}
    filled = dict.fromkeys(fractions, 0)
    for group, classes in order.items():
        size = int(sizes[group])
        # The group goes to a split that lacks one of its classes, else to the one furthest below its fraction.
        total = sum(filled.values()) + size
        split = max(fractions, key=lambda name: (bool(classes - has[name]), fractions[name] * total - filled[name]))
        split_of[group] = split
        has[split] |= classes
        filled[split] += size
    result = table.assign(group=groups, split=groups.map(split_of))
    for split in fractions:
        if missing := (set(LABELS) if need_fakes else {"REAL"}) - has[split]:
            few = f"{len(labels)} groups by {by} are too few ({count_labels(table)})"
            remedy = "Add videos of that class, or process more with a larger num_vids."
            raise ValueError(f"the {split} split has no {' and no '.join(sorted(missing))} video: {few}. {remedy}")
    return result


def report_leaks(table: pd.DataFrame, hashes: NDArray[np.uint64] | None = None) -> pd.DataFrame:
    """Count what the splits of `table` share: one row per check, `check`, `shared`, `allowed`, `example`.

    `train` refuses a table unless all checks that are not `allowed` are 0. People whom the table does not know leave
    `shared` empty. With `hashes` (N, 4) of `hash_faces`, videos count whose face looks nearly identical to one in
    another split: a video uploaded under two names, or a person filmed twice. Taught in notebook 03.
    """
    rows: list[tuple[Any, ...]] = []
    columns = {"videos": "video", "originals": "original", "people": "person", "parts": "part"}
    for check, column in columns.items():
        if column == "person" and not _knows_people(table):
            rows.append((check, pd.NA, False, "the people are not known"))
        elif column in table:
            spread = _members(table, column).groupby("member")["split"].nunique()
            shared = spread[spread > 1].index.tolist()
            rows.append((check, len(shared), column == "part", str(next(iter(shared), ""))))
    if {"label", "video", "original"} <= set(table):
        lost = table.loc[(table["label"] == "FAKE") & (table["original"] == table["video"]), "video"]
        if len(lost):
            rows.append(("fakes of an unknown original, which may be in another split", len(lost), True, lost.iloc[0]))
    if hashes is not None:
        nearest, distance = _nearest_in_other_split(table["split"].to_numpy(str), hashes)
        near = np.flatnonzero(distance <= NEARLY_IDENTICAL)
        closest = near[np.argsort(distance[near], kind="stable")[:1]]
        example = " and ".join(table["video"].iloc[[*closest, *nearest[closest]]])
        rows.append(("near-identical faces", len(near), True, example))
    return pd.DataFrame(rows, columns=["check", "shared", "allowed", "example"]).astype({"shared": "Int64"})


def hash_faces(table: pd.DataFrame, save_path: str | Path, frame_count: int = 16) -> NDArray[np.uint64]:
    """Hash each video's face, uint64 (N, 4): faces that look alike differ in few of its 255 bits.

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


def _knows_people(table: pd.DataFrame) -> bool:
    return "person" in table and bool((table["person"].fillna("") != "").all())


def _members(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """List the values of `column`, one per row: `row` of the video, `member`, `split`. Two people are written `3+7`."""
    values = table[column].astype(str)
    members = values.str.split("+") if column == "person" else values.map(lambda value: [value])
    rows = {"row": np.arange(len(table)), "member": members, "split": table.get("split", "")}
    return pd.DataFrame(rows).explode("member")


def _connect(table: pd.DataFrame, by: str) -> pd.Series:
    """Name the group of each video: those that share an original or a value of `by`, directly or through others."""
    listed = [_members(table, column).assign(column=column) for column in dict.fromkeys((by, "original"))]
    links = pd.concat(listed).assign(member=lambda rows: rows["column"] + " " + rows["member"])
    numbers = len(table) + pd.factorize(links["member"])[0]
    count = len(table) + len(set(links["member"]))
    edges = coo_array((np.ones(len(links)), (links["row"], numbers)), shape=(count, count))
    found = connected_components(edges, directed=False)[1][: len(table)]
    # A group is named for its smallest value of `by`, so that the order of the rows does not matter.
    return table[by].astype(str).groupby(found).transform("min")


def _nearest_in_other_split(
    splits: NDArray[np.str_], hashes: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each row, find the row of another split whose hash differs in the fewest bits; return rows and bit counts."""
    from sklearn.metrics import pairwise_distances_argmin_min  # here, since mistakes in a command must show at once

    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(np.float64)
    nearest, distance = np.zeros(len(bits), np.intp), np.full(len(bits), bits.shape[1] + 1)
    for split in np.unique(splits) if len(set(splits)) > 1 else ():
        mine, others = np.flatnonzero(splits == split), np.flatnonzero(splits != split)
        found, squared = pairwise_distances_argmin_min(bits[mine], bits[others], metric="sqeuclidean")
        nearest[mine], distance[mine] = others[found], squared.round()
    return nearest, distance

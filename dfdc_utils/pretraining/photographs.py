"""A folder of face photographs → square pictures of one size with landmarks, split by who is in them.

Also takes the faces that `processing` made of real videos. What is prepared lies beside the model in the making:
`pictures.npy`, uint8 (N, CANVAS, CANVAS, 3), and `pictures.csv`, a row a picture.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dfdc_utils.faces import FaceDetector, largest, reflect_indices, sequence_paths
from dfdc_utils.files import replacing, write_atomically
from dfdc_utils.processing import read_manifest
from dfdc_utils.videos import Image

CANVAS = 160  # pixels; a face of 94 with all of its surroundings at a margin of 1.7
MARGIN = 1.7  # of the longer side of the box; beyond it a crop that is turned and shifted shows the picture reflected
SMALLEST = 40  # pixels of a box's longer side; in smaller faces a blend leaves nothing to see
DETECTED_AT = 640  # pixels of the longer side; YuNet was made for that
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
POINTS = [f"point_{index}_{axis}" for index in range(5) for axis in "xy"]
PER_VIDEO = 3  # faces taken of one video: one moment is much like the next


def find_photographs(location: str | Path, *, validation: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """List the photographs below a folder: a row each with `file`, `identity` and `split` (`train`, `validation`).

    A folder with `manifest.csv` holds faces of videos; all but those of fakes are taken, and the original stands for
    the person, for the manifest does not know more. Else `index.csv` with columns `file` and `identity` says who is in
    which photograph; without it, that is the name of the folder that a file is in, or of the file without the number
    at its end. `validation` is the share of the people, not of the photographs. Raises `FileNotFoundError` if there is
    no photograph, `ValueError` if there are fewer than four people or a file is listed twice.
    """
    folder = Path(location)
    if (folder / "manifest.csv").is_file():
        table = _faces_of_videos(folder)
    elif (folder / "index.csv").is_file():
        table = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
        if not {"file", "identity"} <= set(table):
            raise ValueError(f"{folder / 'index.csv'} needs the columns file and identity")
        table = table[["file", "identity"]].copy()
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        names = [_name_person(path.relative_to(folder)) for path in files]
        table = pd.DataFrame({"file": [str(path.relative_to(folder)) for path in files], "identity": names})
    if table.empty:
        raise FileNotFoundError(f"{folder} holds no face photographs ({', '.join(SUFFIXES)}) and no manifest.csv")
    twice = table.loc[table["file"].duplicated(), "file"]
    if not twice.empty:
        raise ValueError(f"{folder}: {twice.iloc[0]} is listed twice: list each photograph once")
    people = sorted(table["identity"].unique())
    if len(people) < 4:
        raise ValueError(f"{folder} shows {len(people)} people: training and validation need two each at least")
    shuffled = np.random.default_rng(seed).permutation(people)
    held_out = set(shuffled[: max(2, round(validation * len(people)))])
    table["split"] = np.where(table["identity"].isin(held_out), "validation", "train")
    return table.sort_values("file", ignore_index=True)


def _name_person(file: Path) -> str:
    return file.parts[0] if len(file.parts) > 1 else re.sub(r"[\W_]*\d*$", "", file.stem) or file.stem


def prepare_pictures(
    table: pd.DataFrame, location: str | Path, target: Path, detector: FaceDetector, *, show_progress: bool = True
) -> pd.DataFrame:
    """Cut every photograph of `table` to its face, once; the rows whose face was found, with box and landmarks.

    `row` is the picture's place in `pictures.npy`, `side` the longer side of its box in pixels. Faces of fewer than
    `SMALLEST` pixels are left out, and so are files that cannot be read, with a line that names them. What is there
    from an earlier call for the same files and detector is used again. Raises `ValueError` if no face is found at all.
    """
    pictures, listed = target / "pictures.npy", target / "pictures.csv"
    stored = pd.read_csv(listed, dtype={"file": str}) if listed.is_file() else pd.DataFrame()
    files = [Path(location) / file for file in table["file"]]
    sizes = [path.stat().st_size if path.is_file() else -1 for path in files]
    wanted = table[["file"]].assign(bytes=sizes, detector=detector.name)
    if not (pictures.is_file() and set(wanted) <= set(stored) and stored[list(wanted)].equals(wanted)):
        kept: list[Image] = []
        rows: list[dict[str, Any]] = []
        for path in tqdm(files, desc="photographs", disable=not show_progress):
            try:
                cut = cut_photograph(read_photograph(path), detector)
            except ValueError as error:
                tqdm.write(f"left out: {error}")
                cut = None
            if cut is None:
                rows.append({"row": -1})
            else:
                rows.append({"row": len(kept), "side": cut[1], **cut[2]})
                kept.append(cut[0])
        if not kept:
            raise ValueError(f"{location}: no face of {SMALLEST} pixels or more was found in {len(table)} photographs")
        stored = wanted.join(pd.DataFrame(rows, index=wanted.index))
        listed.unlink(missing_ok=True)  # it names what is in the other, and is written last
        with replacing(pictures) as partial:
            np.save(partial, np.stack(kept))
        write_atomically(listed, stored.to_csv(index=False))
    return table.merge(stored[stored["row"] >= 0].drop(columns=["bytes", "detector"]), on="file")


def read_photograph(path: Path) -> Image:
    """Any picture OpenCV reads, uint8 RGB (H, W, 3). Raises `ValueError` naming the file if it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is not a picture that can be read: remove it")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)  # OpenCV reads BGR


def cut_photograph(picture: Image, detector: FaceDetector) -> tuple[Image, float, dict[str, float]] | None:
    """The square about the largest face: (CANVAS, CANVAS, 3), its box's longer side and its landmarks in pixels of it.

    Larger faces are shrunk; smaller ones keep their pixels, for enlarging would tell them apart from a fake's. The
    box's centre is the square's. None without a face that is large enough.
    """
    share = min(1.0, DETECTED_AT / max(picture.shape[:2]))
    looked_at = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA) if share < 1 else picture
    faces = [face for face in detector.detect(np.asarray(looked_at, np.uint8)) if face.landmarks is not None]
    if not faces:
        return None
    face = largest(faces)
    box, points = face.box / share, np.asarray(face.landmarks) / share
    side = float(max(box[2:]))
    if side < SMALLEST:
        return None
    scale = min(1.0, CANVAS / (MARGIN * side))
    if scale < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    corner = np.round((box[:2] + box[2:] / 2) * scale - CANVAS / 2)  # whole pixels: nothing is resampled
    rows, columns = (reflect_indices(int(corner[axis]), CANVAS, picture.shape[1 - axis]) for axis in (1, 0))
    points = points * scale - corner
    return picture[rows[:, None], columns], side * scale, dict(zip(POINTS, points.ravel().round(2), strict=True))


def _faces_of_videos(folder: Path) -> pd.DataFrame:
    manifest = read_manifest(folder)
    real = manifest[(manifest["status"] == "ok") & (manifest["label"] != "FAKE")]
    rows = [
        {"file": str(Path(path).relative_to(folder)), "identity": row.original or row.video}
        for row in real.itertuples()
        for path in sequence_paths(folder, row.video, PER_VIDEO)
    ]
    return pd.DataFrame(rows, columns=["file", "identity"]).drop_duplicates("file")

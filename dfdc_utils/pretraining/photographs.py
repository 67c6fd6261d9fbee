"""From a folder of face photographs to square pictures of one size with landmarks, split by person.

They are kept in the work folder: `pictures.npy`, uint8 (N, CANVAS, CANVAS, 3), `pictures.csv`, one row per photograph,
and, with a face mesh, `meshes.npy`, float32 (N, 468, 2).
"""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dfdc_utils.faces import FaceDetector, largest, reflect_indices, sequence_paths
from dfdc_utils.files import replacing, write_atomically
from dfdc_utils.pretraining.mesh import FaceMesh
from dfdc_utils.processing import read_manifest
from dfdc_utils.videos import Image

CANVAS = 320  # pixels: a face of 188 with its surroundings
CANVAS_MARGIN = 1.7  # of the longer side of the box; a crop that is turned and shifted needs so much around the face
SMALLEST = 40  # pixels of a box's longer side; in smaller faces a blend leaves no visible trace
DETECTED_AT = 640  # pixels of the longer side, for which YuNet was made
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
POINTS = [f"point_{index}_{axis}" for index in range(5) for axis in "xy"]
PER_VIDEO = 3  # faces of each video: its frames are much alike


def find_photographs(location: str | Path, *, validation: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """List the photographs below a folder: `file`, `identity` and `split` (`train`, `validation`) of each.

    In a folder with `manifest.csv`, these are faces of videos that are not FAKE; the original stands for the person.
    Otherwise `index.csv` with columns `file` and `identity` says who is in which photograph, and a column `split`, if
    there is one, who is on which side; without this file, the name of the photograph's folder is the person's, or its
    own name without the number at its end. `validation` is the fraction of people. Raises `FileNotFoundError` for no
    photograph, `ValueError` for fewer than four people, a file listed twice, or a person on both sides.
    """
    folder = Path(location)
    if (folder / "manifest.csv").is_file():
        table = _faces_of_videos(folder)
    elif (folder / "index.csv").is_file():
        table = pd.read_csv(folder / "index.csv", dtype=str, keep_default_na=False)
        table = table.filter(["file", "identity", "split"])
        if not {"file", "identity"} <= set(table):
            raise ValueError(f"{folder / 'index.csv'} needs the columns file and identity")
    else:
        inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        names = [p.parts[0] if len(p.parts) > 1 else re.sub(r"[\W_]*\d*$", "", p.stem) or p.stem for p in inside]
        table = pd.DataFrame({"file": map(str, inside), "identity": names})
    if table.empty:
        raise FileNotFoundError(f"{folder} holds no face photographs ({', '.join(SUFFIXES)}) and no manifest.csv")
    twice = table.loc[table["file"].duplicated(), "file"]
    if not twice.empty:
        raise ValueError(f"{folder}: {twice.iloc[0]} is listed twice: list each photograph once")
    people = sorted(table["identity"].unique())
    if len(people) < 4:
        raise ValueError(f"{folder} shows {len(people)} people: training and validation need at least two each")
    if "split" in table:
        sides = table.groupby("identity")["split"].agg(set)
        wrong = sides[~sides.isin([{"train"}, {"validation"}])]
        if not wrong.empty:
            what = f"index.csv puts {wrong.index[0]} in {', '.join(sorted(wrong.iloc[0]))}"
            raise ValueError(f"{folder}: {what}: use train or validation, one for each person")
        return table.sort_values("file", ignore_index=True)
    held_out = set(np.random.default_rng(seed).permutation(people)[: max(2, round(validation * len(people)))])
    table["split"] = np.where(table["identity"].isin(held_out), "validation", "train")
    return table.sort_values("file", ignore_index=True)


def prepare_pictures(
    table: pd.DataFrame,
    location: str | Path,
    target: Path,
    face_detector: FaceDetector,
    *,
    mesh: FaceMesh | None = None,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Crop every photograph of `table` to its face and return the rows with a face, with its box and landmarks.

    `row` is the picture's place in `pictures.npy`, `side` the longer side of its box in pixels. Faces below `SMALLEST`
    pixels are left out; so are unreadable files, with a line that names them. The result of an earlier call for the
    same files and face detector is used again. Raises `ValueError` if no face is found at all.
    """
    pictures, meshes, listed = (target / name for name in ("pictures.npy", "meshes.npy", "pictures.csv"))
    stored = pd.read_csv(listed, dtype={"file": str}) if listed.is_file() else pd.DataFrame()
    files = [Path(location) / file for file in table["file"]]
    sizes = [path.stat().st_size if path.is_file() else -1 for path in files]
    wanted = table[["file"]].assign(bytes=sizes, detector=face_detector.name + (" and face mesh" if mesh else ""))
    if not (pictures.is_file() and set(wanted) <= set(stored) and stored[list(wanted)].equals(wanted)):
        kept, found, rows = list[Image](), list[NDArray[np.float32]](), list[dict[str, Any]]()
        for path in tqdm(files, desc="photographs", disable=not show_progress):
            rows.append({"row": -1})
            if (photograph := cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)) is None:
                tqdm.write(f"left out: {path} is not a picture that can be read")
            elif cut := cut_photograph(photograph, face_detector):
                picture, side, landmarks = cut
                rows[-1] = {"row": len(kept), "side": side, **landmarks}
                kept.append(picture)
                if mesh:
                    found.append(mesh.find(picture, np.full(2, CANVAS / 2), side))
        if not kept:
            raise ValueError(f"{location}: no face of {SMALLEST} pixels or more was found in {len(table)} photographs")
        stored = wanted.join(pd.DataFrame(rows, index=wanted.index))
        listed.unlink(missing_ok=True)  # it describes the other files, and is written last
        meshes.unlink(missing_ok=True)
        for file, arrays in ((pictures, kept), (meshes, found)):
            if arrays:
                with replacing(file) as partial:
                    np.save(partial, np.stack(arrays))
        write_atomically(listed, stored.to_csv(index=False))
    return table.merge(stored[stored["row"] >= 0].drop(columns=["bytes", "detector"]), on="file")


def cut_photograph(picture: Image, face_detector: FaceDetector) -> tuple[Image, float, dict[str, float]] | None:
    """Crop a square about the largest face: (CANVAS, CANVAS, 3), the longer side of its box, and its landmarks.

    Both are in pixels of the square, whose centre is the box's. Larger faces are shrunk; smaller ones are not enlarged,
    which would distinguish them from a fake's. None without a face that is large enough.
    """
    small = min(1.0, DETECTED_AT / max(picture.shape[:2]))
    seen = cv2.resize(picture, None, fx=small, fy=small, interpolation=cv2.INTER_AREA) if small < 1 else picture
    face = largest(face for face in face_detector.detect(np.asarray(seen, np.uint8)) if face.landmarks is not None)
    if face is None:
        return None
    box, points = face.box / small, np.asarray(face.landmarks) / small
    side = float(max(box[2:]))
    if side < SMALLEST:
        return None
    scale = min(1.0, CANVAS / (CANVAS_MARGIN * side))
    if scale < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    corner = np.round((box[:2] + box[2:] / 2) * scale - CANVAS / 2)  # whole pixels, so nothing is resampled
    rows, columns = (reflect_indices(int(corner[axis]), CANVAS, picture.shape[1 - axis]) for axis in (1, 0))
    points = points * scale - corner
    return picture[rows[:, None], columns], side * scale, dict(zip(POINTS, points.ravel().round(2), strict=True))


def _faces_of_videos(folder: Path) -> pd.DataFrame:
    manifest = read_manifest(folder)
    rows = [
        {"file": str(Path(path).relative_to(folder)), "identity": row.original or row.video}
        for row in manifest[(manifest["status"] == "ok") & (manifest["label"] != "FAKE")].itertuples()
        for path in sequence_paths(folder, row.video, PER_VIDEO)
    ]
    return pd.DataFrame(rows, columns=["file", "identity"]).drop_duplicates("file")

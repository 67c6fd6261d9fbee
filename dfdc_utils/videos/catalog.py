"""DFDC folders and `metadata.json`: which videos there are, and who is derived from whom.

A catalog is a table with one row a video. Everything later (selection, splits, leak checks) works on its columns:

- `video`: the video's id, unique, safe as a folder name; `path`: its file; `part`: the folder it lies in;
- `label`: `REAL`, `FAKE`, or empty where nothing says which;
- `original`: the id of the video a fake was made from; a real video's own id;
- `person`: who is in it, where `metadata.json` says so (the sample's does, DFDC's does not); two people are `3+7`;
- `problem`: what is wrong with the entry itself (not listed, missing, outside the folder); empty for nearly all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from dfdc_utils.errors import BrokenCatalog

LABELS = ("REAL", "FAKE")
COLUMNS = ("video", "path", "label", "original", "person", "part", "problem")
# Containers that FFmpeg reads and that cameras, phones and screen recorders write.
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts"})
LONGEST_ID = 80  # bytes of UTF-8: file systems allow 255, and a mark and the suffix of a partial folder are added


def read_catalog(location: str | Path) -> pd.DataFrame:
    """Read every DFDC folder at or below `location` into one table, a row a video.

    A folder's `metadata.json` gives labels and originals; videos that it does not list, or that lie in a folder without
    one, are kept with an empty label. Entries that name no usable file are kept too, with the reason in `problem`.

    Raises `BrokenCatalog` if there is no such folder, no video in it, or a `metadata.json` that is not DFDC's.
    Source: the DFDC data set, Dolhansky et al. 2020, https://arxiv.org/abs/2006.07397. Taught in notebook 01.
    """
    top = Path(location)
    if not top.is_dir():
        raise BrokenCatalog(f"{location}: there is no such folder. Check the path.")
    entries = [entry for folder, names in _walk(top) for entry in _read_part(top, folder, set(names))]
    if not entries:
        raise BrokenCatalog(f"{location}: there is no video in it (looked for {', '.join(sorted(VIDEO_SUFFIXES))}).")
    catalog = pd.DataFrame(entries)
    catalog["video"] = _unique_ids(catalog)
    catalog["original"] = _original_ids(catalog)
    return catalog.sort_values("video", ignore_index=True)[list(COLUMNS)]


def balance_classes(table: pd.DataFrame, num_vids: int | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Choose at most `num_vids` videos, as many REAL as FAKE, at random but the same for the same `seed`.

    Fakes of chosen originals come first, so that pairs stay together. The larger class is cut to the smaller one; a
    table without any label is only cut to `num_vids`. Raises `ValueError` for `num_vids` below 2 or for a missing
    class. Taught in notebook 01.
    """
    if num_vids is not None and num_vids < 2:
        raise ValueError(f"num_vids={num_vids}: at least 2 videos are needed, one REAL and one FAKE")
    shuffled = table.sample(frac=1, random_state=seed)
    real, fake = (shuffled[shuffled["label"] == label] for label in LABELS)
    if real.empty and fake.empty:
        return shuffled.head(len(table) if num_vids is None else num_vids).sort_values("video", ignore_index=True)
    if real.empty or fake.empty:
        raise ValueError(
            f"there is no {'REAL' if real.empty else 'FAKE'} video to balance with ({count_labels(table)}): "
            "num_vids=None takes all as they are"
        )
    each = min(len(real), len(fake), len(table) if num_vids is None else num_vids // 2)
    real = real.head(each)
    paired = fake["original"].isin(real["video"])
    # One fake of each chosen original before a second one of any.
    turn = fake.groupby("original").cumcount()
    fake = fake.assign(_paired=~paired, _turn=turn).sort_values(["_paired", "_turn"], kind="stable")
    fake = fake.head(each).drop(columns=["_paired", "_turn"])
    return pd.concat([real, fake]).sort_values("video", ignore_index=True)


def _walk(top: Path) -> list[tuple[Path, list[str]]]:
    """Each folder at or below `top` with its file names, in order; linked folders too, each once."""

    def refuse(error: OSError) -> None:
        raise BrokenCatalog(f"{error.filename}: cannot be read ({error.strerror}). Make it readable, or leave it out.")

    found, seen = [], set()
    for folder, below, names in os.walk(top, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or a second link to the same part
            below.clear()
            continue
        seen.add(real)
        below.sort()
        found.append((Path(folder), names))
    return found


def _read_part(top: Path, folder: Path, names: set[str]) -> list[dict[str, str]]:
    listed: dict[str, Any] = {}
    if "metadata.json" in names:
        listed = _read_metadata(folder / "metadata.json")
    videos = {name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES}
    part = folder.relative_to(top).as_posix() if folder != top else top.resolve().name
    entries = []
    for name in sorted(videos | set(listed)):
        entry = listed.get(name, {})
        label = entry.get("label", "")
        problem = ""
        if _points_outside(name):
            problem = (
                f"metadata.json names {name!r}, which is not a file in its own folder. Correct or remove that entry."
            )
        elif name not in names:
            problem = f"{name}: listed in metadata.json, but the file is not there. Copy it there, or remove its entry."
        elif label not in (*LABELS, ""):
            problem = f"{name}: its label in metadata.json is {label!r}, not REAL or FAKE. Correct that entry."
        entries.append(
            {
                "name": name,
                "path": "" if _points_outside(name) else str(folder / name),
                "label": label if label in LABELS else "",
                "source": str(entry.get("original") or ""),
                "person": str(entry.get("person") or ""),
                "part": part,
                "folder": folder.relative_to(top).as_posix(),
                "problem": problem,
            }
        )
    return entries


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenCatalog(
            f"{path}: not readable as JSON ({error}). Get it again; without it, its videos count as unlabelled."
        ) from error
    if not isinstance(listed, dict) or not all(isinstance(entry, dict) for entry in listed.values()):
        raise BrokenCatalog(f"{path}: not DFDC's metadata, which maps each file name to an object with its label.")
    return listed


def _points_outside(name: str) -> bool:
    return not name or name in (".", "..") or "\\" in name or "\0" in name or PurePosixPath(name).name != name


def _safe_id(name: str) -> str:
    """A file's name without its suffix, as a folder name that is harmless on every system."""
    stem = Path(PurePosixPath(name.replace("\\", "/")).name).stem
    # manifest.csv and sequence.json lie beside the folders that ids name.
    safe = re.sub(r"[^\w.\- ]|\.(?=(?:csv|json)$)", "_", stem, flags=re.IGNORECASE)
    safe = safe.encode()[:LONGEST_ID].decode(errors="ignore").strip(". ")
    return safe if safe == stem else f"{safe or 'video'}-{_mark(name)}"


def _mark(name: str) -> str:
    # Names that are not UTF-8 come from the file system as lone surrogates.
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]


def _unique_ids(catalog: pd.DataFrame) -> list[str]:
    ids = catalog["name"].map(_safe_id)
    # Folders on some systems do not tell upper from lower case, so neither do ids.
    twice = ids.str.casefold().duplicated(keep=False)
    longer = [
        _safe_id(f"{part}-{video}.x") if also else video
        for part, video, also in zip(catalog["part"].str.replace("/", "-"), ids, twice, strict=True)
    ]
    full = pd.Series(longer, index=catalog.index)
    twice = full.str.casefold().duplicated(keep=False)  # one folder with a.mp4 and a.mov, or A.mp4 and a.mp4
    marks = [_mark(f"{folder}/{name}") for folder, name in zip(catalog["folder"], catalog["name"], strict=True)]
    return [f"{video}-{mark}" if also else video for video, mark, also in zip(full, marks, twice, strict=True)]


def _original_ids(catalog: pd.DataFrame) -> list[str]:
    """The id each row was derived from: looked up in its own folder first, then anywhere, else made from the name."""
    in_part = {(row.folder, row.name_): row.video for row in catalog.rename(columns={"name": "name_"}).itertuples()}
    anywhere = {name: video for (_, name), video in reversed(in_part.items())}
    originals = []
    for row in catalog.itertuples():
        if row.label == "FAKE" and row.source:
            found = in_part.get((row.folder, row.source)) or anywhere.get(row.source)
            originals.append(found or _safe_id(row.source))
        else:
            originals.append(row.video)
    return originals


def count_labels(table: pd.DataFrame) -> str:
    """Say how many videos of each label there are: `3 REAL, 5 FAKE`."""
    return ", ".join(f"{(table['label'] == label).sum()} {label}" for label in LABELS)


def name_data(table: pd.DataFrame) -> str:
    """Say in words which videos a catalog or manifest lists, so that no score on the sample passes for one on DFDC."""
    folders = {Path(path).parent for path in table["path"] if path} if "path" in table else set()
    drawn = {folder for folder in folders if (folder.parent / "sample.json").is_file()}  # make_sample writes it last
    if not folders:
        return "videos of unknown origin"
    if drawn == folders:
        return "the embedded synthetic sample"
    names = ", ".join(sorted({folder.name for folder in folders})[:3])
    mixed = ", mixed with the embedded synthetic sample" if drawn else ""
    return f"videos in {len(folders)} folders ({names}{', …' if len(folders) > 3 else ''}){mixed}"

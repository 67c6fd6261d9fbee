"""DFDC folders, and other labelled ones: which videos there are, and from which video each fake was made.

A catalog is a table with one row per video. All later steps (selection, splits, leak checks) use its columns:

- `video`: the video's id, unique and safe as a folder name; `path`: its file; `part`: the folder that holds it;
- `label`: `REAL`, `FAKE`, or empty if unknown;
- `original`: the id of the video from which a fake was made; a real video's own id;
- `person`: who is in it, where `metadata.json` says so (the sample's does, DFDC's does not); two people are `3+7`;
- `problem`: what is wrong with its entry among the labels (missing file, unknown label); empty for nearly all.
"""

import csv
import hashlib
import json
import logging
import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from dfdc_utils.errors import BrokenCatalog
from dfdc_utils.videos.decoding import is_video

log = logging.getLogger(__name__)
# Drawn by a program, as the embedded sample is, or recorded by a camera. A model of one kind cannot judge the other.
DataKind = Literal["synthetic", "recorded"]
COLUMNS = ("video", "path", "label", "original", "person", "part", "problem")
# Of videos and of other files, by their suffix. A file with another one is opened to see what it is.
VIDEO_SUFFIXES = re.compile(
    r"\.(3g2|3gp|asf|avi|divx|dv|f4v|flv|gif|h26[45]|hevc|ivf|m[12]v|m2?ts|m4v|mkv|mov|mp4|mpe|mpe?g|mxf|nut|og[mv]|qt"
    r"|rm|rmvb|ts|vob|webm|wmv|wtv|y4m)$",
    re.IGNORECASE,
)
OTHER_SUFFIXES = re.compile(
    r"\.(aac|bmp|cfg|csv|flac|gz|heic|html?|in[if]|ipynb|jpe?g|json|log|m3u8?|m4a|md|mp3|nfo|np[yz]|opus|pdf|png|py"
    r"|sh|srt|tar|tiff?|toml|tsv|txt|vtt|wav|webp|xml|ya?ml|zip)$",
    re.IGNORECASE,
)
LABELS = ("REAL", "FAKE")
Entries = dict[str, dict[str, Any]]  # `{file name: {"label", "original", "person"}}`
# Columns of a CSV file, in the words of different data sets.
NAMES = {"path": ("path", "filename", "video", "file", "name"), "label": ("label",), "original": ("original", "source")}
WORDS = dict.fromkeys(("REAL", "0", "0.0", "FALSE"), "REAL") | dict.fromkeys(("FAKE", "1", "1.0", "TRUE"), "FAKE")
# Folders of FaceForensics++ (Rössler et al. 2019, https://arxiv.org/abs/1901.08971) and of Celeb-DF (Li et al. 2020,
# https://arxiv.org/abs/1909.12962): the label of the videos in them.
FOLDERS = {"original_sequences": "REAL", "manipulated_sequences": "FAKE"}
FOLDERS |= {"masks": "", "Celeb-real": "REAL", "YouTube-real": "REAL", "Celeb-synthesis": "FAKE"}
# How they name fakes (target_source, actors of DeepFakeDetection, Celeb-DF). The groups make up the original's name.
FAKES = (r"(\d{3})_\d{3}", r"(\d\d)_\d\d(__.+)__\w{8}", r"(id\d+)_id\d+(_\d+)")
LONGEST_ID = 80  # bytes of UTF-8. File systems allow 255, and partial folders have longer names.


def read_catalog(location: str | Path, *, labels: str | Path | None = None) -> pd.DataFrame:
    """Read all videos at or below the folder `location` into one table, one row per video.

    Labels and originals come from each folder's `metadata.json` or `labels.csv`, from the folders and names of
    FaceForensics++ and Celeb-DF, or instead from the CSV file `labels`: `path` (from `location`, or a file's name),
    `label` and, if known, `original`. Folders that `processing` wrote are left out. A file of unknown suffix is opened.

    Raises `BrokenCatalog` if there is no such folder, no video in it, or a file of labels that cannot be read.
    Source: the DFDC data set, Dolhansky et al. 2020, https://arxiv.org/abs/2006.07397. Taught in notebook 01.
    """
    top = Path(location)
    if not top.is_dir():
        what = "this is a file. Give the folder that holds it" if top.is_file() else "folder not found. Check the path"
        raise BrokenCatalog(f"{location}: {what}.")
    given = _read_table(Path(labels)) if labels else None
    folders, others = _walk(top)
    entries = [entry for folder in folders for entry in _read_part(top, *folder, given)]
    if not entries:
        raise BrokenCatalog(f"{location}: no videos found among {others} files.")
    if given is not None and not any(entry["label"] or entry["problem"] for entry in entries):
        raise BrokenCatalog(f"{labels}: it names none of the videos in {location}. It begins with {[*given][:1]}.")
    catalog = pd.DataFrame(entries)
    # A video is named for its file, with a mark of its folder and suffix where several files have the same name.
    ids = catalog["name"].map(_safe_id)
    twice = ids.str.casefold().duplicated(keep=False)  # some file systems do not distinguish upper from lower case
    catalog["video"] = ids.where(~twice, ids + "-" + (catalog["folder"] + "/" + catalog["name"]).map(_mark))
    catalog["original"] = _original_ids(catalog)
    return catalog.sort_values("video", ignore_index=True)[list(COLUMNS)]


def list_videos(location: str | Path) -> list[Path]:
    """List the videos at or below a folder, in order, without a look at labels. Raises `BrokenCatalog` if none is."""
    folders, others = _walk(Path(location))
    if found := [folder / name for folder, _, videos in folders for name in sorted(videos)]:
        return found
    raise BrokenCatalog(f"{location}: no videos found among {others} files.")


def balance_classes(table: pd.DataFrame, num_vids: int | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Choose at most `num_vids` videos by `seed`, as many REAL as FAKE ones; if none has a label, any.

    Fakes of chosen originals come first, so that pairs stay together. Raises `ValueError` for `num_vids` below 2 or if
    one class is missing. Taught in notebook 01.
    """
    if num_vids is not None and num_vids < 2:
        raise ValueError(f"num_vids={num_vids}: at least 2 videos are needed, one REAL and one FAKE")
    limit = len(table) if num_vids is None else num_vids
    shuffled = table.sample(frac=1, random_state=seed)
    real, fake = (shuffled[shuffled["label"] == label] for label in LABELS)
    if real.empty and fake.empty:
        return shuffled.head(limit).sort_values("video", ignore_index=True)
    if real.empty or fake.empty:
        what = f"there is no {'REAL' if real.empty else 'FAKE'} video to balance the others with"
        raise ValueError(f"{what} ({count_labels(table)}). num_vids=None takes all videos.")
    each = min(len(real), len(fake), limit // 2)
    real = real.head(each)
    # One fake of each chosen original before a second one of any.
    alone, turn = ~fake["original"].isin(real["video"]), fake.groupby("original").cumcount()
    return pd.concat([real, fake.iloc[np.lexsort((turn, alone))].head(each)]).sort_values("video", ignore_index=True)


def _walk(top: Path) -> tuple[list[tuple[Path, set[str], set[str]]], int]:
    """List each folder at or below `top`, also linked ones, with its files and its videos; count the other files."""

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != str(top):  # another process removed it just now
            return
        raise BrokenCatalog(f"{error.filename}: cannot be read ({error.strerror}). Make it readable, or move it away.")

    found, seen, others = [], set(), 0
    for folder, below, names in os.walk(top, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up, or a second link to the same part
            below.clear()
            continue
        seen.add(real)
        if "sequence.json" in names:  # `processing` wrote here: leave out its folders of faces
            below[:] = [name for name in below if not Path(folder, name, "faces.json").is_file()]
        below.sort()
        # `._a.mp4` is macOS' note on a.mp4.
        candidates = {name for name in names if not name.startswith("._") and not OTHER_SUFFIXES.search(name)}
        videos = {name for name in candidates if VIDEO_SUFFIXES.search(name) or is_video(Path(folder, name))}
        others += len(set(names) - videos - {"metadata.json", "labels.csv"})
        found.append((Path(folder), set(names), videos))
    if others:
        log.info("%s: %d videos, %d files that are no videos", top, sum(len(videos) for *_, videos in found), others)
    return found, others


def _read_part(
    top: Path, folder: Path, names: set[str], videos: set[str], given: Entries | None
) -> list[dict[str, str]]:
    below = folder.relative_to(top).as_posix()
    if given is None:
        listed = _read_labels(folder, names, videos)
    else:
        ways = {name: (f"{below}/{name}", str((folder / name).absolute()), name, Path(name).stem) for name in videos}
        listed = {name: next((given[way] for way in ways[name] if way in given), {}) for name in videos}
    entries = []
    for name in sorted(videos | set(listed)):
        entry, path, problem = listed.get(name, {}), str(folder / name), ""
        label = entry.get("label", "")
        if not name or name in (".", "..") or "\\" in name or "\0" in name or PurePosixPath(name).name != name:
            path = ""
            problem = f"{name!r}, listed among the labels, is not a file in its own folder. Correct that entry."
        elif name not in names:
            problem = f"{name}: listed among the labels, but the file is not there. Copy it there, or remove its entry."
        elif label not in (*LABELS, ""):
            problem = f"{name}: its label is {label!r}, not REAL or FAKE. Correct that entry."
        known = {"name": name, "path": path, "label": label if label in LABELS else "", "problem": problem}
        known |= {"source": str(entry.get("original") or ""), "person": str(entry.get("person") or "")}
        entries.append(known | {"folder": below, "part": top.resolve().name if folder == top else below})
    return entries


def _safe_id(name: str) -> str:
    """Turn a file's name without its suffix into a folder name that is valid on every system."""
    stem = Path(PurePosixPath(name.replace("\\", "/")).name).stem
    # manifest.csv and sequence.json lie beside the folders with these names.
    safe = re.sub(r"[^\w.\- ]|\.(?=(?:csv|json)$)", "_", stem, flags=re.IGNORECASE)
    safe = safe.encode()[:LONGEST_ID].decode(errors="ignore").strip(". ")
    return safe if safe == stem else f"{safe or 'video'}-{_mark(name)}"


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]  # names may not be UTF-8


def _original_ids(catalog: pd.DataFrame) -> list[str]:
    """Find the id of each row's original: in its own folder, by its path, in any folder, or made from its name."""
    in_part = {(row.folder, row.name): row.video for row in catalog.itertuples()}
    anywhere = {key: video for (_, name), video in reversed(in_part.items()) for key in (video, name)}
    # FaceForensics++ has each original once per compression: all of these have the id of the first.
    return [
        in_part.get((row.folder, row.source))
        or in_part.get(tuple(row.source.rpartition("/")[::2]))
        or anywhere.get(PurePosixPath(row.source).name, _safe_id(row.source))
        if row.label == "FAKE" and row.source
        else (anywhere[row.name] if "original_sequences" in row.path else row.video)
        for row in catalog.itertuples()
    ]


def _read_labels(folder: Path, names: set[str], videos: set[str]) -> Entries:
    """Read what a folder with files `names` says about its `videos`: by `metadata.json`, `labels.csv`, or its layout.

    A `metadata.json` of another program is left out. Raises `BrokenCatalog` for files that cannot be read.
    """
    if "metadata.json" in names and (listed := _read_metadata(folder / "metadata.json")):
        return listed
    if "labels.csv" in names:
        return {Path(file).name: entry for file, entry in _read_table(folder / "labels.csv").items()}
    label = next((FOLDERS[part] for part in reversed(folder.absolute().parts) if part in FOLDERS), "")
    entries: Entries = {}
    for name in videos if label else ():
        matches = (re.fullmatch(pattern, Path(name).stem) for pattern in FAKES)
        source = next(("".join(match.groups()) + Path(name).suffix for match in matches if match), "")
        entries[name] = {"label": label, "original": source}
    return entries


def _read_table(path: Path) -> Entries:
    """Read a CSV file with the columns `path`, `label` and, if known, `original`; some programs separate them by `;`.

    Raises `BrokenCatalog`, also where two rows of the same video differ.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = list(file)
            table = csv.DictReader(lines, delimiter=max(",;\t", key="".join(lines[:1]).count))
            names = table.fieldnames = [name.strip().lower() for name in table.fieldnames or ()]
            rows = list(table)
    except (OSError, csv.Error) as error:
        raise BrokenCatalog(f"{path}: not readable as CSV ({error}).") from error
    found = {wanted: next((word for word in words if word in names), "") for wanted, words in NAMES.items()}
    if not (found["path"] and found["label"]):
        raise BrokenCatalog(f"{path}: it has the columns {', '.join(names)}, but needs path and label.")
    if longer := next((row for row in rows if any(row.get(None, ()))), None):
        raise BrokenCatalog(f"{path}: {longer[found['path']]!r}: more values than columns. Quote names with commas.")
    entries: Entries = {}
    for row in rows:
        name, label, original = ((row.get(found[wanted]) or "").replace("\\", "/") for wanted in NAMES)
        entry = {"label": _word_of(label), "original": original}
        if entries.setdefault(name, entry) != entry:
            raise BrokenCatalog(f"{path}: {name!r}: two rows that differ, {entries[name]} and {entry}. Remove one.")
    return entries


def _word_of(label: Any) -> Any:
    """`REAL` or `FAKE` for a label in another case or as a number, 0 for REAL; anything else as it is."""
    return WORDS.get(str(label).strip().upper(), label)


def _read_metadata(path: Path) -> Entries:
    try:
        listed = json.loads(path.read_bytes())  # in any encoding of Unicode
    except (ValueError, RecursionError) as error:
        remedy = "Get it again, or remove it: its videos then have no labels."
        raise BrokenCatalog(f"{path}: not readable as JSON ({error}). {remedy}") from error
    entries = listed.values() if isinstance(listed, dict) else ()
    if not any(isinstance(entry, dict) and {"label", "is_fake", "original"} & set(entry) for entry in entries):
        log.info("%s: ignored, since it is not DFDC's: there each file name has an object with its label", path)
        return {}
    found: Entries = {}
    for name, value in listed.items():
        entry = value if isinstance(value, dict) else {"label": value}
        file = PureWindowsPath(name).name if re.match(r"[A-Za-z]:\\", name) else name  # some give the whole path
        found[file] = entry | {"label": _word_of(entry.get("label", entry.get("is_fake", "")))}
    return found


def count_labels(table: pd.DataFrame) -> str:
    """Say how many videos of each label there are: `3 REAL, 5 FAKE`."""
    return ", ".join(f"{(table['label'] == label).sum()} {label}" for label in LABELS)


def name_data(manifest: pd.DataFrame) -> tuple[str, DataKind]:
    """Say in words which videos a manifest lists, and whether any of them is synthetic, by the mark in its file."""
    drawn = manifest.get("is_synthetic", pd.Series(False, manifest.index)).astype(bool)
    kind: DataKind = "synthetic" if drawn.any() else "recorded"
    folders = {Path(path).parent for path in manifest["path"][~drawn] if path} if "path" in manifest else set()
    names = sorted({folder.name for folder in folders})
    listed = f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    where = f"videos in {len(folders)} folder{'s' * (len(folders) != 1)} {listed}"
    recorded, synthetic = where if folders else "videos of unknown origin", "the embedded synthetic sample"
    return recorded if not drawn.any() else synthetic if drawn.all() else f"{recorded}, mixed with {synthetic}", kind

"""Which videos of a folder are real or fake, and what each fake was made from, as different data sets say it.

Each reader returns entries, `{file name: {"label", "original", "person"}}`.
"""

import csv
import json
import logging
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from dfdc_utils.errors import BrokenCatalog

log = logging.getLogger(__name__)
LABELS = ("REAL", "FAKE")
Entries = dict[str, dict[str, Any]]
# Columns of a CSV file, in the words of different data sets.
NAMES = {"path": ("path", "filename", "video", "file", "name"), "label": ("label",), "original": ("original", "source")}
WORDS = dict.fromkeys(("REAL", "0", "0.0", "FALSE"), "REAL") | dict.fromkeys(("FAKE", "1", "1.0", "TRUE"), "FAKE")
# Folders of FaceForensics++ (Rössler et al. 2019, https://arxiv.org/abs/1901.08971) and of Celeb-DF (Li et al. 2020,
# https://arxiv.org/abs/1909.12962): the label of the videos in them.
FOLDERS = {"original_sequences": "REAL", "manipulated_sequences": "FAKE"}
FOLDERS |= {"masks": "", "Celeb-real": "REAL", "YouTube-real": "REAL", "Celeb-synthesis": "FAKE"}
# How they name fakes (target_source, actors of DeepFakeDetection, Celeb-DF). The groups make up the original's name.
FAKES = (r"(\d{3})_\d{3}", r"(\d\d)_\d\d(__.+)__\w{8}", r"(id\d+)_id\d+(_\d+)")


def read_labels(folder: Path, names: set[str], videos: set[str]) -> Entries:
    """Read what a folder with files `names` says about its `videos`: by `metadata.json`, `labels.csv`, or its layout.

    A `metadata.json` of another program is left out. Raises `BrokenCatalog` for files that cannot be read.
    """
    if "metadata.json" in names and (listed := _read_metadata(folder / "metadata.json")):
        return listed
    if "labels.csv" in names:
        return {Path(file).name: entry for file, entry in read_table(folder / "labels.csv").items()}
    label = next((FOLDERS[part] for part in reversed(folder.absolute().parts) if part in FOLDERS), "")
    entries: Entries = {}
    for name in videos if label else ():
        matches = (re.fullmatch(pattern, Path(name).stem) for pattern in FAKES)
        source = next(("".join(match.groups()) + Path(name).suffix for match in matches if match), "")
        entries[name] = {"label": label, "original": source}
    return entries


def read_table(path: Path) -> Entries:
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
        entry = {"label": word_of(label), "original": original}
        if entries.setdefault(name, entry) != entry:
            raise BrokenCatalog(f"{path}: {name!r}: two rows that differ, {entries[name]} and {entry}. Remove one.")
    return entries


def word_of(label: Any) -> Any:
    """`REAL` or `FAKE` for a label in another case or as a number, 0 for REAL; anything else as it is."""
    return WORDS.get(str(label).strip().upper(), label)


def _read_metadata(path: Path) -> Entries:
    content = path.read_bytes()
    try:
        listed = json.loads(content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
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
        found[file] = entry | {"label": word_of(entry.get("label", entry.get("is_fake", "")))}
    return found

"""The embedded sample as a whole: who appears where, what is already there, and the pool that draws the rest."""

import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from joblib import Parallel, cpu_count, delayed
from tqdm.auto import tqdm

from dfdc_utils.sample.clips import ClipPlan, render_clip
from dfdc_utils.sample.people import Features, Person, draw_people

logger = logging.getLogger(__name__)

# Raise when the drawing changes: samples of another version are then drawn anew.
VERSION = 4
SEED = 20_200_331  # the day DFDC ended
PARTS = ("dfdc_train_part_0", "dfdc_train_part_1")
COMMIT, LEFTOVERS, TRUTH, METADATA = "sample.json", "unfinished.json", "truth.json", "metadata.json"
CLIP_NAME = re.compile(r"[a-z]{10}\.mp4")
# What a file is called until it is complete: its name, the process that writes it.
UNFINISHED = re.compile(r"\.\d+\.part$")
# Fakes that show their fault only over time, and clips held upright.
TEMPORAL_SHARE, UPRIGHT_SHARE = 0.4, 0.15
# Streams of the seed (see also clips.py).
PEOPLE_STREAM, PLAN_STREAM = 10, 11


@dataclass(frozen=True)
class SampleParameters:
    """All that a sample depends on."""

    originals: int
    people: int
    seed: int
    version: int = VERSION


def _difference(first: Person, second: Person) -> float:
    """How unlike two inner faces are: the mean difference of their features, each against its usual size."""
    names = Features.__dataclass_fields__
    one, two = (np.array([getattr(p.features, name) for name in names]) for p in (first, second))
    return float(np.mean(np.abs(one - two) / (np.abs(one) + np.abs(two) + 0.05)))


def plan_clips(parameters: SampleParameters) -> list[ClipPlan]:
    """What every clip shows, decided from the seed alone."""
    count, seed = parameters.originals, parameters.seed
    rng = np.random.default_rng([seed, PEOPLE_STREAM])
    people = draw_people(rng, parameters.people)
    rng = np.random.default_rng([seed, PLAN_STREAM])
    names: list[str] = []
    while len(names) < 2 * count + 3:
        name = "".join(chr(97 + c) for c in rng.integers(0, 26, 10)) + ".mp4"
        if name not in names:
            names.append(name)
    cast = [int(i % len(people)) for i in rng.permutation(max(count, len(people)))][:count]
    temporal = set(rng.permutation(count)[: round(TEMPORAL_SHARE * count)].tolist())
    upright = set(rng.permutation(count)[: max(1, round(UPRIGHT_SHARE * count))].tolist())
    originals, fakes = [], []
    for i, who in enumerate(cast):
        folder = PARTS[i * 2 // count]
        others = [p for p in range(len(people)) if p != who]
        candidates = rng.permutation(others)[:4].tolist()
        donor = max(candidates, key=lambda other: _difference(people[who], people[other]))
        scene: dict[str, Any] = {"folder": folder, "scene": i, "upright": i in upright}
        scene.update(people=(people[who],), person_ids=(who,))
        originals.append(ClipPlan(name=names[i], kind="real", index=i, **scene))
        fakes.append(
            ClipPlan(
                name=names[count + i],
                kind="temporal" if i in temporal else "spatial",
                index=count + i,
                donor=people[donor],
                donor_id=donor,
                original=names[i],
                **scene,
            )
        )
    last, first = 2 * count, originals[0]
    pair = tuple(int(p) for p in rng.permutation(len(people))[:2])
    return [
        *originals,
        *fakes,
        ClipPlan(names[last], PARTS[0], "no_face", last, scene=last, people=(), person_ids=()),
        ClipPlan(
            names[last + 1],
            PARTS[1],
            "two_people",
            last + 1,
            scene=last + 1,
            people=tuple(people[p] for p in pair),
            person_ids=pair,
        ),
        ClipPlan(
            names[last + 2],
            first.folder,
            "cut_off",
            last + 2,
            scene=first.scene,
            people=first.people,
            person_ids=first.person_ids,
            donor=fakes[0].donor,
            donor_id=fakes[0].donor_id,
            original=first.name,
            upright=first.upright,
        ),
    ]


def _write_json(path: Path, content: Any) -> None:
    """Writes a file that is either complete or not there."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    unfinished.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _files(record: dict[str, Any]) -> set[str]:
    """The files of ours that a record lists, below the sample's folder."""
    files = {COMMIT, LEFTOVERS, TRUTH} | {f"{part}/{METADATA}" for part in PARTS}
    for part, names in record.get("files", {}).items():
        # A record is a file like any other and may have been edited: never reach outside the two folders.
        if part in PARTS:
            files |= {f"{part}/{name}" for name in names if CLIP_NAME.fullmatch(name)}
    return files


def _present(save_path: Path) -> list[tuple[str, Path]]:
    """All files below the folder, each with its name there; an unfinished one with the name that it was to have."""
    paths = (path for path in sorted(save_path.rglob("*")) if not path.is_dir())
    return [(UNFINISHED.sub("", path.relative_to(save_path).as_posix()), path) for path in paths]


def _prepare(save_path: Path, record: dict[str, Any]) -> None:
    """Makes room for the files of `record`: older ones of ours go, what is not ours is an error or stays."""
    if save_path.exists() and not save_path.is_dir():
        raise FileExistsError(f"{save_path} is a file; give a folder as save_path")
    finished = (save_path / COMMIT).exists()
    older = _read_json(save_path / (COMMIT if finished else LEFTOVERS))
    present = _present(save_path)
    if finished:
        logger.info("%s holds another sample, %s: drawing it anew", save_path, older.get("parameters"))
    elif foreign := [path for name, path in present if name not in (_files(older) if older else ())]:
        raise FileExistsError(
            f"{save_path} holds files that make_sample did not write, such as {foreign[0].relative_to(save_path)}; "
            "give an empty or new folder as save_path"
        )
    for part in PARTS:
        (save_path / part).mkdir(parents=True, exist_ok=True)
    # From here on the folder is unfinished, and says what of it is ours, however often this is interrupted.
    both = {part: sorted({*older.get("files", {}).get(part, []), *record["files"][part]}) for part in PARTS}
    _write_json(save_path / LEFTOVERS, {"files": both})
    (save_path / COMMIT).unlink(missing_ok=True)
    ours = _files(older) - {LEFTOVERS, COMMIT}
    for name, path in present:
        if name in ours:
            path.unlink(missing_ok=True)


def _render(number: int, plan: ClipPlan, folder: Path, seed: int) -> tuple[int, dict[str, Any]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pool already keeps every core busy
    try:
        return number, render_clip(plan, folder, seed)
    finally:
        cv2.setNumThreads(threads)


def _metadata(plans: list[ClipPlan]) -> dict[str, dict[str, str]]:
    """What DFDC's metadata.json says of these clips."""
    metadata = {}
    for plan in sorted(plans, key=lambda plan: plan.name):
        metadata[plan.name] = {"label": plan.label, "split": "train"}
        if plan.original is not None:
            metadata[plan.name]["original"] = plan.original
    return metadata


def make_sample(
    save_path: str | os.PathLike[str] = "data/sample",
    *,
    originals: int = 60,
    people: int = 30,
    seed: int = SEED,
    workers: int | None = None,
    show_progress: bool = True,
) -> Path:
    """Draws the embedded sample in the layout of Facebook's DFDC data set and returns its folder.

    `originals` clips of `people` drawn people, one fake of each, and three that a pipeline must cope with: no face,
    two people, a file cut off in the middle. H.264 and AAC, 30 frames a second, 2.1 to 2.6 s, 640x360 or 360x640;
    two folders `dfdc_train_part_N` with `metadata.json`. `truth.json` says per video how it was made and per frame
    where the face is (`boxes`: x, y, width, height in pixels) and, for fakes, the swapped ellipse (`masks`: centre
    x, y, half axes, degrees). Depends on `originals`, `people` and `seed` alone, not on `workers` (default: all
    cores). A finished sample of the same parameters is returned at once; about a minute on two cores otherwise.

    Raises `ValueError` for fewer than 2 originals or people, `FileExistsError` if `save_path` holds foreign files.

    Format: Dolhansky et al., "The DeepFake Detection Challenge (DFDC) Dataset", 2020, arXiv:2006.07397.
    Taught in notebook 01_extract_frames.
    """
    for name, value in (("originals", originals), ("people", people)):
        if value < 2:
            raise ValueError(f"{name} must be 2 or more, got {value}")
    save_path = Path(save_path)
    parameters = SampleParameters(originals, people, seed)
    committed = _read_json(save_path / COMMIT)
    if committed.get("parameters") == asdict(parameters) and all(
        (save_path / name).exists() for name in _files(committed) - {LEFTOVERS}
    ):
        return save_path
    plans = plan_clips(parameters)
    parts = {part: [plan for plan in plans if plan.folder == part] for part in PARTS}
    record = {
        "parameters": asdict(parameters),
        "files": {part: [plan.name for plan in there] for part, there in parts.items()},
    }
    _prepare(save_path, record)

    jobs = Parallel(n_jobs=workers or cpu_count(), return_as="generator_unordered")(
        delayed(_render)(number, plan, save_path / plan.folder, seed) for number, plan in enumerate(plans)
    )
    truths = dict(tqdm(jobs, total=len(plans), desc="drawing the sample", disable=not show_progress))

    for part, there in parts.items():
        _write_json(save_path / part / METADATA, _metadata(there))
    _write_json(save_path / TRUTH, {plan.name: truths[number] for number, plan in enumerate(plans)})
    _write_json(save_path / COMMIT, record)
    (save_path / LEFTOVERS).unlink(missing_ok=True)
    return save_path

"""The sample as a whole: who appears in which clip, how it is written to disk, and which folder holds what."""

import functools
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from dfdc_utils.files import clear_leftovers, working_on
from dfdc_utils.sample.clips import ClipPlan, render_clip
from dfdc_utils.sample.people import draw_people
from dfdc_utils.workers import each

VERSION = 7  # raise it when the drawing changes: samples of another version are then drawn anew
SEED = 20_200_331  # the day DFDC ended
PARTS = ("dfdc_train_part_0", "dfdc_train_part_1")
RECORD, TRUTH, METADATA = "sample.json", "truth.json", "metadata.json"
RESULTS = ("faces", "model", "results")  # folders that may lie beside the clips: what other stages make of them
# Where the fault of a fake shows: in single frames, only over time, or in both. As many fakes of each.
FAKE_KINDS = ("steady", "temporal", "both")
UPRIGHT_FRACTION = 0.15  # of clips held upright
# Random streams of the seed (see also clips.py).
PEOPLE_STREAM, PLAN_STREAM = 10, 11


def make_sample(
    save_path: str | os.PathLike[str] = "data/sample",
    *,
    originals: int = 60,
    people: int = 30,
    seed: int = SEED,
    workers: int | None = None,
    show_progress: bool = True,
) -> Path:
    """Draw the embedded sample in the layout of Facebook's DFDC data set and return its folder.

    The sample has `originals` clips of `people` drawn people, one fake of each, and three clips that a pipeline must
    cope with: no face, two people, a file that is cut off. Clips are H.264 and AAC, one in ten without sound, 2.1 to
    2.6 s long. `truth.json` has for each video how it was made and for each frame where the face is (`boxes`: x, y,
    width, height in pixels) and, for fakes, the swapped ellipse (`masks`: centre x, y, half axes, degrees). The same
    `originals`, `people` and `seed` give the same bytes, with any number of `workers`. A finished sample of the same
    parameters is returned at once, one of other parameters is replaced.

    Raises `ValueError` for fewer than 2 originals or people, `FileExistsError` if `save_path` is a file, or a folder of
    other things than a sample and its `faces`, `model` and `results`.
    Format: Dolhansky et al. 2020, https://arxiv.org/abs/2006.07397. Taught in notebook 01.
    """
    if originals < 2 or people < 2:
        raise ValueError(f"originals and people must be 2 or more, got {originals} and {people}")
    save_path = Path(save_path)
    parameters = {"originals": originals, "people": people, "seed": seed, "version": VERSION}
    if _is_finished(save_path, parameters):
        return save_path
    target = save_path.resolve()  # files are drawn beside the folder itself, not beside a link to it
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file: give a folder as save_path")
    # Listed before the record is read: another process that draws here writes the record first.
    others = sorted(path.name for path in target.glob("*") if path.name not in RESULTS)
    if others and _read_parameters(target) is None:
        remedy = "move it away, or give an empty or new folder as save_path"
        raise FileExistsError(f"{target} holds {others[0]}, which make_sample did not write: {remedy}")
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target.parent)
    plans = plan_clips(originals, people, seed)
    with working_on(target.parent, target.name) as partial:
        _draw(plans, partial, seed, workers, show_progress)
        if not _is_finished(target, parameters):  # else another process was faster
            _put_in_place(partial, target, parameters)
    return save_path


def find_data(sample_path: str | Path = "data/sample") -> Path:
    """Return the folder that the environment variable `DFDC_DATA` names, or the sample if it is not set.

    The sample is drawn if it is not there. Raises `FileNotFoundError` if `DFDC_DATA` names none. Taught in notebook 01.
    """
    named = os.environ.get("DFDC_DATA")
    if not named:
        return make_sample(sample_path)
    folder = Path(named).expanduser()
    if not folder.is_dir():
        remedy = "Give its absolute path, or unset DFDC_DATA to use the sample."
        raise FileNotFoundError(f"DFDC_DATA={named}: there is no such folder (looked from {Path.cwd()}). {remedy}")
    return folder


def data_folder(location: str | Path, *, base: str | Path = "data") -> Path:
    """Return the folder below `base` for the faces, models and results of the videos in `location`.

    It is `base/sample` for the embedded sample, wherever that lies, and `base/<name of location>` for other videos. If
    their folder is called `sample` or has no name, a hash of its path follows. Creates nothing. Taught in notebook 01.
    """
    if _read_parameters(Path(location)) is not None:
        return Path(base) / "sample"
    path = Path(os.path.normpath(Path(location).absolute()))  # links keep the name that the user gave
    name = path.name
    if name.casefold() in ("", "sample"):  # some file systems ignore case
        name = f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}".lstrip("-")
    return Path(base) / name


def plan_clips(originals: int, people: int, seed: int) -> list[ClipPlan]:
    """Decide from the seed alone what each clip shows: originals, their fakes, then the three special clips."""
    cast = draw_people(np.random.default_rng([seed, PEOPLE_STREAM]), people)
    rng = np.random.default_rng([seed, PLAN_STREAM])
    letters = rng.integers(0, 26, (2 * originals + 3, 10))
    names = ["".join(chr(97 + letter) for letter in row) + ".mp4" for row in letters]
    features = np.array([person.features for person in cast])
    leads = [int(i % people) for i in rng.permutation(max(originals, people))][:originals]
    kinds = np.resize(FAKE_KINDS, originals)[rng.permutation(originals)].tolist()
    upright = set(rng.permutation(originals)[: max(1, round(UPRIGHT_FRACTION * originals))].tolist())
    real, fake = [], []
    for i, lead in enumerate(leads):
        person, part = cast[lead], PARTS[i * 2 // originals]
        candidates = rng.permutation([p for p in range(people) if p != lead])[:4]
        # The most different inner face: by the mean difference of its numbers, each relative to its size.
        own, others = np.abs(features[lead]), np.abs(features[candidates])
        misfits = np.abs(features[candidates] - features[lead]) / (own + others + 0.05)
        donor = cast[candidates[np.argmax(misfits.mean(axis=1))]]
        size = (360, 640) if i in upright else (640, 360)
        real.append(ClipPlan(names[i], part, "real", index=i, scene=i, people=(person,), size=size))
        number = originals + i
        fake.append(replace(real[i], name=names[number], kind=kinds[i], index=number, donor=donor, original=names[i]))
    last = 2 * originals
    pair = tuple(cast[p] for p in rng.permutation(people)[:2])
    return [
        *real,
        *fake,
        ClipPlan(names[last], PARTS[0], "no_face", index=last, scene=last, people=()),
        ClipPlan(names[last + 1], PARTS[1], "two_people", index=last + 1, scene=last + 1, people=pair),
        replace(fake[0], name=names[last + 2], kind="cut_off", index=last + 2),
    ]


def _read_parameters(folder: Path) -> dict[str, int] | None:
    """Read from `sample.json` how a sample was drawn: {} if it is not finished, None if the folder is not ours."""
    try:
        return dict(json.loads((folder / RECORD).read_bytes())["parameters"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _list_clips(part: Path) -> list[Path]:
    """List the clips that a part should have, if it is there. None of their names leads elsewhere."""
    try:
        return [part / name for name in json.loads((part / METADATA).read_bytes()) if (part / name).parent == part]
    except (OSError, ValueError):
        return []


def _is_finished(folder: Path, parameters: dict[str, int]) -> bool:
    clips = [path for part in PARTS for path in _list_clips(folder / part) or [folder / part / METADATA]]
    return _read_parameters(folder) == parameters and all(path.is_file() for path in (folder / TRUTH, *clips))


def _draw(plans: list[ClipPlan], folder: Path, seed: int, workers: int | None, show_progress: bool) -> None:
    """Draw all clips into `folder` and write `metadata.json` and `truth.json`."""
    for part in PARTS:
        (folder / part).mkdir()
    drawn = each(functools.partial(render_clip, folder=folder, seed=seed), plans, workers=workers)
    truth = dict(tqdm(drawn, total=len(plans), desc="drawing the sample", disable=not show_progress))
    metadata: dict[str, dict[str, dict[str, str]]] = {part: {} for part in PARTS}
    for plan in sorted(plans, key=lambda plan: plan.name):
        people = "+".join(str(person.number) for person in plan.people)  # 3, or 3+7
        entry = {"label": "FAKE" if plan.original else "REAL", "split": "train", "person": people}
        metadata[plan.part][plan.name] = entry | ({"original": plan.original} if plan.original else {})
    for part in PARTS:
        _write_json(folder / part / METADATA, metadata[part])
    _write_json(folder / TRUTH, {plan.name: truth[plan.name] for plan in plans})


def _put_in_place(partial: Path, target: Path, parameters: dict[str, int]) -> None:
    """Move the drawn files to `target`, `sample.json` last, and remove clips that only an older sample there had."""
    target.mkdir(exist_ok=True)
    # Until all is moved, the record has no parameters. If this process is killed, the next call knows from the record
    # that the folder is ours, and from the metadata, which goes before the clips, which of the clips are.
    _write_json(partial / RECORD, {"parameters": {}})
    _write_json(partial / "done", {"parameters": parameters})
    shutil.move(partial / RECORD, target / RECORD)
    for part in PARTS:
        (target / part).mkdir(exist_ok=True)
        for path in _list_clips(target / part):
            path.unlink(missing_ok=True)
        for path in sorted((partial / part).iterdir(), key=lambda path: path.name != METADATA):
            shutil.move(path, target / part / path.name)  # copies if `target` is another disk than its parent
    shutil.move(partial / TRUTH, target / TRUTH)
    shutil.move(partial / "done", target / RECORD)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")

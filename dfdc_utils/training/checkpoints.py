"""The state of an unfinished training on disk: all that the next step depends on, written whole or not at all."""

import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.files import replacing


@dataclass
class Progress:
    """How far a training has come.

    `settings` are numbers and texts that people can read: all that its result depends on. `step` counts the steps
    taken, `sums` adds up loss and accuracy over the current epoch, `history` has one row per finished epoch, and
    `best_scores` are the validation scores of the best one. `variables` are those of model and optimizer.
    """

    settings: dict[str, Any]
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: list[dict[str, float]] = field(default_factory=list)
    best_scores: list[float] = field(default_factory=list)
    variables: list[NDArray[Any]] = field(default_factory=list, repr=False)

    def require(self, settings: dict[str, Any], *, what: str, remedy: str) -> None:
        """Raise `ConfigMismatch`, naming each setting that differs, unless the training has these settings."""
        mine = self.settings
        differ = [key for key in {**mine, **settings} if mine.get(key) != settings.get(key)]
        if differ:
            named = ", ".join(f"{key} {mine.get(key)!r} instead of {settings.get(key)!r}" for key in differ)
            raise ConfigMismatch(f"{what} with {named}. {remedy}")


def save_progress(path: Path, progress: Progress) -> None:
    """Write it to `path` (.npz). Raises `OSError` if that fails; the old file is then still there."""
    note = {item.name: getattr(progress, item.name) for item in fields(progress) if item.name != "variables"}
    arrays: dict[str, Any] = {f"{number:05d}": value for number, value in enumerate(progress.variables)}
    with replacing(path) as partial:
        np.savez(partial, progress=np.frombuffer(json.dumps(note).encode(), np.uint8), **arrays)


def load_progress(path: Path) -> Progress | None:
    """Read what `save_progress` wrote; None if there is no such file, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:  # pickles could run code
            note = json.loads(bytes(stored["progress"]))
            variables = [stored[name] for name in sorted(set(stored.files) - {"progress"})]
        return Progress(**note, variables=variables)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None

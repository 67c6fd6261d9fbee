"""A training that is under way, on disk: all that the next step depends on, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.files import replacing


@dataclass
class Progress:
    """How far a training is.

    `step` counts the steps taken; `sums` are those of loss and accuracy over the epoch so far; `history` has a row for
    each epoch that is through; `best_scores` are the validation scores at the best of them; `variables` the values of
    all variables of model and optimizer, in their order.
    """

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: list[dict[str, float]] = field(default_factory=list)
    best_scores: list[float] = field(default_factory=list)
    variables: list[NDArray[Any]] = field(default_factory=list, repr=False)


def save_progress(path: Path, progress: Progress, fingerprint: str) -> None:
    """Write it to `path` (.npz). Raises `OSError` if that fails; what was there before is then still there."""
    note = {item.name: getattr(progress, item.name) for item in fields(progress) if item.name != "variables"}
    text = json.dumps({"fingerprint": fingerprint, **note}).encode()
    arrays: dict[str, Any] = {f"{number:05d}": value for number, value in enumerate(progress.variables)}
    with replacing(path) as partial:
        np.savez(partial, progress=np.frombuffer(text, np.uint8), **arrays)


def load_progress(path: Path, fingerprint: str) -> Progress | None:
    """What `save_progress` wrote there for the training with this fingerprint; None if there is no such thing."""
    try:
        with np.load(path, allow_pickle=False) as stored:  # pickles could run code
            note = json.loads(bytes(stored["progress"]))
            variables = [stored[name] for name in sorted(set(stored.files) - {"progress"})]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Progress(**note, variables=variables) if note.pop("fingerprint", None) == fingerprint else None

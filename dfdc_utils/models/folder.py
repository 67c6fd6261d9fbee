"""A trained model's folder: the model, how videos are prepared for it, and how its scores are read.

- `model.keras`: the weights, plain Keras; `sequence.json`: how videos must be prepared for it;
- `calibration.json`: the temperature and threshold of its scores; `training.json`: what it was trained on and how;
- `split.csv`: which video was in which split (not for a model trained on photographs);
- `ood.npz`: how to recognise input that is unlike its training data (only for a model trained on photographs);
- `history.csv` and `card.md`, for people to read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models.calibration import Calibration
from dfdc_utils.models.ood import OODDetector
from dfdc_utils.quiet import quiet_import

if TYPE_CHECKING:
    import keras

PRETRAINED = "pretrained"  # names the model that is part of the package
# Below a model's folder: the same CNN trained to score each frame by itself, the baseline that the model must beat.
MEAN_BASELINE = "mean_over_frames"


@dataclass(frozen=True)
class ModelFolder:
    """What lies in a finished model's folder, read once. `model` is loaded when it is first used.

    `note` is `training.json`; `split` has a row per video with `video`, `label`, `original`, `part`, `split`.

        folder = ModelFolder.open("pretrained")
        scores = folder.model(sequences)  # (B, 1)
    """

    path: Path
    sequence: SequenceConfig
    calibration: Calibration
    note: dict[str, Any] = field(default_factory=dict, repr=False)
    split: pd.DataFrame | None = field(default=None, repr=False)
    ood: OODDetector | None = field(default=None, repr=False)

    @classmethod
    def open(cls, name_or_path: str | Path = PRETRAINED) -> ModelFolder:
        """Open a folder that training has left, or for `"pretrained"` the one in the package. Loads no TensorFlow.

        Raises `FileNotFoundError` if there is no finished model, `ConfigMismatch` or `ValueError` for a damaged file.
        Taught in notebook 05.
        """
        path = model_path(name_or_path)
        note = read_note(path)
        if not note:
            raise FileNotFoundError(
                f"{path} holds a training that is not finished. Run `dfdc train` again to finish it."
            )
        split, ood = path / "split.csv", path / "ood.npz"
        return cls(
            path,
            SequenceConfig.load(path / "sequence.json"),
            Calibration.load(path / "calibration.json"),
            note,
            pd.read_csv(split, dtype=str, keep_default_na=False) if split.is_file() else None,
            OODDetector.load(ood) if ood.is_file() else None,
        )

    @functools.cached_property
    def model(self) -> keras.Model:
        """The Keras model: sequences (B, T, H, W, 3) to scores (B, 1). Raises like `load_model`."""
        return load_model(self.path)

    @property
    def data(self) -> str:
        """What the model was trained on, in words to stand beside its scores."""
        return str(self.note.get("data", "unknown videos"))

    @property
    def digest(self) -> str:
        """SHA-256 of `model.keras`."""
        return hashlib.sha256((self.path / "model.keras").read_bytes()).hexdigest()

    @property
    def baseline(self) -> ModelFolder | None:
        """The mean over frames that was trained beside this model, if it was."""
        path = self.path / MEAN_BASELINE
        return ModelFolder.open(path) if read_note(path) else None

    def require_faces(self, save_path: str | Path) -> SequenceConfig:
        """Check that the faces in `save_path` were prepared as this model needs them; give their settings.

        Raises `ConfigMismatch` if not.
        """
        made_with = SequenceConfig.load(Path(save_path) / "sequence.json")
        remedy = "Process the videos with the model's settings (`dfdc process --for-model`), or train again."
        self.sequence.require(made_with, what=f"the faces in {save_path} were made", remedy=remedy)
        return made_with


def model_path(name_or_path: str | Path) -> Path:
    """The folder of a model: that in the package for `"pretrained"`, else the path itself, or a `model.keras` in it.

    Raises `FileNotFoundError` if no `model.keras` is there.
    """
    named = name_or_path == PRETRAINED  # a folder of that name is a `Path`, or "./pretrained"
    path = Path(__file__).parent / "weights" / PRETRAINED if named else Path(name_or_path)
    path = path.parent if path.suffix == ".keras" else path
    if (path / "model.keras").is_file():
        return path
    if named:
        raise FileNotFoundError(f"{path} holds no model. Install the package again, or run `dfdc pretrain`.")
    what = "there is no such folder" if not path.exists() else "it holds no model.keras"
    raise FileNotFoundError(
        f"{path}: {what}. Use the model in the package (--model pretrained), or train one (`dfdc train`, notebook 04)."
    )


def load_model(path: str | Path) -> keras.Model:
    """Load `model.keras` from a file, or from the folder that training left it in; `"pretrained"` is in the package.

    No file can run code by being loaded: Keras' safe mode stays on, and only Keras' own zip format is opened (no
    pickle, no HDF5 file). Raises `FileNotFoundError` if there is no model, `ValueError` for another kind of file.
    Taught in notebook 04.
    """
    file = Path(path)
    if not file.is_file():
        file = model_path(path) / "model.keras"
    if not zipfile.is_zipfile(file) or file.suffix != ".keras":  # Keras chooses the reader by the suffix
        raise ValueError(f"{file} is not a model in Keras 3's format (.keras). Other formats can run code: not loaded.")
    with quiet_import():
        import keras
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{file} cannot be loaded safely ({error}). Models of this project need no code of their own: get it from "
            "where it was trained."
        ) from error


def read_note(folder: Path) -> dict[str, Any]:
    """Read `training.json`, which training writes last; empty if the folder holds no finished model."""
    try:
        note = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


@dataclass(frozen=True)
class StartFrom:
    """For `train(build=…)`: loads the model of a folder instead of building one, to go on from its weights."""

    folder: ModelFolder

    @property
    def origin(self) -> dict[str, str]:
        """What the model had learned from, on what terms (`notes`), and the `digest` of its file."""
        notes = str(self.folder.note.get("notes", ""))
        return {"data": self.folder.data, "notes": notes, "digest": self.folder.digest}

    def __call__(self, frame_count: int, face_size: int) -> keras.Model:
        """Load it. Raises `ConfigMismatch` if it needs sequences of another length or faces of another size."""
        model = load_model(self.folder.path)  # anew, since training changes it
        if tuple(model.input_shape[1:3]) != (frame_count, face_size):
            raise ConfigMismatch(
                f"the model in {self.folder.path} takes {model.input_shape[1]} frames of {model.input_shape[2]} "
                f"pixels, but these are {frame_count} of {face_size}: process the videos as its sequence.json says"
            )
        return model


def start_from(name_or_path: str | Path = PRETRAINED) -> StartFrom:
    """Go on from a trained model: `train(…, build=start_from("pretrained"))`.

    Raises like `ModelFolder.open`. Taught in notebook 04.
    """
    return StartFrom(ModelFolder.open(name_or_path))

"""A trained model's folder: the model, how videos are prepared for it, and how its scores are read.

- `model.keras`: the weights, plain Keras; `sequence.json`: how videos must be prepared for it;
- `calibration.json`: the temperature and threshold of its scores; `training.json`: what it was trained on and how;
- `split.csv`: which video was in which split. A model trained on photographs has `ood.npz` instead: how to recognise
  out-of-distribution input, and maybe `flicker.json`: how much real faces flicker;
- `history.csv` and `card.md`, for people to read; after pretraining also `metrics.csv`. What was measured later, on
  deepfakes (`deepfakes.csv`) and on pictures of other kinds (`outliers.csv`), is for the card and the verdicts.

`training.json` is removed first and written last: a folder without it holds no finished model.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig
from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.models.calibration import Calibration
from dfdc_utils.models.flicker import Flicker
from dfdc_utils.models.ood import OODDetector
from dfdc_utils.videos import DataKind

if TYPE_CHECKING:
    import keras

PRETRAINED = "pretrained"  # names the model that is part of the package
# Below a model's folder: the same CNN trained to score each frame by itself, the baseline that the model must beat.
MEAN_BASELINE = "mean_over_frames"
_BESIDE_MODEL = ["training.json", "calibration.json", "card.md", "ood.npz", "flicker.json"]
_BESIDE_MODEL += ["history.csv", "split.csv", "metrics.csv", "outliers.csv", "deepfakes.csv"]


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """What lies in a finished model's folder, read once; `model` is loaded when it is first used.

    `note` is `training.json`, `split` is `split.csv` (one row per video), `deepfakes` is `deepfakes.csv`: what the
    verdicts were on deepfakes and real clips of other data sets, one row per set.

        folder = ModelFolder.open("pretrained")
        scores = folder.model(sequences)  # (B, 1)
    """

    path: Path
    sequence: SequenceConfig
    calibration: Calibration
    note: dict[str, Any] = field(default_factory=dict, repr=False)
    split: pd.DataFrame | None = field(default=None, repr=False)
    ood: OODDetector | None = field(default=None, repr=False)
    deepfakes: pd.DataFrame | None = field(default=None, repr=False)
    flicker: Flicker | None = field(default=None, repr=False)

    @classmethod
    def open(cls, name_or_path: str | Path = PRETRAINED) -> ModelFolder:
        """Open a folder that training left, or for `"pretrained"` the one in the package. Loads no TensorFlow.

        Raises `FileNotFoundError` if there is no finished model, `ConfigMismatch` or `ValueError` for a damaged file.
        Taught in notebook 05.
        """
        path = model_path(name_or_path)
        note = read_note(path)
        if not note:
            raise FileNotFoundError(f"{path} holds no finished model. Run `dfdc train` again to finish its training.")
        names = ("split.csv", "ood.npz", "deepfakes.csv", "flicker.json")
        split, ood, deepfakes, flicker = (path / name if (path / name).is_file() else None for name in names)
        always = (SequenceConfig.load(path / "sequence.json"), Calibration.load(path / "calibration.json"), note)
        videos = pd.read_csv(split, dtype=str, keep_default_na=False) if split else None
        others = (OODDetector.load(ood) if ood else None, pd.read_csv(deepfakes) if deepfakes else None)
        return cls(path, *always, videos, *others, Flicker.load(flicker) if flicker else None)

    @contextlib.contextmanager
    def rewriting(self, kept: Iterable[Path] = ()) -> Iterator[None]:
        """Replace the model in the folder by this one; the block writes `model.keras`, tables and card.

        Files that are `kept`, maybe of this very folder, are copied to it. Killed at any moment, it leaves the old
        model, the new one, or a folder that `open` refuses. Raises `OSError`.
        """
        prepare_target(self.path, what="the model")
        contents = {path.name: path.read_bytes() for path in kept if path.is_file()}
        for name in _BESIDE_MODEL:
            (self.path / name).unlink(missing_ok=True)
        for name, content in contents.items():
            with replacing(self.path / name) as partial:
                partial.write_bytes(content)
        yield
        self.sequence.save(self.path / "sequence.json")
        write_atomically(self.path / "calibration.json", self.calibration.to_json())
        if self.split is not None:
            write_atomically(self.path / "split.csv", self.split.to_csv(index=False))
        if self.ood:
            self.ood.save(self.path / "ood.npz")
        if self.flicker:
            write_atomically(self.path / "flicker.json", self.flicker.to_json())
        write_atomically(self.path / "training.json", json.dumps(self.note, indent=1))

    @functools.cached_property
    def model(self) -> keras.Model:
        """The Keras model: sequences (B, T, H, W, 3) to scores (B, 1). Raises like `load_model`."""
        return load_model(self.path)

    @property
    def data(self) -> str:
        """What the model was trained on, in words to stand beside its scores."""
        return str(self.note.get("data", "unknown videos"))

    @property
    def data_kind(self) -> DataKind:
        """`synthetic` for a model trained on the embedded sample, or begun from such a model; else `recorded`."""
        return "synthetic" if self.note["data_kind"] == "synthetic" else "recorded"

    @property
    def error_rates(self) -> str:
        """How often its verdicts are wrong: on clips of other data sets, if that was measured, else in validation."""
        if self.deepfakes is None:
            return self.calibration.in_words()
        sums = self.deepfakes.sum(numeric_only=True).astype(int)
        real = "{real_called_fake} of {real} real ones were called fake and {real_unsure} unsure".format_map(sums)
        fake = "{fake_called_fake} of {fake} fakes were called fake".format_map(sums)
        return f"On clips of other data sets (see the model's card), {real}; {fake}."

    @property
    def caveats(self) -> str:
        """What holds for every video that this model scores: its error rates, and what it was trained on."""
        unknown = "How this carries over to other videos is not known." if self.calibration.real else ""
        elsewhere = unknown if self.deepfakes is None else self.error_rates
        sentences = (self.calibration.in_words(), elsewhere, f"The model was trained on {self.data}.")
        return " ".join(filter(None, sentences))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of `model.keras`."""
        return hashlib.sha256((self.path / "model.keras").read_bytes()).hexdigest()

    @property
    def baseline(self) -> ModelFolder | None:
        """The mean over frames that was trained on the same data in a folder below this one, if it was."""
        path = self.path / MEAN_BASELINE
        note = read_note(path)
        return ModelFolder.open(path) if note and note.get("trained_on") == self.note.get("trained_on") else None

    def require_faces(self, save_path: str | Path) -> SequenceConfig:
        """Return the settings of the faces in `save_path`. Raises `ConfigMismatch` if this model needs others."""
        made_with = SequenceConfig.load(Path(save_path) / "sequence.json")
        remedy = "Process the videos with the model's settings (`dfdc process --for-model`), or train again."
        self.sequence.require(made_with, what=f"the faces in {save_path} were made", remedy=remedy)
        return made_with


def model_path(name_or_path: str | Path) -> Path:
    """Find the folder of a model: for `"pretrained"` that in the package, else the path, or that of its `model.keras`.

    Raises `FileNotFoundError` if no `model.keras` is there.
    """
    named = name_or_path == PRETRAINED  # a folder of that name is a `Path`, or "./pretrained"
    path = Path(__file__).parent / "weights" / PRETRAINED if named else Path(name_or_path)
    path = path.parent if path.name == "model.keras" else path
    if (path / "model.keras").is_file():
        return path
    if named:
        raise FileNotFoundError(f"{path} holds no model. Install the package again, or run `dfdc pretrain`.")
    what = "it holds no finished model" if path.exists() else "there is no such folder"
    remedy = "Use the model in the package (--model pretrained), or train one (`dfdc train`, notebook 04)."
    raise FileNotFoundError(f"{path}: {what}. {remedy}")


def load_model(path: str | Path) -> keras.Model:
    """Load `model.keras` from a file, or from the folder that training left it in; `"pretrained"` is in the package.

    Loading runs no code from the file: Keras' safe mode stays on, and only its zip format is opened (no pickle, no
    HDF5). Raises `FileNotFoundError` if there is no model, `ValueError` for other files. Taught in notebook 04.
    """
    file = Path(path)
    if not file.is_file():
        file = model_path(path) / "model.keras"
    if not zipfile.is_zipfile(file) or file.suffix != ".keras":  # Keras chooses the reader by the suffix
        raise ValueError(f"{file} is not a model in Keras 3's format (.keras). Other formats can run code: not loaded.")
    from dfdc_utils.quiet import keras

    try:
        return keras.saving.load_model(file, safe_mode=True)
    except (TypeError, ValueError, KeyError, OSError) as error:
        remedy = "Models of this project need no code of their own: get it from where it was trained."
        raise ValueError(f"{file} cannot be loaded safely ({error}). {remedy}") from error


def read_note(folder: Path) -> dict[str, Any]:
    """Read `training.json`, which training writes last; empty if the folder holds no finished model of this version."""
    try:
        note = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and "data_kind" in note else {}


@dataclass(frozen=True)
class StartFrom:
    """For `train(build=…)`: loads the model of a folder instead of building a new one (see `start_from`)."""

    folder: ModelFolder
    audio: bool = False

    def __call__(self, frame_count: int, face_size: int) -> keras.Model:
        """Load it anew, since training changes it. Raises `ConfigMismatch` if it takes sequences of another shape."""
        from dfdc_utils.models.sync import add_sound, hears  # imports Keras

        model = load_model(self.folder.path)
        takes = (model.input["sequence"] if hears(model) else model.input).shape[1:3]
        if tuple(takes) != (frame_count, face_size):
            what = f"takes {takes[0]} frames of {takes[1]} pixels, but these are {frame_count} of {face_size}"
            raise ConfigMismatch(f"{self.folder.path}: it {what}. Process the videos as its sequence.json says.")
        if self.audio and not hears(model):
            model.trainable = False
            model = add_sound(model)
        return model


def start_from(name_or_path: str | Path = PRETRAINED, *, audio: bool = False) -> StartFrom:
    """Fine-tune a trained model: `train(…, build=start_from("pretrained"))`. Raises like `ModelFolder.open`.

    With `audio`, a model of pictures learns to hear: only that part is trained. Taught in notebooks 04 and 07.
    """
    return StartFrom(ModelFolder.open(name_or_path), audio)

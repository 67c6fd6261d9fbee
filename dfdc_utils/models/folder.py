"""Models on disk: where they lie, how they are loaded without running code, and what was noted beside them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.quiet import quiet_import

with quiet_import():
    import keras

PRETRAINED = "pretrained"  # names the model that is part of the package


def model_folder(name_or_path: str | Path) -> Path:
    """The folder of a model: that of the one in the package for `"pretrained"`, else the path itself.

    Raises `FileNotFoundError` if `"pretrained"` is asked for and the package came without it.
    """
    if name_or_path != PRETRAINED:  # a folder of that name is a `Path`, or "./pretrained"
        return Path(name_or_path)
    folder = Path(__file__).parent / "weights" / PRETRAINED
    if not (folder / "model.keras").is_file():
        raise FileNotFoundError(
            f"{folder} holds no model: install the package again, or run python -m dfdc_utils pretrain"
        )
    return folder


def load_model(path: str | Path) -> keras.Model:
    """Load `model.keras` from a file, or from the folder that training left it in; `"pretrained"` is in the package.

    No file can run code by being loaded: Keras' safe mode stays on, and anything but Keras' own zip format (a pickle,
    an HDF5 file) is not opened at all. Raises `FileNotFoundError` saying how to make one, `ValueError` for such a file.
    Taught in notebook 04.
    """
    file = model_folder(path)
    file = file / "model.keras" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no model. Train one: notebook 04, or python -m dfdc_utils train.")
    if not zipfile.is_zipfile(file) or file.suffix != ".keras":  # by its name Keras picks the reader
        raise ValueError(f"{file} is not a model in Keras 3's format (.keras). Other formats can run code: not loaded.")
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except (TypeError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{file} cannot be loaded safely ({error}). Models of this project need no code of their own: get it from "
            "where it was trained."
        ) from error


def read_note(folder: Path) -> dict[str, Any]:
    """What `training.json` says of the model beside it; nothing if the folder holds no finished model."""
    try:
        note = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def read_split(folder: Path) -> pd.DataFrame | None:
    """Which video was in which split of the model in a folder; None for one that was trained on no videos."""
    file = folder / "split.csv"
    return pd.read_csv(file, dtype=str, keep_default_na=False) if file.is_file() else None


def describe_data(folder: Path) -> str:
    """What the model in a folder was trained on, in words to stand beside its scores."""
    return str(read_note(folder).get("data", "videos that nothing here names"))


@dataclass(frozen=True)
class StartFrom:
    """For `train(build=…)`: builds no new model, but loads the one in `folder`, to go on from its weights."""

    folder: Path

    @property
    def origin(self) -> dict[str, str]:
        """What the model had learned from, on what terms (`notes`), and a `digest` of its file."""
        digest = hashlib.sha256((self.folder / "model.keras").read_bytes()).hexdigest()
        note = read_note(self.folder)
        return {"data": describe_data(self.folder), "notes": str(note.get("notes", "")), "digest": digest}

    def __call__(self, frame_count: int, face_size: int) -> keras.Model:
        """The model. Raises `ConfigMismatch` if sequences are not as long or faces not as large as it needs."""
        model = load_model(self.folder)
        if tuple(model.input_shape[1:3]) != (frame_count, face_size):
            raise ConfigMismatch(
                f"the model in {self.folder} looks at {model.input_shape[1]} frames of {model.input_shape[2]} pixels, "
                f"but these are {frame_count} of {face_size}: process the videos as its sequence.json says"
            )
        return model


def start_from(name_or_path: str | Path = PRETRAINED) -> StartFrom:
    """Go on from a trained model, of a folder or `"pretrained"`: `train(…, build=start_from("pretrained"))`.

    Raises `FileNotFoundError` if there is none. Taught in notebook 04.
    """
    folder = model_folder(name_or_path)
    if not (folder / "model.keras").is_file():
        raise FileNotFoundError(f"{folder} holds no model to start from")
    return StartFrom(folder)


def save_small(model: keras.Model, path: Path) -> None:
    """Save a model with its weights in half precision on disk; plain Keras loads it into full precision again."""
    import h5py

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(parts["model.weights.h5"]), "r") as full, h5py.File(buffer, "w") as half:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = half.require_group(name)
            else:
                is_float = item.dtype == np.float32 and np.abs(item[()]).max(initial=0) < 60_000  # half's largest
                made = half.create_dataset(name, data=item[()].astype(np.float16) if is_float else item[()])
            made.attrs.update(item.attrs)

        full.visititems(copy)
        half.attrs.update(full.attrs)
    parts["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def digest_weights(model: keras.Model) -> str:
    """A fingerprint of all weights."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()

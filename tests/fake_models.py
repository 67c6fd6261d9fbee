"""Folders of models that were not trained: opened without files, or written as training leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pandas as pd
from faces_on_disk import SMALL

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import Calibration, ModelFolder, OODDetector, build_cnn_lstm


def open_model(
    model: keras.Model | None = None,
    sequence: SequenceConfig = SMALL,
    *,
    path: Path = Path("nowhere"),
    calibration: Calibration | None = None,
    data: str = "nothing",
    data_kind: str = "synthetic",
    split: pd.DataFrame | None = None,
    ood: OODDetector | None = None,
) -> ModelFolder:
    """What `ModelFolder.open` gives, around a model in memory: an untrained small one by default."""
    folder = ModelFolder(
        path, sequence, calibration or Calibration(), {"data": data, "data_kind": data_kind}, split, ood
    )
    folder.__dict__["digest"] = "0" * 64
    folder.__dict__["model"] = model or build_cnn_lstm(sequence.frame_count, sequence.face_size)
    return folder


def save_model(path: Path, model: keras.Model | None = None, sequence: SequenceConfig = SMALL, **note: Any) -> Path:
    """The files that `ModelFolder.open` needs."""
    path.mkdir(parents=True, exist_ok=True)
    model = model or build_cnn_lstm(sequence.frame_count, sequence.face_size)
    model.save(path / "model.keras")
    sequence.save(path / "sequence.json")
    (path / "calibration.json").write_text(Calibration().to_json())
    (path / "training.json").write_text(
        json.dumps({"data": "nothing", "data_kind": "recorded", "model": model.name, **note})
    )
    return path

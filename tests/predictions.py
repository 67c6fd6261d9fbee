"""Predictions and scores without a video or a model, for what shows and tabulates them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.models import Calibration, ModelFolder
from dfdc_utils.prediction import Prediction, WindowScore
from dfdc_utils.prediction.verdicts import TrackScore
from dfdc_utils.prediction.windows import FaceWindow

FITTED = Calibration(threshold=0.6, false_positive_rate=0.0, false_positive_rate_upper=0.34, recall=1.0, real=9, fake=9)


def track(*scores: tuple[float, float, float], number: int = 0, flaw: str = "") -> TrackScore:
    """A person with windows of (score, low, high), two seconds each, one a second."""
    windows = []
    for second, (score, low, high) in enumerate(scores):
        times = np.linspace(second, second + 2, 4)
        faces = FaceWindow(number, times, np.zeros((4, 4)), np.array([True, True, True, False]), (b"",) * 4, flaw)
        windows.append(WindowScore(score, low, high, faces))
    return TrackScore(number, tuple(windows))


def model_folder(calibration: Calibration = FITTED, *, time_step: float = 0.0) -> ModelFolder:
    """The folder of a model that does not exist."""
    note = {"data": "videos in 2 folders (a, b)", "data_kind": "recorded"}
    folder = ModelFolder(Path("nowhere"), SequenceConfig(time_step=time_step), calibration, note)
    folder.__dict__["digest"] = "0" * 64
    return folder


def prediction(
    *people: TrackScore, status: str = "ok", error: str = "", folder: ModelFolder | None = None
) -> Prediction:
    folder = folder or model_folder()
    return Prediction(Path("folder/v.mp4"), status, error, 3.0, people, folder)  # type: ignore[arg-type]


def scored(real: list[float], fake: list[float], groups: int | None = None) -> pd.DataFrame:
    """A table of scored videos, each of a source group of its own unless `groups` says how many there are."""
    scores = [*real, *fake]
    labels = ["REAL"] * len(real) + ["FAKE"] * len(fake)
    count = groups or len(scores)
    return pd.DataFrame({"label": labels, "score": scores, "original": [f"o{i % count}" for i in range(len(scores))]})

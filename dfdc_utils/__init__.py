"""Deepfake detection on DFDC videos with a CNN-LSTM.

Every name below is loaded when first used, so that `import dfdc_utils` takes milliseconds and no preprocessing worker
ever loads TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "read_catalog": "catalog",
    "balance_classes": "catalog",
    "split_by_original": "catalog",
    "report_leaks": "catalog",
    "make_sample": "sample",
    "probe_video": "video",
    "sample_frames": "video",
    "load_detector": "faces",
    "read_manifest": "processing",
    "SequenceConfig": "config",
    "load_sequence": "sequences",
    "make_dataset": "sequences",
    "build_cnn_lstm": "models",
    "load_model": "model_files",
    "pretrain": "pretraining",
    "choose_strategy": "strategies",
    "train": "training",
    "TrainingConfig": "config",
    "score_videos": "results",
    "summarise": "results",
    "Detector": "prediction",
    "predict_video": "prediction",
}
_MODULES = (
    *("augmentation", "blending", "calibration", "card", "catalog", "checkpoints", "commands", "config", "encoder"),
    *("errors", "explain", "extraction", "faces", "familiarity", "filming", "frames", "guards", "intervals", "loop"),
    *("markup", "model_files", "models", "outliers", "packets", "pairs", "photographs", "plots", "pool"),
    *("prediction", "pretrained", "pretraining", "processing", "report", "results", "sample", "sequences", "shards"),
    *("storage", "strategies", "tracks", "training", "verdicts", "video", "widgets", "windows"),
)

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dfdc_utils.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"dfdc_utils.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dfdc_utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

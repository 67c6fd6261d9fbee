"""`card.md`: what a model is for and not for, what it was trained on, how good it is, and how certain that is.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from dfdc_utils.files import write_atomically
from dfdc_utils.models.folder import ModelFolder
from dfdc_utils.models.ood import OOD_PERCENTILE

NOT_FOR = (
    "A decision about a person: a score is a reason to look, not evidence.",
    "Methods of forgery that it was not trained on, whole-image synthesis, or altered sound.",
    "Faces much smaller than the crops it was trained on, turned far away or covered; heavily compressed video.",
)
NOT_FOR_BLENDS = (
    "Filters, make-up effects and edited skin: they change a part of the face, as a swap does, and may be called fake.",
)
# What model hubs read; the rest of the card is for people.
FRONT_MATTER = """---
library_name: keras
license: {license}
pipeline_tag: video-classification
tags: [deepfake-detection, video-forensics]
metrics: [roc_auc, accuracy]
---"""
# Of `training.json`; all else in it are settings.
OWN_SECTIONS = ("fingerprint", "trained_on", "data", "data_kind", "model", "begun_from", "notes", "people")


def write_card(folder: ModelFolder, **measured: pd.DataFrame) -> Path:
    """Write `card.md` into the folder of a trained model and return its path.

    `measured` are the tables `summary`, `comparison` and `leaks` of an `Evaluation`; without them the card says that
    nothing was measured on test videos. `history.csv` is read from the folder, as are the tables of a model without a
    split: `metrics.csv`, `deepfakes.csv` and `outliers.csv`. Taught in notebook 05.
    """
    note, fitted = folder.note, folder.calibration
    settings = {key: value for key, value in note.items() if key not in OWN_SECTIONS}
    is_ours = folder.split is None or folder.data_kind == "synthetic"  # not trained on somebody's videos
    sections = [
        FRONT_MATTER.format(license="apache-2.0" if is_ours else "unknown"),
        "# Model card",
        f"A {note['model']} that scores a video's face sequence from 0 (real) to 1 (fake), trained on "
        f"**{folder.data}**.",
        *_uses(folder),
        *(_test_metrics(folder.data, measured) if folder.split is not None else _validation_metrics(folder)),
        "## Calibration",
        f"`calibration.json`: temperature {fitted.temperature:.2f}, operating threshold {fitted.threshold:.2f}. "
        f"{fitted.in_words()}",
        "## Data",
        str(note.get("notes") or note.get("begun_from", {}).get("notes", "")).strip(),
        *_data(folder, measured.get("leaks")),
        "## Training",
        _best_weights(pd.read_csv(folder.path / "history.csv")),
        f"Settings: {_inline(settings)}.",
        f"Videos are prepared as `sequence.json` says: {_inline(asdict(folder.sequence))}.",
    ]
    write_atomically(folder.path / "card.md", "\n\n".join(section for section in sections if section) + "\n")
    return folder.path / "card.md"


def _uses(folder: ModelFolder) -> list[str]:
    warning, own = "", "Videos that differ from its training data, unless it was tested on such."
    if folder.data_kind == "synthetic":
        warning = "**Its scores say nothing about real videos**: it was trained on drawn faces and drawn fakes."
        own = "Any real video: it gives no verdict on one."
    blends = NOT_FOR_BLENDS if folder.split is None or folder.note.get("self_blend") else ()
    return [warning, "## Not for", "\n".join(f"- {text}" for text in (own, *NOT_FOR, *blends))]


def _test_metrics(data: str, measured: dict[str, pd.DataFrame]) -> list[str]:
    sections = ["## Metrics on the test split"]
    if "summary" not in measured:
        return [*sections, "Nothing was measured on test videos yet: run `dfdc evaluate`."]
    sections += [
        f"On originals of {data} that are not in its training split, calibrated scores. 95 % intervals come from "
        "resampling whole source groups (an original with its fakes). `constant` is the value for a score of 0.5 "
        "everywhere.",
        _markdown(measured["summary"]),
    ]
    if "comparison" in measured:
        gains = "Baselines; `gain` is the model's AUC minus the baseline's, with its 95 % interval."
        sections += [gains, _markdown(measured["comparison"])]
    return sections


def _validation_metrics(folder: ModelFolder) -> list[str]:
    """Describe a model that was trained on photographs, by the tables that lie beside it."""
    sections = []
    if folder.deepfakes is not None:
        sections += [
            "## Metrics on deepfakes and real clips",
            "Clips of other data sets, of which none was used in training (YuNet, the first 5 s of each). A verdict is "
            "`fake`, `no sign of a fake` or `unsure`. The clips' terms forbid passing them on, so these numbers cannot "
            "be recomputed from this repository alone.",
            _markdown(folder.deepfakes),
        ]
    sections += [
        "## Metrics on people that it was not trained on",
        "**These are not metrics on deepfakes.** The fakes are blends of photographs, made like those of its training. "
        "The same people were used to calibrate the scores. 95 % intervals come from resampling people.",
        _markdown(pd.read_csv(folder.path / "metrics.csv")),
    ]
    if (folder.path / "outliers.csv").is_file():
        sections += [
            "## Out-of-distribution input",
            "`ood.npz` measures how far a video lies from the training data, as a percentile of the validation data. "
            f"From {OOD_PERCENTILE:.0f} on, the verdict is `unsure`. Fraction flagged of pictures that are no "
            "photographs of faces (no such picture was used to fit it):",
            _markdown(pd.read_csv(folder.path / "outliers.csv")),
        ]
    return sections


def _data(folder: ModelFolder, leaks: pd.DataFrame | None) -> list[str]:
    if folder.split is None:
        return [f"People: {_inline(folder.note.get('people', {}))}."]
    counts = folder.split.groupby("split")["label"].value_counts().unstack(fill_value=0)
    counts["originals"] = folder.split.groupby("split")["original"].nunique()
    sections = ["Videos in each split. A fake is always in the split of its original.", _markdown(counts.reset_index())]
    return sections + (["What the splits share:", _markdown(leaks)] if leaks is not None else [])


def _best_weights(history: pd.DataFrame) -> str:
    if "epoch" not in history:
        return f"{history['step'].max():.0f} steps. `history.csv` lists metrics of single frames during training."
    best = history.loc[history["val_loss"].idxmin()]
    lowest = f"the lowest validation loss ({best['val_loss']:.3f}; accuracy {best['val_accuracy']:.3f})"
    return f"{len(history)} epochs. The weights are those of epoch {best['epoch']:.0f}, which has {lowest}."


def _markdown(table: pd.DataFrame) -> str:
    """Format a table as Markdown; `DataFrame.to_markdown` would need one more package."""
    head, *rows = table.to_csv(index=False, sep="|", float_format="%.3f").splitlines()
    lines = [head, "|".join(["---"] * len(table.columns)), *rows]
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in lines)


def _inline(settings: dict[str, Any]) -> str:
    texts = {key: f"({_inline(value)})" if isinstance(value, dict) else str(value) for key, value in settings.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())

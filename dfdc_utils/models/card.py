"""`card.md`: what a model is for and not for, what it was trained on, how good it is and how certain that is.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from dfdc_utils.files import write_atomically
from dfdc_utils.models.folder import ModelFolder
from dfdc_utils.models.ood import OOD_PERCENTILE

SAMPLE = "the embedded synthetic sample"
NOT_FOR = (
    "A decision about a person: a score is a reason to look, not evidence.",
    "Methods of forgery that it was not trained on, whole-image synthesis, or altered sound.",
    "Faces much smaller than the crops it was trained on, turned far away or covered; video that was compressed heavily.",
)
NOT_FOR_BLENDS = (
    "Filters, make-up effects and edited skin: they change a part of the face, as a swap does, and may be called fake.",
)
OWN_SECTIONS = ("fingerprint", "trained_on", "data", "model", "begun_from", "notes", "people")  # of `training.json`


def write_card(folder: ModelFolder, **measured: pd.DataFrame) -> Path:
    """Write `card.md` into the folder of a trained model and return its path.

    What training left is read from the folder. `measured` are tables for the section "Metrics on the test split" by
    what they show (`summary`, `comparison`, `leaks`); without them the card says that nothing was measured on test
    videos. Taught in notebook 05.
    """
    note, notes = folder.note, str(folder.note.get("notes") or folder.note.get("begun_from", {}).get("notes", ""))
    sections = [
        "# Model card",
        f"A {note['model']} that scores a video's face sequence from 0 (real) to 1 (fake), trained on "
        f"**{folder.data}**.",
        *_uses(folder.data, blends=folder.split is None),
        notes.strip(),
        *(_test_metrics(folder.data, measured) if folder.split is not None else _validation_metrics(folder.path)),
        "## Calibration",
        _describe_calibration(folder),
        *_data(folder, measured.get("leaks")),
        "## Training",
        _best_epoch(folder.path),
        "Settings: " + _inline({key: value for key, value in note.items() if key not in OWN_SECTIONS}) + ".",
        f"Videos are prepared as `sequence.json` says: {_inline(asdict(folder.sequence))}.",
    ]
    write_atomically(folder.path / "card.md", "\n\n".join(section for section in sections if section) + "\n")
    return folder.path / "card.md"


def _uses(data: str, *, blends: bool) -> list[str]:
    sample = data.startswith(SAMPLE)
    warning = ""
    if sample:
        seen = (
            "it was trained on drawn faces and drawn fakes only"
            if data == SAMPLE
            else "the only fakes it saw are drawn"
        )
        warning = f"**Its scores say nothing about real videos**: {seen}."
    own = "Any real video." if sample else "Videos unlike its training data, before it was tested on such videos."
    listed = [own, *NOT_FOR, *(NOT_FOR_BLENDS if blends else ())]
    return [warning, "## Not for", "\n".join(f"- {text}" for text in listed)]


def _test_metrics(data: str, measured: dict[str, pd.DataFrame]) -> list[str]:
    sections = ["## Metrics on the test split"]
    if "summary" not in measured:
        return [*sections, "Nothing was measured on test videos yet: run `dfdc evaluate`."]
    sections += [
        f"On originals of {data} that are not in its training split, calibrated scores. 95 % intervals come from "
        "resampling whole source groups (an original with its fakes). `constant` is the value for a score of 0.5 "
        "everywhere.",
        markdown_table(measured["summary"]),
    ]
    if "comparison" in measured:
        sections += [
            "Baselines; `gain` is the model's AUC minus the baseline's, with its 95 % interval.",
            markdown_table(measured["comparison"]),
        ]
    return sections


def _validation_metrics(path: Path) -> list[str]:
    """Of a model that was trained on photographs: tables that `pretrain` has left beside it."""
    return [
        "## Metrics on people that it was not trained on",
        "**These are not metrics on deepfakes.** The fakes are blends of photographs, made like those of its training. "
        "The same people calibrate the scores. 95 % intervals come from resampling people.",
        markdown_table(pd.read_csv(path / "metrics.csv")),
        "## Out-of-distribution input",
        f"`ood.npz` measures how far a video lies from the training data, as a percentile of the validation data. From "
        f"{OOD_PERCENTILE:.0f} on, the verdict is `unsure`. Fraction flagged of kinds of pictures that are no "
        "photographs of faces:",
        markdown_table(pd.read_csv(path / "outliers.csv")),
    ]


def _describe_calibration(folder: ModelFolder) -> str:
    fitted = folder.calibration
    return (
        f"Fitted on {fitted.real} REAL and {fitted.fake} FAKE {fitted.counted} (`calibration.json`): temperature "
        f"{fitted.temperature:.2f}, operating threshold {fitted.threshold:.2f}. Above it lie "
        f"{fitted.false_positive_rate:.0%} of the REAL ones (false positive rate; at most "
        f"{fitted.false_positive_rate_upper:.0%} with 95 % confidence) and {fitted.recall:.0%} of the FAKE ones (recall)."
    )


def _data(folder: ModelFolder, leaks: pd.DataFrame | None) -> list[str]:
    sections = ["## Data"]
    if folder.split is None:
        people = folder.note.get("people", {})
        return [*sections, f"People: {_inline(people)}."] if people else []
    counts = folder.split.groupby("split")["label"].value_counts().unstack(fill_value=0)
    counts["originals"] = folder.split.groupby("split")["original"].nunique()
    sections += [
        "Videos of each split. A fake is always in the split of its original.",
        markdown_table(counts.reset_index()),
    ]
    return [*sections, "What the splits share:", markdown_table(leaks)] if leaks is not None else sections


def _best_epoch(path: Path) -> str:
    history = pd.read_csv(path / "history.csv")
    best = history.loc[history["val_loss"].idxmin()]
    if "epoch" not in history:
        last = history.iloc[-1]
        return f"{last['step']:.0f} steps; `history.csv` has the metrics of single frames on the way."
    return (
        f"{len(history)} epochs. The weights are those of epoch {best['epoch']:.0f}, which has the lowest validation "
        f"log loss ({best['val_loss']:.3f}; accuracy {best['val_accuracy']:.3f})."
    )


def markdown_table(table: pd.DataFrame) -> str:
    """Format a table as Markdown; `DataFrame.to_markdown` would need one more package."""
    cells = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.itertuples(index=False, name=None)
    ]
    rows = [list(table.columns), ["---"] * len(table.columns), *cells]
    return "\n".join("| " + " | ".join("" if cell == "nan" else cell for cell in row) + " |" for row in rows)


def _inline(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())

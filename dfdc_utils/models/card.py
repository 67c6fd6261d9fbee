"""`card.md`: what a model was trained on, how good it is and how sure that is, and what it must not be used for.

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from dfdc_utils.faces.storage import write_atomically
from dfdc_utils.models.calibration import Calibration

SAMPLE = "the embedded synthetic sample"
NOT_EVIDENCE = "A decision about a person: a score is a reason to look, not evidence."
SAID_ELSEWHERE = ("fingerprint", "trained_on", "data", "model", "begun_from")  # of `training.json`


def write_card(
    model_path: str | Path,
    *,
    summary: pd.DataFrame | None = None,
    comparison: pd.DataFrame | None = None,
    leaks: pd.DataFrame | None = None,
) -> Path:
    """Write `card.md` into the folder of a trained model and return its path.

    What training left is read from the folder; `summary`, `comparison` and `leaks` are the tables of `summarise`,
    `compare` and `report_leaks` for its test split. Without them the card says that nothing was measured on test
    videos. Raises `FileNotFoundError` if the folder holds no finished model. Taught in notebook 05.
    """
    folder = Path(model_path)
    if not (folder / "training.json").is_file():
        raise FileNotFoundError(f"{folder} holds no finished model to write a card for: train one first")
    settings = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    history = pd.read_csv(folder / "history.csv")
    split = pd.read_csv(folder / "split.csv", dtype=str, keep_default_na=False)
    best = history.loc[history["val_loss"].idxmin()]
    counts = split.groupby("split")["label"].value_counts().unstack(fill_value=0)
    counts["originals"] = split.groupby("split")["original"].nunique()
    sections = [
        "# Model card",
        f"A {settings['model']} that scores a video's face sequence from 0 (real) to 1 (fake), trained on "
        f"**{settings['data']}**.",
        _warning(settings["data"]),
        settings.get("begun_from", {}).get("notes", "").strip(),
        "## Data and splits",
        "Videos of each split; a fake is always in the split of its original, and sequences are prepared as "
        f"`sequence.json` says: {_inline(json.loads((folder / 'sequence.json').read_text(encoding='utf-8')))}.",
        as_table(counts.reset_index()),
        *(["What they share; `harmful` ones must be 0.", as_table(leaks)] if leaks is not None else []),
        "## Training",
        f"{len(history)} epochs; the weights are those of epoch {best['epoch']:.0f}, with the lowest validation log "
        f"loss ({best['val_loss']:.3f}; accuracy {best['val_accuracy']:.3f}). Settings: "
        + _inline({key: value for key, value in settings.items() if key not in SAID_ELSEWHERE})
        + ".",
        "## Calibration",
        describe_calibration(Calibration.load(folder / "calibration.json")),
        "## Figures on the test split",
    ]
    if summary is None:
        sections += ["Nothing was measured on test videos yet: `python -m dfdc_utils evaluate`."]
    else:
        sections += [
            f"On unseen originals of {settings['data']}, calibrated scores; 95 % intervals from resampling whole "
            "families (an original with its fakes). `constant` is what 0.5 for every video gets.",
            as_table(summary),
        ]
    if comparison is not None:
        sections += [
            "Beside it, models that know less; `gain` is the model's AUC less theirs, with its interval.",
            as_table(comparison),
        ]
    sections += ["## Not for", _not_for(settings["data"])]
    write_atomically(folder / "card.md", "\n\n".join(section for section in sections if section) + "\n")
    return folder / "card.md"


def _warning(data: str) -> str:
    if not data.startswith(SAMPLE):
        return ""
    seen = "it has only ever seen drawn faces and drawn faults" if data == SAMPLE else "of the fakes, it saw drawn ones"
    return f"**Its scores say nothing about real videos**: {seen}."


def describe_calibration(fitted: Calibration) -> str:
    return (
        f"Fitted on {fitted.real} REAL and {fitted.fake} FAKE {fitted.counted} (`calibration.json`): scores are read "
        f"at temperature {fitted.temperature:.2f}. At the operating threshold {fitted.threshold:.2f}, "
        f"{fitted.false_alarms:.0%} of the REAL ones are called fake and {fitted.found:.0%} of the FAKE ones found; "
        "with so few of them the true share of false alarms may be as high as "
        f"{fitted.false_alarms_at_most:.0%} (95 %)."
    )


def _not_for(data: str) -> str:
    own = (
        "on any real video"
        if data.startswith(SAMPLE)
        else "on videos unlike those it was trained on, without testing it first"
    )
    return "\n".join(
        (
            f"- Use {own}.",
            f"- {NOT_EVIDENCE}",
            "- Methods of forgery that it has not seen, whole-image synthesis, or a voice that was changed.",
            "- Faces smaller than the crops it was trained on, or videos compressed again and again.",
        )
    )


def as_table(table: pd.DataFrame) -> str:
    """Markdown; `DataFrame.to_markdown` would need one more package."""
    cells = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.itertuples(index=False, name=None)
    ]
    rows = [list(table.columns), ["---"] * len(table.columns), *cells]
    return "\n".join("| " + " | ".join("" if cell == "nan" else cell for cell in row) + " |" for row in rows)


def _inline(settings: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())

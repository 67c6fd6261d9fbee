"""`card.md`: what a model is for and not for, what it was trained on, how good it is, and how certain that is.

`card.md.j2` is its text. Source of the form: Mitchell et al. 2019, https://arxiv.org/abs/1810.03993.
"""

import re
from dataclasses import asdict
from pathlib import Path

import jinja2
import pandas as pd

from dfdc_utils.files import write_atomically
from dfdc_utils.models.folder import ModelFolder
from dfdc_utils.models.ood import OOD_PERCENTILE

# Of `training.json`; all else in it are settings.
OWN_SECTIONS = ("fingerprint", "trained_on", "data", "data_kind", "model", "begun_from", "notes", "people")


def write_card(folder: ModelFolder, **measured: pd.DataFrame) -> Path:
    """Write `card.md` into the folder of a trained model and return its path.

    `measured` are the tables `summary`, `comparison` and `leaks` of an `Evaluation`; without them the card says that
    nothing was measured on test videos. `history.csv` is read from the folder, as are the tables of a model without a
    split: `metrics.csv`, `deepfakes.csv` and `outliers.csv`. Taught in notebook 05.
    """
    files = {name: folder.path / f"{name}.csv" for name in ("history", "metrics", "outliers")}
    tables = {name: pd.read_csv(file) for name, file in files.items() if file.is_file()}
    history, counts = tables["history"], None
    if folder.split is not None:
        counts = folder.split.groupby("split")["label"].value_counts().unstack(fill_value=0)
        counts["originals"] = folder.split.groupby("split")["original"].nunique()
        counts = counts.reset_index()
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True)
    best = history.loc[history["val_loss"].idxmin()] if "epoch" in history else None
    settings = {key: value for key, value in folder.note.items() if key not in OWN_SECTIONS}
    shown = {"folder": folder, "measured": measured, "tables": tables, "counts": counts, "best": best}
    shown |= {"settings": settings, "sequence": asdict(folder.sequence), "ood_percentile": OOD_PERCENTILE}
    text = templates.get_template("card.md.j2").render(shown)
    # Parts that are left out leave their blank lines.
    write_atomically(folder.path / "card.md", re.sub(r"\n{3,}", "\n\n", text) + "\n")
    return folder.path / "card.md"

"""From a folder of videos to what a model is trained on, in one call."""

from pathlib import Path
from typing import Any

import pandas as pd

from dfdc_utils.faces import SequenceConfig
from dfdc_utils.processing import processing
from dfdc_utils.sample import data_folder
from dfdc_utils.sequences.splits import split_by_group
from dfdc_utils.videos import balance_classes


def prepare(
    location: str | Path, base: str | Path = "data", *, seed: int = 0, **settings: Any
) -> tuple[Path, pd.DataFrame]:
    """Extract the faces of the videos in `location` and split them; return the folder of the faces and the table.

    The faces go to `faces` in `data_folder(location, base=base)`, by `processing` with its `settings`. Those that are
    not given are the ones that the faces there were made with, and at first `processing`'s own (on the sample with
    Haar). The table holds the labelled videos with faces, as many REAL as FAKE ones (`balance_classes`), and a column
    `split` (`split_by_group` with `seed`). Raises like these functions. Taught in notebook 02.
    """
    faces = data_folder(location, base=base) / "faces"
    if (faces / "sequence.json").is_file():
        settings = SequenceConfig.load(faces / "sequence.json").settings | settings
    elif faces.parent.name == "sample":
        settings = {"detector": "haar"} | settings  # it comes with OpenCV, so everyone sees the same numbers
    manifest = processing(location, faces, **settings)
    usable = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")]
    return faces, split_by_group(balance_classes(usable), seed=seed)

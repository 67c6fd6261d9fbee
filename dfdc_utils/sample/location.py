"""Where the videos are: the folder that the user names, or the embedded sample."""

from __future__ import annotations

import os
from pathlib import Path

from dfdc_utils.sample.build import make_sample


def find_data(sample_path: str | Path = "data/sample") -> Path:
    """The folder that the environment variable `DFDC_DATA` names; without it the sample, drawn now if it is not there.

    Raises `FileNotFoundError` if `DFDC_DATA` names no folder. Taught in notebook 01.
    """
    named = os.environ.get("DFDC_DATA")
    if not named:
        return make_sample(sample_path)
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"DFDC_DATA={named}: there is no such folder (looked from {Path.cwd()}). Give its absolute path, or unset "
            "DFDC_DATA to use the sample."
        )
    return folder

"""How well the pretrained model tells fakes, with the flicker that it counts and without it.

`DFDC_VALIDATION` names labelled clips, `DFDC_YUNET` the weights of YuNet. Run by `make bench`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from dfdc_utils.evaluation import METRICS
from dfdc_utils.models import ModelFolder
from dfdc_utils.prediction import Detector
from dfdc_utils.videos import read_catalog

FALSE_ALARMS = 0.05  # fraction of the real clips that may be called fake


def test_flicker_shows_fakes_that_single_frames_hide(
    validation_clips: Path, yunet_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFDC_YUNET", str(yunet_path))
    table = read_catalog(validation_clips)
    both, weight = Detector.load("pretrained"), ModelFolder.open("pretrained").flicker.weight
    pictures = Detector(replace(both.folder, flicker=None))
    verdicts, flickers = [], np.array([])
    for name, detector in (("both", both), ("pictures", pictures)):
        found = list(detector.predict_many(table["path"], show_progress=False))
        table[name] = [logit(one.score) if one.score else np.nan for one in found]
        verdicts += [pd.crosstab([table["part"], table["label"]], [one.verdict for one in found]).assign(by=name)]
        if name == "both":
            flickers = np.array([one.decisive.flicker if one.decisive else np.nan for one in found], float)
    table["flicker"] = flickers * weight
    table = table.dropna(subset=["both", "pictures", "flicker"])
    rows = []
    kinds = table["video"].str.split("_").str[1].where(table["part"] == "ffpp_c23")
    parts = [("all", table), *table.groupby("part")]
    real_c23 = table[(table["part"] == "ffpp_c23") & (table["label"] == "REAL")]
    parts += [
        (f"c23 {kind}", pd.concat([clips, real_c23])) for kind, clips in table[table["label"] == "FAKE"].groupby(kinds)
    ]
    for part, clips in parts:
        fake = (clips["label"] == "FAKE").to_numpy()
        for name in ("pictures", "flicker", "both"):
            alarm = table.loc[table["label"] == "REAL", name].quantile(1 - FALSE_ALARMS)
            auc = METRICS["AUC"](fake, clips[name].to_numpy()) if 0 < fake.sum() < len(fake) else np.nan
            found, wrong = ((clips.loc[kind, name] > alarm).sum() for kind in (fake, ~fake))
            rows.append((part, name, auc, f"{found} of {fake.sum()}", f"{wrong} of {(~fake).sum()}"))
    shown = pd.DataFrame(rows, columns=["clips", "scored by", "AUC", "fakes above", "real ones above"])
    print(f"\n{shown.round(3).to_string(index=False, na_rep='')}\n{pd.concat(verdicts).fillna(0).to_string()}")
    auc = shown.set_index(["clips", "scored by"])["AUC"]
    assert auc["all", "both"] >= auc["all", "pictures"] + 0.05
    assert auc["ffpp_c23", "both"] >= 0.85 and auc["ffpp_c40", "both"] >= 0.82
    assert min(auc["c23 NeuralTextures", "both"], auc["c23 Face2Face", "both"]) >= 0.72

"""How well the CNN-LSTM does on the sample's unseen sources: three seeds, each with its own split, weights and order.

Figures on the synthetic sample; they say nothing about DFDC. Run by `make bench`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dfdc_utils.catalog import balance_classes, split_by_original
from dfdc_utils.config import TrainingConfig
from dfdc_utils.processing import processing
from dfdc_utils.results import METRICS, score_videos
from dfdc_utils.training import train

SEEDS = (0, 1, 2)


def auc_of(scores: pd.DataFrame) -> float:
    return METRICS["AUC"](scores["label"] == "FAKE", scores["score"])


def test_skill_on_unseen_sources(sample: Path, tmp_path: Path) -> None:
    manifest = processing(sample, tmp_path / "faces", detector="haar")
    usable = balance_classes(manifest[manifest["status"] == "ok"])
    truth = json.loads((sample / "truth.json").read_text())
    kind = {Path(name).stem: entry["kind"] for name, entry in truth.items()}
    rows = []
    for seed in SEEDS:
        table = split_by_original(usable, seed=seed)
        model = tmp_path / f"model_{seed}"
        history = train(table, tmp_path / "faces", model, config=TrainingConfig(seed=seed), show_progress=False)
        scores = score_videos(table[table["split"] == "test"], tmp_path / "faces", model)
        scores["kind"] = scores["video"].map(kind)
        row = {"seed": seed, "test videos": len(scores), "training accuracy": history["accuracy"].max()}
        row |= {name: metric(scores["label"] == "FAKE", scores["score"]) for name, metric in METRICS.items()}
        for fault in ("spatial", "temporal"):
            row[f"AUC {fault}"] = auc_of(scores[(scores["label"] == "REAL") | (scores["kind"] == fault)])
        rows.append(row)
        print(pd.DataFrame(rows).round(3).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    print("mean  ", table.drop(columns="seed").mean().round(3).to_dict())
    assert table["AUC"].mean() >= 0.90
    assert table["training accuracy"].min() > 0.912
    assert np.isfinite(table["log loss"]).all()

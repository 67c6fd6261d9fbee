"""How well the CNN-LSTM does on people it has not seen: three seeds, each with its own split, weights and order.

Beside it, on the same splits: the mean over frames, and the CNN-LSTM whose CNN did not start from single frames.
Metrics on the synthetic sample; they say nothing about DFDC. Run by `make bench`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfdc_utils.evaluation import calibration_error, score_videos
from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.models import MEAN_BASELINE, ModelFolder
from dfdc_utils.processing import processing
from dfdc_utils.sequences import split_by_group
from dfdc_utils.training import TrainingConfig, train, train_baseline
from dfdc_utils.videos import balance_classes

SEEDS = (0, 1, 2)
EPOCHS = 40  # as in notebook 04
KINDS = ("steady", "temporal", "both")  # of fakes
WAYS = ("lstm", "lstm, own CNN")


def auc_of(scores: pd.DataFrame) -> float:
    return METRICS["AUC"](scores["label"] == "FAKE", scores["score"])


def measure(scores: pd.DataFrame) -> dict[str, float]:
    row = {name: METRICS[name](scores["label"] == "FAKE", scores["score"]) for name in ("accuracy", "log loss", "AUC")}
    for kind in KINDS:
        row[f"AUC {kind}"] = auc_of(scores[(scores["label"] == "REAL") | (scores["kind"] == kind)])
    return row | {"calibration error": calibration_error(scores["label"] == "FAKE", scores["score"])}


def expected_error(scores: pd.DataFrame) -> float:
    """The calibration error that a perfectly calibrated model would show with these scores, from chance alone."""
    generator = np.random.default_rng(0)
    values = scores["score"].to_numpy()
    return float(np.mean([calibration_error(generator.random(len(values)) < values, values) for _ in range(500)]))


@pytest.fixture(scope="module")
def scored(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Every test video of every seed, scored in every way: `way`, `seed`, `kind`, `label`, `score`."""
    folder = tmp_path_factory.mktemp("skill")
    manifest = processing(sample, folder / "faces", detector="haar", show_progress=False)
    usable = balance_classes(manifest[manifest["status"] == "ok"])
    truth = json.loads((sample / "truth.json").read_text())
    kind = {Path(name).stem: entry["kind"] for name, entry in truth.items()}
    tables = []
    for seed in SEEDS:
        table = split_by_group(usable, seed=seed)
        test = table[table["split"] == "test"]
        folders: dict[str, Path] = {}
        config = TrainingConfig(seed=seed, epochs=EPOCHS)
        train_baseline(table, folder / "faces", folder / str(seed), config=config, show_progress=False)
        baseline = ModelFolder.open(folder / str(seed) / MEAN_BASELINE)
        folders["mean over frames"] = baseline.path
        for way in WAYS:
            folders[way] = folder / f"{way}_{seed}"
            cnn = None if "own" in way else baseline
            train(table, folder / "faces", folders[way], config=config, cnn=cnn, show_progress=False)
        for way, path in folders.items():
            scores = score_videos(test, folder / "faces", ModelFolder.open(path))
            tables.append(scores.assign(way=way, seed=seed))
            print(f"seed {seed}, {way}: AUC {auc_of(scores):.3f}", flush=True)
    everything = pd.concat(tables, ignore_index=True)
    return everything.assign(kind=everything["video"].map(kind))


def test_skill_on_unseen_people(scored: pd.DataFrame) -> None:
    groups = scored.groupby(["way", "seed"], sort=False)
    rows = pd.DataFrame({key: measure(group) for key, group in groups}).T
    print(f"\nsynthetic sample, {len(scored) // len(groups)} test videos per seed\n{rows.round(3).to_string()}")
    means = rows.groupby(level=0, sort=False).mean()
    print(f"\nmeans over the seeds\n{means.round(3).to_string()}")
    pooled = scored[scored["way"] == "lstm"]
    error = calibration_error(pooled["label"] == "FAKE", pooled["score"])
    print(
        f"\ncalibration error over all seeds' test videos: {error:.3f}, from chance alone {expected_error(pooled):.3f}"
    )
    kinds = [f"AUC {kind}" for kind in KINDS]
    assert means.loc["lstm", kinds].min() >= 0.95
    assert means.loc["mean over frames", "AUC steady"] >= 0.85
    assert 0.35 <= means.loc["mean over frames", "AUC temporal"] <= 0.65
    assert error <= 0.08

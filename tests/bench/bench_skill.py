"""How well the CNN-LSTM does on the sample's unseen sources: three seeds, each with its own split, weights and order.

Beside it, on the same splits: the mean over frames, temporal attention, and the CNN-LSTM trained on self-blended
images, which has seen no fake. Metrics on the synthetic sample; they say nothing about DFDC.
Run by `make bench`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfdc_utils.evaluation import calibration_error, score_videos
from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.models import ModelFolder, build_cnn_lstm
from dfdc_utils.processing import processing
from dfdc_utils.sequences import split_by_group
from dfdc_utils.training import TrainingConfig, train
from dfdc_utils.videos import balance_classes

SEEDS = (0, 1, 2)
WAYS = {"lstm": "lstm", "mean over frames": "mean", "attention": "attention", "lstm, self-blends": "lstm"}  # heads


def auc_of(scores: pd.DataFrame) -> float:
    return METRICS["AUC"](scores["label"] == "FAKE", scores["score"])


def measure(scores: pd.DataFrame) -> dict[str, float]:
    row = {name: METRICS[name](scores["label"] == "FAKE", scores["score"]) for name in ("accuracy", "log loss", "AUC")}
    for fault in ("spatial", "temporal"):
        row[f"AUC {fault}"] = auc_of(scores[(scores["label"] == "REAL") | (scores["kind"] == fault)])
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
        for way, head in WAYS.items():
            model = folder / f"{way}_{seed}"
            config = TrainingConfig(seed=seed, self_blend="self" in way)
            build = partial(build_cnn_lstm, head=head)
            history = train(table, folder / "faces", model, config=config, build=build, show_progress=False)
            scores = score_videos(test, folder / "faces", ModelFolder.open(model))
            tables.append(scores.assign(way=way, seed=seed))
            print(f"seed {seed}, {way}: {len(history)} epochs, AUC {auc_of(scores):.3f}", flush=True)
    everything = pd.concat(tables, ignore_index=True)
    return everything.assign(kind=everything["video"].map(kind))


def test_skill_on_unseen_sources(scored: pd.DataFrame) -> None:
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
    lstm = means.loc["lstm"]
    assert lstm["AUC"] >= 0.95
    assert lstm["AUC temporal"] >= means.loc["mean over frames", "AUC temporal"] + 0.10
    assert error <= 0.08

"""What sound adds, on people not seen in training: three seeds on the sample, and real speech where it is at hand.

On the sample, fakes have altered pictures or an exchanged sound; the model of sound is trained on REAL videos alone. On
real speech (DFDC_TALKING names a folder of REAL clips), half of the speakers are for testing. Run by `make bench`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dfdc_utils.evaluation import bootstrap_interval
from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.models import ModelFolder, build_cnn_lstm, start_from, sync_part
from dfdc_utils.processing import processing
from dfdc_utils.sample import make_sound_fakes
from dfdc_utils.sequences import SequenceStore, make_dataset, score_people, split_by_group
from dfdc_utils.training import TrainingConfig, train, train_missing
from dfdc_utils.videos import balance_classes

SEEDS = (0, 1, 2)
PICTURES = TrainingConfig(epochs=40)  # as in notebook 04
SYNC = TrainingConfig(sync=True, epochs=20, batch_size=20)  # as in notebook 07


def measure(folder: Path, faces: Path, table: pd.DataFrame, exchanged: pd.DataFrame, seed: int) -> dict[str, float]:
    quiet = {"show_progress": False}
    train_missing(table, faces, folder / "model", config=PICTURES, **quiet)
    train(table, faces, folder / "sound", config=SYNC, build=start_from(folder / "model", audio=True), **quiet)
    splits = table.drop_duplicates("original").set_index("original")["split"]
    exchanged = exchanged.assign(split=exchanged["original"].map(splits))
    test = pd.concat([one[one["split"] == "test"] for one in (table, exchanged)], ignore_index=True)
    kind = np.where(test["video"].isin(exchanged["video"]), "sound", np.where(test["label"] == "REAL", "", "pictures"))
    model, seen = (ModelFolder.open(folder / name).model for name in ("sound", "model"))
    batches = make_dataset(test, faces, audio=True)
    same = next(iter(batches))[0]["sequence"][:1]
    held = batches.map(lambda given, _: given | {"sequence": given["sequence"] * 0 + same})
    scores = {
        "pictures": score_people(seen, test, faces),
        "together": score_people(model, test, faces),
        "sound alone": sync_part(model).predict(held, verbose=0)[:, 0],
    }
    row: dict[str, float] = {"seed": seed, "test videos": len(test)}
    for name, values in scores.items():
        for what in ("pictures", "sound"):
            chosen = np.isin(kind, ["", what])
            row[f"{name}: {what}"] = roc_auc_score(kind[chosen] == what, np.asarray(values)[chosen])
    return row


def test_exchanged_sounds_of_the_sample_are_heard(sample: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    settings = {"detector": "haar", "num_vids": None, "show_progress": False}
    manifest = processing(sample, faces, **settings)
    exchanged = processing(make_sound_fakes(manifest, tmp_path / "videos", show_progress=False), faces, **settings)
    usable = balance_classes(manifest[manifest["status"] == "ok"])
    rows = [measure(tmp_path / str(seed), faces, split_by_group(usable, seed=seed), exchanged, seed) for seed in SEEDS]
    table = pd.DataFrame(rows).set_index("seed")
    print("\nAUC of altered pictures and of altered sound, people apart\n", table.round(3).to_string())
    mean = table.mean()
    assert mean["together: sound"] >= 0.90 and 0.45 <= mean["pictures: sound"] <= 0.60
    assert mean["sound alone: sound"] <= 0.65
    assert mean["together: pictures"] >= mean["pictures: pictures"] - 0.02


@pytest.mark.skipif("DFDC_TALKING" not in os.environ, reason="DFDC_TALKING does not name clips of real speech")
def test_moved_sound_of_real_speech_is_heard(tmp_path: Path) -> None:
    """Fakes are the same clips with their sound moved by 0.3 to 0.6 s, round the clip's end.

    A clip and its fake have the same pictures, so these alone show nothing: AUC 0.5 by construction.
    Speakers are not labelled. Clips are numbered in the order of their programmes, so those of the last third show
    other speakers for the most part.
    """
    faces = tmp_path / "faces"
    manifest = processing(os.environ["DFDC_TALKING"], faces, num_vids=None)
    table = manifest[manifest["status"] == "ok"].sort_values("video", ignore_index=True).assign(label="REAL")
    place = np.arange(len(table)) / len(table)
    table["split"] = np.select([place < 0.57, place < 0.67], ["train", "validation"], "test")
    table["group"] = table["original"] = table["video"]
    train(table, faces, tmp_path / "model", config=SYNC, build=partial(build_cnn_lstm, audio=True))
    store = SequenceStore(table[table["split"] == "test"], faces, audio=True)
    low, high = (round(seconds / store.time_step) for seconds in (0.3, 0.6))
    rng = np.random.default_rng(0)
    examples = [store.load(number) for number in range(len(store.labels))]
    given = {name: np.stack([one[name] for one in examples]) for name in examples[0]}
    given["audio"] = given["audio"].astype(np.float32) / 32_768
    moved = np.stack([np.roll(one, rng.integers(low, high + 1), axis=0) for one in given["audio"]])
    model = sync_part(ModelFolder.open(tmp_path / "model").model)
    for name, sequence in (("mouth and sound", given["sequence"]), ("sound alone", given["sequence"][:1])):
        seen = np.broadcast_to(sequence, given["sequence"].shape)
        scores = [
            model.predict({**given, "sequence": seen, "audio": audio}, verbose=0)[:, 0]
            for audio in (given["audio"], moved)
        ]
        rows = pd.DataFrame({"score": np.concatenate(scores), "label": np.repeat(["REAL", "FAKE"], len(seen))})
        rows["group"] = rows["original"] = np.tile(np.arange(len(seen)).astype(str), 2)
        auc = METRICS["AUC"](rows["label"] == "FAKE", rows["score"])
        low_end, high_end = bootstrap_interval(rows, METRICS["AUC"])
        print(f"\nreal speech, {name}: AUC {auc:.3f}, {low_end:.3f} to {high_end:.3f}, {len(seen)} clips")

"""What a trained CNN-LSTM uses: its score when one of its inputs is held constant or replaced.

The head of `build_cnn_lstm` sees each frame's features, and their change. Each ablation replaces one of the two.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.evaluation.metrics import METRICS
from dfdc_utils.models import ModelFolder
from dfdc_utils.quiet import keras
from dfdc_utils.sequences import make_dataset

REPLACEMENTS = 20  # REAL videos whose features or change replace a video's own; the scores are averaged

ABLATIONS = {
    "unchanged": "the model as it is",
    "one frame repeated": "no change over time is left: only faults in single frames can be seen",
    "change of REAL videos": "own features, change of real training videos: what the features alone carry",
    "features of REAL videos": "own change, features of real training videos: what the change alone carries",
    "frames reversed": "the same frames and changes in reverse order: whether the direction of time matters",
}


def ablate(table: pd.DataFrame, save_path: str | Path, folder: ModelFolder, *, seed: int = 0) -> pd.DataFrame:
    """Score the videos of `table`, of the test split, under each of `ABLATIONS`: a column of calibrated scores each.

    The replacing values come from REAL training videos with faces in `save_path`. Raises `ValueError` for a model
    without a layer `features_and_change` or a split, `ConfigMismatch` for other faces. Taught in notebook 05.
    """
    folder.require_faces(save_path)
    if "features_and_change" not in {layer.name for layer in folder.model.layers} or folder.split is None:
        raise ValueError(f"{folder.model.name} has no features and change over time to replace: use build_cnn_lstm")
    front = keras.Model(folder.model.input, folder.model.get_layer("features_and_change").output)
    back = keras.Model(front.output, folder.model.output)
    real = folder.split.query("split == 'train' and label == 'REAL'").assign(status="ok")
    batches = (make_dataset(part, save_path, batch_size=16, cache=False) for part in (table, real))
    sequences, donors = (np.concatenate([shown.numpy() for shown, _ in part]) for part in batches)
    own, others = (front.predict(part, batch_size=8, verbose=0) for part in (sequences, donors))
    count = own.shape[-1] // 2  # features first, then their change
    generator = np.random.default_rng(seed)
    replaced: dict[str, list[NDArray[np.float32]]] = {"change of REAL videos": [], "features of REAL videos": []}
    for _ in range(REPLACEMENTS):
        drawn = others[generator.integers(len(others), size=len(own))]
        for name, features, change in zip(replaced, (own, drawn), (drawn, own), strict=True):
            mixed = np.concatenate([features[..., :count], change[..., count:]], axis=-1)
            replaced[name].append(back.predict(mixed, batch_size=64, verbose=0)[:, 0])
    middle = [sequences.shape[1] // 2] * sequences.shape[1]
    changed = {"one frame repeated": sequences[:, middle], "frames reversed": sequences[:, ::-1]}
    raw = {name: folder.model.predict(part, batch_size=8, verbose=0)[:, 0] for name, part in changed.items()}
    raw |= {name: np.mean(scores, axis=0) for name, scores in replaced.items()}
    raw["unchanged"] = back.predict(own, batch_size=64, verbose=0)[:, 0]
    scores = {name: folder.calibration.apply(raw[name]) for name in ABLATIONS}
    return pd.DataFrame({"video": table["video"].to_numpy(), "label": table["label"].to_numpy(), **scores})


def summarise_ablations(scores: pd.DataFrame, kinds: pd.Series | None = None) -> pd.DataFrame:
    """The AUC under each ablation; with `kinds` of videos, also for each kind of fake. Taught in notebook 05."""
    labels = (scores["label"] == "FAKE").to_numpy()
    named = {"all fakes": labels}
    if kinds is not None:
        named |= {str(kind): labels & (kinds == kind).to_numpy() for kind in sorted(set(kinds[labels]))}
    rows = []
    for name, shows in ABLATIONS.items():
        values = scores[name].to_numpy()
        aucs = {kind: METRICS["AUC"](fakes[fakes | ~labels], values[fakes | ~labels]) for kind, fakes in named.items()}
        rows.append({"ablation": name, **aucs, "shows": shows})
    return pd.DataFrame(rows)

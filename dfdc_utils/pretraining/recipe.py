"""Pretraining on real faces: photographs in, a calibrated sequence model out, and no fake but their blends.

Five stages: pictures, frame encoder, features of sequences, styles of outliers, heads over time. Begun again, those
that are through are not done again, and the encoder goes on from its last save.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.faces.detectors import Detector, load_detector
from dfdc_utils.faces.storage import prepare_target, working_on, write_atomically
from dfdc_utils.models.calibration import calibrate
from dfdc_utils.models.folder import save_small
from dfdc_utils.models.frame_encoder import build_on_encoder
from dfdc_utils.models.ood import Familiarity
from dfdc_utils.pretraining.card import write_card
from dfdc_utils.pretraining.encoder import EncoderConfig, train_encoder
from dfdc_utils.pretraining.features import Seen, see_outliers, see_pairs
from dfdc_utils.pretraining.figures import SELF_BLENDS, SWAPS, judge_familiarity, judge_heads
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures
from dfdc_utils.quiet import quiet_import

with quiet_import():
    import keras

# In the middle of what was trained on; Haar's boxes are a tenth smaller than YuNet's, and their crops still inside.
MARGIN = 1.35
CANDIDATES = ("mean", "lstm")
COUNTED = "validation sequences made of photographs"
TRAINING_DRAW = 3 * 10**9
VALIDATION_DRAW = 2 * 10**9  # sequences unlike those of the encoder's own validation


@dataclass(frozen=True)
class PretrainingConfig:
    """The recipe: `encoder` for the frames, and for the head over time `head_people` people, one sequence pair each.

    The head sees the features of these pairs for `head_epochs` epochs; the encoder stays as it is.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    frame_count: int = 16
    head_people: int = 1200
    head_epochs: int = 12
    head_learning_rate: float = 1e-3
    outliers: int = 160


def pretrain(
    location: str | Path,
    save_path: str | Path,
    *,
    config: PretrainingConfig | None = None,
    detector: Detector | None = None,
    data: str | None = None,
    notes: str = "",
    workers: int = 1,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the face photographs in `location` and leave a model in `save_path`; the figures on unseen people.

    `data` says in a line what the photographs are; `notes`, Markdown for the card, whose they are and who may use them.
    `detector` must give landmarks: YuNet by default. `workers` processes make pairs while this one trains. The table
    has a row for each head over time, kind of fakes and quality of video: `head`, `fakes`, `quality`, `pairs`, `auc`,
    `low`, `high` (95 %, people drawn with replacement), `shipped`.
    Interrupted and called again with the same arguments it goes on; what that needs lies in `save_path / "work"`.

    Raises `FileNotFoundError` if photographs, YuNet's weights or the backbone's are missing, `ValueError` for too few.
    Source: Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376.
    """
    config = config or PretrainingConfig()
    folder = prepare_target(Path(save_path), what="the model")
    work = prepare_target(folder / "work", what="what pretraining needs to go on")

    def say(text: str) -> None:
        if show_progress:
            print(text, flush=True)

    table = find_photographs(location, seed=config.encoder.seed)
    detector = detector or load_detector("yunet")
    pictures = prepare_pictures(table, location, work, detector, show_progress=show_progress)
    settings: dict[str, Any] = {"face_size": config.encoder.face_size, "seed": config.encoder.seed}
    parts = {name: pictures[pictures["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        if part["identity"].nunique() < 2:
            raise ValueError(f"{location}: fewer than two people for {name} show a face that is large enough: add more")
    train, validation = (PairSource(work, part, **settings) for part in parts.values())
    encoder, history = train_encoder(train, validation, work, config.encoder, workers=workers, say=say)
    encoder.set_weights(_in_half_precision(encoder))  # as it is stored, and so as it is measured
    sequences = SequenceConfig(frame_count=config.frame_count, face_size=config.encoder.face_size, margin=MARGIN)
    people = parts["train"].sample(min(config.head_people, len(parts["train"])), random_state=config.encoder.seed)
    some = PairSource(work, people, **settings)
    say("sequences: features of training's")
    swaps = config.encoder.swaps
    seen = see_pairs(
        encoder,
        some,
        work / "features_train.npz",
        first_draw=TRAINING_DRAW,
        swaps=swaps,
        workers=workers,
        frame_count=config.frame_count,
    )
    say("sequences: features of validation's")
    unseen = {
        fakes: see_pairs(
            encoder,
            validation,
            work / file,
            first_draw=VALIDATION_DRAW,
            swaps=swaps,
            workers=workers,
            frame_count=config.frame_count,
        )
        for fakes, file, swaps in ((SELF_BLENDS, "features_blends.npz", 0.0), (SWAPS, "features_swaps.npz", 1.0))
    }
    say("outliers: what is no photograph of a face")
    foreign = see_outliers(
        encoder,
        train,
        detector,
        work / "outliers_train.npz",
        count=config.outliers,
        seed=0,
        frame_count=config.frame_count,
    )
    few = max(1, config.outliers // 2)
    unseen_foreign = see_outliers(
        encoder,
        validation,
        detector,
        work / "outliers_validation.npz",
        count=few,
        seed=1,
        frame_count=config.frame_count,
    )
    heads = {name: _train_head(encoder, name, seen, config) for name in CANDIDATES}
    scores = {
        (name, fakes): head.predict(films.features, batch_size=256, verbose=0)[:, 0].astype(np.float64)
        for name, (_, head) in heads.items()
        for fakes, films in unseen.items()
    }
    figures = judge_heads(unseen, scores, parts["validation"])
    shipped = figures["head"][figures["shipped"]].iloc[0]
    say(figures.round(3).to_string(index=False))
    labels = np.concatenate([films.labels for films in unseen.values()])
    calibration = replace(
        calibrate(labels, np.concatenate([scores[shipped, fakes] for fakes in unseen])), counted=COUNTED
    )
    usual = np.concatenate([films.styles for films in unseen.values()])
    familiarity = Familiarity.fit(seen.styles, usual, foreign.styles)
    told = judge_familiarity(familiarity, seen.styles, usual, foreign, unseen_foreign)
    say(told.round(2).to_string(index=False))
    for name in ("training.json", "calibration.json", "familiarity.npz", "split.csv"):  # of the model that was here
        (folder / name).unlink(missing_ok=True)
    with working_on(folder, "model.keras") as unfinished:
        save_small(heads[shipped][0], unfinished / "model.keras")
        (unfinished / "model.keras").replace(folder / "model.keras")
    sequences.save(folder / "sequence.json")
    familiarity.save(folder / "familiarity.npz")
    write_atomically(folder / "calibration.json", calibration.to_json())
    write_atomically(folder / "history.csv", pd.DataFrame(history).astype({"step": int}).round(4).to_csv(index=False))
    write_atomically(folder / "figures.csv", figures.round(4).to_csv(index=False))
    write_atomically(folder / "outliers.csv", told.round(3).to_csv(index=False))
    note = {
        "data": data or f"blends of the photographs in {Path(location).name}",
        "model": heads[shipped][0].name,
        "photographs": len(table),
        "without_a_face": len(table) - len(pictures),
        "people": {name: int(part["identity"].nunique()) for name, part in parts.items()},
        "head": shipped,
        **asdict(config),
        "head_people": len(people),
        "notes": notes,
    }
    weights = config.encoder.weights  # the name of a file, not where it lies on this machine
    note["encoder"]["weights"] = {"imagenet": "ImageNet", None: "random"}.get(weights) or Path(str(weights)).name
    note["trained_on"] = hashlib.sha256(pictures[["file", "split"]].to_csv(index=False).encode()).hexdigest()
    write_atomically(folder / "training.json", json.dumps(note, indent=1))
    write_card(folder)
    return figures


def _train_head(
    encoder: keras.Model, name: str, seen: Seen, config: PretrainingConfig
) -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(config.encoder.seed)
    model, head = build_on_encoder(encoder, config.frame_count, head=name)
    if name == "mean":
        return model, head
    head.get_layer("standard").adapt(seen.features)
    steps = -(-len(seen.labels) // 64) * config.head_epochs
    rate = keras.optimizers.schedules.CosineDecay(config.head_learning_rate, steps)
    head.compile(keras.optimizers.Adam(rate), "binary_crossentropy", jit_compile=False)
    head.fit(seen.features, seen.labels[:, None], batch_size=64, epochs=config.head_epochs, verbose=0)
    head.set_weights(_in_half_precision(head))
    return model, head


def _in_half_precision(model: keras.Model) -> list[NDArray[np.float32]]:
    return [weight.astype(np.float16).astype(weight.dtype) for weight in model.get_weights()]

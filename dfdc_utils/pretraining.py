"""Pretraining on real faces: photographs in, a calibrated sequence model out, and no fake but self-blends.

Four stages: pictures, frame encoder, features of sequences, heads over time. Begun again, those that are through are
not done again, and the encoder goes on from its last save.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dfdc_utils.calibration import calibrate
from dfdc_utils.config import SequenceConfig
from dfdc_utils.encoder import EncoderConfig, train_encoder
from dfdc_utils.faces import Detector, load_detector
from dfdc_utils.familiarity import Familiarity
from dfdc_utils.intervals import bootstrap_interval
from dfdc_utils.model_files import digest_weights, save_small
from dfdc_utils.pairs import PairSource
from dfdc_utils.photographs import find_photographs, prepare_pictures
from dfdc_utils.pretrained import build_on_encoder, see_frames
from dfdc_utils.pretraining_card import write_pretraining_card
from dfdc_utils.quiet import quiet_import
from dfdc_utils.storage import prepare_target, working_on, write_atomically

with quiet_import():
    import keras

# In the middle of what was trained on; Haar's boxes are a tenth smaller than YuNet's, and their crops still inside.
MARGIN = 1.35
CANDIDATES = ("mean", "lstm")
COUNTED = "validation sequences made of photographs"
RESAMPLES = 400  # draws for an interval: more move its ends in the third digit only
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
    has a row for each head over time and for each quality of video: `head`, `quality`, `pairs`, `auc`, `low`, `high`
    (95 %, people drawn with replacement), `shipped`.
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
    few = PairSource(work, people, **settings)
    say("sequences: features of training's")
    seen = _features(encoder, few, config, work / "features_train.npz", first_draw=TRAINING_DRAW, workers=workers)
    say("sequences: features of validation's")
    unseen = _features(
        encoder, validation, config, work / "features_validation.npz", first_draw=VALIDATION_DRAW, workers=workers
    )
    heads = {name: _train_head(encoder, name, seen, config) for name in CANDIDATES}
    scores = {name: head.predict(unseen.features, batch_size=256, verbose=0)[:, 0] for name, (_, head) in heads.items()}
    figures = _judge(unseen, scores, parts["validation"])
    shipped = figures["head"][figures["shipped"]].iloc[0]
    say(figures.round(3).to_string(index=False))
    calibration = replace(calibrate(unseen.labels, scores[shipped].astype(np.float64)), counted=COUNTED)
    familiarity = Familiarity.fit(seen.styles, unseen.styles)
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
    note = {
        "data": data or f"self-blends of the photographs in {Path(location).name}",
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
    write_pretraining_card(folder)
    return figures


@dataclass(frozen=True)
class _Seen:
    """Features (2N, T, F) and styles averaged over time (2N, S) of N reals and then of their blends, `labels` (2N,),
    and how each was encoded (0: not)."""

    features: NDArray[np.float32]
    styles: NDArray[np.float32]
    labels: NDArray[np.float32]
    crfs: NDArray[np.int64]


def _features(
    encoder: keras.Model, source: PairSource, config: PretrainingConfig, path: Path, *, first_draw: int, workers: int
) -> _Seen:
    """What the encoder sees in one pair of sequences of everyone in `source`; from `path` if that is there."""
    key = f"{digest_weights(encoder)} {source.digest} {len(source)} {config.frame_count} {first_draw}"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as stored:
        if str(stored["key"]) == key:
            return _Seen(*(stored[field.name] for field in fields(_Seen)))
    maps_and_more = see_frames(encoder)
    see = keras.Model(maps_and_more.input, maps_and_more.outputs[1:])
    found: dict[str, list[list[NDArray[np.float32]]]] = {"features": [[], []], "styles": [[], []]}
    crfs: list[int] = []
    for pairs in source.sequences(config.frame_count, first_draw=first_draw, workers=workers):
        for label, films in enumerate((pairs.reals, pairs.fakes)):
            flat = films.reshape(-1, *films.shape[2:])
            features, styles = (
                np.asarray(part).reshape(*films.shape[:2], -1)
                for part in see.predict(flat, batch_size=config.frame_count, verbose=0)  # no last batch is smaller
            )
            found["features"][label].append(features)
            found["styles"][label].append(styles.mean(axis=1))
        crfs += [take.crf or 0 for take in pairs.takes]
    labels = np.repeat(np.array([0, 1], np.float32), len(crfs))
    parts = {name: np.concatenate([*reals, *fakes]) for name, (reals, fakes) in found.items()}
    seen = _Seen(**parts, labels=labels, crfs=np.array(crfs * 2))
    with working_on(path.parent, path.name) as partial:
        np.savez(partial / path.name, key=key, **asdict(seen))
        (partial / path.name).replace(path)
    return seen


def _train_head(
    encoder: keras.Model, name: str, seen: _Seen, config: PretrainingConfig
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


def _judge(unseen: _Seen, scores: dict[str, NDArray[np.float32]], people: pd.DataFrame) -> pd.DataFrame:
    """AUC with its interval, of each head, over all qualities of video and over each, and which head is `shipped`.

    That is the mean, which can know nothing of how motion is simulated here, unless the LSTM is better by more than
    chance: above the mean's interval.
    """
    qualities = {"all": unseen.crfs >= 0, "no video codec": unseen.crfs == 0}
    for best, worst in ((18, 24), (25, 31), (32, 40)):
        qualities[f"crf {best} to {worst}"] = (unseen.crfs >= best) & (unseen.crfs <= worst)
    rows = []
    for head, values in scores.items():
        table = pd.DataFrame(
            {
                "label": np.where(unseen.labels > 0, "FAKE", "REAL"),
                "original": np.tile(people["identity"].to_numpy(), 2),
                "score": values.astype(np.float64),
            }
        )
        for quality, chosen in qualities.items():
            part = table[chosen]
            if part["original"].nunique() < 2:
                continue
            low, high = bootstrap_interval(part, roc_auc_score, resamples=RESAMPLES)
            rows.append(
                (head, quality, len(part) // 2, roc_auc_score(part["label"] == "FAKE", part["score"]), low, high)
            )
    figures = pd.DataFrame(rows, columns=["head", "quality", "pairs", "auc", "low", "high"])
    over_all = figures[figures["quality"] == "all"].set_index("head")
    shipped = "lstm" if over_all.loc["lstm", "auc"] > over_all.loc["mean", "high"] else "mean"
    return figures.assign(shipped=figures["head"] == shipped)

"""Pretraining on real faces: photographs in, a calibrated sequence model out, and no fake but their blends.

Five stages: pictures, frame encoder, features of sequences, styles of outliers, heads over time. Begun again, those
that are through are not done again, and the encoder goes on from its last save.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dfdc_utils.calibration import calibrate
from dfdc_utils.config import SequenceConfig
from dfdc_utils.encoder import EncoderConfig, train_encoder
from dfdc_utils.faces import Detector, load_detector
from dfdc_utils.familiarity import UNFAMILIAR, Familiarity
from dfdc_utils.frames import Image
from dfdc_utils.intervals import bootstrap_interval
from dfdc_utils.model_files import digest_weights, save_small
from dfdc_utils.outliers import film_outliers
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
SELF_BLENDS, SWAPS = "self-blends", "swaps"
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
    seen = _features(
        encoder, some, config, work / "features_train.npz", TRAINING_DRAW, swaps=config.encoder.swaps, workers=workers
    )
    say("sequences: features of validation's")
    unseen = {
        fakes: _features(
            encoder, validation, config, work / f"features_{file}.npz", VALIDATION_DRAW, swaps=swaps, workers=workers
        )
        for fakes, file, swaps in ((SELF_BLENDS, "blends", 0.0), (SWAPS, "swaps", 1.0))
    }
    say("outliers: what is no photograph of a face")
    foreign = _outliers(encoder, train, detector, config, work / "outliers_train.npz", count=config.outliers, seed=0)
    few = max(1, config.outliers // 2)
    unseen_foreign = _outliers(
        encoder, validation, detector, config, work / "outliers_validation.npz", count=few, seed=1
    )
    heads = {name: _train_head(encoder, name, seen, config) for name in CANDIDATES}
    scores = {
        (name, fakes): head.predict(some.features, batch_size=256, verbose=0)[:, 0].astype(np.float64)
        for name, (_, head) in heads.items()
        for fakes, some in unseen.items()
    }
    figures = _judge(unseen, scores, parts["validation"])
    shipped = figures["head"][figures["shipped"]].iloc[0]
    say(figures.round(3).to_string(index=False))
    labels = np.concatenate([some.labels for some in unseen.values()])
    calibration = replace(
        calibrate(labels, np.concatenate([scores[shipped, fakes] for fakes in unseen])), counted=COUNTED
    )
    usual = np.concatenate([some.styles for some in unseen.values()])
    familiarity = Familiarity.fit(seen.styles, usual, foreign.styles)
    told = _judge_familiarity(familiarity, seen.styles, usual, foreign, unseen_foreign)
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


@dataclass(frozen=True)
class _Outliers:
    """Styles averaged over time (N, S) of what is no photograph of a face, and what `kinds` (N,) it is."""

    styles: NDArray[np.float32]
    kinds: NDArray[np.str_]


def _features(
    encoder: keras.Model,
    source: PairSource,
    config: PretrainingConfig,
    path: Path,
    first_draw: int,
    *,
    swaps: float,
    workers: int,
) -> _Seen:
    """What the encoder sees in one pair of sequences of everyone in `source`; from `path` if that is there."""
    key = f"{digest_weights(encoder)} {source.digest} {len(source)} {config.frame_count} {first_draw} {swaps}"
    if kept := _kept(path, key, _Seen):
        return kept
    see = _see(encoder)
    found: dict[str, list[list[NDArray[np.float32]]]] = {"features": [[], []], "styles": [[], []]}
    crfs: list[int] = []
    for pairs in source.sequences(config.frame_count, first_draw=first_draw, swaps=swaps, workers=workers):
        for label, films in enumerate((pairs.reals, pairs.fakes)):
            features, styles = see(films)
            found["features"][label].append(features)
            found["styles"][label].append(styles.mean(axis=1))
        crfs += [take.crf or 0 for take in pairs.takes]
    labels = np.repeat(np.array([0, 1], np.float32), len(crfs))
    parts = {name: np.concatenate([*reals, *fakes]) for name, (reals, fakes) in found.items()}
    return _keep(path, key, _Seen(**parts, labels=labels, crfs=np.array(crfs * 2)))


def _outliers(
    encoder: keras.Model,
    source: PairSource,
    detector: Detector,
    config: PretrainingConfig,
    path: Path,
    *,
    count: int,
    seed: int,
) -> _Outliers:
    """The styles of `count` outliers of each kind; from `path` if they are there."""
    key = f"{digest_weights(encoder)} {source.digest} {detector.name} {config.frame_count} {count} {seed}"
    if kept := _kept(path, key, _Outliers):
        return kept
    see, face_size = _see(encoder), config.encoder.face_size
    styles, kinds = [], []
    for kind, films in film_outliers(
        source, detector, count=count, frame_count=config.frame_count, face_size=face_size, seed=seed
    ):
        styles.append(see(films)[1].mean(axis=1))
        kinds += [kind] * len(films)
    return _keep(path, key, _Outliers(np.concatenate(styles), np.array(kinds)))


def _see(encoder: keras.Model) -> Callable[[Image], list[NDArray[np.float32]]]:
    """From films (N, T, H, W, 3) to features (N, T, F) and styles (N, T, S)."""
    maps_and_more = see_frames(encoder)
    see = keras.Model(maps_and_more.input, maps_and_more.outputs[1:])

    def look(films: Image) -> list[NDArray[np.float32]]:
        flat = films.reshape(-1, *films.shape[2:])
        seen = see.predict(flat, batch_size=films.shape[1], verbose=0)  # no last batch is smaller
        return [np.asarray(part).reshape(*films.shape[:2], -1) for part in seen]

    return look


_Arrays = TypeVar("_Arrays", _Seen, _Outliers)


def _kept(path: Path, key: str, kind: type[_Arrays]) -> _Arrays | None:
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as stored:
        if str(stored["key"]) == key:
            return kind(**{part.name: stored[part.name] for part in fields(kind)})
    return None


def _keep(path: Path, key: str, arrays: _Arrays) -> _Arrays:
    with working_on(path.parent, path.name) as partial:
        np.savez(partial / path.name, key=key, **asdict(arrays))
        (partial / path.name).replace(path)
    return arrays


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


def _judge(
    unseen: dict[str, _Seen], scores: dict[tuple[str, str], NDArray[np.float64]], people: pd.DataFrame
) -> pd.DataFrame:
    """AUC with its interval, of each head, on each kind of fakes, over all qualities of video and over each, and which
    head is `shipped`.

    That is the mean, which can know nothing of how motion is simulated here, unless the LSTM is better on self-blends
    by more than chance: above the mean's interval.
    """
    rows = []
    for (head, fakes), values in scores.items():
        crfs = unseen[fakes].crfs
        qualities = {"all": crfs >= 0, "no video codec": crfs == 0}
        for best, worst in ((18, 24), (25, 31), (32, 40)):
            qualities[f"crf {best} to {worst}"] = (crfs >= best) & (crfs <= worst)
        table = pd.DataFrame(
            {
                "label": np.where(unseen[fakes].labels > 0, "FAKE", "REAL"),
                "original": np.tile(people["identity"].to_numpy(), 2),
                "score": values,
            }
        )
        for quality, chosen in qualities.items():
            part = table[chosen]
            if part["original"].nunique() < 2:
                continue
            auc = roc_auc_score(part["label"] == "FAKE", part["score"])
            low, high = bootstrap_interval(part, roc_auc_score, resamples=RESAMPLES)
            rows.append((head, fakes, quality, len(part) // 2, auc, low, high))
    figures = pd.DataFrame(rows, columns=["head", "fakes", "quality", "pairs", "auc", "low", "high"])
    over_all = figures[(figures["fakes"] == SELF_BLENDS) & (figures["quality"] == "all")].set_index("head")
    shipped = "lstm" if over_all.loc["lstm", "auc"] > over_all.loc["mean", "high"] else "mean"
    return figures.assign(shipped=figures["head"] == shipped)


def _judge_familiarity(
    familiarity: Familiarity, seen: Any, usual: Any, foreign: _Outliers, unseen_foreign: _Outliers
) -> pd.DataFrame:
    """Of each kind of outlier, made of validation's people, which share is told, and which if the kind were unknown."""
    rows = []
    for kind in dict.fromkeys(unseen_foreign.kinds.tolist()):
        films = unseen_foreign.styles[unseen_foreign.kinds == kind]
        others = Familiarity.fit(seen, usual, foreign.styles[foreign.kinds != kind])
        told, told_unknown = ((one.percentile(films) >= UNFAMILIAR).mean() for one in (familiarity, others))
        rows.append((kind, len(films), told, told_unknown))
    return pd.DataFrame(rows, columns=["kind", "films", "told", "told_if_unknown"])

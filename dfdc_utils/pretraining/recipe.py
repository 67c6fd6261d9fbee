"""Pretraining on real faces: photographs in, a calibrated sequence model out; its only fakes are blends of them.

Stages: cut the photographs, train the frame encoder, score sequences of unseen people, fit calibration and
out-of-distribution detector, write. An interrupted run keeps the cut photographs and the encoder's last save.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dfdc_utils.evaluation import bootstrap_interval
from dfdc_utils.faces import FaceDetector, SequenceConfig, load_face_detector
from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.models import (
    OOD_PERCENTILE,
    ModelFolder,
    OODDetector,
    build_on_encoder,
    calibrate,
    with_style,
    write_card,
)
from dfdc_utils.pretraining.encoder import EncoderConfig, train_encoder
from dfdc_utils.pretraining.outliers import film_outliers
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures
from dfdc_utils.quiet import quiet_import
from dfdc_utils.videos import Image

with quiet_import():
    import keras

# In the middle of what was trained on; Haar's boxes are a tenth smaller than YuNet's, and their crops still inside.
MARGIN = 1.35
COUNTED = "validation sequences made of photographs"
TRAINING_SEED, VALIDATION_SEED = 3 * 10**9, 2 * 10**9  # sequences that the encoder has not been validated on
RESAMPLES = 400  # for an interval: more move its ends in the third digit only
QUALITIES = {"crf 18 to 24": (18, 24), "crf 25 to 31": (25, 31), "crf 32 to 40": (32, 40)}


@dataclass(frozen=True)
class PretrainingConfig:
    """The recipe: `encoder` for single frames; the model averages its logits over `frame_count` frames.

    The out-of-distribution detector is fitted on one pair of sequences of each of `ood_people` people of the training
    split, and tested on `outliers` sequences of each kind that shows no photograph of a face.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    frame_count: int = 16
    ood_people: int = 1200
    outliers: int = 160


@dataclass(frozen=True)
class Observed:
    """What the model makes of N real sequences and then of their N fakes.

    `scores` (2N,), `styles` (2N, S) for the out-of-distribution detector, `labels` (2N,) 1 for fake, `crfs` (2N,) the
    H.264 constant rate factor of each (0: not encoded).
    """

    scores: NDArray[np.float64]
    styles: NDArray[np.float32]
    labels: NDArray[np.int64]
    crfs: NDArray[np.int64]


def pretrain(
    location: str | Path,
    save_path: str | Path,
    *,
    config: PretrainingConfig | None = None,
    face_detector: FaceDetector | None = None,
    data: str | None = None,
    notes: str = "",
    workers: int = 1,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the face photographs in `location`, leave a model in `save_path`, return its metrics on unseen people.

    `data` says in a line what the photographs are; `notes` is Markdown for the card: whose they are and who may use
    them. `face_detector` must give landmarks: YuNet by default. `workers` processes make pairs while this one trains.
    The table has a row per kind of fakes and quality of video: `fakes`, `quality`, `pairs`, `auc`, `low`, `high` (95 %,
    people resampled). Interrupted and called again with the same arguments, it continues; what it needs for that lies
    in `save_path / "work"`.

    Raises `FileNotFoundError` if photographs, YuNet's weights or the backbone's are missing, `ValueError` for too few.
    Source: Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376.
    """
    config = config or PretrainingConfig()
    folder = prepare_target(Path(save_path), what="the model")
    work = prepare_target(folder / "work", what="what pretraining needs to continue")

    def say(text: str) -> None:
        if show_progress:
            print(text, flush=True)

    table = find_photographs(location, seed=config.encoder.seed)
    face_detector = face_detector or load_face_detector("yunet")
    pictures = prepare_pictures(table, location, work, face_detector, show_progress=show_progress)
    parts = _split(pictures, location)
    train, validation = (_source(work, part, config) for part in parts.values())
    encoder, history = train_encoder(train, validation, work, config.encoder, workers=workers, say=say)
    model = build_on_encoder(encoder, config.frame_count)
    say("scoring sequences of people of the validation split")
    unseen = {
        fakes: observe(model, validation, first_seed=VALIDATION_SEED, swaps=swaps, workers=workers)
        for fakes, swaps in (("self-blends", 0.0), ("swaps", 1.0))
    }
    metrics = measure(unseen, parts["validation"]["identity"])
    say(metrics.round(3).to_string(index=False))
    ood, outliers = _fit_ood(
        model, parts["train"], unseen, (train, validation), work, face_detector, config, workers, say
    )
    fitted = calibrate(
        *(np.concatenate([getattr(one, name) for one in unseen.values()]) for name in ("labels", "scores"))
    )
    note: dict[str, Any] = {
        "data": data or f"blends of the photographs in {Path(location).name}",
        "model": model.name,
        "photographs": len(table),
        "without_a_face": len(table) - len(pictures),
        "people": {name: int(part["identity"].nunique()) for name, part in parts.items()},
        **asdict(config),
        "notes": notes,
        "trained_on": hashlib.sha256(pictures[["file", "split"]].to_csv(index=False).encode()).hexdigest(),
    }
    weights = config.encoder.weights  # the name of a file, not where it lies on this machine
    note["encoder"]["weights"] = {"imagenet": "ImageNet", None: "random"}.get(weights) or Path(str(weights)).name
    sequence = SequenceConfig(frame_count=config.frame_count, face_size=config.encoder.face_size, margin=MARGIN)
    tables = {"history": pd.DataFrame(history).astype({"step": int}), "metrics": metrics, "outliers": outliers}
    _write(
        ModelFolder(folder, sequence, replace(fitted, counted=COUNTED, fakes="blends of them"), note, None, ood),
        model,
        tables,
    )
    return metrics


def observe(model: keras.Model, source: PairSource, *, first_seed: int, swaps: float, workers: int) -> Observed:
    """Score one pair of sequences of everyone in `source`; `swaps` is the fraction of swaps among the fakes."""
    see, frame_count = with_style(model), model.input_shape[1]
    found: list[list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = [[], []]
    crfs: list[int] = []
    for pairs in source.sequences(frame_count, first_seed=first_seed, swaps=swaps, workers=workers):
        for label, films in enumerate((pairs.reals, pairs.fakes)):
            found[label].append(_see(see, films))
        crfs += [take.crf or 0 for take in pairs.takes]
    scores, styles = (np.concatenate(part) for part in zip(*found[0], *found[1], strict=True))
    return Observed(scores.astype(np.float64), styles, np.repeat([0, 1], len(crfs)), np.array(crfs * 2))


def measure(unseen: dict[str, Observed], people: pd.Series) -> pd.DataFrame:
    """The AUC with its interval for each kind of fakes, over all qualities of video and for each of them."""
    rows = []
    for fakes, observed in unseen.items():
        crfs = observed.crfs
        qualities = {"all": crfs >= 0, "no video codec": crfs == 0}
        qualities |= {name: (crfs >= best) & (crfs <= worst) for name, (best, worst) in QUALITIES.items()}
        labels = np.where(observed.labels > 0, "FAKE", "REAL")
        table = pd.DataFrame({"label": labels, "original": np.tile(people, 2), "score": observed.scores})
        for quality, chosen in qualities.items():
            part = table[chosen]
            if part["original"].nunique() < 2:
                continue
            auc = roc_auc_score(part["label"] == "FAKE", part["score"])
            low, high = bootstrap_interval(part, roc_auc_score, resamples=RESAMPLES)
            rows.append((fakes, quality, len(part) // 2, auc, low, high))
    return pd.DataFrame(rows, columns=["fakes", "quality", "pairs", "auc", "low", "high"])


def _see(see: keras.Model, films: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores (N,) and styles (N, S) of sequences (N, T, H, W, 3)."""
    scores, styles = see.predict(films, batch_size=8, verbose=0)
    return scores[:, 0], styles


def _split(pictures: pd.DataFrame, location: str | Path) -> dict[str, pd.DataFrame]:
    parts = {name: pictures[pictures["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        if part["identity"].nunique() < 2:
            raise ValueError(f"{location}: fewer than two people for {name} show a face that is large enough: add more")
    return parts


def _source(work: Path, people: pd.DataFrame, config: PretrainingConfig) -> PairSource:
    return PairSource(work, people, face_size=config.encoder.face_size, seed=config.encoder.seed)


def _fit_ood(
    model: keras.Model,
    people: pd.DataFrame,
    unseen: dict[str, Observed],
    sources: tuple[PairSource, PairSource],
    work: Path,
    face_detector: FaceDetector,
    config: PretrainingConfig,
    workers: int,
    say: Callable[[str], None],
) -> tuple[OODDetector, pd.DataFrame]:
    """The out-of-distribution detector, and which fraction of each kind of outliers it flags."""
    say("fitting the out-of-distribution detector")
    chosen = people.sample(min(config.ood_people, len(people)), random_state=config.encoder.seed)
    source, settings = _source(work, chosen, config), {"first_seed": TRAINING_SEED, "workers": workers}
    training = observe(model, source, swaps=config.encoder.swaps, **settings).styles
    validation = np.concatenate([one.styles for one in unseen.values()])
    see = with_style(model)
    sets: list[dict[str, NDArray[np.float32]]] = []
    for number, (origin, count) in enumerate(
        zip(sources, (config.outliers, max(1, config.outliers // 2)), strict=True)
    ):
        settings = {"count": count, "frame_count": config.frame_count, "face_size": config.encoder.face_size}
        films = film_outliers(origin, face_detector, seed=number, **settings)
        sets.append({kind: _see(see, shown)[1] for kind, shown in films})
    fitted = OODDetector.fit(training, validation, np.concatenate(list(sets[0].values())))
    rows = []
    for kind, styles in sets[1].items():
        others = np.concatenate([those for other, those in sets[0].items() if other != kind])
        left_out = OODDetector.fit(training, validation, others)
        flagged = [(one.percentile(styles) >= OOD_PERCENTILE).mean() for one in (fitted, left_out)]
        rows.append((kind, len(styles), *flagged))
    return fitted, pd.DataFrame(rows, columns=["kind", "sequences", "flagged", "flagged_if_left_out"])


def _write(folder: ModelFolder, model: keras.Model, tables: dict[str, pd.DataFrame]) -> None:
    with folder.rewriting():
        with replacing(folder.path / "model.keras") as partial:
            model.save(partial)
        for name, table in tables.items():
            write_atomically(folder.path / f"{name}.csv", table.round(4).to_csv(index=False))
        write_card(folder)

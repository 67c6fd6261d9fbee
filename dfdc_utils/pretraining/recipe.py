"""Pretraining on real faces: from photographs to a calibrated sequence model. Its only fakes are blends of them.

An interrupted run keeps the cropped photographs and the encoder's last save.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.evaluation import METRICS, bootstrap_interval
from dfdc_utils.faces import FaceDetector, SequenceConfig, load_face_detector
from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.models import ModelFolder, OODDetector, WithStyle, build_on_encoder, calibrate, write_card
from dfdc_utils.pretraining.encoder import EncoderConfig, train_encoder
from dfdc_utils.pretraining.flicker import add_flicker
from dfdc_utils.pretraining.mesh import FaceMesh
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures

# In the middle of what was trained on. Haar's boxes are a tenth smaller than YuNet's, and their crops still inside.
SEQUENCE_MARGIN = 1.35
COUNTED = "validation sequences made of photographs"
TRAINING_SEED, VALIDATION_SEED = 3 * 10**9, 2 * 10**9  # far from the seeds that the encoder is trained and scored with
RESAMPLES = 400  # for an interval: more move its ends in the third digit only
QUALITIES = {"all": (0, 51), "no video codec": (0, 0)}  # name: constant rate factors
QUALITIES |= {f"crf {best} to {worst}": (best, worst) for best, worst in ((18, 24), (25, 31), (32, 40))}

Styles = NDArray[np.float32]  # (N, S), of sequences, for the out-of-distribution detector


@dataclass(frozen=True)
class PretrainingConfig:
    """The recipe: `encoder` for single frames; the model averages its logits over `frame_count` frames."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    frame_count: int = 16
    validation_people: int = 400  # of the validation split: the calibration is fitted on them
    ood_people: int = 600  # of the training split: the out-of-distribution detector is fitted on them


def pretrain(
    location: str | Path,
    save_path: str | Path,
    *,
    config: PretrainingConfig | None = None,
    face_detector: FaceDetector | None = None,
    mesh: FaceMesh | None = None,
    talking: str | Path | None = None,
    data: str | None = None,
    notes: str = "",
    workers: int = 1,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Train on the face photographs in `location`, write a model to `save_path`, return its metrics on unseen people.

    `data` says in a line what the photographs are; `notes` is Markdown for the card: whose they are and who may use
    them. `face_detector` must give landmarks: YuNet by default. With a face `mesh`, half of the blends of whole faces
    end at its outlines, and others are of parts of a face. With `talking`, real clips of people speaking, the model
    counts flicker, too (see `add_flicker`). `workers` processes make pairs. The metrics are those of `measure`, of
    pictures alone. An interrupted run continues when called with the same arguments, from `save_path / "work"`.
    Raises `FileNotFoundError` if photographs, YuNet's weights or the backbone's are missing, `ValueError` for too few.
    Source: Shiohara and Yamasaki, CVPR 2022, https://arxiv.org/abs/2204.08376.
    """
    config = config or PretrainingConfig()
    folder = prepare_target(Path(save_path), what="the model")
    work = prepare_target(folder / "work", what="what pretraining needs to continue")
    say: Callable[[str], None] = partial(print, flush=True) if show_progress else lambda _: None
    seed, size = config.encoder.seed, config.encoder.face_size
    table = find_photographs(location, seed=seed)
    face_detector = face_detector or load_face_detector("yunet")
    pictures = prepare_pictures(table, location, work, face_detector, mesh=mesh, show_progress=show_progress)
    parts = {name: pictures[pictures["split"] == name] for name in ("train", "validation")}
    for name, part in parts.items():
        if part["identity"].nunique() < 2:
            raise ValueError(f"{location}: fewer than two people for {name} show a face that is large enough: add more")
    people = {name: part.drop_duplicates("identity") for name, part in parts.items()}  # one picture of each
    counts = {"validation": config.validation_people, "train": config.ood_people}
    few = [people[name].sample(min(n, len(people[name])), random_state=seed) for name, n in counts.items()]
    sources = (PairSource(work, part, face_size=size, seed=seed) for part in (*parts.values(), *few))
    train, validation, counted, some = sources
    encoder, history = train_encoder(train, validation, work, config.encoder, workers=workers, say=say)
    model = build_on_encoder(encoder, config.frame_count)
    see = WithStyle(model)
    say("scoring sequences of people of the validation split")
    how = {"first_seed": VALIDATION_SEED, "workers": workers}
    kinds: dict[str, dict[str, Any]] = {"self-blends": {}, "swaps": {"swaps": 1.0}}
    kinds |= {"parts of faces": {"swaps": 0.5, "parts": 1.0}} if mesh else {}
    unseen = {kind: observe(see, counted, **how, **mix) for kind, mix in kinds.items()}
    scores, _ = unseen["self-blends"]  # not both: each person counts once
    fitted = replace(calibrate(scores["label"] == "FAKE", scores["score"]), counted=COUNTED, fakes="self-blends")
    metrics = measure({fakes: table for fakes, (table, _) in unseen.items()})
    say(metrics.round(3).to_string(index=False))
    say("fitting the out-of-distribution detector")
    trained = config.encoder
    _, seen = observe(see, some, first_seed=TRAINING_SEED, workers=workers, swaps=trained.swaps, parts=trained.parts)
    ood = OODDetector.fit(seen, np.concatenate([styles for _, styles in unseen.values()]))
    note: dict[str, Any] = {
        "data": data or f"blends of the photographs in {Path(location).name}",
        "data_kind": "recorded",
        "model": model.name,
        "photographs": len(table),
        "without_a_face": len(table) - len(pictures),
        "people": {name: len(part) for name, part in people.items()},
        **asdict(config),
        "face_mesh": mesh is not None,
        "notes": notes,
        "trained_on": hashlib.sha256(pictures[["file", "split"]].to_csv(index=False).encode()).hexdigest(),
    }
    weights = config.encoder.weights  # the name of a file, not where it lies on this machine
    note["encoder"]["weights"] = {"imagenet": "ImageNet", None: "random"}.get(weights) or Path(str(weights)).name
    sequence = SequenceConfig(frame_count=config.frame_count, face_size=size, margin=SEQUENCE_MARGIN)
    made = ModelFolder(folder, sequence, fitted, note, None, ood)
    with made.rewriting():
        with replacing(folder / "model.keras") as file:
            model.save(file)
        for name, rows in (("history", pd.DataFrame(history).astype({"step": int})), ("metrics", metrics)):
            write_atomically(folder / f"{name}.csv", rows.round(4).to_csv(index=False))
        write_card(made)
    if talking:
        add_flicker(made, talking, folder, seed=seed, show_progress=show_progress)
    return metrics


def observe(
    see: WithStyle, source: PairSource, *, first_seed: int, workers: int, **mix: Any
) -> tuple[pd.DataFrame, Styles]:
    """Score one pair of sequences of everyone in `source` with `see`.

    `mix` is `swaps` and `parts` of `PairSource.make`. The table has `label`, `original` (the person), `score` and
    `crf`, H.264's constant rate factor (0: not encoded); the styles (N, S) are in the same order.
    """
    tables, styles = [], []
    for pairs in source.sequences(see.frame_count, first_seed=first_seed, workers=workers, **mix):
        crfs = [encoding.crf or 0 for encoding in pairs.encodings]
        for label, sequences in (("REAL", pairs.reals), ("FAKE", pairs.fakes)):
            scores, style = see.predict(sequences, batch_size=8, verbose=0)
            tables.append(pd.DataFrame({"label": label, "original": pairs.people, "score": scores[:, 0], "crf": crfs}))
            styles.append(style)
    return pd.concat(tables, ignore_index=True), np.concatenate(styles)


def measure(unseen: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The AUC with its interval for each kind of fakes, over all qualities of video and for each of them."""
    auc = METRICS["AUC"]
    rows = []
    for fakes, scores in unseen.items():
        for quality, crfs in QUALITIES.items():
            part = scores[scores["crf"].between(*crfs)]
            if part["original"].nunique() > 1:
                interval = bootstrap_interval(part, auc, resamples=RESAMPLES)
                rows.append((fakes, quality, len(part) // 2, auc(part["label"] == "FAKE", part["score"]), *interval))
    return pd.DataFrame(rows, columns=["fakes", "quality", "pairs", "auc", "low", "high"])

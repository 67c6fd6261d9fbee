"""What the frame encoder sees in sequences of faces, kept on disk, so that heads over time learn from it in seconds."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.faces.detectors import Detector
from dfdc_utils.faces.storage import working_on
from dfdc_utils.models.folder import digest_weights
from dfdc_utils.models.frame_encoder import see_frames
from dfdc_utils.pretraining.outliers import film_outliers
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.quiet import quiet_import
from dfdc_utils.videos.frames import Image

with quiet_import():
    import keras


@dataclass(frozen=True)
class Seen:
    """Features (2N, T, F) and styles averaged over time (2N, S) of N reals and then of their blends, `labels` (2N,),
    and how each was encoded (0: not)."""

    features: NDArray[np.float32]
    styles: NDArray[np.float32]
    labels: NDArray[np.float32]
    crfs: NDArray[np.int64]


@dataclass(frozen=True)
class SeenOutliers:
    """Styles averaged over time (N, S) of what is no photograph of a face, and what `kinds` (N,) it is."""

    styles: NDArray[np.float32]
    kinds: NDArray[np.str_]


def see_pairs(
    encoder: keras.Model,
    source: PairSource,
    path: Path,
    *,
    frame_count: int,
    first_draw: int,
    swaps: float,
    workers: int,
) -> Seen:
    """What the encoder sees in one pair of sequences of everyone in `source`; from `path` if that is there."""
    key = f"{digest_weights(encoder)} {source.digest} {len(source)} {frame_count} {first_draw} {swaps}"
    if kept := _kept(path, key, Seen):
        return kept
    see = _see(encoder)
    found: dict[str, list[list[NDArray[np.float32]]]] = {"features": [[], []], "styles": [[], []]}
    crfs: list[int] = []
    for pairs in source.sequences(frame_count, first_draw=first_draw, swaps=swaps, workers=workers):
        for label, films in enumerate((pairs.reals, pairs.fakes)):
            features, styles = see(films)
            found["features"][label].append(features)
            found["styles"][label].append(styles.mean(axis=1))
        crfs += [take.crf or 0 for take in pairs.takes]
    labels = np.repeat(np.array([0, 1], np.float32), len(crfs))
    parts = {name: np.concatenate([*reals, *fakes]) for name, (reals, fakes) in found.items()}
    return _keep(path, key, Seen(**parts, labels=labels, crfs=np.array(crfs * 2)))


def see_outliers(
    encoder: keras.Model,
    source: PairSource,
    detector: Detector,
    path: Path,
    *,
    frame_count: int,
    count: int,
    seed: int,
) -> SeenOutliers:
    """The styles of `count` outliers of each kind; from `path` if they are there."""
    key = f"{digest_weights(encoder)} {source.digest} {detector.name} {frame_count} {count} {seed}"
    if kept := _kept(path, key, SeenOutliers):
        return kept
    see, face_size = _see(encoder), encoder.input_shape[1]
    styles, kinds = [], []
    for kind, films in film_outliers(
        source, detector, count=count, frame_count=frame_count, face_size=face_size, seed=seed
    ):
        styles.append(see(films)[1].mean(axis=1))
        kinds += [kind] * len(films)
    return _keep(path, key, SeenOutliers(np.concatenate(styles), np.array(kinds)))


def _see(encoder: keras.Model) -> Callable[[Image], list[NDArray[np.float32]]]:
    """From films (N, T, H, W, 3) to features (N, T, F) and styles (N, T, S)."""
    maps_and_more = see_frames(encoder)
    see = keras.Model(maps_and_more.input, maps_and_more.outputs[1:])

    def look(films: Image) -> list[NDArray[np.float32]]:
        flat = films.reshape(-1, *films.shape[2:])
        seen = see.predict(flat, batch_size=films.shape[1], verbose=0)  # no last batch is smaller
        return [np.asarray(part).reshape(*films.shape[:2], -1) for part in seen]

    return look


_Arrays = TypeVar("_Arrays", Seen, SeenOutliers)


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

"""Pretraining's last stage: how much real faces flicker, and the calibration of pictures and flicker together."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from dfdc_utils.errors import NoFaceFound, UnreadableVideo
from dfdc_utils.faces import SequenceConfig, extract_tracks, find_yunet, own_face_detector, read_faces
from dfdc_utils.files import prepare_target
from dfdc_utils.models import Flicker, ModelFolder, calibrate, write_card
from dfdc_utils.processing import processing
from dfdc_utils.sequences import find_landmarks, hash_faces, score_people, self_blend
from dfdc_utils.videos import list_videos, sample_frames, write_clip

CRFS = (18, 43)  # H.264's constant rate factor: FaceForensics++ c23 and c40 lie inside
MOST_FRAMES = 160  # of a clip, of its first 5 s
SQUARE = 1.7  # side of what is blended, in multiples of the face's box
ALIKE = 70  # of the 255 bits of `hash_faces`: clips whose faces differ in fewer may show one person in one studio
COUNTED = "clips of people speaking, encoded again"


def add_flicker(
    source: ModelFolder, talking: str | Path, save_path: str | Path, *, seed: int = 0, show_progress: bool = True
) -> ModelFolder:
    """Let a pretrained model count flicker, too: write it to `save_path` with `flicker.json` and a new calibration.

    `talking` holds real clips of people speaking. Each is encoded again at a random quality, as it is and with its face
    blended with a changed copy of itself. Half of the real ones say how much real faces flicker; the other half, with
    their fakes, calibrate the scores. Clips whose faces look alike are in the same half. Raises `ValueError` for fewer
    than 20 clips with a face, `FileNotFoundError` without YuNet's weights.
    """
    folder = prepare_target(Path(save_path), what="the model")
    clips = prepare_target(folder / "work" / "talking", what="the clips that are encoded again")
    config, paths = replace(source.sequence, detector="yunet", flicker=True), list_videos(talking)
    remake = delayed(_write_pair)
    jobs = (remake(path, clips, config, find_yunet(), [seed, number]) for number, path in enumerate(paths))
    pairs = [pair for pair in Parallel(n_jobs=-1, verbose=5 if show_progress else 0)(jobs) if pair]
    (clips / "metadata.json").write_text(json.dumps({name: label for pair in pairs for name, label in pair.items()}))
    faces = folder / "work" / "faces"
    found = processing(clips, faces, num_vids=None, overwrite=True, show_progress=show_progress, **config.settings)
    found["flicker"] = [
        read_faces(faces, video)["tracks"][0]["flicker"] if ok else []
        for video, ok in zip(found["video"], found["status"] == "ok", strict=True)
    ]
    found = found[found["flicker"].str.len() > 0]
    real = found[found["label"] == "REAL"]
    if len(real) < 20:
        raise ValueError(f"{talking}: {len(real)} clips show a face in neighbouring frames, 20 are needed: add more")
    fitted_on = real[_choose_half(hash_faces(real, faces), seed)]
    flicker = Flicker.fit(fitted_on["flicker"].tolist())
    others = found[~found["original"].isin(fitted_on["video"])]
    raw = score_people(source.model, others, faces, add_flicker=flicker.add)
    calibration = replace(calibrate(others["label"] == "FAKE", raw), counted=COUNTED, fakes="self-blends of them")
    note = source.note | {"flicker": {"clips": len(real), "of": Path(talking).name, "seed": seed}}
    sequence = replace(source.sequence, flicker=True)
    made = replace(source, path=folder, sequence=sequence, calibration=calibration, note=note, deepfakes=None)
    made = replace(made, flicker=flicker)
    names = ("model.keras", "history.csv", "metrics.csv", "outliers.csv")
    with made.rewriting(source.path / name for name in names):
        write_card(made)
    return made


def _write_pair(
    path: Path, target: Path, config: SequenceConfig, weights: Path | None, seed: list[int]
) -> dict[str, dict[str, str]]:
    """Write a clip and its self-blend; return what `metadata.json` says of them, nothing if no face was found."""
    generator, detector = np.random.default_rng(seed), own_face_detector("yunet", weights)
    try:
        clip = sample_frames(path, MOST_FRAMES)
        track = extract_tracks(clip, detector, config)[0]
    except (NoFaceFound, UnreadableVideo):
        return {}
    frames = clip.frames[:, : clip.info.height // 2 * 2, : clip.info.width // 2 * 2]
    x, y, width, height = track.boxes[track.detected].mean(axis=0)
    side = min(round(SQUARE * max(width, height)), *frames.shape[1:3])
    left, top = (
        round(float(np.clip(middle - side / 2, 0, size - side)))
        for middle, size in ((x + width / 2, frames.shape[2]), (y + height / 2, frames.shape[1]))
    )
    square = np.s_[:, top : top + side, left : left + side]
    fake = frames.copy()
    fake[square] = self_blend(frames[square], find_landmarks(frames[square], detector), generator).fake
    crf, names = int(generator.integers(*CRFS)), (f"real_{path.stem}.mp4", f"fake_{path.stem}.mp4")
    for name, shown in zip(names, (frames, fake), strict=True):
        write_clip(target / name, shown, sound=None, size=frames.shape[2:0:-1], crf=crf)
    return {names[0]: {"label": "REAL"}, names[1]: {"label": "FAKE", "original": names[0]}}


def _choose_half(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.bool_]:
    """Choose about half of some faces (N,); faces that look alike, directly or through others, stay together."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    together = AgglomerativeClustering(None, metric="manhattan", linkage="single", distance_threshold=ALIKE)
    groups = pd.Series(together.fit_predict(bits))
    order = np.random.default_rng(seed).permutation(groups.nunique())
    sizes = groups.value_counts().reindex(order)
    return np.asarray(groups.isin(order[sizes.cumsum() <= len(groups) / 2]))

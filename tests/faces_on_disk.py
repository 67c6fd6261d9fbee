"""Faces on disk, made without a video: what `processing` would leave, small and with a known content."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from dfdc_utils.faces import SequenceConfig, Track, write_faces
from dfdc_utils.faces.tracks import CroppedTrack
from dfdc_utils.files import write_atomically

SMALL = SequenceConfig(capture_sec=1.0, frame_count=4, face_size=32, detector="haar")


def write_video_faces(
    target: Path,
    video: str,
    crops: list[np.ndarray],
    config: SequenceConfig = SMALL,
    *,
    people: int = 1,
    others: dict[str, list[np.ndarray]] | None = None,
) -> None:
    """Commit crops (S, S, 3) as the track of each person in a video; `others` are further people, by their flaw."""
    count = len(crops)
    track = Track(
        boxes=np.tile([10.0, 10.0, 40.0, 40.0], (count, 1)),
        scores=np.ones(count),
        detected=np.ones(count, bool),
        filled=np.zeros(count, bool),
    )
    record = {"video": video, "config": asdict(config), "source_bytes": 1, "status": "ok", "error": "", "frames": count}
    write_faces(
        target,
        record,
        [CroppedTrack(track, list(range(count)), crops, sharpness=100.0)] * people
        + [CroppedTrack(track, list(range(count)), faces, 100.0, flaw) for flaw, faces in (others or {}).items()],
        np.arange(count) / 10,
    )


def flickering_faces(target: Path, families: int = 12, config: SequenceConfig = SMALL) -> pd.DataFrame:
    """A manifest of originals, plain colours that stay, and as many fakes, whose light jumps between frames."""
    target.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    size, rows = config.face_size, []
    for number in range(families):
        colour = generator.integers(60, 190, 3)
        for label, jump in (("REAL", 0), ("FAKE", 50)):
            video = f"{label.lower()}_{number:02d}"
            steps = jump * (np.arange(config.frame_count) % 2)
            noise = generator.integers(-8, 8, (config.frame_count, size, size, 3))
            faces = np.clip(colour + steps[:, None, None, None] + noise, 0, 255).astype(np.uint8)
            write_video_faces(target, video, list(faces), config)
            rows.append({"video": video, "label": label, "original": f"real_{number:02d}", "part": "p", "status": "ok"})
    config.save(target / "sequence.json")
    manifest = pd.DataFrame(rows)
    write_atomically(target / "manifest.csv", manifest.assign(path="", problem="", error="").to_csv(index=False))
    return manifest

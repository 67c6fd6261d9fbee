"""Fakes whose pictures are untouched: videos with the sound of somebody else, to measure who hears it."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from dfdc_utils.files import prepare_target, replacing, write_atomically
from dfdc_utils.videos import probe_video


def make_sound_fakes(table: pd.DataFrame, save_path: str | Path, *, seed: int = 0, show_progress: bool = True) -> Path:
    """Give each REAL video of one person in a manifest another person's sound, in DFDC's layout; return the folder.

    Pictures and sound are copied as they are encoded, so that no second encoding gives a fake away. The sound is that
    of a video that is at least as long, if there is one. `metadata.json` names the `original` and the `person`,
    `truth.json` whose sound it is. Videos that are there already are kept.

    Raises `ValueError` if fewer than two people have sound. Taught in notebook 07.
    """
    usable = table["has_audio"].astype(bool) & (table["tracks"] == 1)  # of two people, either could be speaking
    real = table[(table["label"] == "REAL") & (table["status"] == "ok") & usable]
    who = real["person"].where(real["person"] != "", real["original"]).to_numpy()
    if len(set(who)) < 2:
        raise ValueError("sounds cannot be exchanged: fewer than two people in REAL videos have one")
    folder = prepare_target(Path(save_path), what="videos with another sound")
    lengths = np.array([probe_video(path).duration for path in real["path"]])
    rows = list(real.to_dict("records"))
    metadata, truth = {}, {}
    for number, row in enumerate(tqdm(rows, desc="exchanging sounds", unit="video", disable=not show_progress)):
        others = np.flatnonzero(who != who[number])
        longer = others[lengths[others] >= lengths[number]]
        rng = np.random.default_rng([seed, number])
        donor = int(rng.choice(longer)) if len(longer) else int(others[np.argmax(lengths[others])])
        name = f"{row['video']}_sound.mp4"
        if not (folder / name).is_file():
            _join(Path(row["path"]), Path(rows[donor]["path"]), folder / name)
        entry = {"label": "FAKE", "split": "train", "original": Path(row["path"]).name, "person": row["person"]}
        metadata[name] = entry
        truth[name] = {"kind": "sound", "altered": "sound", "sound_of": rows[donor]["video"]}
    write_atomically(folder / "metadata.json", json.dumps(metadata, indent=1))
    write_atomically(folder / "truth.json", json.dumps(truth, indent=1))
    return folder


def _join(pictures: Path, sound: Path, target: Path) -> None:
    """Write the pictures of one file and the sound of another, for as long as there are pictures."""
    with (
        replacing(target) as partial,
        av.open(str(pictures)) as seen,
        av.open(str(sound)) as heard,
        av.open(str(partial), "w", format="mp4") as output,
    ):
        output.metadata["comment"] = seen.metadata.get("comment", "")
        sources = (seen.streams.video[0], heard.streams.audio[0])
        copies = [output.add_stream_from_template(source) for source in sources]
        end = 0.0
        for container, source, copy in zip((seen, heard), sources, copies, strict=True):
            for packet in container.demux(source):
                if packet.dts is None or packet.time_base is None:  # the end
                    continue
                time = float((packet.pts or 0) * packet.time_base)
                if container is seen:
                    end = max(end, time + float((packet.duration or 0) * packet.time_base))
                elif time >= end:
                    break
                packet.stream = copy
                output.mux(packet)

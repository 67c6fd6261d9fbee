"""Ten thousand videos in one run: memory of the run and of its workers, and how long a run with nothing to do takes.

The videos are hard links to the sample's clips. Run by `make bench`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest
from workers import peak_memory

from dfdc_utils.processing import processing
from dfdc_utils.videos import read_catalog
from dfdc_utils.workers import each

COUNT = 10_000
EARLY = 2_000


def memory_now() -> float:
    """What this process holds, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_ten_thousand_videos(sample: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/statm").is_file():
        pytest.skip("memory is read from /proc, which this system does not have")
    sources = [Path(path) for path in read_catalog(sample)["path"]]
    folder = tmp_path / "many" / "dfdc_train_part_0"
    folder.mkdir(parents=True)
    names = [f"{number:05d}.mp4" for number in range(COUNT)]
    settings = {"detector": "haar", "frame_count": 4, "capture_sec": 1.0, "num_vids": None, "workers": 2}

    rows = []
    for count in (EARLY, COUNT):  # the second run goes on where the first stopped
        for number, name in enumerate(names[:count]):
            if not (folder / name).exists():
                os.link(sources[number % len(sources)], folder / name)
        listing = {name: {"label": "FAKE", "original": names[0]} for name in names[:count]}
        (folder / "metadata.json").write_text(json.dumps(listing | {names[0]: {"label": "REAL"}}))
        started = time.perf_counter()
        manifest = processing(folder.parent, tmp_path / "faces", show_progress=False, **settings)  # type: ignore[arg-type]
        done = int(manifest["seconds"].notna().sum())
        workers = max(each(peak_memory, range(8), workers=2)) / 1e6
        rows.append((count, done, time.perf_counter() - started, memory_now(), workers))
    started = time.perf_counter()
    again = processing(folder.parent, tmp_path / "faces", show_progress=False, **settings)  # type: ignore[arg-type]
    rows.append((COUNT, int(again["seconds"].notna().sum()), time.perf_counter() - started, memory_now(), float("nan")))
    columns = ["videos there", "done", "seconds", "MB of the run", "most MB of a worker"]
    table = pd.DataFrame(rows, columns=columns)
    print(f"\nTen thousand videos\n{table.round(1).to_string(index=False)}")
    assert again["status"].value_counts().sum() == COUNT
    assert rows[2][1] == 0
    assert rows[2][2] <= 0.1 * (rows[0][2] + rows[1][2]), "a run with nothing to do"
    # A manifest row is about 2 KB, held twice while the table is made.
    assert rows[1][3] - rows[0][3] < 60
    assert rows[1][4] - rows[0][4] < 30

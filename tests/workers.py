"""Work for tests in place of `work_on`, and runs that tests kill. Importable, since workers are other processes."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from clips import SquareDetector

import dfdc_utils.processing as module
from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import Job, blank_record, extraction, work_on, write_faces
from dfdc_utils.files import working_on
from dfdc_utils.prediction.windows import Look, VideoFaces, find_faces
from dfdc_utils.workers import time_limited

# What runs of square clips are called with.
SETTINGS: dict[str, Any] = {
    "detector": "haar",
    "frame_count": 4,
    "face_size": 32,
    "num_vids": None,
    "workers": 1,
    "show_progress": False,
}


def find_squares(job: Job) -> float:
    """`work_on`, with coloured squares for faces."""
    with mock.patch.object(extraction, "own_face_detector", lambda name, weights: SquareDetector()):
        return work_on(job)


def die_on_poison(job: Job) -> float:
    """As a decoder that crashes, or the system that kills what takes too much memory."""
    if "poison" in job.video:
        with working_on(job.target, job.video):
            time.sleep(0.2)  # so that the other worker has begun a video, too
            os.kill(os.getpid(), signal.SIGKILL)
    return find_squares(job)


def wait_after_the_first(job: Job) -> float:
    """Finish the first video, and be at work on the others until the process ends."""
    if job.video == "a":
        return find_squares(job)
    with working_on(job.target, job.video):
        time.sleep(600)
    raise AssertionError("nobody ended this")


def hang(seconds: float) -> None:
    """Two threads with a time limit, of which one ends in time and one does not."""
    with ThreadPoolExecutor(1) as pool, time_limited(Path("hung.mp4"), seconds):
        pool.submit(_pass_quickly).result()
        time.sleep(600)


def _pass_quickly() -> None:
    with time_limited(Path("quick.mp4"), 60):
        pass


def find_nobody(job: Job) -> float:
    """As for a video without a face, in no time."""
    record = blank_record(job.video, job.path, job.config)
    write_faces(job.target, record | {"status": "no_face", "error": "nobody"}, [], np.empty(0))
    return 0.001


def kill_this(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def double(number: int) -> int:
    return 2 * number


def invert(number: int) -> float:
    return 1 / number


def sleep_on_seven(number: int) -> int:
    time.sleep(600 if number == 7 else 0)
    return number


def peak_memory(_: int) -> int:
    """The most memory this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what the system tells of a process includes what its parent held when it started it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_folder(location: Path, target: Path, results: Any) -> None:
    """A run in a process of its own. Puts the most memory it has held into `results`, in bytes."""
    module.processing(location, target, **SETTINGS)
    results.put(peak_memory(0))


def process_squares(location: Path, target: Path, results: Any, last: int, settings: dict[str, Any]) -> None:
    """A run in a process of its own, which is killed at its `last` operation on files below `target`.

    Else it puts into `results` how many these were, or the text of a `ConfigMismatch`.
    """
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.mkdir", "os.rmdir") and str(target) in str(arguments[0]):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    random.seed(0)  # where a run begins
    module.work_on = find_squares
    try:
        module.processing(location, target, **SETTINGS | settings)
        results.put(count)
    except ConfigMismatch as error:
        results.put(str(error))


def run_until_interrupted(location: str, target: str) -> None:
    """As the command line does, in a process group that a test interrupts while two workers are busy."""
    module.work_on = wait_after_the_first
    try:
        module.processing(location, target, **SETTINGS | {"workers": 2})
    except KeyboardInterrupt as interrupt:
        print(interrupt)


def die_looking_at_poison(look: Look) -> VideoFaces:
    if "poison" in look.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return find_faces(look)


def shout_or_die(word: str) -> str:
    if "poison" in word:
        os.kill(os.getpid(), signal.SIGKILL)
    return word.upper()

"""What workers do in tests, in place of `work_on`: importable, since workers are other processes."""

from __future__ import annotations

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import Job, Outcome, blank_record, work_on, write_faces
from dfdc_utils.files import working_on
from dfdc_utils.prediction.windows import Look, VideoFaces, find_faces
from dfdc_utils.processing import processing
from dfdc_utils.workers import ended_if_hung


def die_on_poison(job: Job) -> Outcome:
    """As a decoder that crashes, or the system that kills what takes too much memory."""
    if "poison" in job.video:
        with working_on(job.target, job.video):
            time.sleep(0.2)  # so that the other worker has begun a video, too
            os.kill(os.getpid(), signal.SIGKILL)
    return work_on(job)


def hang_on_poison(job: Job) -> Outcome:
    """As a library that never comes back."""
    with ended_if_hung(job.time_limit):
        if "poison" in job.video:
            with working_on(job.target, job.video):
                time.sleep(600)
    return work_on(job)


def hang(seconds: float) -> None:
    """Two threads with a time limit, of which one ends in time and one does not."""
    with ThreadPoolExecutor(1) as pool, ended_if_hung(seconds):
        pool.submit(_pass_quickly).result()
        time.sleep(600)


def _pass_quickly() -> None:
    with ended_if_hung(60):
        pass


def find_nobody(job: Job) -> Outcome:
    """As for a video without a face, in no time."""
    record = blank_record(job.video, job.path, job.config)
    write_faces(job.target, record | {"status": "no_face", "error": "nobody"}, [], np.empty(0))
    return Outcome(job.video, 0.001)


def kill_this(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def double(number: int) -> int:
    return 2 * number


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


def measure_folder(location: Path, target: Path, results: Any, settings: dict[str, Any]) -> None:
    """A run in a process of its own. Puts the most memory it has held into `results`, in bytes."""
    processing(location, target, show_progress=False, workers=1, **settings)
    results.put(peak_memory(0))


def process_folder(location: Path, target: Path, started: Any, results: Any, settings: dict[str, Any]) -> None:
    """A run in a process of its own, which tests kill. Puts "done" or the error's text into `results`."""
    started.set()
    try:
        processing(location, target, show_progress=False, **settings)
        results.put("done")
    except ConfigMismatch as error:
        results.put(str(error))


def die_looking_at_poison(look: Look) -> VideoFaces:
    if "poison" in look.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return find_faces(look)


def shout_or_die(word: str) -> str:
    if "poison" in word:
        os.kill(os.getpid(), signal.SIGKILL)
    return word.upper()

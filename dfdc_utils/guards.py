"""What keeps one video from taking more than its share of a machine: of its time, its cores, its patience."""

from __future__ import annotations

import faulthandler
import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import cv2

from dfdc_utils.errors import TookTooLong


def time_check(path: Path, time_limit: float) -> Callable[[], None]:
    """A function to be called now and then, which raises `TookTooLong` once `time_limit` seconds are over."""
    started = time.monotonic()

    def check_time() -> None:
        if time.monotonic() - started > time_limit:
            raise TookTooLong(
                f"{Path(path).name}: it is not done after {time_limit:g} s. Allow more time, or leave it out."
            )

    return check_time


@contextmanager
def one_thread() -> Iterator[None]:
    """Videos run side by side, one core each."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


_deadlines: dict[int, float] = {}  # of each thread that works, in seconds of time.monotonic
_deadlines_lock = threading.Lock()


@contextmanager
def ended_if_hung(time_limit: float) -> Iterator[None]:
    """End a worker process that is stuck in a library for twice the time; never the process that the user works in."""
    if multiprocessing.parent_process() is None:
        yield
        return
    _set_deadline(time.monotonic() + 2 * time_limit)
    try:
        yield
    finally:
        _set_deadline(None)


def _set_deadline(deadline: float | None) -> None:
    """Set this thread's. There is one alarm a process, which is set to the earliest of all threads'."""
    with _deadlines_lock:
        _deadlines.pop(threading.get_ident(), None)
        if deadline is not None:
            _deadlines[threading.get_ident()] = deadline
        faulthandler.cancel_dump_traceback_later()
        if _deadlines:
            left = max(0.001, min(_deadlines.values()) - time.monotonic())
            faulthandler.dump_traceback_later(left, exit=True, file=_nowhere())


@functools.cache
def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w")

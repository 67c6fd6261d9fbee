"""Work on many videos: a pool of processes or a Dask cluster, and limits on what one video may take of a machine."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, Any, TypeVar

import cv2
import joblib

from dfdc_utils.errors import TookTooLong

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied(RuntimeError):
    """A process of the pool ended, or hung, while it worked. What it had not given back yet is not done."""


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    cluster: str | Any | None = None,
    patience: float | None = None,
) -> Iterator[Result]:
    """Give `work(item)` for each item, in the order in which they are done.

    `workers` processes, one per core by default; 1 works in this process, where it can be debugged. `cluster` is the
    address of a Dask scheduler (`tcp://host:8786`) or a `dask.distributed.Client`, whose workers then do all work.
    Raises `WorkerDied` if a worker dies, or if nothing is done for `patience` seconds; `ImportError` or `OSError` if
    there is no Dask, or no cluster at that address.
    """
    with _backend(cluster):
        count = -1 if cluster else workers or joblib.cpu_count()
        limit = None if count == 1 else patience  # nothing can end work in this process
        pool = joblib.Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1, timeout=limit)
        try:
            yield from pool(joblib.delayed(work)(item) for item in items)
        except (BrokenProcessPool, multiprocessing.TimeoutError) as error:
            raise WorkerDied(str(error).split("\n", 1)[0] or f"nothing was done for {patience} s") from error


def each_whatever_dies(
    work: Callable[[Item], Result],
    items: Mapping[str, Item],
    *,
    workers: int | None = None,
    cluster: str | Any | None = None,
    patience: float | None = None,
    begun: Callable[[], set[str]] | None = None,
) -> Iterator[tuple[str, Result | WorkerDied]]:
    """Give the name of each item with what `work` gave, or with `WorkerDied` if it takes its worker down twice.

    After a death the items that may have caused it are tried again, each alone; the others go on. These are the items
    that `begun()` names, by default all that were handed out and did not come back. Arguments are those of `each`.
    Raises `WorkerDied` if workers die that had not begun any item, and what `each` raises.
    """
    waiting = dict(items)
    while waiting:
        handed_out: set[str] = set()

        def hand_out(handed_out: set[str] = handed_out) -> Iterator[tuple[Callable[[Item], Result], str, Item]]:
            for name, item in list(waiting.items()):
                handed_out.add(name)
                yield work, name, item

        settings: dict[str, Any] = {"cluster": cluster, "patience": patience}
        try:
            for name, result in each(_named, hand_out(), workers=workers, **settings):
                del waiting[name]
                yield name, result
        except WorkerDied:
            suspects = (begun() if begun else handed_out) & waiting.keys()
            if not suspects:
                raise
            for name in sorted(suspects):
                task = (work, name, waiting.pop(name))
                try:
                    # Two workers, since one would mean this process.
                    ((_, result),) = each(_named, [task], workers=2, **settings)
                    yield name, result
                except WorkerDied as death:
                    yield name, death


def _named(task: tuple[Callable[[Item], Result], str, Item]) -> tuple[str, Result]:
    work, name, item = task
    return name, work(item)


@contextlib.contextmanager
def _backend(cluster: str | Any | None) -> Iterator[None]:
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('working on a cluster needs Dask: pip install "dfdc_utils[cluster]"') from error
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(cluster)) if isinstance(cluster, str) else cluster
        stack.enter_context(joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=30))
        yield


def time_check(path: Path, time_limit: float) -> Callable[[], None]:
    """Make a function that raises `TookTooLong` once `time_limit` seconds are over; call it now and then."""
    started = time.monotonic()

    def check_time() -> None:
        if time.monotonic() - started > time_limit:
            raise TookTooLong(f"{Path(path).name}: it is not done after {time_limit:g} s. Raise the time limit.")

    return check_time


@contextlib.contextmanager
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


@contextlib.contextmanager
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

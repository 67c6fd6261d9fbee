"""Work on many videos: a pool of processes or a Dask cluster, and limits on the time and cores that one video takes."""

import contextlib
import faulthandler
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import cv2

from dfdc_utils.errors import TookTooLong

# joblib counts the work that is thrown away when it is stopped, and warns when it replaces a worker, idle or large.
warnings.filterwarnings("ignore", r"\d+ tasks have been successfully executed|A worker stopped while", UserWarning)

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied(RuntimeError):
    """A process of the pool ended or hung while it worked. The items that it had not given back are not done."""


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    cluster: str | Any | None = None,
    patience: float | None = None,
) -> Generator[Result, None, None]:
    """Give `work(item)` for each item, in the order in which they are done.

    `workers` is the number of processes, one per core by default; 1 works in this process. `cluster` is a Dask
    scheduler's address (`tcp://host:8786`) or a client. An error in `work` is raised here and stops all workers, as
    closing this iterator does. Raises `WorkerDied` if one dies or nothing is done for `patience` seconds, or `OSError`.
    """
    import joblib  # a tenth of a second, which decoding need not take

    with contextlib.ExitStack() as stack:
        if cluster is not None:
            try:
                from distributed import Client
            except ImportError as error:
                raise ImportError('working on a cluster needs Dask: pip install "dfdc_utils[cluster]"') from error
            client = stack.enter_context(Client(cluster)) if isinstance(cluster, str) else cluster
            stack.enter_context(joblib.parallel_config("dask", client=client, wait_for_workers_timeout=30))
        count = -1 if cluster else workers or joblib.cpu_count()
        limit = None if count == 1 else patience  # nothing can end work in this process
        pool = joblib.Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1, timeout=limit)
        try:
            if os.name == "posix":
                resource_tracker.ensure_running()  # else it starts within the block, and unblocks all (Python 3.11)
            with interrupts_held_back():
                results = pool(joblib.delayed(work)(item) for item in items)
                stack.callback(_close, results)
            for result in results:  # noqa: UP028 (`yield from` would let joblib warn when this iterator is closed)
                yield result
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
) -> Generator[tuple[str, Result | WorkerDied], None, None]:
    """`each`, with the name of the item, and with `WorkerDied` for an item that ends its worker twice.

    When a worker dies, the items that may be the cause are tried again, each alone: those that `begun` names, or else
    all that did not come back. `WorkerDied` is only raised if workers die before they begin any.
    """
    settings: dict[str, Any] = {"cluster": cluster, "patience": patience}

    def named(one: tuple[str, Item]) -> tuple[str, Result]:
        return one[0], work(one[1])

    waiting = dict(items)
    while waiting:
        before = len(waiting)
        left = iter(list(waiting.items()))
        try:
            with contextlib.closing(each(named, left, workers=workers, **settings)) as results:
                for name, result in results:
                    del waiting[name]
                    yield name, result
        except WorkerDied:
            suspects = waiting.keys() & (begun() if begun else waiting.keys() - dict(left).keys())
            if not suspects and len(waiting) == before:  # one more attempt would end in the same way
                raise
            for name in sorted(suspects):
                try:
                    # Two workers, since one would mean this process.
                    (again,) = each(named, [(name, waiting.pop(name))], workers=2, **settings)
                    yield again
                except WorkerDied as death:
                    yield name, death


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Raise a Ctrl-C that comes within this block at its end: TensorFlow crashes if one is raised in its midst.

    Processes that start in it ignore Ctrl-C: the terminal sends it to all, and each would print a traceback.
    """
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()  # others are not interrupted
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if main else None
    block = getattr(signal, "pthread_sigmask", lambda *_: ())  # not on Windows; new processes inherit what is blocked
    before = block(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        block(signal.SIG_SETMASK, before)
        if main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
            if came:
                signal.raise_signal(signal.SIGINT)


def _close(results: Any) -> None:
    """Stop the workers of an iterator that joblib made, without its advice on results that nobody takes."""
    with warnings.catch_warnings(action="ignore"):
        results.close()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: videos are worked on side by side, one core each."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


# Of each thread that works on a video: when it began (time.monotonic), its time limit in seconds, its file's name.
_limits: dict[int, tuple[float, float, str]] = {}
_limits_lock = threading.Lock()
_NOWHERE = os.open(os.devnull, os.O_WRONLY)


@contextlib.contextmanager
def time_limited(path: Path, seconds: float) -> Iterator[None]:
    """Limit the time for a video: within this block `check_time` raises `TookTooLong` after `seconds`.

    A worker process that does not come back from a library ends itself after twice that time.
    """
    _set_limit((time.monotonic(), seconds, path.name))
    try:
        yield
    finally:
        _set_limit(None)


def allow_more_time(seconds: float) -> None:
    """Raise the limit of the block of `time_limited` that this thread is in."""
    started, limit, name = _limits[threading.get_ident()]
    _set_limit((started, limit + seconds, name))


def check_time() -> None:
    """Raise `TookTooLong` if this thread is over the time for the video that it works on, if that is limited."""
    started, seconds, name = _limits.get(threading.get_ident(), (0.0, math.inf, ""))
    if time.monotonic() - started > seconds:
        raise TookTooLong(f"{name}: timed out after {seconds:g} s. Raise `time_limit`.")


def _set_limit(limit: tuple[float, float, str] | None) -> None:
    """Set this thread's limit. A process has one alarm, which is set to the earliest deadline of all threads."""
    with _limits_lock:
        _limits.pop(threading.get_ident(), None)
        if limit is not None:
            _limits[threading.get_ident()] = limit
        if multiprocessing.parent_process() is None:
            return
        faulthandler.cancel_dump_traceback_later()
        if _limits:
            deadline = min(started + 2 * seconds for started, seconds, _ in _limits.values())
            faulthandler.dump_traceback_later(max(0.001, deadline - time.monotonic()), exit=True, file=_NOWHERE)

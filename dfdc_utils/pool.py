"""One pool for all work on many videos: processes of this machine, or a Dask cluster, by way of joblib."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import joblib

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied(RuntimeError):
    """A process of the pool ended, or hung, while it worked. What had not come back yet is not done."""


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    cluster: str | Any | None = None,
    patience: float | None = None,
) -> Iterator[Result]:
    """`work(item)` for each item, in the order in which they are done.

    `workers` processes, one a core by default; 1 works in this process, where it can be debugged. `cluster` is the
    address of a Dask scheduler (`tcp://host:8786`) or a `dask.distributed.Client`, whose workers then do all work.
    Raises `WorkerDied` if one does, or if for `patience` seconds nothing is done; `ImportError` or `OSError` if there
    is no Dask, or no cluster at that address.
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
    items: Iterable[Item],
    *,
    workers: int | None = None,
    patience: float | None = None,
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """`each` item with what `work` gave, or with `WorkerDied` for an item that takes its worker down, even alone."""
    waiting = dict(enumerate(items))
    while waiting:
        begun: set[int] = set()

        def hand_out(begun: set[int] = begun) -> Iterator[tuple[Callable[[Item], Result], int, Item]]:
            for number, item in list(waiting.items()):
                begun.add(number)
                yield work, number, item

        try:
            for number, result in each(_numbered, hand_out(), workers=workers, patience=patience):
                begun.discard(number)
                yield waiting.pop(number), result
        except WorkerDied:
            # Of those that were handed out and did not come back, each is tried again by itself.
            for number in sorted(begun):
                item = waiting.pop(number)
                try:
                    ((_, result),) = each(_numbered, [(work, number, item)], workers=2, patience=patience)
                    yield item, result
                except WorkerDied as death:
                    yield item, death


def _numbered(task: tuple[Callable[[Item], Result], int, Item]) -> tuple[int, Result]:
    work, number, item = task
    return number, work(item)


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

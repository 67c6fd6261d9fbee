from __future__ import annotations

import builtins
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import workers

from dfdc_utils import workers as module
from dfdc_utils.workers import WorkerDied, each, each_whatever_dies, interrupts_held_back


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, each a process of this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=50
    ) as local:
        yield local.scheduler_address


@pytest.mark.parametrize("count", [1, 2])
def test_every_item_comes_back_once(count: int) -> None:
    assert sorted(each(workers.double, range(20), workers=count)) == list(range(0, 40, 2))


def test_no_items() -> None:
    assert list(each(workers.double, [], workers=2)) == []


def test_one_worker_is_this_process() -> None:
    assert list(each(lambda _: os.getpid(), [0], workers=1)) == [os.getpid()]
    assert list(each(lambda _: os.getpid(), [0], workers=2)) != [os.getpid()]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_said_and_the_next_call_works() -> None:
    with pytest.raises(WorkerDied, match="terminated"):
        list(each(workers.kill_this, range(4), workers=2))
    assert sorted(each(workers.double, range(4), workers=2)) == [0, 2, 4, 6]


@pytest.mark.slow
def test_a_worker_that_hangs_is_said_after_the_patience() -> None:
    got = []
    with pytest.raises(WorkerDied, match=r"nothing was done for 1\.5 s"):
        got.extend(each(workers.sleep_on_seven, range(10), workers=2, patience=1.5))
    assert sorted(each(workers.double, range(4), workers=2)) == [0, 2, 4, 6]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no masks of signals")
def test_ctrl_c_reaches_this_process_only() -> None:
    """Else each worker that starts or waits would print a traceback."""
    assert list(each(workers.holds_interrupts_back, [0, 1], workers=2)) == [True, True]
    assert not workers.holds_interrupts_back(0)


def test_ctrl_c_is_raised_at_the_end_of_a_block_that_holds_it_back(interrupt: Callable[[], None]) -> None:
    came_to = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts_held_back():
            interrupt()
            time.sleep(0.01)
            came_to.append("the end of the block")
        came_to.append("what follows it")
    assert came_to == ["the end of the block"]
    with pytest.raises(KeyboardInterrupt):  # again at once
        interrupt()
        time.sleep(10)


def test_interrupts_are_held_back_in_any_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(interrupts_held_back()(os.getpid)).result() == os.getpid()


@pytest.mark.parametrize("count", [1, 2])
def test_errors_of_the_work_come_through(count: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(each(workers.invert, [1, 0], workers=count))


def test_who_stops_early_is_not_warned_and_waits_for_nobody() -> None:
    results = each(workers.sleep_on_seven, [1, 7, 7, 7], workers=2)
    assert next(results) == 1
    results.close()  # warnings are errors here


@pytest.mark.slow
def test_a_cluster_does_the_same(cluster: str) -> None:
    assert sorted(each(workers.double, range(20), cluster=cluster)) == list(range(0, 40, 2))
    assert os.getpid() not in set(each(lambda _: os.getpid(), range(4), cluster=cluster))


def test_a_cluster_that_is_not_there() -> None:
    pytest.importorskip("distributed")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(OSError, match="Timed out"):
        list(each(workers.double, [1], cluster="tcp://127.0.0.1:1"))


def test_without_dask_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_dask(name: str, *rest: object) -> object:
        if name == "distributed":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_dask)
    with pytest.raises(ImportError, match=r'pip install "dfdc_utils\[cluster\]"'):
        list(each(workers.double, [1], cluster="tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_whatever_dies_each_item_comes_back_once() -> None:
    items = ["a", "poison", "b", "c", "poison too", "d"]
    given = dict(each_whatever_dies(workers.shout_or_die, {item: item for item in items}, workers=2))
    assert {item: isinstance(result, WorkerDied) for item, result in given.items()} == {
        item: "poison" in item for item in items
    }
    assert given["d"] == "D"


def test_whatever_dies_one_after_another_without_a_pool() -> None:
    assert list(each_whatever_dies(str.upper, {"one": "a", "two": "b"}, workers=1)) == [("one", "A"), ("two", "B")]
    assert list(each_whatever_dies(str.upper, {}, workers=1)) == []


def test_deaths_between_items_are_survived_while_there_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may be killed while it works on nothing."""

    def give_and_die(work: Callable, tasks: Iterator, **_: object) -> Iterator:
        yield work(next(tasks))
        raise WorkerDied("killed")

    def die(work: Callable, tasks: Iterator, **_: object) -> Iterator:
        raise WorkerDied("killed")
        yield

    items = {"one": "a", "two": "b", "three": "c"}
    monkeypatch.setattr(module, "each", give_and_die)
    assert dict(each_whatever_dies(str.upper, items, begun=set)) == {"one": "A", "two": "B", "three": "C"}
    monkeypatch.setattr(module, "each", die)
    with pytest.raises(WorkerDied, match="killed"):
        list(each_whatever_dies(str.upper, items, begun=set))

"""Let nbval compare what cells return, print and draw, but not their warnings and progress bars."""

from __future__ import annotations

from functools import partial
from typing import Any

from run import without_progress


def pytest_collectstart(collector: Any) -> None:
    """Skip standard error: it holds paths and timings."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Skip progress bars, which `run.py` does not store either."""
    for item in items:
        if hasattr(item, "compare_outputs"):
            item.compare_outputs = partial(_compare, item.compare_outputs)


def _compare(compare_outputs: Any, test: list[Any], reference: list[Any], **options: Any) -> Any:
    return compare_outputs(without_progress(test), without_progress(reference), **options)

"""Let nbval compare what cells return, print and show in tables, but not warnings, progress bars and pictures."""

from __future__ import annotations

from copy import deepcopy
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
    return compare_outputs(*(without_pictures(without_progress(outputs)) for outputs in (test, reference)), **options)


def without_pictures(outputs: list[Any]) -> list[Any]:
    """Leave out HTML with pictures, as nbval leaves out images: another processor rounds their pixels differently."""
    outputs = deepcopy(outputs)
    for output in outputs:
        if "<img" in (data := output.get("data", {})).get("text/html", "") or "<svg" in data.get("text/html", ""):
            del data["text/html"]
    return outputs

"""nbval compares what a cell gives, not what it warns of: standard error holds paths and progress bars."""

from __future__ import annotations

from typing import Any


def pytest_collectstart(collector: Any) -> None:
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)

"""What one can page through and move in a notebook. All of it works by keyboard, in light and dark themes."""

from typing import Any

from dfdc_utils.widgets.browser import FaceBrowser
from dfdc_utils.widgets.threshold import ThresholdExplorer

__all__ = ["FaceBrowser", "ThresholdExplorer", "VideoJudge"]


def __getattr__(name: str) -> Any:
    if name == "VideoJudge":  # needs TensorFlow, the others do not
        from dfdc_utils.widgets.verdict import VideoJudge

        return VideoJudge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

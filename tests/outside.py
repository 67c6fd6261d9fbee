"""What only some machines have, by environment variables. Not in conftest.py: notebooks/ has one, too."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Moved before any test, and before the kernel of a notebook starts: they would change what is tested.
OUTSIDE = ("DFDC_YUNET", "DFDC_CLIPS", "DFDC_VALIDATION", "DFDC_FACES")
for _name in ("DFDC_DATA", "DFDC_DEBUG", *OUTSIDE):
    if _name in os.environ:
        os.environ[f"TESTS_{_name}"] = os.environ.pop(_name)


def outside(name: str) -> str:
    """The value of a variable of `OUTSIDE`, empty if it is not set."""
    return os.environ.get(f"TESTS_{name}", "")

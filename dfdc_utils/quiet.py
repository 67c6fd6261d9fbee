"""Import TensorFlow without the dozen lines about CPUs and CUDA that no setting of its own turns off (2.21)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Within this block nothing reaches the process's standard error. Exceptions do: a failed import is still seen."""
    # Later on: errors only, and without an NVIDIA driver not the error that says so either.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
    try:
        kept = os.dup(2)
    except OSError:  # no standard error to keep quiet
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)

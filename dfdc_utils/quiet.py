"""TensorFlow with its memory pool, and without its lines about CPUs and CUDA, which no setting turns off."""

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

# After the import: errors only. Without an NVIDIA driver none, since TensorFlow calls its absence an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
# TensorFlow's own pool: else memory of each step goes back to the system, and a step on logical CPUs takes 1.7 x.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what the process writes to its standard error within this block. Exceptions are raised as usual."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error to keep quiet
        yield
        return
    gc.disable()  # looking for garbage among a million objects that stay takes a quarter of the time of the imports
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        gc.enable()
        os.dup2(kept, 2)
        os.close(kept)


with _quiet():
    import keras
    import tensorflow as tf
    from keras import layers, ops
gc.freeze()

__all__ = ["keras", "layers", "ops", "tf"]

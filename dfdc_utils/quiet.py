"""TensorFlow with its memory pool, and without its lines about CPUs and CUDA, which no setting turns off."""

import gc
import os
from pathlib import Path

# After the import: errors only. Without an NVIDIA driver none, since TensorFlow calls its absence an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
# TensorFlow's own pool: else memory of each step goes back to the system, and a step on logical CPUs takes 1.7 x.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")


try:
    _standard_error = os.dup(2)
except OSError:  # there is none
    _standard_error = os.open(os.devnull, os.O_WRONLY)
gc.disable()  # looking for garbage among a million objects that stay takes a quarter of the time of the imports
try:
    with Path(os.devnull).open("w") as _nothing:  # is where standard error goes within this block
        os.dup2(_nothing.fileno(), 2)
    import keras
    import tensorflow as tf
    from keras import layers, ops
finally:
    gc.enable()
    os.dup2(_standard_error, 2)
    os.close(_standard_error)
gc.freeze()

__all__ = ["keras", "layers", "ops", "tf"]

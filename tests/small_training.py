"""Trainings of a second or two, each in a process of its own: to be killed, and to see replicas.

Run as a script, this file is a server: it loads TensorFlow once, and forks for each training that it is asked for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EPOCHS, SOURCES = 5, 17  # 17 originals: neither split fills its last batch


class Trainer:
    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def train(self, folder: Path, model: str, **options: Any) -> tuple[int, str]:
        """Train on `folder / "faces"`; the exit status (negative: the signal that ended it) and what it printed.

        `options` are those of `train_here`.
        """
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps([str(folder), model, options]) + "\n")
        self._server.stdin.flush()
        status, printed = json.loads(self._server.stdout.readline())
        return status, printed


@contextmanager
def trainer() -> Iterator[Trainer]:
    command, pipe = [sys.executable, __file__], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as server:
        yield Trainer(server)


def small_table(faces: Path) -> pd.DataFrame:
    from dfdc_utils.sequences import split_by_group
    from dfdc_utils.videos import balance_classes

    return split_by_group(balance_classes(pd.read_csv(faces / "manifest.csv", dtype=str, keep_default_na=False)))


def weight_differences(one: Path, two: Path) -> np.ndarray:
    """How far each weight of the models in two folders differs."""
    from dfdc_utils.models import load_model

    pairs = zip(load_model(one).get_weights(), load_model(two).get_weights(), strict=True)
    return np.concatenate([np.abs(a - b).ravel() for a, b in pairs])


def train_here(model: str, replicas: int | None = None, kill_at: int = -1, save_sec: float = 600) -> None:
    """Train in this process, which dies after `kill_at` steps of its own."""
    import keras

    from dfdc_utils.training import TrainingConfig, choose_strategy, fit, train

    class Killer(keras.callbacks.Callback):  # type: ignore[misc]
        steps = 0

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.steps += 1
            if self.steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    fit.SAVE_SEC = save_sec
    config = TrainingConfig(epochs=EPOCHS, batch_size=4, patience=None)
    strategy = choose_strategy(replicas)
    table = small_table(Path("faces"))
    train(table, "faces", model, config=config, strategy=strategy, callbacks=[Killer()])


def serve() -> None:
    from dfdc_utils.training import train  # noqa: F401 (so that each fork has it)

    for line in sys.stdin:
        folder, model, options = json.loads(line)
        if not (child := os.fork()):
            os.chdir(folder)
            output = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            status = 1
            try:
                train_here(model, **options)
                status = 0
            except Exception:
                traceback.print_exc()
            finally:  # a fork never comes back into this loop
                sys.stdout.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([status, Path(folder, "printed.txt").read_text()]), flush=True)


if __name__ == "__main__":
    serve()

"""A training of a second or two, in a process of its own: to be killed, and to see replicas and workers.

In a folder with faces/: python tests/small_training.py MODEL [--replicas N] [--kill-at STEP] [--save-sec SECONDS]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

EPOCHS, SOURCES = 5, 17  # 17 originals: neither split fills its last batch


def small_table(faces: Path) -> pd.DataFrame:
    from dfdc_utils.sequences import split_by_group
    from dfdc_utils.videos import balance_classes

    return split_by_group(balance_classes(pd.read_csv(faces / "manifest.csv", dtype=str, keep_default_na=False)))


def start_training(folder: Path, model: str, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", __file__, model, *options],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weight_differences(one: Path, two: Path) -> np.ndarray:
    """How far each weight of the models in two folders differs."""
    from dfdc_utils.models import load_model

    pairs = zip(load_model(one).get_weights(), load_model(two).get_weights(), strict=True)
    return np.concatenate([np.abs(a - b).ravel() for a, b in pairs])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--replicas", type=int)
    parser.add_argument("--kill-at", type=int, default=-1, help="steps that this process takes before it dies")
    parser.add_argument("--save-sec", type=float, default=600)
    options = parser.parse_args()
    import keras

    from dfdc_utils.training import TrainingConfig, choose_strategy, fit, train

    class Killer(keras.callbacks.Callback):  # type: ignore[misc]
        steps = 0

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.steps += 1
            if self.steps == options.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    fit.SAVE_SEC = options.save_sec
    config = TrainingConfig(epochs=EPOCHS, batch_size=4, patience=None)
    strategy = choose_strategy(options.replicas)
    table = small_table(Path("faces"))
    train(table, "faces", options.model, config=config, strategy=strategy, callbacks=[Killer()])


if __name__ == "__main__":
    main()

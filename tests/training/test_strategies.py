from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import flickering_faces
from small_training import EPOCHS, SOURCES, Trainer, small_table, trainer, weight_differences

from dfdc_utils.training import choose_strategy
from dfdc_utils.training.strategies import workers_in_tf_config


@pytest.fixture(scope="module")
def forks() -> Iterator[Trainer]:
    with trainer() as forks:
        yield forks


@pytest.fixture(scope="module")
def alone(forks: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the faces and the model of one undisturbed training on one device."""
    folder = tmp_path_factory.mktemp("alone")
    flickering_faces(folder / "faces", families=SOURCES)
    train_to_the_end(forks, folder, "model")
    return folder


def train_to_the_end(forks: Trainer, folder: Path, model: str, **options: Any) -> str:
    status, printed = forks.train(folder, model, **options)
    assert status == 0, printed
    return printed


def test_the_last_batch_is_a_small_one(tmp_path: Path) -> None:
    """Else the tests below would show nothing about it."""
    flickering_faces(tmp_path, families=SOURCES)
    table = small_table(tmp_path)
    assert (table["split"] == "train").sum() % 4 and (table["split"] == "validation").sum() % 4


# Sums are rounded in another order, and where a gradient is close to 0 Adam makes much of that. The mean stays small:
# were the padding of the last batch counted, it would be 0.003.
ROUNDING = 3e-4


@pytest.mark.slow
def test_replicas_that_do_not_divide_a_batch_give_the_same_model(forks: Trainer, alone: Path) -> None:
    """Notebook 04 shows it for two replicas."""
    train_to_the_end(forks, alone, "three", replicas=3)
    assert weight_differences(alone / "model", alone / "three").mean() < ROUNDING
    one, three = (pd.read_csv(alone / name / "history.csv") for name in ("model", "three"))
    np.testing.assert_allclose(one, three, atol=2e-3)


@pytest.mark.slow
def test_killed_at_any_step_it_ends_as_if_undisturbed(forks: Trainer, alone: Path) -> None:
    """To the last bit. The first process dies within the first epoch, the second within a later one."""
    for steps, seconds in ((3, 0), (8, 600)):  # steps that each takes, seconds between its saves
        assert forks.train(alone, "killed", kill_at=steps, save_sec=seconds)[0] == -signal.SIGKILL
        assert not (alone / "killed" / "training.json").exists()
    assert "going on after 1 epochs and 0 steps" in train_to_the_end(forks, alone, "killed")
    one, two = alone / "model", alone / "killed"
    for name in ("history.csv", "calibration.json", "split.csv", "training.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert weight_differences(one, two).max() == 0
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def workers(count: int = 2) -> list[dict[str, str]]:
    """What `TF_CONFIG` says to each of several workers on this machine."""
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in with_ports]
    for server in with_ports:
        server.close()
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(count)]
    return [{"TF_CONFIG": json.dumps(task)} for task in tasks]


@pytest.mark.slow
@pytest.mark.multiworker
def test_workers_killed_and_restarted_go_on_from_the_last_epoch(alone: Path) -> None:
    """One waits for the other: only the dead one is started again, by the command that started it first.

    The second worker dies in the second epoch, and the first, which writes, in a later one.
    """
    settings = workers()
    running = [start_command(alone, "restarted", env) for env in settings]
    said: list[str] = []
    for victim, last_line in ((1, "epoch  2/"), (0, "epoch  4/")):
        assert running[0].stdout is not None
        for line in running[0].stdout:
            said.append(line)
            if last_line in line:
                break
        running[victim].kill()
        running[victim].communicate()
        running[victim] = start_command(alone, "restarted", settings[victim])
    outputs = [finish(process) for process in running]
    seen = "".join(said) + outputs[0]
    assert re.search(r"going on after [23] epochs.*going on after [45] epochs", seen, re.DOTALL)
    for output in ("".join(said), outputs[1]):  # what the one that was left says each time
        assert "another worker of this training is gone" in output
    assert f"epoch  {EPOCHS}/{EPOCHS}" in seen
    assert "epoch" not in outputs[1]  # only the first one speaks, and writes
    assert not list((alone / "restarted").glob(".*"))
    # Two workers come to the model of one process.
    assert weight_differences(alone / "model", alone / "restarted").mean() < ROUNDING


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return output


def start_command(folder: Path, model: str, env: dict[str, str]) -> subprocess.Popen[str]:
    options = ["--epochs", str(EPOCHS), "--batch-size", "4", "--patience", "0", "--no-baseline"]
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "dfdc_utils", "train", "--save-path", "faces", "--model", model, *options],
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_choose_strategy_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="replicas=0"):
        choose_strategy(0)
    keras.ops.zeros(1)  # TensorFlow has started
    with pytest.raises(RuntimeError, match="first thing"):
        choose_strategy(7)


@pytest.mark.parametrize(("asked", "chosen"), [(None, 2), (1, 1), (2, 2)])
def test_gpus_are_taken_before_logical_cpus(asked: int | None, chosen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr("tensorflow.distribute.MirroredStrategy", lambda devices: devices)
    assert choose_strategy(asked) == ["/gpu:0", "/gpu:1"][:chosen]


def test_tf_config_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers_in_tf_config() == 1
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}')
    assert workers_in_tf_config() == 2
    with pytest.raises(ValueError, match="leave `replicas` out"):
        choose_strategy(2)
    for broken in ("{", "[]", '{"cluster": 3}'):
        monkeypatch.setenv("TF_CONFIG", broken)
        with pytest.raises(ValueError, match="TF_CONFIG is not what TensorFlow expects"):
            choose_strategy()

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from faces_on_disk import flickering_faces
from small_training import EPOCHS, FAMILIES, same_weights, small_table, start_training

from dfdc_utils.training import choose_strategy
from dfdc_utils.training.strategies import workers_in_tf_config


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the faces and the model of one undisturbed training on one device."""
    folder = tmp_path_factory.mktemp("alone")
    flickering_faces(folder / "faces", families=FAMILIES)
    finish(start_training(folder, "model"))
    return folder


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return output


def test_the_last_batch_is_a_small_one(alone: Path) -> None:
    """Else the tests below would show nothing about it."""
    table = small_table(alone / "faces")
    assert (table["split"] == "train").sum() % 4 and (table["split"] == "validation").sum() % 4


@pytest.mark.parametrize("replicas", [2, 3])
def test_any_number_of_replicas_gives_the_same_model(alone: Path, replicas: int) -> None:
    finish(start_training(alone, f"model_{replicas}", "--replicas", str(replicas)))
    assert same_weights(alone / "model", alone / f"model_{replicas}") < 1e-5
    one, several = (pd.read_csv(alone / name / "history.csv") for name in ("model", f"model_{replicas}"))
    np.testing.assert_allclose(one, several, atol=1e-5)


def workers(folder: Path, count: int = 2) -> list[dict[str, str]]:
    """What `TF_CONFIG` says to each of several workers on this machine."""
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in with_ports]
    for server in with_ports:
        server.close()
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(count)]
    return [{"TF_CONFIG": json.dumps(task)} for task in tasks]


def test_two_workers_give_the_same_model_as_one_process(alone: Path) -> None:
    outputs = [finish(process) for process in [start_training(alone, "two", env=env) for env in workers(alone)]]
    assert same_weights(alone / "model", alone / "two") < 1e-5
    assert "epoch" in outputs[0] and "epoch" not in outputs[1]  # only the first one speaks, and writes
    assert not list((alone / "two").glob(".*"))
    before = (alone / "two" / "model.keras").stat().st_mtime_ns
    outputs = [finish(process) for process in [start_training(alone, "two", env=env) for env in workers(alone)]]
    assert not any(outputs)  # nothing to do
    assert (alone / "two" / "model.keras").stat().st_mtime_ns == before


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_killed_and_restarted_goes_on_from_the_last_epoch(alone: Path, victim: int) -> None:
    """The other one waits for it: only the dead one is started again, by the command that started it first."""
    model = f"killed_{victim}"
    settings = workers(alone)
    running = [start_command(alone, model, env) for env in settings]
    first = []
    assert running[0].stdout is not None
    for line in running[0].stdout:
        first.append(line)
        if "epoch  2/" in line:
            running[victim].kill()
            break
    running[victim].communicate()
    running[victim] = start_command(alone, model, settings[victim])
    outputs = [finish(process) for process in running]
    seen = "".join(first) + outputs[0]
    assert re.search(r"going on after [23] epochs", seen)
    assert "another worker of this training is gone" in outputs[1 - victim]
    assert f"epoch  {EPOCHS}/{EPOCHS}" in seen
    assert same_weights(alone / "model", alone / model) < 1e-5


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

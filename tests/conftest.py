"""What tests share: the full sample, and what only some machines have: YuNet's weights, real clips and photographs."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from outside import ROOT, outside
from xdist.scheduler import LoadScopeScheduling

gc.disable()  # until the modules are loaded: a tenth of the time went into looking for garbage among them


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=200, help="how many damaged files the fuzz test makes")


@pytest.fixture
def fuzz_count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz"))


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """A function that does what Ctrl-C does. Processes of pytest-xdist ignore it otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)  # of a Ctrl-C that the command line has yet to raise
    signal.signal(signal.SIGINT, before)


@cache
def _is_of_sample(path: Path) -> bool:
    """Say if it is a notebook, or a file of tests that use the faces or the model that notebooks leave."""
    return path.suffix == ".ipynb" or bool({"sample_faces", "sample_model"} & set(re.findall(r"\w+", path.read_text())))


class _Groups(LoadScopeScheduling):
    """Files of tests run side by side; notebooks and tests of the sample are one group, since they share its folder."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        return "sample" if _is_of_sample(ROOT / path) else path


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` works, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Groups:
    return _Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The group of the sample comes first, beginning with the notebooks, then the folder with the longest tests."""

    def place(item: pytest.Item) -> int:
        if _is_of_sample(item.path):
            return 0 if item.path.suffix == ".ipynb" else 1
        return 2 if item.path.parent.name == "training" else 3

    items.sort(key=place)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The full embedded sample, drawn once and kept."""
    from dfdc_utils.sample import make_sample

    return make_sample(ROOT / "data" / "sample")


@pytest.fixture(scope="session")
def sample_faces(sample: Path) -> Path:
    """The faces of the full sample, extracted as the notebooks do, and kept."""
    from dfdc_utils.processing import processing

    processing(sample, sample / "faces", detector="haar", show_progress=False)
    return sample / "faces"


@pytest.fixture(scope="session")
def sample_model(sample: Path, sample_faces: Path) -> Path:
    """The folder of a model trained on the sample as notebook 04 trains it: two minutes unless it is there already."""
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.sequences import split_by_group
    from dfdc_utils.training import TrainingConfig, train_missing
    from dfdc_utils.videos import balance_classes

    manifest = read_manifest(sample_faces)
    usable = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")]
    table = split_by_group(balance_classes(usable), seed=0)
    config = TrainingConfig(epochs=40, seed=0)
    train_missing(table, sample_faces, sample / "model", config=config, show_progress=False)
    return sample / "model"


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Real clips in DFDC's layout."""
    return _outside("DFDC_CLIPS", "real clips in DFDC's layout")


@pytest.fixture(scope="session")
def validation_clips() -> Path:
    """Real clips in DFDC's layout that the shipped weights were chosen by; never trained on."""
    return _outside("DFDC_VALIDATION", "real clips for validation")


@pytest.fixture(scope="session")
def face_photographs() -> Path:
    """Photographs of real faces, as `dfdc pretrain` takes them."""
    return _outside("DFDC_FACES", "photographs of real faces")


@pytest.fixture(scope="session")
def yunet_path() -> Path:
    """YuNet's weights."""
    return _outside("DFDC_YUNET", "YuNet's weights")


def _outside(name: str, what: str) -> Path:
    if not (value := outside(name)):
        pytest.skip(f"{what}: set {name} to test with them")
    path = Path(value).absolute()
    assert path.exists(), f"{name}={path}: there is nothing"  # a wrong path must not pass for none
    return path

"""What tests share: tiny clips made on the spot, the full sample, and YuNet's weights where there are any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # real clips and YuNet's weights, on machines that have them; never part of the project


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz", type=int, default=200, help="how many damaged files the fuzz test makes")


@pytest.fixture
def fuzz_count(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DFDC_DATA", "DFDC_YUNET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The full embedded sample, made once and kept."""
    from dfdc_utils.sample import make_sample

    return make_sample(ROOT / "data" / "sample")


@pytest.fixture(scope="session")
def sample_faces(sample: Path) -> Path:
    """The faces of the full sample, prepared as the notebooks do, and kept."""
    from dfdc_utils.processing import processing

    faces = ROOT / "data" / "faces"
    processing(sample, faces, detector="haar", show_progress=False)
    return faces


@pytest.fixture(scope="session")
def sample_model(sample_faces: Path) -> Path:
    """The folder of a model trained on the sample as notebook 04 trains it: two minutes unless it is there already."""
    from dfdc_utils.processing import read_manifest
    from dfdc_utils.sequences import split_by_original
    from dfdc_utils.training import TrainingConfig, is_trained, train
    from dfdc_utils.videos import balance_classes

    model = ROOT / "data" / "model"
    manifest = read_manifest(sample_faces)
    usable = manifest[(manifest["status"] == "ok") & (manifest["label"] != "")]
    table = split_by_original(balance_classes(usable), seed=0)
    if not is_trained(table, sample_faces, model):
        train(table, sample_faces, model, config=TrainingConfig(epochs=40, seed=0), show_progress=False)
    return model


@pytest.fixture(scope="session")
def real_clips() -> Path:
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip("no real clips on this machine")
    return folder


@pytest.fixture(scope="session")
def yunet_path() -> Path:
    path = Path(os.environ.get("DFDC_YUNET", SHARED / "models" / "face_detection_yunet_2023mar.onnx"))
    if not path.is_file():
        pytest.skip("YuNet's weights are not on this machine: set DFDC_YUNET to test with them")
    return path

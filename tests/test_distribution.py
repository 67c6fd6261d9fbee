"""What is handed on: a source distribution, the wheel built from it, and a verdict by that wheel elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from clips import untagged
from outside import ROOT

pytestmark = pytest.mark.slow

LEFT_OUT = ("data", "build", "dist", "node_modules", "*.egg-info", "__pycache__", ".[!.]*")
CPU_SECONDS = 30  # a first verdict should take at most 20 s on two idle cores; it takes 16 CPU seconds


def build(source: Path, what: str, target: Path) -> Path:
    """Build an `sdist` or a `wheel` as pip does, with this environment's setuptools; the file that was made."""
    target.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_{what}({str(target)!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=source, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


def files_below(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    made = (".ipynb_checkpoints", ".pytest_cache")
    return {path.as_posix() for path in paths if path.suffix != ".pyc" and not set(made) & set(path.parts)}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    source = shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    (source / "data").mkdir()
    shutil.copy(ROOT / "data" / "README.md", source / "data")
    with tarfile.open(build(source, "sdist", folder / "made")) as archive:
        archive.extractall(folder, filter="data")
        return folder / archive.getnames()[0].split("/")[0]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(sdist, folder / "source")
    with zipfile.ZipFile(build(source, "wheel", folder / "made")) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_source_distribution_is_complete(sdist: Path) -> None:
    for name in ("dfdc_utils", "docs", "notebooks", "tests"):
        assert files_below(sdist / name) == files_below(ROOT / name)
    assert {"LICENSE", "Makefile", "README.md", "requirements.txt", "data/README.md"} <= files_below(sdist)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert files_below(wheel / "dfdc_utils") == files_below(ROOT / "dfdc_utils")
    assert {"py.typed", "models/weights/pretrained/model.keras", "plots/__init__.pyi"} <= files_below(
        wheel / "dfdc_utils"
    )
    (information,) = (path for path in wheel.iterdir() if path.name != "dfdc_utils")
    assert "dfdc = dfdc_utils.__main__:main" in (information / "entry_points.txt").read_text()


def test_the_first_call_of_the_wheel_gives_a_verdict(wheel: Path, sample: Path, tmp_path: Path) -> None:
    """In an empty folder, with nothing of the checkout on the path: `dfdc predict video.mp4`, as from the console."""
    video = untagged(min(sample.glob("dfdc*/*.mp4")), tmp_path / "video.mp4")
    code = (
        "import sys; from dfdc_utils.__main__ import main; print(sys.modules['dfdc_utils'].__file__); sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "predict", video.name, "--json", "verdict.json"]
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    before = os.times()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    after = os.times()
    assert done.stdout.startswith(str(wheel)), done.stderr
    (verdict,) = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["verdict"] in ("fake", "unsure", "no sign of a fake"), verdict
    assert done.returncode == (verdict["verdict"] == "fake"), done.stderr
    took = after.children_user + after.children_system - before.children_user - before.children_system
    assert took < CPU_SECONDS


def test_what_needs_an_extra_names_it() -> None:
    """Without ipywidgets, as after a plain `pip install`."""
    code = "import sys; sys.modules['ipywidgets'] = None; from dfdc_utils.widgets import FaceBrowser"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "dfdc_utils[notebooks]"' in done.stderr.splitlines()[-1]

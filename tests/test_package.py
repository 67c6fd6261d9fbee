"""What holds for the package as a whole: what importing it costs, its dependencies and pins."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dfdc_utils

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dfdc_utils"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("dfdc_utils", {"tensorflow", "keras", "pandas", "cv2", "matplotlib", "sklearn", "scipy", "av"}),
        ("dfdc_utils.__main__", {"tensorflow", "keras", "pandas", "cv2", "matplotlib", "sklearn", "scipy", "av"}),
        ("dfdc_utils.processing", {"tensorflow", "keras", "matplotlib"}),  # what every worker process imports
    ],
)
def test_importing_stays_cheap(module: str, unwanted: set[str]) -> None:
    loaded = python(f"import sys, {module}; print(*sys.modules)").stdout.split()
    assert not unwanted & set(loaded)


def test_every_public_name_is_there() -> None:
    for name in dfdc_utils.__all__:
        assert getattr(dfdc_utils, name) is not None
    assert callable(dfdc_utils.processing.processing)  # the call of the original project
    with pytest.raises(AttributeError, match="no_such_name"):
        dfdc_utils.no_such_name  # noqa: B018


def test_importing_tensorflow_through_the_package_is_silent() -> None:
    done = python("import gc, dfdc_utils.models.cnn_lstm; assert gc.isenabled() and gc.get_freeze_count() > 100_000")
    assert done.stdout == done.stderr == ""


def test_the_contracts_name_every_folder() -> None:
    """A new folder must not escape the rule that its modules are imported through its `__init__`."""
    _, folders = PYPROJECT["tool"]["importlinter"]["contracts"]
    named = {rule.split(".")[1] for rule in folders["ignore_imports"]}
    assert named == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {Requirement(line).name.lower().replace("_", "-"): line for line in lines if line and line[0] != "#"}


def test_pins_satisfy_pyproject() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *extras["notebooks"], *extras["dev"]]]
    pinned = pins()
    for requirement in wanted:
        if requirement.name == PROJECT["name"]:
            continue
        versions = re.findall(rf"^{re.escape(requirement.name)}==(\S+)", pinned[requirement.name], re.IGNORECASE)
        assert versions, f"{requirement.name} has no exact pin"
        assert all(requirement.specifier.contains(version) for version in versions)


def test_pins_are_exact_and_name_no_address() -> None:
    text = (ROOT / "requirements.txt").read_text()
    assert all("==" in line for line in text.splitlines() if line and line[0] != "#")
    assert "://" not in text and "--hash" not in text and "--index" not in text


def test_what_the_notebooks_are_about_is_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = {Requirement(text).name for text in [*PROJECT["dependencies"], *extras["notebooks"], *extras["dev"]]}
    named = {"tensorflow", "opencv-python", "numpy", "pandas", "matplotlib", "seaborn", "ipywidgets", "nbval"}
    assert named <= declared


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for line in lines:
        if re.match(r'  "[a-z][\w-]*(>=|<)', line):
            assert "# " in line, line


def test_environment_installs_the_same() -> None:
    """conda's environment is Python and the pins by pip, so it cannot drift from them."""
    text = (ROOT / "environment.yml").read_text()
    python_version = re.search(r"- python=(\d+\.\d+)", text)
    assert python_version is not None
    from packaging.specifiers import SpecifierSet

    assert SpecifierSet(PROJECT["requires-python"]).contains(python_version.group(1))
    entries = re.findall(r"^      - (.+)$", text, re.MULTILINE)  # conda hands these to pip as a requirements file
    assert entries == ["-r requirements.txt", "-e ."]

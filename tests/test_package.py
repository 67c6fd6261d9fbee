"""What holds for the package as a whole: imports, pins, commands, the layout that users rely on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement

import dfdc_utils
from dfdc_utils.__main__ import main
from dfdc_utils.models import model_path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)


def test_import_is_quick_and_loads_no_tensorflow() -> None:
    """The best of three: other work on the machine must not fail this."""
    times = []
    for _ in range(3):
        lines = python("import dfdc_utils", "-X", "importtime").stderr.splitlines()
        times.append(int(next(line for line in lines if line.endswith(" dfdc_utils")).split("|")[1]) / 1e6)
        assert not any(re.search(r"\b(tensorflow|keras)\b", line) for line in lines)
    assert min(times) <= 0.5


def test_preprocessing_loads_no_tensorflow() -> None:
    python("import sys, dfdc_utils.processing; assert not {'tensorflow', 'keras'} & set(sys.modules)")


def test_every_public_name_is_there() -> None:
    for name in dfdc_utils.__all__:
        assert getattr(dfdc_utils, name) is not None
    assert callable(dfdc_utils.processing.processing)  # the call of the original project
    with pytest.raises(AttributeError, match="no_such_name"):
        dfdc_utils.no_such_name  # noqa: B018


def test_importing_tensorflow_through_the_package_is_silent() -> None:
    done = python("import dfdc_utils.models.cnn_lstm")
    assert done.stdout == done.stderr == ""


ROWS = (
    "errors quiet frames",
    "packets guards markup",
    "video",
    "catalog",
    "sample",
    "faces",
    "tracks",
    "storage",
    "config",
    "extraction pool intervals",
    "processing windows",
    "augmentation blending calibration checkpoints familiarity filming model_files models photographs shards",
    "pretrained",
    "card pairs sequences explain",
    "outliers",
    "strategies verdicts",
    "loop",
    "encoder training prediction",
    "pretraining results",
    "plots",
    "report",
    "widgets",
    "commands",
    "__main__",
)


def test_modules_import_only_from_those_above() -> None:
    order = {name: index for index, row in enumerate(ROWS) for name in row.split()}
    package = ROOT / "dfdc_utils"
    files = {path: path.relative_to(package).parts[0].removesuffix(".py") for path in package.rglob("*.py")}
    assert set(files.values()) - {"__init__"} == set(order)
    for path, name in files.items():  # a folder counts as one module
        if name == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dfdc_utils."):
                imported = str(node.module).split(".")[1]
                assert imported == name or order[imported] < order[name], f"{name} imports {imported}"


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


def test_the_packages_of_the_brief_are_declared() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = {Requirement(text).name for text in [*PROJECT["dependencies"], *extras["notebooks"], *extras["dev"]]}
    brief = {"tensorflow", "opencv-python", "numpy", "pandas", "matplotlib", "seaborn", "ipywidgets", "nbval"}
    assert brief <= declared


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


@pytest.mark.parametrize("command", ["sample", "process", "pack", "train", "evaluate", "predict", "pretrain"])
def test_each_command_answers_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: python -m dfdc_utils" in capsys.readouterr().out


def test_a_wrong_folder_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["process", str(tmp_path / "nowhere"), "--save-path", str(tmp_path / "faces")]) == 2
    error = capsys.readouterr().err.strip()
    assert "nowhere" in error and "\n" not in error


def test_the_commands_go_the_whole_way(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Process, train, evaluate on a few videos of the sample, as a shell user would."""
    faces, model, results = (str(tmp_path / name) for name in ("faces", "model", "results"))
    options = ["--num-vids", "24", "--frame-count", "4", "--face-size", "32", "--detector", "haar"]
    assert main(["process", str(sample), "--save-path", faces, *options]) == 0
    assert main(["train", "--save-path", faces, "--model", model, "--epochs", "1"]) == 0
    assert main(["evaluate", "--save-path", faces, "--model", model, "--results", results]) == 0
    printed = capsys.readouterr().out
    assert "epoch  1/1" in printed and "balanced accuracy" in printed
    assert "mean over frames" in printed and "The model " in printed
    card = (tmp_path / "model" / "card.md").read_text()
    assert "the embedded synthetic sample" in card and "frames shuffled in time" in card
    assert (tmp_path / "results" / "scores.csv").is_file() and (tmp_path / "results" / "summary.csv").is_file()


def test_the_pretrained_model_is_evaluated_on_all_that_is_labelled(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no split: no video was seen. And nothing is written beside it."""
    faces, results = str(tmp_path / "faces"), str(tmp_path / "results")
    options = ["--num-vids", "8", "--for-model", "pretrained", "--detector", "haar"]
    assert main(["process", str(sample), "--save-path", faces, *options]) == 0
    before = sorted(model_path("pretrained").rglob("*"))
    assert main(["evaluate", "--save-path", faces, "--model", "pretrained", "--results", results]) == 0
    assert sorted(model_path("pretrained").rglob("*")) == before
    printed = capsys.readouterr().out
    manifest = tmp_path / "faces" / "manifest.csv"
    count = (pd.read_csv(manifest)["status"] == "ok").sum()  # some clips of the sample show no face, and have no score
    assert 4 <= count <= 8
    assert f"{count} labelled videos, scored by a model of blends of real face photographs" in printed
    parts = pd.read_csv(tmp_path / "results" / "parts.csv")
    assert parts[["real", "fake"]].to_numpy().sum() == count and len(parts) > 1
    assert len(pd.read_csv(tmp_path / "results" / "scores.csv")) == count
    manifest.write_text(manifest.read_text().replace('"FAKE"', '""'))
    assert main(["evaluate", "--save-path", faces, "--model", "pretrained", "--results", results]) == 2
    assert "figures need REAL and FAKE videos" in capsys.readouterr().err

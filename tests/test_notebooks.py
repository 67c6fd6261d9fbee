"""What a stored notebook must look like. nbval checks that its outputs still come out; this, that there are some."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = ("01_extract_frames", "02_face_detection", "03_dataset", "04_train_mirrored", "05_results", "06_predict")
IGNORE = "nbval-ignore-output"

# Cells whose output may differ from run to run, by a line of theirs, and why.
MAY_DIFFER = {
    'find_data("../data/sample")': "draws the sample or finds the faces, with or without a progress bar",
    "hashes = hash_faces(": "a bit of a hash lies near the median, and pixels differ by rounding between processors",
    "sequences a second from disk": "a speed",
    "= train(": "a line an epoch with its seconds; sums in another order on another processor",
    "summary.round(": "figures of a training run, which another processor rounds otherwise",
    "comparison.round(": "the same",
    "judge(comparison)": "the same",
    "calibration_error(labels": "the same",
    "fill(prediction.in_words()": "the same",
    "fill(drawn.in_words()": "the same, of the pretrained model",
    "detector.predict_many(": "a progress bar that may take its time",
    '["label", "verdict"]': "figures of a training run",
    "write_page(": "a size",
}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def test_the_series_is_complete() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestStored:
    def test_valid_and_for_any_python_3_kernel(self, name: str) -> None:
        notebook = read(name)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
        assert "widgets" not in notebook.metadata

    def test_executed_once_from_top_to_bottom(self, name: str) -> None:
        counts = [cell.execution_count for cell in code_cells(name)]
        assert counts == list(range(1, len(counts) + 1))
        assert any(cell.outputs for cell in code_cells(name))

    def test_fails_only_where_it_says_so(self, name: str) -> None:
        for cell in code_cells(name):
            failed = any(output.output_type == "error" for output in cell.outputs)
            assert failed == ("raises-exception" in tags(cell)), cell.source

    def test_no_path_of_the_machine_it_ran_on(self, name: str) -> None:
        text = json.dumps([cell.get("outputs", []) for cell in code_cells(name)])
        assert not re.search(r"(?<![\w/])/(home|root|Users|tmp|work|mnt|var)/", text)
        assert not re.search(r"site-packages|[A-Z]:\\\\\\\\", text)

    def test_only_listed_cells_may_differ(self, name: str) -> None:
        for cell in code_cells(name):
            listed = any(line in cell.source for line in MAY_DIFFER)
            assert (IGNORE in tags(cell)) == listed, cell.source
            assert "nbval-skip" not in tags(cell)

    def test_cells_are_short(self, name: str) -> None:
        lengths = [len(cell.source.splitlines()) for cell in code_cells(name)]
        assert median(lengths) <= 6
        assert max(lengths) <= 25
        assert 20 <= len(read(name).cells) <= 60  # markdown cells that read an output among them

    def test_one_parameters_cell_with_a_reason_on_each_line(self, name: str) -> None:
        (cell,) = [cell for cell in code_cells(name) if "parameters" in tags(cell)]
        for line in cell.source.splitlines():
            assert re.match(r"[A-Z_]+ = ", line)
            assert "  # " in line, line

    def test_small(self, name: str) -> None:
        assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_500_000

    def test_tells_where_it_stands_and_closes_with_exercises(self, name: str) -> None:
        cells = read(name).cells
        assert cells[0].source.startswith("# ") and "of 6" in cells[0].source
        assert "## Overview" in cells[1].source
        assert "## Summary" in cells[-1].source and "## Exercises" in cells[-1].source


def test_the_same_parameter_has_the_same_value_everywhere() -> None:
    values: dict[str, set[str]] = {}
    for name in NAMES:
        for cell in code_cells(name):
            if "parameters" in tags(cell):
                for line in cell.source.splitlines():
                    key, value = line.split("  #")[0].split(" = ", 1)
                    values.setdefault(key, set()).add(value)
    assert {key: value for key, value in values.items() if len(value) > 1} == {}

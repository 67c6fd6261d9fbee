"""Stored notebooks: executed, short, without traces of a machine. nbval checks that their outputs still come out."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
NAMES = (
    "01_extract_frames",
    "02_face_detection",
    "03_dataset",
    "04_train_mirrored",
    "05_results",
    "06_predict",
    "07_audio",
)
IGNORE = "nbval-ignore-output"

# Cells whose output may differ from run to run: a string from their source, and the reason.
MAY_DIFFER = {
    "hashes = hash_faces(": "pixels differ by rounding between processors, and a bit of a hash may flip",
    "ok[measures].quantile(": "sharpness, which is rounded, and rounding may tip over between processors",
    "train_baseline(table": "losses and seconds per epoch; sums in another order on another processor",
    "= train(": "losses and seconds per epoch; sums in another order on another processor",
    "train_missing(": "the same, if there is no model yet",
    "per epoch, with its start": "a speed",
    '"lowest validation log loss"': "metrics of a training run, which another processor rounds differently",
    "evaluation.summary": "the same",
    "evaluation.comparison": "the same",
    "summarise_ablations(": "the same",
    "vars(folder.calibration)": "the same",
    "answers = {": "the same",
    "predict(turning": "the same, in HTML with a date",
    "predict(turned": "the same",
    "ablation.round(": "the same",
    "score_people(pictures.model": "counts of videos in a series, whose order may differ where they are equal",
    "detector.predict(row": "the same",
    "heard.nlargest(": "the same",
    "Audio(sound.samples": "sound, as data",
    "fill(prediction.in_words()": "the same",
    "explanation.contributions": "the same",
    "drawn.in_words()": "the same",
    '["label", "verdict"]': "the same",
}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def test_the_series_is_complete() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == ["00_start", *NAMES]


def test_the_start_page_links_to_each_and_has_no_code() -> None:
    (cell,) = read("00_start").cells
    assert cell.cell_type == "markdown"
    assert re.findall(r"\((\d\d_\w+)\.ipynb\)", cell.source) == list(NAMES)
    links = re.findall(r"\]\(([^)]+)\)", cell.source)
    assert all((FOLDER / link).exists() for link in links)


def test_make_lab_opens_it_and_asks_nothing() -> None:
    lab = (FOLDER.parent / "Makefile").read_text().split("\nlab:")[1].split("\n\n")[0]
    assert "/lab/tree/notebooks/00_start.ipynb" in lab and "JUPYTER_CONFIG_PATH=.jupyter" in lab
    settings = json.loads((FOLDER.parent / ".jupyter" / "labconfig" / "page_config.json").read_text())
    assert settings["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"] is True  # Jupyter's news


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

    def test_no_progress_bar_that_stands_still(self, name: str) -> None:
        assert not re.search(r"\d+%\|", json.dumps([cell.outputs for cell in code_cells(name)]))

    def test_only_listed_cells_may_differ(self, name: str) -> None:
        for cell in code_cells(name):
            listed = any(line in cell.source for line in MAY_DIFFER)
            assert (IGNORE in tags(cell)) == listed, cell.source
            assert "nbval-skip" not in tags(cell)

    def test_cells_are_few_and_short(self, name: str) -> None:
        lengths = [len(cell.source.splitlines()) for cell in code_cells(name)]
        assert median(lengths) <= 6
        assert max(lengths) <= 25
        assert 20 <= len(read(name).cells) <= 45

    def test_one_parameters_cell_with_a_reason_on_each_line(self, name: str) -> None:
        (cell,) = [cell for cell in code_cells(name) if "parameters" in tags(cell)]
        for line in cell.source.splitlines():
            assert re.match(r"[A-Z_]+ = ", line)
            assert "  # " in line, line

    def test_small(self, name: str) -> None:
        assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_500_000

    def test_begins_with_an_overview_and_ends_with_exercises(self, name: str) -> None:
        cells = read(name).cells
        assert cells[0].source.startswith("# ") and "of 7" in cells[0].source
        assert "## Overview" in cells[1].source
        last, *solutions = [cells[-2], cells[-1]] if cells[-1].cell_type == "code" else [cells[-1]]
        assert "## Summary" in last.source and "## Exercises" in last.source
        exercises = last.source.split("## Exercises")[1].split("<summary>Answers")[0]
        assert exercises.count("<summary>Hint</summary>") == len(re.findall(r"^\d\. ", exercises, re.MULTILINE)) > 0
        for solution in solutions:
            assert solution.source.startswith("# Exercise ") and solution.metadata["jupyter"]["source_hidden"]

    def test_figures_have_alternative_texts_and_widgets_a_twin(self, name: str) -> None:
        for output in (output for cell in code_cells(name) for output in cell.outputs):
            data = output.get("data", {})
            assert WIDGET not in data, "the stored notebook has no kernel: what the widget shows is stored as HTML"
            if "image/jpeg" in data:
                assert output.metadata["image/jpeg"]["alt"]
            for image in re.findall(r"<img[^>]*>", data.get("text/html", "")):
                assert re.search(r'alt="[^"]+"', image)

    def test_an_output_is_followed_by_text(self, name: str) -> None:
        cells = read(name).cells
        for cell, after, last in zip(cells, cells[1:], cells[2:], strict=False):
            if cell.cell_type == "code" and cell.outputs:  # two outputs may share a text
                assert "markdown" in (after.cell_type, last.cell_type), cell.source


def test_the_same_parameter_has_the_same_value_everywhere() -> None:
    values: dict[str, set[str]] = {}
    for name in NAMES:
        for cell in code_cells(name):
            if "parameters" in tags(cell):
                for line in cell.source.splitlines():
                    key, value = line.split("  #")[0].split(" = ", 1)
                    values.setdefault(key, set()).add(value)
    assert {key: value for key, value in values.items() if len(value) > 1} == {}


class TestRun:
    """`notebooks/run.py`, on a notebook of three cells."""

    @pytest.fixture
    def notebook(self, tmp_path: Path) -> Path:
        sources = {
            "COUNT = 3  # a number": ["parameters"],
            "from tqdm.auto import tqdm\nfor _ in tqdm(range(COUNT)):\n    print('step')": [],
            "import sys\nprint('a warning', file=sys.stderr)\n1 / 0": ["raises-exception"],
        }
        cells = [nbformat.v4.new_code_cell(source, metadata={"tags": tags}) for source, tags in sources.items()]
        path = tmp_path / "small.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(FOLDER / "run.py"), *map(str, arguments)]
        environment = {key: value for key, value in os.environ.items() if key != "DFDC_DATA"}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    def test_stores_outputs_without_progress_and_warnings(self, notebook: Path) -> None:
        done = self.run("--in-place", notebook)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "step\nstep\nstep\n"
        assert "3/3 [" in done.stderr, "the bar inside the cell"
        stored = nbformat.read(notebook, as_version=4)
        assert [[output.output_type for output in cell.outputs] for cell in stored.cells] == [[], ["stream"], ["error"]]
        assert set(stored.metadata) == {"kernelspec", "language_info"}
        assert [set(cell.metadata) for cell in stored.cells] == [{"tags"}, set(), {"tags"}]

    def test_stores_what_a_widget_shows_and_what_is_folded(self, notebook: Path) -> None:
        source = "from ipywidgets import HTML\nfrom IPython.display import display\n"
        source += "display(HTML('a bar'))\nclass W(HTML):\n    def _repr_mimebundle_(self, **options):\n"
        source += "        return {**super()._repr_mimebundle_(**options), 'text/html': '<b>shown</b>'}\nW()"
        folded = {"jupyter": {"source_hidden": True}, "collapsed": True}
        cells = [nbformat.v4.new_code_cell(source, metadata=folded)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
        assert self.run("--in-place", notebook).returncode == 0
        (cell,) = nbformat.read(notebook, as_version=4).cells
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain"} and output.data["text/html"] == "<b>shown</b>"
        assert cell.metadata == {"jupyter": {"source_hidden": True}}

    def test_parameters_are_set_in_the_copy_only(self, notebook: Path, tmp_path: Path) -> None:
        before = notebook.read_bytes()
        done = self.run("--output", tmp_path / "out", "-p", "COUNT", "2", notebook)
        assert (done.returncode, done.stdout) == (0, "step\nstep\n")
        assert notebook.read_bytes() == before
        copy = nbformat.read(tmp_path / "out" / "small.ipynb", as_version=4)
        assert copy.cells[1].source == "COUNT = 2"

    def test_stops_at_a_cell_that_fails_untagged(self, notebook: Path, tmp_path: Path) -> None:
        done = self.run("--output", tmp_path / "out", "-p", "COUNT", "many", notebook)
        assert done.returncode == 1
        assert "small.ipynb" in done.stderr and "TypeError" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_runs_notebooks_of_one_stage_at_the_same_time_and_stages_in_order(self, tmp_path: Path) -> None:
        """Two of them wait for each other's file; the one before both would not wait for them."""
        wait = "import pathlib, time\npathlib.Path('{own}').touch()\nuntil = time.monotonic() + 60\n"
        wait += "while not pathlib.Path('{other}').exists() and time.monotonic() < until:\n    time.sleep(0.1)\n"
        wait += "assert pathlib.Path('{other}').exists()"
        first = "import pathlib\nassert not pathlib.Path('five').exists()\npathlib.Path('four').touch()"
        sources = {"04_first.ipynb": first, "05_one.ipynb": wait.format(own="five", other="six")}
        sources["06_other.ipynb"] = wait.format(own="six", other="five") + "\nassert pathlib.Path('four').exists()"
        for name, source in sources.items():
            cells = [nbformat.v4.new_code_cell(source)]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / name)
        done = self.run("--in-place", "--jobs", "2", *(tmp_path / name for name in sources))
        assert done.returncode == 0, done.stderr

    def test_every_notebook_of_the_series_has_a_stage(self) -> None:
        assert [name[:2] for name in NAMES] == list(runpy.run_path(str(FOLDER / "run.py"))["STAGES"])

    def test_refuses_unknown_parameters_and_parameters_in_place(self, notebook: Path) -> None:
        unknown = self.run("--output", notebook.parent, "-p", "COUNTS", "2", notebook)
        assert unknown.returncode == 2 and "unknown parameter COUNTS; the notebooks have COUNT" in unknown.stderr
        assert self.run("--in-place", "-p", "COUNT", "2", notebook).returncode == 2
        idle = self.run("--output", notebook.parent, "--jobs", "0", notebook)  # would wait for ever
        assert idle.returncode == 2 and "--jobs 0: at least one notebook" in idle.stderr
        stray = self.run("--output", notebook.parent, "COUNT", "2", notebook)  # without -p
        assert stray.returncode == 2 and "COUNT: no such notebook. A parameter is set by -p NAME VALUE" in stray.stderr

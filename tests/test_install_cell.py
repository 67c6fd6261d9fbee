"""The first cell of each notebook: it installs the package where it is missing, and does nothing where it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from outside import ROOT

sys.path.insert(0, str(ROOT / "notebooks"))
from badges import INSTALL, REPOSITORY, add

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-9]*.ipynb"))
CELL = INSTALL.format(repository=REPOSITORY)
# Stands in the place of pip, and writes down what it was asked for.
FAKE_PIP = "import sys, pathlib; pathlib.Path(__file__).with_name('asked').write_text(repr(sys.argv[1:]))"


def run(cell: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the cell in a folder whose `pip` is the fake one."""
    (folder / "pip").mkdir()
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(FAKE_PIP)
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{cell}"
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)


def test_where_the_package_is_there_nothing_happens(tmp_path: Path) -> None:
    done = run(CELL, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "pip" / "asked").exists()


def test_in_a_bare_environment_it_asks_pip_for_the_package_with_its_notebooks(tmp_path: Path) -> None:
    done = run(CELL, tmp_path, "-S", "-E")  # without site-packages, and with the folder itself on the path
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "pip" / "asked").read_text()
    assert asked == repr(["install", "-q", f"dfdc_utils[notebooks] @ git+https://github.com/{REPOSITORY}"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_links_and_the_cell(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    again = nbformat.read(path, as_version=4)
    add(again, path.stem)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in again.cells]
    assert f"github/{REPOSITORY}/blob/main/notebooks/{path.name}" in notebook.cells[0].source
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == CELL and first.metadata["jupyter"]["source_hidden"] and not first.outputs

"""Give each notebook links to open it in Colab and in Kaggle, and a first cell that installs the package there.

python notebooks/badges.py      # after a change of REPOSITORY, or for a new notebook
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nbformat

REPOSITORY = "OWNER/REPO"  # on GitHub, once it is known
FOLDER = Path(__file__).parent
# Text and no pictures, which would come from the network: the notebooks also work offline.
LINKS = (
    "Open in [Colab](https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}.ipynb)"
    " or [Kaggle](https://kaggle.com/kernels/welcome?src=https://github.com/{repository}/blob/main/notebooks/{name}.ipynb)"
)
INSTALL = """
# In Colab and Kaggle: install the package. Where it is there already, this does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("dfdc_utils") is None:
    package = "dfdc_utils[notebooks] @ git+https://github.com/{repository}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)
""".strip()


def add(notebook: Any, name: str) -> None:
    """Write the links below the title, and the cell before all other code; replace older ones."""
    title = notebook.cells[0]
    kept = title.source.split("\n\nOpen in [Colab]")[0]
    title.source = f"{kept}\n\n{LINKS.format(repository=REPOSITORY, name=name)}"
    first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    if "find_spec" not in notebook.cells[first].source:
        notebook.cells.insert(first, nbformat.v4.new_code_cell(id="install"))
    cell = notebook.cells[first]
    cell.source, cell.metadata = INSTALL.format(repository=REPOSITORY), {"jupyter": {"source_hidden": True}}


def main() -> None:
    """Do it in all notebooks but the start page, which has no code."""
    for path in sorted(FOLDER.glob("0[1-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        add(notebook, path.stem)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()

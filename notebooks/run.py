"""Run notebooks top to bottom, with progress, and keep what they showed.

python notebooks/run.py --output data/results/notebooks notebooks/0*.ipynb
python notebooks/run.py --output data/results/notebooks -p NUM_VIDS 4000 -p EPOCHS 20 notebooks/0*.ipynb
python notebooks/run.py --in-place notebooks/0*.ipynb      # what is committed
"""

from __future__ import annotations

import argparse
import ast
import html
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm


class _EchoingClient(NotebookClient):
    """Shows what cells print as they print it, and how far their progress bars are."""

    show_text: Callable[[str], None]

    def handle_comm_msg(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        text = msg["content"].get("data", {}).get("state", {}).get("value")
        if isinstance(text, str) and re.match(r"\s*\d+/\d+ \[", text):  # what stands beside a bar: 12/500 [00:10<05:20]
            self.show_text(html.unescape(text).strip())
        super().handle_comm_msg(outs, msg, cell_index)

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream" and content["name"] == "stdout":
            tqdm.write(content["text"].rstrip("\n"))
        return super().output(outs, msg, display_id, cell_index)


def run_notebook(path: Path, parameters: dict[str, str]) -> Any:
    """Execute one notebook in its own folder. Cells tagged `raises-exception` may fail; any other failure is raised."""
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        set_parameters(notebook, parameters)
    count = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=count, desc=path.stem, unit="cell") as progress:
        client = _EchoingClient(
            notebook,
            kernel_name="python3",
            timeout=None,  # on all of DFDC a cell may take days
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": str(path.parent)}},
            on_cell_complete=lambda **_: progress.update(),
        )
        client.show_text = progress.set_postfix_str
        client.execute()
    return notebook


def set_parameters(notebook: Any, parameters: dict[str, str]) -> None:
    """Put a cell after the one tagged `parameters` that sets those named there. Values are Python, or else text."""
    index = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    known = {name: value for name, value in parameters.items() if name in parameter_names(notebook)}
    lines = "\n".join(f"{name} = {_literal(value)}" for name, value in known.items())
    notebook.cells.insert(index + 1, nbformat.v4.new_code_cell(lines))


def parameter_names(notebook: Any) -> set[str]:
    """The names that the cell tagged `parameters` sets, one a line."""
    source = next(cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return set(re.findall(r"^(\w+) = ", source, re.MULTILINE))


def clean(notebook: Any) -> None:
    """Keep cells, tags, outputs and numbers; drop standard error, widget state, editor traces; join printed lines."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        printed = [output for output in cell.outputs if output.get("name") == "stdout"]
        if len(printed) > 1:
            printed[0].text = "".join(output.text for output in printed)
            cell.outputs = [output for output in cell.outputs if output not in printed[1:]]


def main() -> int:
    """Run what the command line names; 1 at the first notebook that fails."""
    parser = argparse.ArgumentParser(description="Run notebooks top to bottom.")
    parser.add_argument("notebooks", type=Path, nargs="+")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", type=Path, help="folder for the executed notebooks")
    where.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks themselves")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    options = parser.parse_args()
    parameters = dict(options.p)
    known = set().union(*(parameter_names(nbformat.read(path, as_version=4)) for path in options.notebooks))
    if unknown := set(parameters) - known:
        parser.error(
            f"no notebook has the parameter {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}"
        )
    if options.in_place and os.environ.get("DFDC_DATA"):
        parser.error("what is stored in the notebooks is run on the sample: unset DFDC_DATA")
    for path in options.notebooks:
        try:
            notebook = run_notebook(path, parameters)
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
        clean(notebook)
        target = path if options.in_place else options.output / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
    return 0


def _literal(value: str) -> str:
    try:
        return repr(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return repr(value)


if __name__ == "__main__":
    sys.exit(main())

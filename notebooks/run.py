"""Execute notebooks from top to bottom, and store them with their outputs.

python notebooks/run.py --output data/sample/results/notebooks notebooks/0*.ipynb
python notebooks/run.py --output data/sample/results/notebooks -p NUM_VIDS 4000 -p EPOCHS 20 notebooks/0*.ipynb
python notebooks/run.py --in-place notebooks/0*.ipynb      # what is committed

papermill (2.7) does most of this too. It is not used because it treats an error in a cell tagged `raises-exception` as
a failure of the notebook, accepts unknown parameters, and does not show the progress bars inside a cell.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import html
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

WIDGET = "application/vnd.jupyter.widget-view+json"
# Notebooks of one stage can run at the same time: what they need is there when the stages before it are done, or each
# makes it on the spot and shares it.
STAGES = {"01": 1, "02": 1, "03": 1, "04": 1, "05": 2, "06": 2, "07": 2}


class _EchoingClient(NotebookClient):
    """Repeats in the terminal what cells print, and the counts of their progress bars."""

    progress: Any  # the tqdm bar that counts the cells

    def handle_comm_msg(self, outs: list[Any], msg: dict[str, Any], cell_index: int) -> None:
        text = msg["content"].get("data", {}).get("state", {}).get("value")
        if isinstance(text, str) and re.match(r"\s*\d+/\d+ \[", text):  # the text beside a bar: 12/500 [00:10<05:20]
            self.progress.set_postfix_str(html.unescape(text).strip())
        super().handle_comm_msg(outs, msg, cell_index)

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream" and content["name"] == "stdout":
            tqdm.write(content["text"].rstrip("\n"))
        return super().output(outs, msg, display_id, cell_index)


async def run_notebook(notebook: Any, folder: Path, name: str) -> None:
    """Execute a notebook in `folder`. Raises `CellExecutionError`, except for cells tagged `raises-exception`."""
    with tqdm(total=sum(cell.cell_type == "code" for cell in notebook.cells), desc=name, unit="cell") as progress:
        client = _EchoingClient(
            notebook,
            kernel_name="python3",
            timeout=None,  # on all of DFDC a cell may take days
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,  # one output per print would depend on timing
            resources={"metadata": {"path": str(folder)}},
            on_cell_complete=lambda **_: progress.update(),
        )
        client.progress = progress
        await client.async_execute()


def parameter_names(notebook: Any) -> set[str]:
    """The names that are set in cells tagged `parameters`, one per line."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return set(re.findall(r"^(\w+) = ", "\n".join(cell.source for cell in cells), re.MULTILINE))


def set_parameters(notebook: Any, parameters: dict[str, str]) -> None:
    """Insert a cell after the one tagged `parameters` that sets those that the notebook has."""
    lines = [f"{name} = {_literal(parameters[name])}" for name in parameters if name in parameter_names(notebook)]
    if lines:
        tagged = ["parameters" in cell.metadata.get("tags", []) for cell in notebook.cells]
        notebook.cells.insert(tagged.index(True) + 1, nbformat.v4.new_code_cell("\n".join(lines)))


def clean(notebook: Any) -> None:
    """Keep cells, tags, what is folded, outputs and counts only, without standard error, progress bars and widgets."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        folded = cell.metadata.get("jupyter", {})
        cell.metadata = ({"jupyter": folded} if folded else {}) | ({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = without_progress([output for output in cell.outputs if output.get("name") != "stderr"])
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):  # what a widget shows; the widget itself needs a kernel
                    output.data.pop(WIDGET, None)


def without_progress(outputs: list[Any]) -> list[Any]:
    """Leave out progress bars: in a stored notebook they stand at 0 %. A widget that is a cell's value stays."""
    return [output for output in outputs if output.output_type != "display_data" or WIDGET not in output.data]


def main() -> int:
    """Execute the notebooks that the command line names. Return 1 at the first that fails."""
    parser = argparse.ArgumentParser(description="Execute notebooks from top to bottom.")
    parser.add_argument("notebooks", type=Path, nargs="+")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--output", type=Path, help="folder for the executed notebooks")
    where.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks themselves")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many notebooks run at the same time")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least one notebook must run at a time")
    parameters = dict(options.p)
    if options.in_place and (parameters or os.environ.get("DFDC_DATA")):
        parser.error("--in-place stores a run on the sample with default parameters: unset DFDC_DATA, leave out -p")
    if strange := [str(path) for path in options.notebooks if not path.is_file()]:
        parser.error(f"{strange[0]}: no such notebook. A parameter is set by -p NAME VALUE")
    notebooks = {path: nbformat.read(path, as_version=4) for path in options.notebooks}
    known = set().union(*map(parameter_names, notebooks.values()))
    if unknown := parameters.keys() - known:
        parser.error(f"unknown parameter {', '.join(sorted(unknown))}; the notebooks have {', '.join(sorted(known))}")
    for notebook in notebooks.values():
        set_parameters(notebook, parameters)
    try:
        asyncio.run(_run_stages(notebooks, options))
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _run_stages(notebooks: dict[Path, Any], options: argparse.Namespace) -> None:
    """Execute the notebooks, up to `options.jobs` of a stage at the same time, and store each when it is done."""
    free = asyncio.Semaphore(options.jobs)

    async def run_and_store(path: Path) -> None:
        async with free:
            try:
                await run_notebook(notebooks[path], path.parent, path.stem)
            except CellExecutionError as error:
                error.traceback = f"{path}: {error.traceback}"
                raise
        clean(notebooks[path])
        target = path if options.in_place else options.output / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebooks[path], target)

    for _, stage in itertools.groupby(notebooks, key=lambda path: STAGES.get(path.name[:2], path)):
        paths = list(stage)
        if options.jobs > 1:
            paths.reverse()  # the last one takes longest
        await asyncio.gather(*map(run_and_store, paths))


def _literal(value: str) -> str:
    """Python source of a value from the command line: a number, None and the like, otherwise text."""
    try:
        return repr(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return repr(value)


if __name__ == "__main__":
    sys.exit(main())

"""What a process would leave if it were killed, at any moment between two of its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def snapshots(folder: Path, target: Path) -> Iterator[list[Path]]:
    """Copy `folder` into `target` each time that a file in it is put into its place or removed, in their order."""
    taken: list[Path] = []

    def then_copy(method: str) -> Any:
        original = getattr(Path, method)

        def patched(path: Path, *arguments: Any, **options: Any) -> Any:
            result = original(path, *arguments, **options)
            places = [path.parent, *(Path(argument).parent for argument in arguments)]
            if folder in places:
                taken.append(target / f"{len(taken):03d}_{method}_{Path((*arguments, path)[0]).name}")
                shutil.copytree(folder, taken[-1])
            return result

        return patched

    with pytest.MonkeyPatch.context() as patch:
        for method in ("replace", "unlink"):
            patch.setattr(Path, method, then_copy(method))
        yield taken


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a model's folder by name, without those that only a training under way needs."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in files if path.name not in ("progress.npz", "best.keras")}

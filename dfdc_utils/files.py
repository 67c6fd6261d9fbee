"""Files and folders that are written whole or not at all, by any number of processes and machines at once.

What is being written is named `.<name>.<machine>.<process>.<attempt>.partial` and lies beside its place.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil

# A video takes seconds. What another machine left unfinished for a day belongs to a process that died there.
STALE_SEC = 86_400


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half of it. Raises `OSError`."""
    with replacing(path) as partial:
        # Paths that are not UTF-8 hold lone surrogates, which pass through unchanged.
        partial.write_text(text, encoding="utf-8", errors="surrogatepass")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path of the same name to write to, which replaces `path` at the end of the block.

    After an exception the old file is still there. Raises `OSError` with a remedy if it cannot be written.
    """
    with working_on(path.parent, path.name) as folder:
        try:
            yield folder / path.name
            (folder / path.name).replace(path)
        except OSError as error:
            raise cannot_write(path.parent, error, what=path.name) from error


@contextlib.contextmanager
def working_on(target: Path, name: str) -> Iterator[Path]:
    """Make a temporary folder beside `target / name` that says which process works on it; remove it at the end."""
    partial = partial_path(target / name)
    try:
        partial.mkdir()
    except OSError as error:
        raise cannot_write(target, error, what=name) from error
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def died_working(target: Path) -> set[str]:
    """Name what processes began in `target` that are gone now. What other machines began counts, too."""
    left = (path.name.rsplit(".", 4)[0] for path in target.glob(".*.partial") if _owner_of(path) is not True)
    return {name.removeprefix(".") for name in left}


def clear_leftovers(target: Path) -> None:
    """Remove what processes that are gone left unfinished in `target`."""
    for leftover in target.glob(".*.partial"):
        owner = _owner_of(leftover)
        with contextlib.suppress(OSError):  # another run has just done so
            if owner is False or (owner is None and leftover.stat().st_mtime < time.time() - STALE_SEC):
                remove(leftover)


def prepare_target(target: Path, *, what: str = "faces") -> Path:
    """Make a folder, clear what killed runs left in it, and check that it can be written. Raises `OSError` if not."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target)
        write_atomically(target / ".writable", " " * 4096)  # a disk without a block left takes an empty file
        (target / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error, what=what) from error
    return target


def remove(path: Path) -> None:
    """Remove a folder, a file, or a link without its target; leave what cannot be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def partial_path(path: Path) -> Path:
    """Name what this process writes before it takes the place of `path`."""
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{uuid4().hex[:8]}.partial")


def cannot_write(target: Path, error: OSError, *, what: str) -> OSError:
    """The same error with a remedy in it."""
    remedy = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose a folder you may write to"
    reason = error.strerror or str(error)
    if "cannot be written" in reason:  # it has a remedy already
        return error
    return OSError(
        error.errno,
        f"{what} cannot be written ({reason}). {remedy} and run it again: what is finished is kept",
        str(target),
    )


@functools.cache
def _machine() -> str:
    """A mark of this machine and, in a container, of its own process numbers; two hosts may have one name."""
    marks = [platform.node()]
    with contextlib.suppress(OSError):  # Linux only
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("".join(marks).encode()).hexdigest()[:8]


def _owner_of(partial: Path) -> bool | None:
    """Whether the process that writes `partial` runs; None if it runs on another machine."""
    *_, machine, process, _, _ = ("", "", *partial.name.rsplit(".", 4))
    if machine != _machine() or not process.isdigit():
        return None
    try:
        # A process that was killed counts as gone also if its parent never asks how it ended.
        return bool(psutil.Process(int(process)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True

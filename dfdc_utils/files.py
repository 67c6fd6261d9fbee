"""Files and folders that are written completely or not at all, by any number of processes and machines at once.

Until then a file or folder is named `.<name>.<machine>.<process>.<attempt>.partial` and lies beside its place.
"""

import contextlib
import errno
import functools
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil

if sys.platform != "win32":
    import fcntl

# A video takes seconds. A partial file or folder of another machine that is a day old belongs to a process that died.
STALE_SEC = 86_400


def write_atomically(path: Path, text: str, *, errors: str = "surrogatepass") -> None:
    """Write a text file so that readers see the old content or the new, never a part of it. Raises `OSError`."""
    with replacing(path) as partial:
        # Paths that are not UTF-8 hold lone surrogates, which by default pass through unchanged.
        partial.write_text(text, encoding="utf-8", errors=errors)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same file name. Unless the block raises, that file replaces `path` at its end."""
    with working_on(path.parent, path.name) as folder:
        yield folder / path.name
        (folder / path.name).replace(path)


@contextlib.contextmanager
def working_on(target: Path, name: str) -> Iterator[Path]:
    """Make a temporary folder beside `target / name` for this block. An `OSError` in the block says what to do."""
    partial = partial_path(target / name)
    try:
        partial.mkdir()
        yield partial
    except OSError as error:
        raise _cannot_write(target, error, what=name) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; others wait. `path` must exist. Without effect on Windows."""
    with path.open("r+b") as file:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # a network file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def died_working(target: Path) -> set[str]:
    """Return the names of what processes that have ended left unfinished in `target`, and all from other machines."""
    return {path.name[1:].rsplit(".", 4)[0] for path in target.glob(".*.partial") if _owner_of(path) is not True}


def clear_leftovers(target: Path) -> None:
    """Remove what processes that have ended left unfinished in `target`."""
    for leftover in target.glob(".*.partial"):
        owner = _owner_of(leftover)
        with contextlib.suppress(OSError):  # another run has just done so
            if owner is False or (owner is None and leftover.stat().st_mtime < time.time() - STALE_SEC):
                remove(leftover)


def prepare_target(target: Path, *, what: str = "faces") -> Path:
    """Make a folder, remove what killed runs left in it, and check that it can be written. Raises `OSError` if not."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target)
        with working_on(target, what) as trial:
            (trial / "file").write_bytes(bytes(4096))  # a full disk may still accept an empty one
    except OSError as error:
        raise _cannot_write(target, error, what=what) from error
    return target


def remove(path: Path) -> None:
    """Remove a folder, a file, or a link (not what it points to). What cannot be removed is left."""
    shutil.rmtree(path, ignore_errors=True)  # does nothing for files and links
    with contextlib.suppress(OSError):
        path.unlink()


def partial_path(path: Path) -> Path:
    """Return the path at which this process writes what is to become `path`."""
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{uuid4().hex[:8]}.partial")


def _cannot_write(target: Path, error: OSError, *, what: str) -> OSError:
    remedies = {errno.ENOSPC: "Free some space", errno.EDQUOT: "Free some space", errno.ENOENT: f"Create {target}"}
    reason = error.strerror or str(error)
    if "cannot be written" in reason:  # it says so already
        return error
    remedy = remedies.get(error.errno or 0, "Choose a folder you may write to")
    return OSError(error.errno, f"{what} cannot be written ({reason}). {remedy} and run it again", str(target))


@functools.cache
def _machine() -> str:
    """Return a mark of this machine and of its numbering of processes: each container has its own."""
    marks = [platform.node()]
    with contextlib.suppress(OSError):  # Linux only
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("".join(marks).encode()).hexdigest()[:8]


def _owner_of(partial: Path) -> bool | None:
    """Return True if the process that writes `partial` runs, False if it has ended, None if on another machine."""
    *_, machine, process, _, _ = ("", "", *partial.name.rsplit(".", 4))
    if machine != _machine() or not process.isdigit():
        return None
    try:
        return bool(psutil.Process(int(process)).status() != psutil.STATUS_ZOMBIE)  # which has ended
    except psutil.Error as error:
        return not isinstance(error, psutil.NoSuchProcess)

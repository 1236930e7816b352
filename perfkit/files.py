"""Files that perfkit writes: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import IO

from perfkit.errors import MachineError

UNFINISHED = ".part"  # ending of a file that is being written


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8, to a new file beside `path`, then put it in its place; as `open_whole` does.

    Raises:
        MachineError: no such folder, or no right to write there; nothing is changed.
    """
    with open_whole(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside `path` to write to, which is put in its place at the end, if all went well.

    A link stays, and its target is replaced.
    A pipe or a device (`/dev/stdout`, `/dev/null`) holds nothing to keep: it is written to and stays what it is.

    Raises:
        MachineError: no such folder, or no right to write there; nothing is changed.
    """
    import tempfile  # slow to import, and only some commands write files

    temporary: Path | None = None
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        if path.exists() and not path.is_file():
            with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
                yield file
            return
        path = path.resolve()
        if path.exists() and not os.access(path, os.W_OK):  # a new file may be put in its place, but is not wanted
            raise PermissionError(13, "is read-only")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}; nothing was written") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep other runs away from a file by a lock beside it, which the system drops however this run ends.

    What a run left that was killed as it wrote is removed.

    Raises:
        MachineError: another run has it, its folder is not there or not to be written, or filelock is not installed.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise MachineError(f"{path} is locked while it is made, by filelock: pip install filelock") from None

    if not path.parent.is_dir():
        raise MachineError(f"cannot write {path}: no such folder {path.parent}")
    target = path.resolve()  # a link and its target are one file
    lock = FileLock(target.parent / f".{target.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise MachineError(f"{path} is being written by another run: wait for it, or name another file") from None
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror}") from None
    try:
        for left in target.parent.glob(f".{escape(target.name)}.*{UNFINISHED}"):
            left.unlink()
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: a run that waits for it looks again
        lock.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

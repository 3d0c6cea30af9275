"""Locks of folders between processes. The operating system releases a lock when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from crosscue.errors import StorageError
from crosscue.progress import note
from crosscue.storage import write_text, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Holds the lock `path`. Where another process holds it, prints the message `waiting`, and waits."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        note(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def sole_run(folder: Path, option: str = "--out") -> Iterator[None]:
    """Locks `folder` for this process.

    `option` is the option that names another folder, for the message.

    Raises:
        StorageError: another process holds the lock; the message names it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(folder / ".running", timeout=0), folder / ".running.holder"
        try:
            lock.acquire()
        except Timeout as error:
            name = "another process"
            with contextlib.suppress(FileNotFoundError):  # it may end just now
                name = holder.read_text(encoding="utf-8")
            raise StorageError(
                f"{folder}: another run is writing here ({name}). Wait for it, stop it, or choose another {option}."
            ) from error
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()

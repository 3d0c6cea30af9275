"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from crosscue.errors import StorageError
from crosscue.storage import writing


@contextlib.contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the operating system lets go of it when the process ends, however it ends.

    Raises:
        StorageError: another process holds it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / ".running", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise StorageError(
            f"{folder}: another run is writing here ({error}). Wait for it, stop it, or choose another --out."
        ) from error
    try:
        yield
    finally:
        connection.close()

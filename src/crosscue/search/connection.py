"""Connection to the tables of a collection: one session a process, with bounded caches."""

from __future__ import annotations

import datetime
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from crosscue.errors import CollectionError

os.environ.setdefault("LANCE_LOG", "error")

INDEX_CACHE, METADATA_CACHE = 512 << 20, 64 << 20
"""Bytes. Lance's own defaults are 6 GiB and 1 GiB."""
_session: Any = None
_process = 0
Result = TypeVar("Result")


def connect(tables: Path | str, consistency: float | None = None) -> Any:
    """Returns a LanceDB connection to a folder of tables.

    Args:
        tables: the folder, which is made where it is missing, or the address of an object store.
        consistency: seconds after which a table looks for commits of other processes; None: only on `refresh`.

    Raises:
        CollectionError: LanceDB is not installed, or this process is a fork of one that had a connection, where Lance's threads
            do not run.
    """
    global _session, _process
    try:
        import lancedb
    except ImportError as error:
        raise CollectionError(f"a collection needs the package {error.name}: pip install 'crosscue[search]'") from error

    if _session is None:
        _session = lancedb.Session(index_cache_size_bytes=INDEX_CACHE, metadata_cache_size_bytes=METADATA_CACHE)
        _process = os.getpid()
    if _process != os.getpid():
        raise CollectionError(
            "a collection cannot be used in a forked process. Start the process with "
            'multiprocessing.get_context("spawn").'
        )
    interval = None if consistency is None else datetime.timedelta(seconds=consistency)
    return lancedb.connect(tables, session=_session, read_consistency_interval=interval)


def asynchronous(table: Any) -> Any:
    """Returns the asynchronous table behind a table. A query of it is one call to Lance; the synchronous one makes six."""
    return table._table


def answer(call: Coroutine[Any, Any, Result]) -> Result:
    """Returns the result of a call of an asynchronous table."""
    from lancedb.background_loop import LOOP

    return LOOP.run(call)


def fresh(tables: Path) -> Any:
    """Returns a connection without any cache, which sees files as they are on the disk now."""
    import lancedb

    return lancedb.connect(tables, session=lancedb.Session(index_cache_size_bytes=1, metadata_cache_size_bytes=1))


def dataset(table: str) -> Any:
    """Returns the newest version of a table as a Lance dataset, which has transactions that LanceDB hides.

    Args:
        table: folder or address of the table, `tables/NAME.lance`.

    Raises:
        CollectionError: Lance is not installed.
    """
    try:
        import lance
    except ImportError as error:
        raise CollectionError("several workers need the package lance: pip install 'crosscue[scale]'") from error
    return lance.dataset(table, index_cache_size_bytes=INDEX_CACHE, metadata_cache_size_bytes=METADATA_CACHE)

"""Recovery of a table whose newest files a power cut has emptied: back to the newest version that can be read.

Nothing is deleted. Manifests of damaged versions are moved to `_quarantine/`, and the next indexing reads the images that
only they named.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from crosscue.search.connection import fresh
from crosscue.search.schema import KEY

QUARANTINE = "_quarantine"
DATA_FILE = re.compile(rb"[0-9a-f]{40,}\.lance")


def manifests(folder: Path) -> list[Path]:
    """Returns the manifests of a table, newest first: Lance counts their names down."""
    return sorted((folder / "_versions").glob("*.manifest"), key=lambda path: int(path.stem))


def damaged(folder: Path) -> bool:
    """Returns True if the newest manifest, or a file that it names, is empty or missing. Takes milliseconds."""
    newest = next(iter(manifests(folder)), None)
    if newest is None or newest.stat().st_size == 0:
        return True
    present = {path.name: path.stat().st_size for path in (folder / "data").glob("*.lance")}
    content = newest.read_bytes()
    for found in DATA_FILE.findall(content):
        name = found.decode()
        if not (present.get(name) or present.get(name[1:])):  # a byte of length before the name can look like a digit
            return True
    return any(path.stat().st_size == 0 for path in (folder / "_deletions").glob("*"))


def readable(tables: Path, name: str) -> int | None:
    """Returns the number of rows of a table after reading all of them, or None where that fails."""
    try:
        table = fresh(tables).open_table(name)
        count = int(table.count_rows())
        seen = sum(batch.num_rows for batch in table.search().to_batches())
    except (RuntimeError, ValueError, OSError, KeyError):
        return None
    return count if KEY in table.schema.names and seen == count else None


def recover(tables: Path, name: str, *, thorough: bool) -> str | None:
    """Moves manifests aside until the table can be read.

    Args:
        tables: folder of the tables.
        name: name of the table.
        thorough: read all rows, even where nothing looks damaged.

    Returns:
        None if the table was whole; otherwise a text about the commits that were lost. A table that has no readable
        version is left without any manifest.
    """
    folder = tables / f"{name}.lance"
    if not damaged(folder) and not (thorough and readable(tables, name) is None):
        return None
    aside = folder / QUARANTINE
    aside.mkdir(exist_ok=True)
    (folder / "_versions" / "latest_version_hint.json").unlink(missing_ok=True)
    lost = 0
    for manifest in manifests(folder):
        count = None if manifest.stat().st_size == 0 else readable(tables, name)
        if count is not None:
            break
        manifest.replace(aside / manifest.name)
        lost += 1
    for path in [*(folder / "data").glob("*"), *(folder / "_deletions").glob("*")]:
        if path.stat().st_size == 0:
            path.replace(aside / path.name)
    if not lost:
        return None
    if not manifests(folder):
        return f"'{name}' had no version that can be read; all images will be read again."
    return (
        f"'{name}' went back {lost} commit{'s' if lost > 1 else ''}, to {count:,} rows; the others will be read again."
    )


def damaged_indices(folder: Path) -> bool:
    """Returns True if a file of an index is empty."""
    return any(path.is_file() and path.stat().st_size == 0 for path in (folder / "_indices").rglob("*"))


def drop_indices(table: Any) -> None:
    """Removes all indices of a table; `maintain` builds them again."""
    for index in table.list_indices():
        table.drop_index(index.name)

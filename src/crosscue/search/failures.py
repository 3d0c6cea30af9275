"""Files that could not be read, one a line in failures.jsonl. They are tried again when they change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crosscue.search.reading import INSTALL, REFUSED, Failure
from crosscue.storage import read_lines, write_lines

FIELDS = {"id", "root", "path", "reason", "size", "modified"}


def read_failures(file: Path) -> dict[str, dict[str, Any]]:
    """Returns id -> record; nothing where there is no such file. Damaged lines are left out, so their files are tried again."""
    rows = read_lines(file, lambda error: None) if file.exists() else ()
    return {row["id"]: row for _, row in rows if row.keys() >= FIELDS}


def unchanged(failures: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Returns id -> size and time of the files that need not be tried again unless they change."""
    return {
        one: (row["size"], row["modified"])
        for one, row in failures.items()
        if INSTALL not in row["reason"] and not row["reason"].startswith(REFUSED)
    }


def write_failures(
    file: Path, before: Mapping[str, Mapping[str, Any]], found: Iterable[Failure], forgotten: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Writes the failures of before and of this run, and returns them.

    Args:
        file: `failures.jsonl`.
        before: id -> record.
        found: failures of this run.
        forgotten: ids of files that were read, or are gone.
    """
    rows = {one: dict(row) for one, row in before.items()}
    for one in forgotten:
        rows.pop(one, None)
    for failure in found:
        item = failure.item
        path = os.fsdecode(item.raw).encode("utf-8", "replace").decode()
        rows[item.id] = {
            "id": item.id,
            "root": item.root,
            "path": path,
            "reason": failure.reason,
            "size": item.size,
            "modified": item.modified,
        }
    if rows != before:
        write_lines(file, rows.values())
    return rows

"""JSON Lines: one record a line, read with the line in every message, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from crosscue.errors import DataError
from crosscue.storage import atomic_file


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (file and line for messages, the object on it) of a JSONL file; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path} line {number}", _object(f"{path} line {number}", line)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]}).") from error


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg}). Correct the line, or make the file again.") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be a JSON object. Correct the line, or make the file again.")
    return value


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line; a reader sees the old file or the whole new one."""
    with atomic_file(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def fingerprint_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns a SHA-256 over the rows, whatever their order."""
    lines = sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

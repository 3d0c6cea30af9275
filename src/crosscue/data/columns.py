"""Columns of a table: their names, and the value of a field in a row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from crosscue.errors import DataError

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": (
        *("image", "file_name", "filename", "filepath", "file_path", "image_path", "path", "img", "jpg", "png"),
        *("image_name", "image_file", "img_path"),
    ),
    "captions": (
        *("captions", "caption", "text", "sentence", "sentences", "description", "txt"),
        *("title", "comment", "alt_text"),
    ),
    "image_id": ("image_id", "id", "imgid", "key"),
    "category": ("category", "class_name", "class", "label_name"),
    "negatives": ("negatives", "negative", "hard_negatives"),
    "synthetic": ("synthetic", "synthetic_caption", "draft", "drafts"),
    "split": ("split", "set", "subset", "partition"),
}
"""Field of a pair -> names of its column, best first; upper case, spaces and hyphens of a header do not count."""
NUMBERED = re.compile(r"caption_?\d+")
"""Names of columns with one caption each."""
SHOWN = 20
"""Largest number of names in a message."""


def named(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns a row with plain names of its columns; `caption_0`, `caption_1` and so on are the list of its captions."""
    values: dict[str, Any] = {}
    for column, value in row.items():
        name = plain(str(column))
        if name not in values or name == column:
            values[name] = value
    if values.keys().isdisjoint(COLUMNS["captions"]):
        numbered = [value for name, value in values.items() if NUMBERED.fullmatch(name) and not absent(value)]
        values |= {"captions": numbered} if numbered else {}
    return values


@lru_cache(maxsize=4096)
def plain(column: str) -> str:
    """Returns the name of a column in lower case, its words joined by underscores."""
    return "_".join(column.strip().strip("\ufeff").lower().replace("-", " ").split())


def has(names: Iterable[str], field: str) -> bool:
    """Returns True if one of the names of columns is one of a field."""
    found = {plain(name) for name in names}
    return not found.isdisjoint(COLUMNS[field]) or (field == "captions" and any(map(NUMBERED.fullmatch, found)))


def required(where: str, row: Mapping[str, Any], field: str, given: Mapping[str, Any]) -> Any:
    """Returns the value of a field of a row with plain names; `given` has the names of the table.

    Raises:
        DataError: the row has no such column, or no value in it.
    """
    columns = [column for column in COLUMNS[field] if column in row]
    if not columns:
        no_column(where, field, given)
    value = optional(row, field)
    if value is None:
        raise DataError(
            f"{where}: column '{columns[0]}' is empty. Fill it, or remove the row.",
            kind="missing images" if field == "image" else "empty captions",
        )
    return value


def no_column(where: str, field: str, given: Iterable[Any]) -> NoReturn:
    """Raises `DataError` for a table without a column of a field; `given` has the names of its columns."""
    what = "image" if field == "image" else "caption"
    raise DataError(
        f"{where}: no {what} column. Columns found: {listed(given)}. Name one of them: {', '.join(COLUMNS[field])}."
    )


def optional(row: Mapping[str, Any], field: str) -> Any:
    """Returns the first value of a field, or None where the row has none."""
    for column in COLUMNS[field]:
        value = row.get(column)
        if not absent(value):
            return value
    return None


def absent(value: Any) -> bool:
    """Returns True for None, an empty text, and NaN."""
    return value is None or (isinstance(value, str) and value == "") or (isinstance(value, float) and math.isnan(value))


def listed(names: Iterable[Any]) -> str:
    """Returns names for a message, the first twenty of them."""
    found = [str(name)[:60] for name in names]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (", ".join(found[:SHOWN]) or "none") + more

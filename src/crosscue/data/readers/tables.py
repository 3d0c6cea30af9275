"""Tables (CSV, TSV), JSON, JSONL and parquet: one row an image, or one row a caption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscue.data.columns import has
from crosscue.data.folder_tree import SUFFIXES
from crosscue.data.pairs import Pairs
from crosscue.data.readers.contract import Reader, Reading, json_content, json_sniffer, suffix_sniffer
from crosscue.data.readers.dialects import table_rows
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError
from crosscue.source_files import HEAD, open_text, require_own
from crosscue.storage import read_lines


def read_csv(path: Path, reading: Reading) -> Pairs:
    """Reads a table with a header line, whose fields commas, semicolons, tabs or vertical bars separate."""
    return pairs_of(table_rows(path, reading), path, reading)


def read_jsonl(path: Path, reading: Reading) -> Pairs:
    """Reads one JSON object a line."""
    return pairs_of(read_lines(path, reading.refuse), path, reading)


def read_parquet(path: Path, reading: Reading) -> Pairs:
    """Reads a parquet file; images may be paths or embedded bytes."""
    return pairs_of(parquet_rows(path), path, reading)


def rows_of(path: Path, reading: Reading) -> Iterator[Row]:
    """Yields the rows of a CSV, TSV, JSONL or parquet file."""
    suffix = path.suffix.lower()
    return (
        read_lines(path, reading.refuse)
        if suffix == ".jsonl"
        else parquet_rows(path)
        if suffix == ".parquet"
        else table_rows(path, reading)
    )


def read_records(path: Path, reading: Reading) -> Pairs:
    """Reads a JSON list of objects, an object of image -> captions, or an object of columns as pandas writes it."""
    content = json_content(path)
    if is_columns(content):
        keys = dict.fromkeys(key for column in content.values() for key in column)
        content = [{name: column.get(key) for name, column in content.items()} for key in keys]
    elif is_captions(content):
        content = [{"image": image, "captions": texts} for image, texts in content.items()]
    if not is_list(content):
        raise DataError(f"{path}: not a JSON list of {{image, captions}} objects. Leave --kind json out.")

    def rows() -> Iterator[Row]:
        for number, record in enumerate(content, 1):
            if isinstance(record, dict):
                yield f"{path} record {number}", record
            else:
                reading.refuse(DataError(f"{path} record {number}: not an object. The file must be a list of objects."))

    return pairs_of(rows(), path, reading)


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a parquet file.

    Raises:
        DataError: it is no parquet file, or damaged.
    """
    import pyarrow
    from pyarrow import parquet

    number = 0
    with path.open("rb") as file:
        require_own(path, file.read(HEAD))
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            for record in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", record
    except (pyarrow.ArrowException, OverflowError, UnicodeDecodeError) as error:
        raise DataError(f"{path} row {number + 1}: not a parquet file that can be read ({error}).") from error


def is_list(content: Any) -> bool:
    """Returns True for a JSON list."""
    return isinstance(content, list)


def is_captions(content: Any) -> bool:
    """Returns True for image -> caption, or image -> list of captions."""
    return (
        isinstance(content, dict)
        and any(Path(name).suffix.lower() in SUFFIXES for name in content)
        and all(isinstance(texts, str) or is_list(texts) for texts in content.values())
    )


def is_columns(content: Any) -> bool:
    """Returns True for column -> row -> value with columns of images and captions."""
    return (
        isinstance(content, dict)
        and has(content, "image")
        and has(content, "captions")
        and all(isinstance(column, dict) for column in content.values())
    )


def is_json_lines(path: Path) -> bool:
    """Returns True for a file of JSON Lines, also under the name of JSON: several lines, of which the first is an object."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return path.is_file()
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        with open_text(path) as lines:
            filled = (line for line in lines if line.strip())
            return isinstance(json.loads(next(filled)), dict) and next(filled, None) is not None
    except (DataError, ValueError, RecursionError, StopIteration):
        return False


CSV = Reader("csv", suffix_sniffer(".csv", ".tsv"), read_csv)
JSONL = Reader("jsonl", is_json_lines, read_jsonl)
JSON = Reader(
    "json", json_sniffer(lambda content: is_list(content) or is_captions(content) or is_columns(content)), read_records
)
PARQUET = Reader("parquet", suffix_sniffer(".parquet"), read_parquet)
